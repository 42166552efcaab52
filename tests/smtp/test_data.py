"""Tests of `sekisho.smtp.data`."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.smtp import replies
from sekisho.smtp.data import ChunkReader, DotReader, find_dotted_line

PIECES = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n..", b"\0", b"a", b"text", b".\r\n"]), max_size=14
).map(b"".join)


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[a:b] for a, b in pairwise(edges)]


def read(pieces: list[bytes], max_octets: int = 1000) -> tuple[bytes, DotReader, bytes]:
    reader = DotReader(max_octets)
    content, rest = b"", b""
    for piece in pieces:
        if reader.ended:
            rest += piece
            continue
        octets, used = reader.feed(piece)
        content += octets
        rest += piece[used:]
    return content, reader, rest


def by_the_book(octets: bytes) -> tuple[bytes, bytes] | None:
    """RFC 5321 §4.5.2 word for word: line by line, a line being what ends with CRLF."""
    content, at = b"", 0
    while (end := octets.find(b"\r\n", at)) >= 0:
        line, at = octets[at:end], end + 2
        if line == b".":
            return content, octets[at:]
        content += line.removeprefix(b".") + b"\r\n"
    return None


@pytest.mark.parametrize(
    ("octets", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
    ],
)
def test_a_leading_dot_is_taken_off_and_a_lone_one_ends(octets: bytes, content: bytes) -> None:
    """RFC 5321 §4.5.2."""
    got, reader, rest = read([octets + b"QUIT"])
    assert (got, rest, reader.ended, reader.refusal) == (content, b"QUIT", True, None)


@settings(max_examples=200)
@given(octets=PIECES, places=st.lists(st.integers(0, 200), max_size=6))
def test_content_reads_as_the_standard_says_however_it_is_cut(octets: bytes, places: list[int]) -> None:
    """RFC 5321 §4.5.2, §2.3.8."""
    expected = by_the_book(octets)
    content, reader, rest = read(cut(octets, places))
    assert reader.ended == (expected is not None)
    if expected is None:
        return
    pure = expected[0].count(b"\r") == expected[0].count(b"\n") == expected[0].count(b"\r\n") and b"\0" not in octets
    assert rest == expected[1]
    if b"\0" not in octets:
        assert (reader.refusal is None) == pure
    if reader.refusal is None:
        assert content == expected[0]
        assert reader.octets == len(content)


@pytest.mark.parametrize("octet", [b"\r", b"\n", b"\0"])
@pytest.mark.parametrize("place", [0, 1, 3, 5, 8])
def test_one_impure_octet_anywhere_refuses_the_whole_content(octet: bytes, place: int) -> None:
    """RFC 5321 §2.3.8."""
    text = b"abc\r\ndef\r\n"
    if octet == b"\n" and text[place - 1 : place] == b"\r":
        place += 1
    impure = text[:place] + octet + text[place:] + b".\r\n"
    _, reader, _ = read([impure])
    assert (reader.ended, reader.refusal) == (True, replies.BAD_CONTENT)


def test_content_beyond_the_limit_is_read_to_its_end_and_refused() -> None:
    """RFC 1870 §6.2; the limit counts what was written, not the stuffing (§4)."""
    assert read([b"..\r\n" * 10 + b".\r\n"], 30)[1].refusal is None
    content, reader, rest = read([b"abc\r\n" * 10, b"abc\r\n.\r\nRSET"], 30)
    assert (content, reader.refusal, reader.ended, rest) == (b"", replies.MESSAGE_TOO_BIG, True, b"RSET")


def test_a_reader_holds_back_four_octets_at_most() -> None:
    for octets in (b"a" * 500, b"\r\n.\r", b"\r" * 100, b"\n" * 100):
        reader = DotReader(10)
        reader.feed(octets)
        assert len(reader._held) <= 4


@settings(max_examples=150)
@given(octets=PIECES, places=st.lists(st.integers(0, 200), max_size=6))
def test_chunks_read_alike_however_they_are_cut(octets: bytes, places: list[int]) -> None:
    """RFC 3030 §2."""
    whole = ChunkReader(1000)
    expected = whole.feed(octets, last=True)
    reader = ChunkReader(1000)
    pieces = cut(octets, places)
    content = b"".join(reader.feed(piece, last=False) for piece in pieces) + reader.feed(b"", last=True)
    assert reader.refusal == whole.refusal
    if whole.refusal is None:
        assert content == expected == octets + (b"" if not octets or octets.endswith(b"\r\n") else b"\r\n")
    again = ChunkReader(1000)
    for at, piece in enumerate(pieces):
        again.feed(piece, last=at == len(pieces) - 1)
    assert (again.refusal, again.octets) == (whole.refusal, whole.octets)


def test_a_cr_at_the_end_of_one_chunk_meets_its_lf_in_the_next() -> None:
    reader = ChunkReader(100)
    assert reader.feed(b"a\r", last=False) + reader.feed(b"\nb\r\n", last=True) == b"a\r\nb\r\n"
    assert reader.refusal is None
    assert ChunkReader(100).feed(b"a\r", last=True) == b""


@given(octets=PIECES, dots=st.integers(0, 40))
def test_a_dotted_line_is_found_where_it_is_behind_however_many_dots(octets: bytes, dots: int) -> None:
    data = b"." * dots + octets
    assert find_dotted_line(data) == data.find(b"\r\n.")


@given(octets=PIECES)
def test_content_is_impure_exactly_when_cr_or_lf_stand_alone_or_nul_is_in_it(octets: bytes) -> None:
    """RFC 5321 §2.3.8: "Conforming implementations MUST NOT recognize or generate any other character sequence"."""
    line_ends = octets.count(b"\r\n")
    pure = octets.count(b"\r") == octets.count(b"\n") == line_ends and b"\0" not in octets
    reader = ChunkReader(1000)
    reader.feed(octets, last=True)
    assert (reader.refusal is None) is pure
