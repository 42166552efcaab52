"""The filling of argon2id's memory (RFC 9106) is the reference implementation's, in each variant that can run here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from argon2.low_level import Type, hash_secret_raw
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sekisho import kernel
from sekisho.accounts.argon2id import fill_and_finish

try:
    from sekisho.kernel._argon2id import fill, variants
except ImportError:
    variants = ()

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src/sekisho/kernel/_argon2id.c"
BLOCK = bytes(1024)

needs_fill = pytest.mark.skipif(not variants, reason="this part of the compiled kernel was not built")
in_each_variant = pytest.mark.parametrize("variant", variants)


def in_python(first: bytes, second: bytes, passes: int, count: int) -> bytes:
    """The same from the text of the RFC, word by word, for the known answer: §3.2 steps 3 to 6, one lane."""
    memory = [_words(first), _words(second)] + [[0] * 128] * (count - 2)
    segment, previous = count // 4, 1
    for place in range(2, passes * count):
        turn, at = divmod(place, count)
        part, index = divmod(at, segment)
        known = (part if turn == 0 else 3) * segment + index - 1  # §3.4.2: of which one is chosen
        if turn == 0 and part < 2:  # §3.4.1.2
            about = [0, 0, part, count, passes, 2, index // 128 + 1] + [0] * 121
            chosen = _compressed([0] * 128, _compressed([0] * 128, about))[index % 128]
        else:
            chosen = memory[previous][0]
        near = (chosen % 2**32) ** 2 >> 32
        reference = (known - 1 - (known * near >> 32) + (0 if turn == 0 else (part + 1) * segment)) % count
        block = _compressed(memory[previous], memory[reference])
        memory[at] = [new ^ old for new, old in zip(block, memory[at], strict=True)]
        previous = at
    return b"".join(word.to_bytes(8, "little") for word in memory[-1])


def _words(octets: bytes) -> list[int]:
    return [int.from_bytes(octets[at : at + 8], "little") for at in range(0, len(octets), 8)]


def _compressed(one: list[int], other: list[int]) -> list[int]:
    """G, §3.5."""
    added = [x ^ y for x, y in zip(one, other, strict=True)]
    words = added.copy()
    for row in range(8):
        _permute(words, [16 * row + word for word in range(16)])
    for column in range(8):
        _permute(words, [16 * row + 2 * column + half for row in range(8) for half in (0, 1)])
    return [x ^ y for x, y in zip(words, added, strict=True)]


def _permute(words: list[int], places: list[int]) -> None:
    """P, §3.6."""
    for quad in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
        _mix(words, *(places[place] for place in quad))
    for quad in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
        _mix(words, *(places[place] for place in quad))


def _mix(words: list[int], a: int, b: int, c: int, d: int) -> None:
    for x, y, z, bits in ((a, b, d, 32), (c, d, b, 24), (a, b, d, 16), (c, d, b, 63)):
        low = (words[x] % 2**32) * (words[y] % 2**32)
        words[x] = (words[x] + words[y] + 2 * low) % 2**64
        turned = words[z] ^ words[x]
        words[z] = (turned >> bits | turned << 64 - bits) % 2**64


@needs_fill
def test_each_variant_gives_the_known_answer_and_the_text_of_the_rfc_does() -> None:
    assert in_python(*kernel._QUESTION)[:32] == kernel._ANSWER
    for variant in variants:
        assert fill(variant, *kernel._QUESTION)[:32] == kernel._ANSWER


@needs_fill
def test_a_segment_of_more_than_128_blocks_has_several_blocks_of_addresses() -> None:
    first, second, *_ = kernel._QUESTION
    expected = in_python(first, second, 1, 4 * 130)
    assert all(fill(variant, first, second, 1, 4 * 130) == expected for variant in variants)


@needs_fill
@in_each_variant
@settings(max_examples=60, deadline=None)
@given(
    password=st.binary(max_size=200),
    salt=st.binary(min_size=8, max_size=64),
    memory=st.integers(8, 300) | st.integers(8, 2100),
    passes=st.integers(1, 4),
    octets=st.integers(4, 200),
)
@example(password=b"", salt=b"somesalt", memory=8, passes=1, octets=4)
@example(password=b"p", salt=b"somesalt", memory=11, passes=3, octets=64)
@example(password=b"p", salt=b"somesalt", memory=2047, passes=2, octets=65)
@example(password=b"p", salt=b"somesalt", memory=2048, passes=2, octets=96)
@example(password=b"p", salt=b"somesalt", memory=2049, passes=2, octets=97)
def test_every_tag_is_that_of_the_reference_implementation(
    variant: str, password: bytes, salt: bytes, memory: int, passes: int, octets: int
) -> None:
    """RFC 9106 §3.2."""
    tag = fill_and_finish(partial(fill, variant), password, salt, passes, memory, octets)
    assert tag == hash_secret_raw(password, salt, passes, memory, 1, octets, Type.ID)


@needs_fill
@in_each_variant
def test_memory_in_huge_pages_gives_the_same(variant: str) -> None:
    tag = fill_and_finish(partial(fill, variant), b"hana-fubuki", b"somesalt", 2, 19 * 1024, 32)
    assert tag == hash_secret_raw(b"hana-fubuki", b"somesalt", 2, 19 * 1024, 1, 32, Type.ID)


@needs_fill
@in_each_variant
def test_threads_do_not_meet(variant: str) -> None:
    passwords = [str(number).encode() for number in range(8)]

    def tag(password: bytes) -> bytes:
        return fill_and_finish(partial(fill, variant), password, b"somesalt", 2, 1024, 32)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tag, passwords)) == [
            hash_secret_raw(password, b"somesalt", 2, 1024, 1, 32, Type.ID) for password in passwords
        ]


@needs_fill
@pytest.mark.parametrize(
    ("first", "second", "passes", "blocks"),
    [
        (BLOCK[1:], BLOCK, 1, 8),
        (BLOCK, BLOCK + b"x", 1, 8),
        (b"", b"", 1, 8),
        (BLOCK, BLOCK, 0, 8),
        (BLOCK, BLOCK, -1, 8),
        (BLOCK, BLOCK, 2**32, 8),
        (BLOCK, BLOCK, 1, 4),
        (BLOCK, BLOCK, 1, 0),
        (BLOCK, BLOCK, 1, -8),
        (BLOCK, BLOCK, 1, 10),
        (BLOCK, BLOCK, 1, 2**32),
    ],
)
def test_arguments_out_of_bounds_are_refused(first: bytes, second: bytes, passes: int, blocks: int) -> None:
    with pytest.raises(ValueError):
        fill(variants[0], first, second, passes, blocks)


@needs_fill
def test_what_is_no_argument_is_refused() -> None:
    with pytest.raises(ValueError, match="variant"):
        fill("avx1024", BLOCK, BLOCK, 1, 8)
    with pytest.raises(OverflowError):
        fill(variants[0], BLOCK, BLOCK, 1, 2**64)
    with pytest.raises(TypeError):
        fill(variants[0], "x" * 1024, BLOCK, 1, 8)  # type: ignore[arg-type]


@needs_fill
def test_without_memory_there_is_a_memory_error_and_no_more() -> None:
    """As much address space as there is, and 32 MiB; a fill of 64 MiB."""
    code = """
