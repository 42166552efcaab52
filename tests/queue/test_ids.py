"""Queue ids."""

from hypothesis import given
from hypothesis import strategies as st

from sekisho.queue.ids import EPOCH, decode, encode, number_at

NUMBERS = st.integers(0, 2**42 - 1)
SPOOLS = st.integers(0, 255)


@given(NUMBERS, SPOOLS)
def test_an_id_reads_back_even_as_a_person_types_it(number: int, spool: int) -> None:
    text = encode(number, spool)
    assert len(text) == 10
    assert decode(text) == (number, spool)
    assert decode(f" {text.lower().replace('0', 'o').replace('1', 'l')} ") == (number, spool)


@given(NUMBERS, NUMBERS, SPOOLS, SPOOLS)
def test_ids_sort_by_arrival(one: int, other: int, spool: int, other_spool: int) -> None:
    assert (encode(one, spool) < encode(other, other_spool)) is ((one, spool) < (other, other_spool))


@given(st.text(max_size=12))
def test_no_text_makes_decoding_fail(text: str) -> None:
    decoded = decode(text)
    assert decoded is None or encode(*decoded) == encode(*decoded)


def test_letters_that_are_no_digits_and_other_lengths_are_no_ids() -> None:
    assert decode("UUUUUUUUUU") is None
    assert decode("123456789") is None
    assert decode("１２３４５６７８９０") is None


def test_numbers_follow_the_seconds_and_never_go_below_zero() -> None:
    assert number_at(EPOCH + 1.9) == 1024
    assert number_at(0) == 0
    assert len(encode(number_at(EPOCH + 4_294_967_295.0), 255)) == 10
