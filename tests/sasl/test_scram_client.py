"""SCRAM, the client side, alone and against our server."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.sasl import Challenge, SaslError, ScramClaim, ScramKeys, ScramProof, ScramServer, client

SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
NONCE = "rOprNGfwEbeRWgbNEkqO"


def test_the_example_of_rfc_7677_is_spoken() -> None:
    """RFC 7677 §3."""
    speaker = client("SCRAM-SHA-256", "user", "pencil", NONCE)
    assert speaker.initial == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    final = speaker.respond(SERVER_FIRST)
    assert final.endswith(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    done_before = speaker.done
    assert speaker.respond(SERVER_FINAL) == b""
    assert (done_before, speaker.done) == (False, True)


def test_the_example_of_rfc_5802_is_spoken() -> None:
    """RFC 5802 §5."""
    speaker = client("SCRAM-SHA-1", "user", "pencil", "fyko+d2lbbFgONRv9qkxdawL")
    final = speaker.respond(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096")
    assert final == b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    assert speaker.respond(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=") == b""


@pytest.mark.parametrize(
    "first",
    [
        b"r=somebody-elses,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=" + NONCE.encode() + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        SERVER_FIRST.replace(b"i=4096", b"i=1"),
        SERVER_FIRST.replace(b"i=4096", b"i=999999999"),
        SERVER_FIRST.replace(b"i=4096", b"i=9999999999999"),
        SERVER_FIRST.replace(b"W22Z", b"W22"),
        b"\xff",
        b"e=other-error",
        b"nonsense",
    ],
)
def test_a_wrong_first_message_of_the_server_ends_it(first: bytes) -> None:
    with pytest.raises(SaslError):
        client("SCRAM-SHA-256", "user", "pencil", NONCE).respond(first)


@pytest.mark.parametrize("final", [b"", b"v=", b"v=AAAA", b"v=!", b"e=invalid-proof", SERVER_FINAL.replace(b"6", b"7")])
def test_a_server_that_does_not_know_the_account_is_found_out(final: bytes) -> None:
    speaker = client("SCRAM-SHA-256", "user", "pencil", NONCE)
    speaker.respond(SERVER_FIRST)
    with pytest.raises(SaslError) as caught:
        speaker.respond(final)
    assert not speaker.done
    assert "pencil" not in str(caught.value)


@settings(max_examples=100)
@given(st.binary(max_size=100))
def test_nothing_a_server_sends_raises_anything_else(challenge: bytes) -> None:
    speaker = client("SCRAM-SHA-256", "user", "pencil", NONCE)
    try:
        speaker.respond(challenge)
    except SaslError:
        return
    assert challenge == b""


@settings(max_examples=25)
@given(
    name=st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=20),
    password=st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), min_size=1, max_size=20),
    plus=st.booleans(),
    hash_name=st.sampled_from(["sha256", "sha1"]),
)
def test_our_client_and_our_server_agree(name: str, password: str, plus: bool, hash_name: str) -> None:
    binding = {"tls-server-end-point": b"certificate"}
    mechanism = {"sha256": "SCRAM-SHA-256", "sha1": "SCRAM-SHA-1"}[hash_name] + ("-PLUS" if plus else "")
    try:
        speaker = client(mechanism, name, password, "clientnonce", binding=binding if plus else None)
    except SaslError:
        return
    server = ScramServer(hash_name, "servernonce", plus=plus, plus_offered=True, bindings=binding)
    claim = server.step(speaker.initial)
    assert isinstance(claim, ScramClaim)
    challenge = server.keys(ScramKeys.derive(hash_name, password, b"salt", 4096))
    proof = server.step(speaker.respond(challenge.octets))
    assert isinstance(proof, ScramProof)
    assert proof.proven
    assert speaker.respond(proof.final) == b""


def test_a_client_with_a_binding_that_was_offered_no_plus_says_so_and_the_server_notices() -> None:
    """RFC 5802 §6: the attacker has cut SCRAM-SHA-256-PLUS out of the EHLO reply."""
    binding = {"tls-exporter": b"E" * 32}
    speaker = client("SCRAM-SHA-256", "user", "pencil", NONCE, binding=binding)
    assert speaker.initial is not None
    assert speaker.initial.startswith(b"y,,")
    server = ScramServer("sha256", "n", plus=False, plus_offered=True, bindings=binding)
    assert not isinstance(server.step(speaker.initial), ScramClaim | Challenge)


def test_plus_needs_a_binding() -> None:
    with pytest.raises(SaslError):
        client("SCRAM-SHA-256-PLUS", "user", "pencil", NONCE, binding={})


def test_the_binding_data_are_sent_behind_the_header() -> None:
    speaker = client("SCRAM-SHA-256-PLUS", "user", "pencil", NONCE, binding={"tls-server-end-point": b"hash"})
    final = speaker.respond(SERVER_FIRST)
    assert base64.b64decode(final.split(b",")[0][2:]) == b"p=tls-server-end-point,,hash"
