"""Choosing a mechanism as a client."""

import pytest

from sekisho.sasl import SaslError, choose, client

EVERYTHING = ["LOGIN", "PLAIN", "CRAM-MD5", "scram-sha-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "XOAUTH2"]


@pytest.mark.parametrize(
    ("offered", "allowed", "tls", "binding", "chosen"),
    [
        (EVERYTHING, (), True, True, "SCRAM-SHA-256-PLUS"),
        (EVERYTHING, (), True, False, "SCRAM-SHA-256"),
        (EVERYTHING, (), False, False, "SCRAM-SHA-256"),
        (["LOGIN", "PLAIN", "CRAM-MD5"], (), True, False, "PLAIN"),
        (["LOGIN", "PLAIN", "CRAM-MD5"], (), False, False, "CRAM-MD5"),
        (["LOGIN", "PLAIN"], (), False, False, None),
        (["LOGIN", "PLAIN"], ("login",), False, False, "LOGIN"),
        (EVERYTHING, ("CRAM-MD5", "LOGIN"), True, False, "LOGIN"),
        (["XOAUTH2"], (), True, False, None),
        ([], (), True, True, None),
    ],
)
def test_the_best_that_is_offered_allowed_and_safe_is_chosen(
    offered: list[str], allowed: tuple[str, ...], tls: bool, binding: bool, chosen: str | None
) -> None:
    assert choose(offered, allowed, tls, binding=binding) == chosen


def test_an_unknown_mechanism_and_a_nul_are_refused() -> None:
    with pytest.raises(SaslError):
        client("XOAUTH2", "user", "pencil", "n")
    with pytest.raises(SaslError):
        client("PLAIN", "us\0er", "pencil", "n")
