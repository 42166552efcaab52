"""The compiled kernel does what the Python beside it does, or declines. Whole dialogues: `tests/smtp/dialogue.py`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.smtp.dialogue import OPEN, SUBMISSION, converse, lines, yes

from sekisho.kernel import Kernel, compiled
from sekisho.message.fields import MAX_FIELDS, FieldError, split_fields
from sekisho.smtp import ContentChunk, Event, MailFrom, ServerConnection, replies
from sekisho.smtp.data import DotReader
from sekisho.smtp.server import MAX_FRUITLESS, pump
from sekisho.telemetry.events import MAX_TEXT, render_in_python

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src/sekisho/kernel/_kernel.c"

needs_kernel = pytest.mark.skipif(compiled is None, reason="there is no compiled kernel here")


@pytest.fixture
def kernel() -> Kernel:
    assert compiled is not None
    return compiled


@pytest.mark.skipif("PURE_PYTHON" in os.environ, reason="this run is the one without")
def test_everything_works_the_same_without_the_kernel() -> None:
    """What no test of this folder compares octet by octet: the server, the header and the log in Python alone."""
    tests = ["tests/kernel", "tests/corpus", "tests/server", "tests/message", "tests/telemetry/test_events.py"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env={**os.environ, "PURE_PYTHON": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]


def test_the_environment_switches_the_kernel_off() -> None:
    code = (
        "import sekisho.kernel as k, sekisho.smtp.server as s; print(k.compiled, k.presence(), s.run_dialogue.__name__)"
    )
    environment = {**os.environ, "PURE_PYTHON": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["None", "off", "run_in_python"]


def test_the_kernel_includes_nothing_that_could_do_io() -> None:
    included = set(re.findall(r"#include <(.*)>", SOURCE.read_text(encoding="utf-8")))
    assert included == {"Python.h", "structmember.h", "string.h", "emmintrin.h"}


# Content

PIECES = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n..", b"\0", b"a", b".\r\n", b"x" * 13, b"y" * 16, b"z" * 31]
    ),
    max_size=20,
).map(b"".join)


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[a:b] for a, b in pairwise(edges) if a < b]


def state_of(reader: DotReader) -> tuple[object, ...]:
    return reader._held, reader._skipped, reader.ended, reader.octets, reader._impure, reader.refusal


@needs_kernel
@settings(max_examples=400)
@given(octets=PIECES, places=st.lists(st.integers(0, 300), max_size=6), limit=st.sampled_from([20, 10_000]))
@example(octets=b"y" * 12 + b"\r\n.." + b"x\r\n.\r\nQUIT", places=[], limit=10_000)
@example(octets=b"y" * 13 + b"\r\n.\r\n", places=[16], limit=10_000)
def test_content_is_read_the_same_piece_by_piece(octets: bytes, places: list[int], limit: int) -> None:
    assert pump is not None
    feed = pump.feed
    ours, theirs = DotReader(limit), DotReader(limit)
    for piece in cut(octets, places):
        assert feed(theirs, piece) == ours.feed(piece)
        assert state_of(theirs) == state_of(ours)
        if ours.ended:
            break


@needs_kernel
def test_pure_content_inside_a_message_is_not_copied() -> None:
    assert pump is not None
    feed = pump.feed
    reader = DotReader(1 << 20)
    feed(reader, b"first\r\nsec")
    octets = b"ond line\r\n" * 5000 + b"and half a"
    body, used = feed(reader, octets)
    assert body is octets
    assert used == len(octets)


# Commands

WORDS = st.sampled_from(
    [
        *("MAIL FROM:", "mail from:", "Mail  From:", "RCPT TO:", "rcpt To: ", "DATA", "data", "DATA "),
        *("EHLO ", "ehlo a b\r\n", "EHLO d\r\n", "QUIT\r\n", "quit", "NOOP\r\n"),
        *("<", ">", "@", ".", "-", "_", " ", "a", "B", "example", "jp", "x" * 63, "y" * 64, "9", "+", '"', "<>"),
        *(" SIZE=", " size=12", " SIZE=10001", "\t", "\0", "é", "postmaster", "[192.0.2.1]", "\r\n", "\r\n", "\n"),
        *("MAIL FROM:<rin@example.jp>\r\n", "RCPT TO:<kei@Example.NET>\r\n", "DATA\r\nx\r\n.\r\n", "RSET\r\n"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(words=st.lists(WORDS, max_size=25), no=st.integers(0, 30), greeting=st.sampled_from([b"EHLO c\r\n", b""]))
def test_commands_are_read_the_same_plain_or_not(words: list[str], no: int, greeting: bytes) -> None:
    """`converse` compares the ways to hold a dialogue; here it is led along the edge of what is plain."""
    left = iter(range(no))
    converse(
        [greeting + "".join(words).encode()],
        OPEN,
        answer=lambda event: yes(event) if next(left, None) is not None else replies.MAILBOX_UNKNOWN,
    )


def test_greetings_without_end_count_as_errors_in_each_way() -> None:
    talk = converse([b"EHLO c\r\n" * (MAX_FRUITLESS + 30)])
    assert talk.codes[MAX_FRUITLESS - 1] == 250
    assert talk.codes[-1] == 421


@pytest.mark.parametrize("size", [252, 253, 254, 255])
def test_the_longest_address_is_the_same(size: int) -> None:
    domain = ".".join(["d" * 61] * 4)
    local_part = "a" * (size - len(domain) - 1)
    talk = converse([lines("EHLO c", f"MAIL FROM:<{local_part}@{domain}>")])
    assert bool(talk.asked(MailFrom)) is (size <= 254)


@needs_kernel
def test_a_plain_command_does_not_take_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []
    long_way = ServerConnection._take_command

    def noted(core: ServerConnection, line: bytes) -> None:
        taken.append(line)
        long_way(core, line)

    monkeypatch.setattr(ServerConnection, "_take_command", noted)
    assert pump is not None
    core = ServerConnection(OPEN, tls=True)
    dialogue = [b"EHLO c\r\n", b"MAIL FROM:<rin@example.jp>\r\nRCPT TO:<a@b>\r\nDATA\r\n", b"x\r\n.\r\nQUIT\r\n"]
    for octets in dialogue:
        pump.run(core, octets, _answer)
    assert core.closed
    assert taken == []


def _answer(event: Event) -> object:
    return None if isinstance(event, ContentChunk) else yes(event)


@needs_kernel
def test_an_exception_of_the_caller_comes_through_and_the_question_stays_open() -> None:
    assert pump is not None
    core = ServerConnection(SUBMISSION, tls=True)

    def fail(event: object) -> object:
        raise LookupError

    with pytest.raises(LookupError):
        pump.run(core, b"EHLO c\r\n", fail)
    assert core.waiting


@needs_kernel
def test_classes_that_the_kernel_does_not_know_are_refused(kernel: Kernel) -> None:
    class Dictionary:
        _state = _input = 1

    with pytest.raises(TypeError, match="no slot"):
        kernel.pump((Dictionary,) * 13, (1,) * 7, None, None, None, MAX_FRUITLESS)


# Header

HEADER = st.lists(
    st.sampled_from(
        [b"A", b"subject", b":", b": ", b" ", b"\t", b"\r\n", b"\r", b"\n", b"\r\n ", b"x", b"\xe9", b"\0"]
    ),
    max_size=30,
).map(b"".join)


@needs_kernel
@settings(max_examples=400)
@given(octets=HEADER)
@example(octets=b"From: a\r\n\tb\r\nTo : c\r\n\r\nbody")
@example(octets=b"From: a\r")
def test_a_header_is_split_the_same_or_declined(octets: bytes) -> None:
    assert compiled is not None
    split = compiled.split_header(octets, MAX_FIELDS)
    if split is None:
        with pytest.raises(FieldError):
            split_fields(octets)
    else:
        assert split == split_fields(octets)


@needs_kernel
def test_a_header_with_too_many_fields_is_declined(kernel: Kernel) -> None:
    assert kernel.split_header(b"a: b\r\n" * MAX_FIELDS, MAX_FIELDS) is not None
    assert kernel.split_header(b"a: b\r\n" * (MAX_FIELDS + 1), MAX_FIELDS) is None


# Events

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=40),
    st.lists(st.text(max_size=5), max_size=4),
    st.lists(st.integers(), max_size=2),
)


@needs_kernel
@settings(max_examples=300)
@given(fields=st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), VALUES, max_size=5))
@example(fields={"text": '\x7f\ud800\U0001f600"\\\b\f\n\r\t\x00é'})
@example(fields={"text": "é" * 400, "list": ["x" * 900, "y"]})
@example(fields={"text": "x" * (MAX_TEXT + 1)})
def test_an_event_is_rendered_the_same_or_declined(fields: dict[str, object]) -> None:
    assert compiled is not None
    start, end = '{"t":1.000,"event":"session.closed"', ',"worker":0}\n'
    line = compiled.render_event(start, fields, end, MAX_TEXT)
    assert line is None or line == render_in_python(start, fields, end)


@needs_kernel
def test_the_usual_event_is_not_declined(kernel: Kernel) -> None:
    fields: dict[str, object] = {"session": "1", "recipients": ["a@b"], "size": 5, "ok": True, "account": None}
    assert (
        kernel.render_event("{", fields, "}", MAX_TEXT) == b'{,"session":"1","recipients":["a@b"],"size":5,"ok":true}'
    )
