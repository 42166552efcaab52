"""argon2id by two libraries: each opens what the other made, and nothing opens what is no verifier."""

from __future__ import annotations

import pytest
from argon2.low_level import Type, hash_secret, hash_secret_raw, verify_secret

from sekisho.accounts import argon2id

PASSWORD = "hana-fubuki さくら".encode()
SALT = bytes(range(16))


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("memory", [64, 1000])
def test_what_is_made_is_what_the_reference_implementation_makes(lanes: int, memory: int) -> None:
    made = argon2id.make(PASSWORD, SALT, passes=2, memory_kib=memory, lanes=lanes)
    reference = hash_secret(
        PASSWORD, SALT, time_cost=2, memory_cost=memory, parallelism=lanes, hash_len=32, type=Type.ID
    )
    assert made == reference.decode()
    assert verify_secret(made.encode(), PASSWORD, Type.ID)
    assert argon2id.check(made, PASSWORD)
    assert not argon2id.check(made, PASSWORD + b".")


@pytest.mark.parametrize(("lanes", "salt", "length"), [(1, 8, 16), (1, 48, 64), (1, 16, 128), (4, 16, 32), (16, 8, 64)])
def test_verifiers_taken_over_from_elsewhere_are_opened_by_their_password_alone(
    lanes: int, salt: int, length: int
) -> None:
    digest = hash_secret_raw(PASSWORD, b"s" * salt, 1, 256, lanes, length, Type.ID)
    verifier = argon2id.encode(1, 256, lanes, b"s" * salt, digest)
    assert argon2id.check(verifier, PASSWORD)
    assert not argon2id.check(verifier, b"")
    assert not argon2id.check(verifier[:-2] + ("AA" if verifier[-2:] != "AA" else "BB"), PASSWORD)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        "$argon2id$",
        "$argon2id$v=19$m=64,t=1,p=1$",
        "$argon2id$v=19$m=1,t=0,p=1$c2FsdHNhbHQ$AAAA",
        "さくら,p=1$",
    ],
)
def test_a_damaged_verifier_is_never_opened(text: str) -> None:
    assert not argon2id.check(text, PASSWORD)
    assert not argon2id.check(text, b"")
