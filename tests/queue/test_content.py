"""Content in memory and in files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.queue import ContentDamaged, SpoolError, SpoolFull
from sekisho.queue.content import (
    HEAD,
    MEMORY_BOUND,
    MOST_HELD,
    MOST_PARTS,
    RESERVE,
    ContentHandle,
    ContentWriter,
    Memory,
    verify_file,
)

LIMIT = 100_000


def writer(directory: Path, memory: Memory | None = None) -> ContentWriter:
    return ContentWriter(
        inline_limit=LIMIT,
        memory=memory or Memory(),
        take_number=lambda: 7,
        path_for=lambda number: directory / str(number),
    )


def stored(content: ContentWriter) -> ContentHandle:
    """Finish *content* and read it the way the queue does."""
    path, size = content.path, content.size
    if path is None:
        return ContentHandle(size, content.take_octets())
    described = content.finish_file()
    content.sync_file()
    verify_file(path, size, described)
    return ContentHandle(size, None, path, described.start)


@given(
    sizes=st.lists(st.integers(0, 90_000), max_size=8),
    front=st.binary(max_size=300),
    dropped=st.integers(0, 50),
)
def test_what_is_written_is_read_however_it_was_cut_and_whatever_the_header_became(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], front: bytes, dropped: int
) -> None:
    memory = Memory()
    content = writer(tmp_path_factory.mktemp("content"), memory)
    whole = b"".join(bytes([n % 251]) * size for n, size in enumerate(sizes))
    at = 0
    for size in sizes:
        content.write(whole[at : at + size])
        at += size
    assert content.head() == whole[: len(content.head())]
    assert len(content.head()) >= min(len(whole), HEAD)
    dropped = min(dropped, len(content.head()))
    content.replace(dropped, b"Z" * (dropped // 2))
    content.prepend(front)
    expected = front + b"Z" * (dropped // 2) + whole[dropped:]
    assert content.size == len(expected)
    handle = stored(content)
    assert handle.size == len(expected)
    assert b"".join(handle.chunks(33_000)) == expected
    assert memory.octets == 0


def test_memory_does_not_grow_with_the_message(tmp_path: Path) -> None:
    memory = Memory()
    content = writer(tmp_path, memory)
    most = 0
    for _ in range(400):
        content.write(b"x" * 16_384)
        most = max(most, memory.octets)
    assert content.path is not None
    assert most <= LIMIT + 16_384
    assert memory.octets == HEAD
    content.discard()


def test_memory_does_not_grow_with_the_number_of_pieces(tmp_path: Path) -> None:
    """A client may send its content in segments, or TLS records, of an octet or two."""
    content = writer(tmp_path)
    for _ in range(LIMIT):
        content.write(b"ab")
        assert len(content._parts) <= MOST_HELD
        assert len(content._tail) <= MOST_PARTS
    assert b"".join(stored(content).chunks()) == b"ab" * LIMIT


def test_while_much_is_arriving_content_goes_to_files_earlier(tmp_path: Path) -> None:
    memory = Memory()
    memory.octets = MEMORY_BOUND
    content = writer(tmp_path, memory)
    content.write(b"x" * HEAD)
    assert list(tmp_path.iterdir()) == []
    content.write(b"x")
    assert content.path is not None
    content.discard()


def test_discarding_removes_the_file_and_may_be_repeated(tmp_path: Path) -> None:
    memory = Memory()
    content = writer(tmp_path, memory)
    content.write(b"x" * (LIMIT + 1))
    assert len(list(tmp_path.iterdir())) == 1
    content.discard()
    content.discard()
    assert list(tmp_path.iterdir()) == []
    assert memory.octets == 0


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, SpoolFull), (errno.EDQUOT, SpoolFull), (errno.EIO, SpoolError)]
)
def test_a_disk_that_refuses_is_remembered_until_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[SpoolError]
) -> None:
    content = writer(tmp_path)

    def refuse(descriptor: int, parts: list[bytes]) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "writev", refuse)
    for _ in range(40):
        content.write(b"x" * 16_384)
    with pytest.raises(SpoolError) as caught:
        content.finish_file()
    assert type(caught.value) is kind
    content.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_only_a_part_of_a_write_is_given_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = writer(tmp_path)
    write_all = os.writev
    monkeypatch.setattr(os, "writev", lambda descriptor, parts: write_all(descriptor, [parts[0][:1000]]))
    octets = bytes(range(256)) * 4096
    for at in range(0, len(octets), 1024):
        content.write(octets[at : at + 1024])
    described = content.finish_file()
    content.sync_file()
    assert content.path is not None
    verify_file(content.path, len(octets), described)
    handle = ContentHandle(len(octets), None, content.path, described.start)
    assert b"".join(handle.chunks()) == octets
    content.discard()


def test_a_file_that_cannot_be_synced_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = writer(tmp_path)
    content.write(b"x" * (LIMIT + 1))
    content.finish_file()

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SpoolError, match="Input/output error"):
        content.sync_file()
    content.discard()


@pytest.mark.parametrize("place", [0, HEAD - 1, HEAD, LIMIT])
def test_one_changed_octet_in_a_file_is_noticed(tmp_path: Path, place: int) -> None:
    content = writer(tmp_path)
    content.write(b"x" * (LIMIT + 1))
    size, path, described = content.size, content.path, content.finish_file()
    content.sync_file()
    assert path is not None
    with path.open("r+b") as file:
        file.seek(described.start + place)
        file.write(b"y")
    with pytest.raises(ContentDamaged, match="not what was accepted"):
        verify_file(path, size, described)


def test_a_short_or_missing_file_is_damaged_content(tmp_path: Path) -> None:
    content = writer(tmp_path)
    content.write(b"x" * (LIMIT + 1))
    size, path, described = content.size, content.path, content.finish_file()
    content.sync_file()
    assert path is not None
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ContentDamaged, match="1 octets are missing"):
        verify_file(path, size, described)
    path.unlink()
    with pytest.raises(ContentDamaged, match="No such file"):
        list(ContentHandle(size, None, path, described.start).chunks())


def test_a_file_that_cannot_be_opened_just_now_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged content waits for the operator; too many open files pass by themselves."""
    content = writer(tmp_path)
    content.write(b"x" * (LIMIT + 1))
    size, path, described = content.size, content.path, content.finish_file()
    content.sync_file()
    assert path is not None

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        verify_file(path, size, described)