import resource
from sekisho.kernel._argon2id import fill, variants
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (32 << 20), -1))
for variant in variants:
    try:
        fill(variant, bytes(1024), bytes(1024), 1, 65536)
    except MemoryError:
        print(variant, len(fill(variant, bytes(1024), bytes(1024), 1, 8)))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == [word for variant in variants for word in (variant, "1024")]


@needs_fill
@pytest.mark.skipif("PURE_PYTHON" in os.environ, reason="switched off in this run")
def test_a_kernel_that_answers_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel.fill_memory is not None
    assert kernel._load_fill() is not None
    monkeypatch.setattr(kernel, "_ANSWER", bytes(32))
    assert kernel._load_fill() is None


@pytest.mark.parametrize(
    ("messages", "passwords", "told"),
    [(True, True, "compiled"), (True, False, "partly"), (False, True, "partly"), (False, False, "absent")],
)
def test_half_a_kernel_is_told_to_operators(
    monkeypatch: pytest.MonkeyPatch, messages: bool, passwords: bool, told: str
) -> None:
    monkeypatch.delenv("PURE_PYTHON", raising=False)
    monkeypatch.setattr(kernel, "compiled", object() if messages else None)
    monkeypatch.setattr(kernel, "fill_memory", object() if passwords else None)
    assert kernel.presence() == told


def test_the_environment_switches_it_off() -> None:
    code = (
        "import sekisho.kernel as k, sekisho.accounts.argon2id as a; print(k.fill_memory, k.presence(), a.fill_memory)"
    )
    environment = {**os.environ, "PURE_PYTHON": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["None", "off", "None"]


def test_it_includes_nothing_that_could_do_io_but_asks_for_memory() -> None:
    included = set(re.findall(r"#include <(.*)>", SOURCE.read_text(encoding="utf-8")))
    assert included == {"Python.h", "stdint.h", "string.h", "sys/mman.h", "immintrin.h"}
    assert "MAP_PRIVATE | MAP_ANONYMOUS, -1, 0" in SOURCE.read_text(encoding="utf-8")
