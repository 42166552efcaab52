"""Personal codes: short, unguessable, forgiving to who types them, found again."""

from __future__ import annotations

import stat
from datetime import date, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.edge.codes import ALPHABET, CodeBook, Codes, load_key, normalize
from sekisho.edge.sightings import Kind, Sighting

KEY = bytes(range(32))
TODAY = date(2026, 4, 1)
NOW = 1_775_001_600.0  # that day, UTC


def sighting(line: str, at: float = NOW, destination: str = "192.0.2.25") -> Sighting:
    return Sighting(line, "ftth", ip_address(destination), at, kind=Kind.EXPLAINED)


def test_a_code_has_forty_bits_and_depends_on_everything() -> None:
    codes = Codes(KEY)
    code = codes.code("192.0.2.7", "ftth", TODAY)
    assert len(code.replace("-", "")) == 8
    assert len(ALPHABET) == 32
    others = {
        codes.code("192.0.2.8", "ftth", TODAY),
        codes.code("192.0.2.7", "mobile", TODAY),
        codes.code("192.0.2.7", "ftth", TODAY + timedelta(1)),
        Codes(bytes(32)).code("192.0.2.7", "ftth", TODAY),
    }
    assert len(others | {code}) == 5
    assert codes.code("192.0.2.7", "ftth", TODAY) == code


def test_codes_do_not_collide_among_many_lines() -> None:
    codes = Codes(KEY)
    made = {codes.code(f"100.64.{n >> 8}.{n & 255}", "ftth", TODAY) for n in range(20_000)}
    assert len(made) == 20_000
    assert all(set(code) <= set(ALPHABET) | {"-"} for code in made)


@settings(max_examples=100)
@given(number=st.integers(0, 2**40 - 1), change=st.sampled_from(["lower", "joined", "wide", "spaced", "dash"]))
def test_a_code_is_understood_however_it_is_typed(number: int, change: str) -> None:
    code = Codes(KEY).code(str(number), "ftth", TODAY)
    typed = {
        "lower": code.lower().replace("0", "o").replace("1", "l"),
        "joined": code.replace("-", "").replace("1", "I"),
        "wide": "".join(chr(ord(character) + 0xFEE0) for character in code),
        "spaced": f"  {code[:4]} {code[5:]} ",
        "dash": code.replace("-", "ー"),
    }[change]
    assert normalize(typed) == code


@given(text=st.text(max_size=80))
@settings(max_examples=100)
def test_other_text_is_no_code(text: str) -> None:
    code = normalize(text)
    assert code is None or normalize(code) == code


def test_a_line_is_found_by_making_its_codes_again() -> None:
    codes = Codes(KEY)
    lines = [(f"192.0.2.{n}", "ftth") for n in range(200)]
    code = codes.code("192.0.2.150", "ftth", TODAY - timedelta(3))
    assert codes.find(code.lower(), lines, TODAY) == ("192.0.2.150", "ftth", TODAY - timedelta(3))
    assert codes.find(code, lines, TODAY + timedelta(30)) is None
    assert codes.find("nonsense", lines, TODAY) is None
    assert Codes(bytes(32)).find(code, lines, TODAY) is None


def test_the_book_knows_what_stands_behind_a_code() -> None:
    book = CodeBook(Codes(KEY))
    for n in range(6):
        entry = book.note(sighting("192.0.2.7", NOW + n, f"198.51.100.{n}"))
    entry.name = "laptop.local"
    found = book.look_up(entry.code.lower())
    assert found is entry
    assert found.connections == 6
    assert (found.first, found.last) == (NOW, NOW + 5)
    assert found.destinations == tuple(f"198.51.100.{n}" for n in range(4))
    assert book.note(sighting("192.0.2.7", NOW + 86400)).code != entry.code
    assert book.look_up("0000-0000") is None
    assert book.look_up("?") is None


def test_the_book_is_bounded_and_the_one_not_seen_for_longest_gives_way() -> None:
    book = CodeBook(Codes(KEY), size=3)
    codes = [book.note(sighting(f"192.0.2.{n}")).code for n in range(3)]
    book.note(sighting("192.0.2.0"))
    book.note(sighting("192.0.2.9"))
    assert len(book) == 3
    assert [book.look_up(code) is not None for code in codes] == [True, False, True]


def test_the_book_is_read_back_without_what_is_old_or_damaged() -> None:
    book = CodeBook(Codes(KEY))
    old = book.note(sighting("192.0.2.1", NOW - 15 * 86400)).code
    new = book.note(sighting("192.0.2.2")).code
    again = CodeBook(Codes(KEY))
    assert again.restore([*book.rows(NOW), "", "[]", '{"code":"0000-0000"}', "[" * 9000]) == 4
    assert again.look_up(old) is None
    assert again.look_up(new) == book.look_up(new)


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "edge" / "explainer.key"
    key = load_key(path)
    assert load_key(path) == key
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="is not a key"):
        load_key(path)
    with pytest.raises(ValueError, match="32 octets"):
        Codes(b"short")
