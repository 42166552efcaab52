"""argon2id in two ways, by the kernel and by the library: each opens what the other made, and no more."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from argon2.low_level import Type, hash_secret, hash_secret_raw, verify_secret
from hypothesis import example, given
from hypothesis import strategies as st

from sekisho.accounts import argon2id
from sekisho.accounts.argon2id import Verifier
from sekisho.kernel import fill_memory

PASSWORD = "hana-fubuki さくら".encode()
SALT = bytes(range(16))
GOOD = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$" + "A" * 42 + "E"

needs_fill = pytest.mark.skipif(fill_memory is None, reason="this part of the compiled kernel is not in use")


@pytest.fixture(params=[pytest.param("kernel", marks=needs_fill), "library"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "library":
        monkeypatch.setattr(argon2id, "fill_memory", None)
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("memory", [64, 1000, 1003])
def test_what_is_made_is_what_the_reference_implementation_makes(lanes: int, memory: int) -> None:
    """RFC 9106 §3.2."""
    made = argon2id.make(PASSWORD, SALT, passes=2, memory_kib=memory, lanes=lanes)
    reference = hash_secret(
        PASSWORD, SALT, time_cost=2, memory_cost=memory, parallelism=lanes, hash_len=32, type=Type.ID
    )
    assert made == reference.decode()
    assert verify_secret(made.encode(), PASSWORD, Type.ID)
    assert argon2id.check(made, PASSWORD)
    assert not argon2id.check(made, PASSWORD + b".")


@needs_fill
def test_each_way_opens_what_the_other_made(monkeypatch: pytest.MonkeyPatch) -> None:
    by_kernel = argon2id.make(PASSWORD, SALT, passes=3, memory_kib=333, lanes=1)
    monkeypatch.setattr(argon2id, "fill_memory", None)
    assert argon2id.check(by_kernel, PASSWORD)
    assert not argon2id.check(by_kernel, b"hana-fubuka")
    by_library = argon2id.make(PASSWORD, SALT[::-1], passes=3, memory_kib=333, lanes=1)
    monkeypatch.undo()
    assert argon2id.check(by_library, PASSWORD)
    assert not argon2id.check(by_library, b"hana-fubuka")


@needs_fill
def test_one_lane_is_the_kernels_and_several_are_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise LookupError

    several = argon2id.make(PASSWORD, SALT, passes=1, memory_kib=64, lanes=2)
    monkeypatch.setattr(argon2id, "hash_secret_raw", fail)
    assert argon2id.check(argon2id.make(PASSWORD, SALT, passes=1, memory_kib=64, lanes=1), PASSWORD)
    with pytest.raises(LookupError):
        argon2id.check(several, PASSWORD)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("lanes", "salt", "length"), [(1, 8, 16), (1, 48, 64), (1, 16, 128), (1, 64, 129), (4, 16, 32), (16, 8, 64)]
)
def test_verifiers_taken_over_from_elsewhere_are_opened_by_their_password_alone(
    lanes: int, salt: int, length: int
) -> None:
    digest = hash_secret_raw(PASSWORD, b"s" * salt, 1, 256, lanes, length, Type.ID)
    verifier = argon2id.encode(1, 256, lanes, b"s" * salt, digest)
    assert argon2id.check(verifier, PASSWORD)
    assert not argon2id.check(verifier, b"")
    assert not argon2id.check(argon2id.encode(1, 256, lanes, b"s" * salt, digest[:-1] + b"?"), PASSWORD)
    assert not argon2id.check(argon2id.encode(1, 257, lanes, b"s" * salt, digest), PASSWORD)


@given(
    passes=st.integers(1, 64),
    memory=st.integers(128, argon2id.MAX_MEMORY_KIB),
    lanes=st.integers(1, 16),
    salt=st.binary(min_size=8, max_size=64),
    digest=st.binary(min_size=12, max_size=129),
)
def test_what_is_written_is_read_again(passes: int, memory: int, lanes: int, salt: bytes, digest: bytes) -> None:
    text = argon2id.encode(passes, memory, lanes, salt, digest)
    assert Verifier.read(text) == Verifier(passes, memory, lanes, salt, digest)


@given(at=st.integers(0, len(GOOD)), put=st.text(st.characters(codec="ascii"), max_size=2), gone=st.integers(0, 2))
@example(at=len(GOOD), put="\n", gone=0)
@example(at=17, put="06", gone=1)
def test_what_is_read_is_written_the_same(at: int, put: str, gone: int) -> None:
    """So that there is one spelling, and nothing is read into what another implementation would refuse."""
    text = GOOD[:at] + put + GOOD[at + gone :]
    read = Verifier.read(text)
    assert read is None or argon2id.encode(read.passes, read.memory_kib, read.lanes, read.salt, read.digest) == text


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        "$argon2id$",
        "$argon2id$v=19$m=64,t=1,p=1$",
        "$argon2id$v=19$m=1,t=0,p=1$c2FsdHNhbHQ$AAAA",
        "さくら,p=1$",
        GOOD.replace("v=19", "v=16"),
        GOOD.replace("argon2id", "argon2i"),
        GOOD.replace("m=64", "m=7"),
        GOOD.replace("m=64", "m=064"),
        GOOD.replace("m=64", "m=٦٤"),
        GOOD.replace("m=64", f"m={4 * 1024 * 1024 + 1}"),
        GOOD.replace("t=1", "t=0"),
        GOOD.replace("t=1", "t=65"),
        GOOD.replace("p=1", "p=0"),
        GOOD.replace("p=1", "p=9"),
        GOOD.replace("m=64", "m=640").replace("p=1", "p=17"),
        GOOD[:-1] + "F",  # bits that belong to no octet
        GOOD + "=",
        GOOD + "\n",
        GOOD + "AA",
        " " + GOOD,
    ],
)
def test_a_damaged_verifier_is_never_opened(text: str) -> None:
    assert Verifier.read(GOOD) is not None
    assert Verifier.read(text) is None
    assert not argon2id.check(text, PASSWORD)
    assert not argon2id.check(text, b"")


def test_a_verifier_shows_neither_salt_nor_digest() -> None:
    assert repr(Verifier.read(GOOD)) == "Verifier(passes=1, memory_kib=64, lanes=1)"


@pytest.mark.usefixtures("way")
def test_less_than_the_least_memory_is_a_mistake_not_a_lack() -> None:
    """RFC 9106 §3.1: 8 KiB for each lane."""
    for lanes, memory in ((1, 7), (16, 127)):
        with pytest.raises(ValueError, match="8 KiB"):
            argon2id.make(PASSWORD, SALT, passes=1, memory_kib=memory, lanes=lanes)


@pytest.mark.parametrize("pure", ["", "1"])
def test_a_lack_of_memory_is_no_answer_about_the_password(pure: str) -> None:
    """As much address space as there is, and 32 MiB; a verifier of 64 MiB, in both ways."""
    code = """
import resource
from sekisho.accounts import argon2id
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (32 << 20), -1))
for lanes in (1, 2):
    verifier = argon2id.encode(1, 65536, lanes, b"s" * 16, b"d" * 32)
    for costly in (
        lambda: argon2id.check(verifier, b"?"),
        lambda: argon2id.make(b"?", b"s" * 16, passes=1, memory_kib=65536, lanes=lanes),
    ):
        try:
            print(costly())
        except MemoryError:
            print("lack")
print(argon2id.check(argon2id.make(b"?", b"s" * 16, passes=1, memory_kib=64, lanes=1), b"?"))
"""
    environment = {**os.environ, "PURE_PYTHON": pure, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["lack"] * 4 + ["True"]
