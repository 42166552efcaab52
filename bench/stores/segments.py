"""The file side of the log: records, segments, and reading them back.

    segment   64 MiB, filled with zeros in advance: a sync then finds no metadata to write, which makes it a third
              cheaper than one of a file that grows or was preallocated without being written (measured on ext4)
    record    header (checksum of all that follows, lengths, sequence, message number, kind), envelope or outcome as
              text, content

The sequence goes on by one from record to record, so that a reader stops at the end of a log in a used segment.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sekisho.queue import ContentDamaged
from sekisho.store import fsync_directory

SEGMENT = 64 * 1024 * 1024
ARRIVAL, ARRIVAL_WITH_FILE, OUTCOMES = 1, 2, 3

_CHECKSUM = struct.Struct("<I")
_REST = struct.Struct("<IIQQB")  # octets of text, octets of content, sequence, message number, kind
HEADER = _CHECKSUM.size + _REST.size


@dataclass(slots=True, eq=False)
class Segment:
    """One file of the log. *open* counts messages in it that are not finished."""

    path: Path
    descriptor: int
    end: int = 0
    open: int = 0


def encode_record(kind: int, number: int, sequence: int, text: bytes, octets: bytes) -> bytes:
    """Return what goes before *octets* in the log."""
    rest = _REST.pack(len(text), len(octets), sequence, number, kind) + text
    return _CHECKSUM.pack(zlib.crc32(octets, zlib.crc32(rest))) + rest


def create_segment(path: Path) -> Segment:
    """Make a segment whose blocks are allocated and written."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    zeros = bytes(1024 * 1024)
    for _ in range(SEGMENT // len(zeros)):
        os.write(descriptor, zeros)
    os.fsync(descriptor)
    fsync_directory(path.parent)
    return Segment(path, descriptor)


def write_group(before: Segment | None, segment: Segment, parts: Sequence[bytes], at: int, synced: bool) -> None:
    """Write one group with one call, and sync it if that is wanted. *before* is the segment that it did not fit in."""
    if before is not None:
        os.fdatasync(before.descriptor)
    octets = b"".join(parts)
    written = os.pwrite(segment.descriptor, octets, at)
    if written != len(octets):
        raise OSError(f"{segment.path}: {written} of {len(octets)} octets written")
    if synced:
        os.fdatasync(segment.descriptor)


def read_content(segment: Segment, at: int, length: int) -> bytes:
    """Return the content of the record at *at*, verified."""
    record = os.pread(segment.descriptor, length, at)
    if len(record) != length or zlib.crc32(memoryview(record)[_CHECKSUM.size :]) != _CHECKSUM.unpack_from(record)[0]:
        raise ContentDamaged(f"{segment.path}: the record at {at} is not what was accepted")
    return record[HEADER + _REST.unpack_from(record, _CHECKSUM.size)[0] :]


def records(path: Path) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Yield (kind, message number, text, content) of each record of a segment, as a recovery would."""
    octets = memoryview(path.read_bytes())
    at, expected = 0, None
    while at + HEADER <= len(octets):
        text_size, content_size, sequence, number, kind = _REST.unpack_from(octets, at + _CHECKSUM.size)
        start = at + HEADER
        end = start + text_size + content_size
        if kind == 0 or end > len(octets) or (expected is not None and sequence != expected):
            return
        if zlib.crc32(octets[at + _CHECKSUM.size : end]) != _CHECKSUM.unpack_from(octets, at)[0]:
            return
        yield kind, number, bytes(octets[start : start + text_size]), bytes(octets[start + text_size : end])
        at, expected = end, sequence + 1
