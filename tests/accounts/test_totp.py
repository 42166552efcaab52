"""Codes of authenticator apps."""

import base64
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.accounts.totp import PERIOD, code_at, readable_secret, setup_uri, step_of, typed_digits

SECRET = b"12345678901234567890"  # of RFC 4226 Appendix D and RFC 6238 Appendix B
NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("step", "code"),
    [*enumerate(["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"])],
)
def test_the_values_of_rfc_4226_come_out(step: int, code: str) -> None:
    """RFC 4226 Appendix D."""
    assert code_at(SECRET, step) == code


@pytest.mark.parametrize(
    ("time", "code"),
    [
        (59, "94287082"),
        (1_111_111_109, "07081804"),
        (1_111_111_111, "14050471"),
        (1_234_567_890, "89005924"),
        (2_000_000_000, "69279037"),
        (20_000_000_000, "65353130"),
    ],
)
def test_the_values_of_rfc_6238_come_out(time: int, code: str) -> None:
    """RFC 6238 Appendix B has eight digits; ours are the last six of them."""
    assert code_at(SECRET, time // PERIOD) == code[2:]
    assert step_of(SECRET, code[2:], time, after=0) == time // PERIOD


@given(secret=st.binary(min_size=16, max_size=64), step=st.integers(5, 2**40), late=st.integers(-4, 4))
def test_a_code_counts_one_step_before_and_after_its_own(secret: bytes, step: int, late: int) -> None:
    code = code_at(secret, step)
    near = {code_at(secret, step + late + each) for each in (-1, 0, 1)}  # another step may have the same code
    assert (step_of(secret, code, (step + late) * PERIOD, after=-1) is not None) == (code in near)
    assert abs(late) > 1 or code in near


def test_a_code_that_was_taken_and_those_before_it_count_no_more() -> None:
    """RFC 6238 §5.2."""
    step = NOW // PERIOD
    assert step_of(SECRET, code_at(SECRET, step), NOW, after=step - 1) == step
    assert step_of(SECRET, code_at(SECRET, step), NOW, after=step) is None
    assert step_of(SECRET, code_at(SECRET, step - 1), NOW, after=step) is None
    assert step_of(SECRET, code_at(SECRET, step + 1), NOW, after=step) == step + 1


@given(st.text(max_size=100))
def test_whatever_is_typed_gives_six_ascii_digits_or_nothing(text: str) -> None:
    digits = typed_digits(text)
    assert digits is None or (len(digits) == 6 and digits.isascii() and digits.isdecimal())


def test_digits_are_read_in_groups_and_in_full_width() -> None:
    for text in ("123456", " 123 456 ", "\uff11\uff12\uff13\uff14\uff15\uff16"):
        assert typed_digits(text) == "123456"
    for text in ("", "12345", "1234567", "12345a", "-12345", "1" * 100_000):
        assert typed_digits(text) is None


def test_the_uri_says_what_the_app_must_know() -> None:
    uri = urllib.parse.urlsplit(setup_uri(SECRET, login="rin@example.jp", issuer="情報センター: mail"))
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert urllib.parse.unquote(uri.path) == "/情報センター  mail:rin@example.jp"
    parameters = dict(urllib.parse.parse_qsl(uri.query))
    assert base64.b32decode(parameters["secret"]) == SECRET
    assert (parameters["algorithm"], parameters["digits"], parameters["period"]) == ("SHA1", "6", "30")
    assert "+" not in uri.query  # some apps show it as it is


def test_the_secret_can_be_typed() -> None:
    text = readable_secret(SECRET)
    assert text == "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"