def test_only_the_head_can_be_changed_and_only_within_its_room(tmp_path: Path) -> None:
    content = writer(tmp_path)
    content.write(b"x" * (LIMIT + 1))
    with pytest.raises(ValueError, match="only the head"):
        content.replace(HEAD + 1, b"")
    content.prepend(b"y" * RESERVE)
    with pytest.raises(ValueError, match="beyond its room"):
        content.prepend(b"y")
    handle = stored(content)
    assert b"".join(handle.chunks()) == b"y" * RESERVE + b"x" * (LIMIT + 1)


def in_pieces(handle: ContentHandle, length: int) -> tuple[bytes, int]:
    """The content, and how often it was said that the disk may be waited for."""
    pieces = list(handle.pieces(length))
    return b"".join(piece for piece in pieces if piece is not None), pieces.count(None)


def test_content_in_the_page_cache_is_read_without_waiting_and_any_other_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = writer(tmp_path)
    octets = bytes(range(256)) * 2000
    content.write(octets)
    handle = stored(content)
    assert in_pieces(handle, 100_000)[0] == octets

    def read_half(descriptor: int, buffers: list[bytearray], at: int, flags: int) -> int:
        half = os.pread(descriptor, (len(buffers[0]) + 1) // 2, at)
        buffers[0][: len(half)] = half
        return len(half)

    monkeypatch.setattr(os, "preadv", read_half)
    assert in_pieces(handle, 100_000) == (octets, 1)  # the file must be opened

    def cold(descriptor: int, buffers: list[bytearray], at: int, flags: int) -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "preadv", cold)
    assert in_pieces(handle, 100_000) == (octets, 6)


def test_a_file_that_ends_early_is_damaged_also_in_pieces(tmp_path: Path) -> None:
    content = writer(tmp_path)
    content.write(b"x" * 300_000)
    handle = stored(content)
    assert handle.path is not None
    os.truncate(handle.path, handle.start + 200_000)
    with pytest.raises(ContentDamaged):
        in_pieces(handle, 65_536)
    handle.path.unlink()
    with pytest.raises(ContentDamaged):
        in_pieces(handle, 65_536)
