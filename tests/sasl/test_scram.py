"""SCRAM, the server side, and its stored keys."""

import base64
import hashlib
import hmac
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.sasl import Challenge, Malformed, ScramClaim, ScramKeys, ScramProof, ScramServer, Step

SHA_1 = (
    "sha1",
    "QSXCR+Q6sek8bf92",
    "3rfcNHYJY1ZVvWVs7j",
    b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
SHA_256 = (
    "sha256",
    "W22ZaJ0SNY7soEsUEjb6gQ==",
    "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)
FINAL = SHA_256[5]
KEYS = ScramKeys.derive("sha256", "pencil", base64.b64decode(SHA_256[1]), 4096)


def make(
    *,
    nonce: str = SHA_256[2],
    plus: bool = False,
    plus_offered: bool = False,
    bindings: Mapping[str, bytes] | None = None,
) -> ScramServer:
    return ScramServer("sha256", nonce, plus=plus, plus_offered=plus_offered, bindings=bindings or {})


def make_at_final() -> ScramServer:
    server = make()
    server.step(SHA_256[3])
    server.keys(KEYS)
    return server


@pytest.mark.parametrize("vector", [SHA_1, SHA_256], ids=["RFC 5802", "RFC 7677"])
def test_the_example_of_the_rfc_is_proven(vector: tuple[str, str, str, bytes, bytes, bytes, bytes]) -> None:
    """RFC 5802 §5, RFC 7677 §3."""
    hash_name, salt, nonce, first, server_first, final, server_final = vector
    server = ScramServer(hash_name, nonce, plus=False, plus_offered=False, bindings={})
    assert server.step(first) == ScramClaim("user", "")
    keys = ScramKeys.derive(hash_name, "pencil", base64.b64decode(salt), 4096)
    assert server.keys(keys) == Challenge(server_first)
    assert server.step(final) == ScramProof(True, server_final)


def test_without_initial_response_an_empty_challenge_asks_for_the_message() -> None:
    server = make()
    assert server.step(None) == Challenge(b"")
    assert isinstance(server.step(SHA_256[3]), ScramClaim)


def test_another_password_is_not_proven() -> None:
    server = make()
    server.step(SHA_256[3])
    server.keys(ScramKeys.derive("sha256", "pen", KEYS.salt, 4096))
    step = server.step(FINAL)
    assert isinstance(step, ScramProof)
    assert not step.proven


def test_decoy_keys_are_stable_look_real_and_open_with_nothing() -> None:
    decoy = ScramKeys.decoy("sha256", b"seed", 4096)
    assert decoy == ScramKeys.decoy("sha256", b"seed", 4096)
    assert decoy.salt != ScramKeys.decoy("sha256", b"other", 4096).salt
    assert (len(decoy.salt), len(decoy.stored_key), decoy.iterations) == (len(KEYS.salt), len(KEYS.stored_key), 4096)
    assert not decoy.opens_with("pencil")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n,,",
        b"x,,n=user,r=abc",
        b"n,user,n=user,r=abc",
        b"n,,m=ext,n=user,r=abc",
        b"n,,n=user",
        b"n,,n=,r=abc",
        b"n,,n=us=er,r=abc",
        b"n,,n=us=2cer,r=abc",
        b"n,,n=user,r=",
        b"n,,n=user,r=a b",
        b"n,,n=user,r=abc,nonsense",
        b"n,,n=us\0er,r=abc",
        b"n,,n=us\xffer,r=abc",
        b"n,,n=us\x07er,r=abc",
        b"p=,,n=user,r=abc",
        b"n,,n=" + b"a" * 1025 + b",r=abc",
        b"n,,n=user,r=" + b"a" * 5000,
    ],
)
def test_a_wrong_first_message_is_malformed(first: bytes) -> None:
    """RFC 5802 §7."""
    assert isinstance(make().step(first), Malformed)


def test_names_are_unescaped_and_extensions_passed_over() -> None:
    """RFC 5802 §5.1."""
    assert make().step(b"n,a=ka=3Dho,n=ri=2Cn,r=abc,t=new") == ScramClaim("ri,n", "ka=ho")


