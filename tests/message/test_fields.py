"""Tests of `sekisho.message.fields`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.message import FieldError, Header, parse_mailboxes
from sekisho.message.fields import MAX_FIELDS, MAX_HEADER_OCTETS

LETTER = (
    b"Received: from a\r\n\tby b; now\r\nFrom: Rin <rin@example.jp>\r\nTO : aoi@example.jp,\r\n b@example.jp\r\n"
    b"X:\r\nX: second\r\n\r\nFrom: body@example.jp\r\n"
)


def test_a_header_is_fields_in_order_and_ends_at_the_blank_line() -> None:
    """RFC 5322 §2.1, §2.2.3 (folding), §4.5 (space before the colon)."""
    header = Header.parse(LETTER)
    assert header.fields == [
        ("received", b" from a\r\n\tby b; now"),
        ("from", b" Rin <rin@example.jp>"),
        ("to", b" aoi@example.jp,\r\n b@example.jp"),
        ("x", b""),
        ("x", b" second"),
    ]
    assert LETTER[header.end :] == b"From: body@example.jp\r\n"


def test_a_letter_may_be_all_header_or_have_none() -> None:
    assert Header.parse(b"Subject: x\r\n").fields == [("subject", b" x")]
    assert Header.parse(b"\r\nbody\r\n").fields == []
    assert Header.parse(b"\r\nbody\r\n").end == 2
    assert Header.parse(b"").fields == []


@pytest.mark.parametrize(
    ("octets", "line"),
    [
        (b"hello\r\n", 1),
        (b" folded first\r\n", 1),
        (b"From a@b Mon\r\nFrom: x\r\n\r\n", 1),
        (b"From: a@b\r\nnot a field\r\nFrom: c@d\r\n\r\n", 2),
        (b"From: a@b\r\n\tfold\r\n: x\r\n\r\n", 3),
        ("Fröm: a@b\r\n\r\n".encode(), 1),
        (b"From: a\rb\r\n\r\n", 1),
    ],
)
def test_a_line_that_is_no_field_is_named(octets: bytes, line: int) -> None:
    """One reader skips such a line, another ends the header there; they would see different authors."""
    with pytest.raises(FieldError, match=f"line {line} "):
        Header.parse(octets)


def test_header_size_and_number_of_fields_are_bounded() -> None:
    Header.parse(b"X: y\r\n" * MAX_FIELDS + b"\r\n")
    with pytest.raises(FieldError):
        Header.parse(b"X: y\r\n" * (MAX_FIELDS + 1) + b"\r\n")
    with pytest.raises(FieldError):
        Header.parse(b"X: " + b"y" * MAX_HEADER_OCTETS + b"\r\n\r\n")
    Header.parse(b"X: y\r\n\r\n" + b"z" * MAX_HEADER_OCTETS)


def test_a_field_behind_the_cut_cannot_hide() -> None:
    """A second From beyond the octets in memory must not pass for absent."""
    letter = (
        b"From: rin@example.jp\r\n" + b"X: y\r\n" * 10 + b"Y:" + b" y" * 40000 + b"\r\nFrom: boss@example.jp\r\n\r\n"
    )
    for size in (MAX_HEADER_OCTETS, MAX_HEADER_OCTETS + 1, 80000, len(letter)):
        with pytest.raises(FieldError):
            Header.parse(letter[:size])


def test_fields_are_taken_out_whole_and_the_rest_stays_as_it_was() -> None:
    header = Header.parse(LETTER)
    assert header.without(()) == LETTER[: header.end]
    assert header.without({"to", "x"}) == (b"Received: from a\r\n\tby b; now\r\nFrom: Rin <rin@example.jp>\r\n\r\n")


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=12)
VALUES = st.binary(max_size=30).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b"\r\n "))


@settings(max_examples=100)
@given(fields=st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_a_rendered_header_parses_to_the_same_fields(fields: list[tuple[str, bytes]]) -> None:
    octets = b"".join(name.encode() + b":" + value + b"\r\n" for name, value in fields) + b"\r\n"
    header = Header.parse(octets + b"body")
    assert header.fields == [(name.lower(), value) for name, value in fields]
    assert (header.end, header.without(())) == (len(octets), octets)


@pytest.mark.parametrize(
    ("value", "mailboxes"),
    [
        ("rin@example.jp", ["rin@example.jp"]),
        (" Rin <Rin@Example.JP>\r\n", ["Rin@example.jp"]),
        ('"Sato, Rin" <rin@example.jp>', ["rin@example.jp"]),
        ("=?utf-8?B?5Yeb?= =?utf-8?Q?a=2C=3Cb?= <rin@example.jp>", ["rin@example.jp"]),
        ("凛 <rin@example.jp>", ["rin@example.jp"]),
        ("凛 <凛@例え.jp>", ["凛@例え.jp"]),
        ("Dr. Rin Q. <rin@example.jp>", ["rin@example.jp"]),
        ("<rin@example.jp>", ["rin@example.jp"]),
        ("rin@example.jp, <aoi@example.jp>,,", ["rin@example.jp", "aoi@example.jp"]),
        ("rin@example.jp (boss@example.jp)", ["rin@example.jp"]),
        ("(a (nested \\) one) ) rin (b) @ (c) example . jp", ["rin@example.jp"]),
        ('"rin, <x@y>" <rin@example.jp>', ["rin@example.jp"]),
        ('"a b"@example.jp', ['"a b"@example.jp']),
        ("rin@[192.0.2.1]", ["rin@[192.0.2.1]"]),
        ("<@a.example,@b.example:rin@example.jp>", ["rin@example.jp"]),
        ("Team: rin@example.jp, Aoi <aoi@example.jp>;, x@y.jp", ["rin@example.jp", "aoi@example.jp", "x@y.jp"]),
        ("undisclosed-recipients:;", []),
        ("", []),
        ("rin@example.jp\r\n\t,\r\n aoi@example.jp", ["rin@example.jp", "aoi@example.jp"]),
        ("a..b.@docomo.example", ["a..b.@docomo.example"]),
        ("boss@example.jp <rin@example.jp>", ["boss@example.jp", "rin@example.jp"]),
        ("boss @ example.jp <rin@example.jp>", ["boss@example.jp", "rin@example.jp"]),
        ("boss@example.jp: rin@example.jp;", ["boss@example.jp", "rin@example.jp"]),
        ('"boss@example.jp" <rin@example.jp>', ["rin@example.jp"]),
        ("(boss@example.jp) <rin@example.jp>", ["rin@example.jp"]),
    ],
)
def test_mailboxes_are_found_whatever_surrounds_them(value: str, mailboxes: list[str]) -> None:
    """RFC 5322 §3.4, §4.4; RFC 2047 §5 (encoded words hide no address); RFC 6854; RFC 6532."""
    assert [str(mailbox) for mailbox in parse_mailboxes(value.encode())] == mailboxes


@pytest.mark.parametrize(
    "value",
    [
        "rin",
        "postmaster",
        "Rin",
        "<>",
        "Rin <>",
        "<rin@example.jp",
        "rin@example.jp>",
        "<rin@example.jp> x",
        "<rin@example.jp> <aoi@example.jp>",
        "rin@example.jp aoi@example.jp",
        "rin sato@example.jp",
        "rin@example.jp;",
        "Team: rin@example.jp",
        "Team: Other: rin@example.jp;;",
        '"rin <rin@example.jp>',
        "rin (x <rin@example.jp>",
        "rin) <rin@example.jp>",
        "\\rin <rin@example.jp>",
        "<<rin@example.jp>>",
        "<@boss@example.jp:rin@example.jp>",
        "<@:rin@example.jp>",
        "@ <rin@example.jp>",
        "boss@example.jp (work) at home <rin@example.jp>",
        "\x1b$B<rin@example.jp>\x1b(B <aoi@example.jp>",
        "rin\x00@example.jp",
        '"\x00" <rin@example.jp>',
        "rin@exam\ufffdple.jp",
        "(" * 30000,
        "<" * 30000,
        '"' * 30001,
        "a:" * 20000,
        "x" * (MAX_HEADER_OCTETS + 1),
    ],
)
def test_a_field_that_could_be_read_in_two_ways_is_not_read(value: str) -> None:
    """RFC 5322 §3.4."""
    with pytest.raises(FieldError) as caught:
        parse_mailboxes(value.encode())
    assert caught.value.problem


def test_octets_outside_utf8_may_stand_in_a_name_but_not_in_an_address() -> None:
    assert [str(mailbox) for mailbox in parse_mailboxes(b"\xfe\xff <rin@example.jp>")] == ["rin@example.jp"]
    with pytest.raises(FieldError):
        parse_mailboxes(b"<r\xfe@example.jp>")


PIECES = st.sampled_from([b"A", b":", b" ", b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"From: a"])
PARTS = st.sampled_from(
    ["rin@example.jp", "<a@b.jp>", "(c)", '"q, <x@y.z>"', ",", ":", ";", "<", ">", "(", ")", "@", " ", "凛"]
)


@settings(max_examples=200)
@given(raw=st.lists(PARTS, max_size=12).map(lambda parts: "".join(parts).encode()) | st.binary(max_size=60))
def test_any_octets_are_mailboxes_or_a_field_error(raw: bytes) -> None:
    try:
        mailboxes = parse_mailboxes(raw)
    except FieldError:
        return
    assert parse_mailboxes(", ".join(map(str, mailboxes)).encode()) == mailboxes


@settings(max_examples=100)
@given(
    octets=st.lists(st.sampled_from([b"A", b":", b" ", b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"From: a"]), max_size=15)
)
def test_any_octets_are_a_header_or_a_field_error(octets: list[bytes]) -> None:
    whole = b"".join(octets)
    try:
        header = Header.parse(whole)
    except FieldError:
        return
    assert header.without(()) == whole[: header.end]
