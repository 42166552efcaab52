"""Names and passwords: SASLprep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.sasl import MAX_OCTETS, PreparationError, prepare


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u3000b", "a b"),
        ("ｐａｓｓ", "pass"),
        ("桜の関所", "桜の関所"),
    ],
)
def test_text_is_compared_as_the_rfc_says(text: str, prepared: str) -> None:
    """RFC 4013 §3 and full-width letters as Japanese keyboards send them."""
    assert prepare(text) == prepared


@pytest.mark.parametrize("text", ["", "\u0007", "a\0b", "a\nb", "\u0627\u0031", "\u00ad", "\ud800", "x\x7f"])
def test_what_cannot_be_typed_or_seen_is_refused(text: str) -> None:
    """RFC 4013 §2.3, §2.4."""
    with pytest.raises(PreparationError):
        prepare(text)


def test_length_is_counted_in_octets() -> None:
    assert prepare("a" * MAX_OCTETS)
    with pytest.raises(PreparationError):
        prepare("a" * (MAX_OCTETS + 1))
    with pytest.raises(PreparationError):
        prepare("桜" * (MAX_OCTETS // 3 + 1))


@given(st.text(max_size=50))
def test_preparing_twice_changes_nothing_and_raises_nothing_else(text: str) -> None:
    try:
        prepared = prepare(text)
    except PreparationError:
        return
    assert "\0" not in prepared
    try:
        assert prepare(prepared) == prepared
    except PreparationError:
        # NFKC of today's Unicode can bring forth, from letters newer than the tables, ones the tables know and refuse.
        assert not text.isascii()