@pytest.mark.parametrize(
    "final",
    [
        b"",
        b"c=biws",
        FINAL.replace(b"c=biws", b"c=biw!"),
        FINAL.replace(b"r=rOpr", b"r=xOpr"),
        FINAL.replace(b",r=rOpr", b",x=1,r=rOpr"),
        FINAL[:-8] + b"Q=",
        FINAL.replace(b",p=", b",q="),
        FINAL + b"\0",
    ],
)
def test_a_wrong_final_message_is_malformed(final: bytes) -> None:
    assert isinstance(make_at_final().step(final), Malformed)


def converse(flag: str, server: ScramServer, *, binding: bytes = b"") -> Step:
    """Send a first message with *flag* and, if it passes, a final one whose proof is right for *binding*."""
    bare = "n=user,r=abc"
    step = server.step(f"{flag},,{bare}".encode())
    if isinstance(step, Malformed):
        return step
    server_first = server.keys(KEYS).octets.decode()
    nonce = server_first.split(",")[0]
    unproven = f"c={base64.b64encode(f'{flag},,'.encode() + binding).decode()},{nonce}"
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", KEYS.salt, 4096)
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(KEYS.stored_key, f"{bare},{server_first},{unproven}".encode(), "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    return server.step(f"{unproven},p={proof}".encode())


@pytest.mark.parametrize(
    ("flag", "plus", "plus_offered", "sent", "expected"),
    [
        ("n", False, False, b"", True),
        ("n", False, True, b"", True),
        ("y", False, False, b"", True),
        ("y", False, True, b"", None),
        ("n", True, True, b"", None),
        ("y", True, True, b"", None),
        ("p=tls-exporter", False, True, b"E" * 32, None),
        ("p=tls-exporter", True, True, b"E" * 32, True),
        ("p=tls-server-end-point", True, True, b"S" * 32, True),
        ("p=tls-exporter", True, True, b"X" * 32, False),
        ("p=tls-exporter", True, True, b"S" * 32, False),
        ("p=tls-unique", True, True, b"U" * 12, None),
    ],
)
def test_channel_binding_flags(flag: str, plus: bool, plus_offered: bool, sent: bytes, expected: bool | None) -> None:
    """RFC 5802 §6: None stands for refused at the first message, False for a proof that does not count."""
    bindings = {"tls-exporter": b"E" * 32, "tls-server-end-point": b"S" * 32}
    step = converse(flag, make(plus=plus, plus_offered=plus_offered, bindings=bindings), binding=sent)
    assert isinstance(step, Malformed) if expected is None else isinstance(step, ScramProof) and step.proven is expected


@settings(max_examples=150)
@given(st.lists(st.none() | st.binary(max_size=60) | st.sampled_from([SHA_256[3], FINAL, b"p=x,,n=a,r=b"]), max_size=4))
def test_nothing_a_peer_sends_raises_or_is_proven_by_chance(messages: list[bytes | None]) -> None:
    server = make(nonce="ours")
    for message in messages:
        step = server.step(message)
        assert not (isinstance(step, ScramProof) and step.proven)
        if isinstance(step, ScramClaim):
            server.keys(KEYS)
        elif not isinstance(step, Challenge):
            return


def test_stored_keys_read_as_they_were_written() -> None:
    """RFC 5803 §2."""
    assert ScramKeys.from_text("sha256", KEYS.to_text()) == KEYS
    assert KEYS.opens_with("pencil")
    assert not KEYS.opens_with("Pencil")


@pytest.mark.parametrize("text", ["", "4096:AA==$AA==:AA==", "x:AAAA$" + KEYS.to_text().split("$")[1], "4096:!$a:b"])
def test_damaged_stored_keys_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ScramKeys.from_text("sha256", text)


def test_keys_show_in_no_repr() -> None:
    assert repr(KEYS) == "ScramKeys(hash_name='sha256', iterations=4096)"
