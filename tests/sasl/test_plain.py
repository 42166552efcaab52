"""PLAIN, both sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.sasl import Challenge, Malformed, PasswordClaim, PlainServer, SaslError, client


@pytest.mark.parametrize(
    ("message", "claim"),
    [
        (b"\0tim\0tanstaaftanstaaf", PasswordClaim("tim", "", "tanstaaftanstaaf")),
        (b"Ursel\0Kurt\0xipj3plmq", PasswordClaim("Kurt", "Ursel", "xipj3plmq")),
        ("\0りん\0さくら".encode(), PasswordClaim("りん", "", "さくら")),
    ],
)
def test_the_examples_of_the_rfc_are_read(message: bytes, claim: PasswordClaim) -> None:
    """RFC 4616 §4."""
    assert PlainServer().step(message) == claim


def test_without_initial_response_an_empty_challenge_asks_for_the_message() -> None:
    """RFC 4954 §4; curl and s-nail."""
    server = PlainServer()
    assert server.step(None) == Challenge(b"")
    assert isinstance(server.step(b"\0tim\0tanstaaftanstaaf"), PasswordClaim)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"tim",
        b"\0tim",
        b"tim\0secret",
        b"\0\0secret",
        b"\0tim\0",
        b"\0tim\0secret\0",
        b"\0tim\0sec\nret",
        b"\0ti\x07m\0secret",
        b"\0tim\0\xff\xfe",
        b"\0tim\0" + b"a" * 1025,
        b"\0" * 9000,
    ],
)
def test_a_wrong_message_is_malformed(message: bytes) -> None:
    assert isinstance(PlainServer().step(message), Malformed)


@given(st.binary(max_size=200))
def test_nothing_a_peer_sends_raises(message: bytes) -> None:
    assert isinstance(PlainServer().step(message), PasswordClaim | Malformed)


def test_the_password_shows_in_no_repr() -> None:
    assert "tanstaaf" not in repr(PlainServer().step(b"\0tim\0tanstaaftanstaaf"))


def test_the_client_sends_it_with_auth_or_when_asked() -> None:
    speaker = client("PLAIN", "tim", "tanstaaftanstaaf", "unused")
    assert speaker.initial == b"\0tim\0tanstaaftanstaaf"
    assert speaker.respond(b"") == b"\0tim\0tanstaaftanstaaf"
    with pytest.raises(SaslError):
        speaker.respond(b"")


def test_the_client_answers_no_foreign_challenge_with_a_password() -> None:
    with pytest.raises(SaslError):
        client("PLAIN", "tim", "tanstaaftanstaaf", "unused").respond(b"what is your PIN")
