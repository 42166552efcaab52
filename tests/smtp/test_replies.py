"""Tests of `sekisho.smtp.replies`."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sekisho.smtp import Reply, replies
from sekisho.smtp.replies import MAX_LINE_OCTETS

NAMED = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}


def test_a_reply_knows_its_octets() -> None:
    """RFC 5321 §4.2.1: every line but the last has a hyphen."""
    assert Reply(250, "2.1.0", ("Sender OK",)).wire == b"250 2.1.0 Sender OK\r\n"
    assert Reply(550, "5.1.1", ("No such mailbox", "here")).wire == b"550-5.1.1 No such mailbox\r\n550 5.1.1 here\r\n"
    assert Reply(354, None, ("Go ahead",)).wire == b"354 Go ahead\r\n"


@pytest.mark.parametrize(
    ("code", "status", "lines"),
    [
        (250, "5.1.0", ("x",)),
        (354, "3.0.0", ("x",)),
        (250, "2.1", ("x",)),
        (199, None, ("x",)),
        (600, None, ("x",)),
        (250, None, ()),
        (250, None, ("x\r\n250 y",)),
        (250, None, ("x\x00",)),
        (250, None, ("x\u2028y",)),
        (250, None, ("x\x85",)),
    ],
)
def test_a_reply_that_could_mislead_cannot_be_made(code: int, status: str | None, lines: tuple[str, ...]) -> None:
    """RFC 2034 §4: code and status agree; text never smuggles a line."""
    with pytest.raises(ValueError):
        Reply(code, status, lines)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_named_replies_fit_the_wire_and_carry_a_status_where_they_must(name: str) -> None:
    """RFC 2034 §4; RFC 5321 §4.5.3.1.5."""
    reply = NAMED[name]
    assert len(reply.wire) <= MAX_LINE_OCTETS
    assert reply.wire.isascii()
    assert (reply.status is None) == (name in ("HELLO", "START_CONTENT"))


ADDRESSES = st.text(max_size=300) | st.text(max_size=300).map("https://{}".format)


@pytest.mark.parametrize("reply", replies.MENDED_BY_SETTINGS)
def test_what_settings_would_mend_leads_to_the_guide_on_one_line(reply: Reply) -> None:
    """RFC 5321 §4.5.3.1.5, with the longest address; some programs show one line alone."""
    address = "https://" + "g" * 200
    advised = replies.with_advice(reply, address)
    assert (advised.code, advised.status) == (reply.code, reply.status)
    assert advised.text == f"{reply.text}; see {address}"
    assert len(advised.wire) <= MAX_LINE_OCTETS
    assert advised.wire.count(b"\r\n") == 1


@given(address=ADDRESSES)
@example(address="https://mail.example.jp/\r\n250 OK")
@example(address="https://mail.example.jp/\n")
@example(address="https://mail.example.jp/a b")
@example(address="https://メール.example/")
@example(address="javascript:alert(1)")
@example(address="https://" + "g" * 201)
def test_only_a_plain_web_address_gets_into_a_reply(address: str) -> None:
    plain = re.fullmatch("https?://[!-~]{1,200}", address) is not None
    assert replies.is_advice(address) == plain
    if plain:
        assert Reply.parse(replies.with_advice(replies.AUTH_FAILED, address).wire).text.endswith(address)
    else:
        with pytest.raises(ValueError):
            replies.with_advice(replies.AUTH_FAILED, address)


def test_long_text_is_continued_on_the_next_line() -> None:
    """RFC 5321 §4.5.3.1.5."""
    text = "word " * 300 + "漢" * 400
    wire = Reply(550, "5.7.1", (text,)).wire
    parts = wire.split(b"\r\n")[:-1]
    assert all(len(part) + 2 <= MAX_LINE_OCTETS for part in parts)
    assert [part[:4] for part in parts] == [b"550-"] * (len(parts) - 1) + [b"550 "]
    together = b"".join(part[10:] for part in parts).decode()
    assert together.replace(" ", "") == text.replace(" ", "")


LINES = st.lists(
    st.text(st.characters(min_codepoint=32, max_codepoint=0x3FFF, exclude_categories=("C", "Zl", "Zp")), max_size=100),
    min_size=1,
    max_size=5,
).map(tuple)


@settings(max_examples=150)
@given(
    code=st.integers(200, 599),
    with_status=st.booleans(),
    subject=st.integers(0, 999),
    detail=st.integers(0, 999),
    lines=LINES,
)
def test_parsing_what_was_rendered_gives_the_reply_back(
    code: int, with_status: bool, subject: int, detail: int, lines: tuple[str, ...]
) -> None:
    # Text that begins like a status reads as one: it is never given without one.
    assume(with_status or re.match(r"[245]\.\d{1,3}\.\d{1,3}(?: |$)", lines[0]) is None)
    status = f"{code // 100}.{subject}.{detail}" if with_status and code // 100 != 3 else None
    reply = Reply(code, status, lines)
    assert Reply.parse(reply.wire) == reply


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"250 OK",
        b"250 OK\n",
        b"250-OK\r\n",
        b"250 OK\r\n250 OK\r\n",
        b"250-OK\r\n251 OK\r\n",
        b"99 OK\r\n",
        b"2500 OK\r\n",
        b"OK\r\n",
    ],
)
def test_what_is_not_one_whole_reply_does_not_parse(octets: bytes) -> None:
    with pytest.raises(ValueError):
        Reply.parse(octets)


def test_a_status_that_disagrees_with_the_code_stays_text() -> None:
    assert Reply.parse(b"550 4.1.1 later\r\n") == Reply(550, None, ("4.1.1 later",))
    assert Reply.parse(b"250\r\n") == Reply(250, None, ("",))


def test_what_a_peer_said_is_made_harmless() -> None:
    reply = Reply.received(554, ["5.7.1 no\x1b[2Jway", "5.7.1 really\x00", "more"] + ["x" * 5000] * 500)
    assert reply.status == "5.7.1"
    assert reply.lines[:3] == ("no?[2Jway", "really?", "more")
    assert len(reply.lines) == replies.MAX_RECEIVED_LINES
    assert max(map(len, reply.lines)) <= replies.MAX_RECEIVED_LINE_CHARACTERS


def test_a_reply_reads_as_one_line_in_a_listing() -> None:
    assert str(Reply(550, "5.1.1", ("No such", "mailbox"))) == "550 5.1.1 No such mailbox"
    assert str(Reply(220, None, ("mx",))) == "220 mx"


def test_a_reply_is_positive_temporary_or_permanent() -> None:
    """RFC 5321 §4.2.1."""
    assert replies.OK.is_positive
    assert not replies.START_CONTENT.is_positive
    assert replies.LOCAL_ERROR.is_temporary
    assert replies.MAILBOX_UNKNOWN.is_permanent
    assert replies.accepted("A1").text == "Queued as A1"
