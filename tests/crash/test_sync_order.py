"""The order of system calls: killing processes does not show a missing fsync, only a power cut would; this does.

Each message carries a word of its own in its content and in its recipient's address. strace shows when that word came
from the client, when it was written where, when that was synced, and when the 250 left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.crash.installation import LARGE, LOCAL, add_people, install
from tests.crash.syscalls import TRACED, Call, read_calls
from tests.interop.certificates import Authority
from tests.interop.processes import run
from tests.interop.programs import lacking, need
from tests.interop.sink import Sink
from tests.interop.wire import Wire

COUNT = 6


@dataclass(frozen=True, slots=True)
class Traced:
    """What strace saw of one message."""

    word: str
    large: bool
    calls: list[Call]
    came: Call  # the read that brought its content
    acknowledged: Call  # the write of its 250

    def between(self) -> list[Call]:
        """Return what happened from the arrival of its content to its 250, both whole."""
        return [call for call in self.calls if call.began > self.came.began and call.ended < self.acknowledged.began]


@pytest.fixture(scope="module")
def traced(new_place: Callable[[str], Path], authority: Authority) -> list[Traced]:
    """Run the service under strace, send it small and large messages one after the other, and read the trace."""
    sink = Sink()
    place = new_place("strace")
    instance = install(place, authority, sink, changes={"service": {"workers": 1}})
    add_people(instance)
    strace = need("strace")
    trial = run([strace, "-o", os.devnull, "true"])
    if trial.returncode != 0:
        lacking(f"strace may not trace here: {trial.stderr.decode().strip()}")
    log = place / "trace"
    instance.start(wrapper=[strace, "-f", "-y", "-s", "70000", "-e", f"trace={TRACED}", "-o", log], seconds=60)
    words = [f"syncword{number}{os.urandom(6).hex()}" for number in range(COUNT)]
    try:
        with Wire(instance.mx_port) as wire:
            wire.say("EHLO trace.test")
            for number, word in enumerate(words):
                content = f"From: <{LOCAL}>\r\nSubject: {word}\r\n\r\n".encode()
                content += (b"x" * 74 + b"\r\n") * (LARGE // 76 if number % 2 else 5)
                assert wire.deliver(LOCAL, [f"{word}@sink.test", LOCAL], content).startswith("250 ")
    finally:
        instance.stop()
        instance.kill()
        sink.stop()
    calls = read_calls(log)
    replies = [call for call in calls if call.is_write and '"250 2.0.0 Queued as' in call.arguments]
    assert len(replies) == COUNT, "each message has one 250, in one write"
    found = []
    for number, (word, reply) in enumerate(zip(words, replies, strict=True)):
        subject = f"Subject: {word}"
        came = [call for call in calls if call.is_read and subject in call.arguments and call.began < reply.began]
        assert came, "the content was not read from the client?"
        found.append(Traced(word, bool(number % 2), calls, came[0], reply))
    return found


def is_record(call: Call, message: Traced) -> bool:
    """Tell whether this writes the recipient's row: local-part and domain side by side, whatever stands between."""
    return call.path.endswith("-wal") and re.search(message.word + r".{0,20}sink\.test", call.arguments) is not None


def synced_after(calls: list[Call], write: Call) -> Call | None:
    """Return the first sync of the file of *write* that began when the write had ended."""
    return next((call for call in calls if call.is_sync and call.path == write.path and call.began > write.ended), None)


def test_the_record_of_all_recipients_is_synced_before_the_250(traced: list[Traced]) -> None:
    for message in traced:
        records = [call for call in message.between() if call.is_write and is_record(call, message)]
        assert records, f"{message.word}: its recipient was not written before its 250"
        record = records[-1]
        assert synced_after(message.between(), record), f"{message.word}: {record.path} was not synced before the 250"


def test_small_content_is_synced_with_its_record(traced: list[Traced]) -> None:
    for message in traced:
        if message.large:
            continue
        writes = [
            call
            for call in message.between()
            if call.is_write and f"Subject: {message.word}" in call.arguments and "/queue/" in call.path
        ]
        assert writes, f"{message.word}: its content was not written before its 250"
        assert any(synced_after(message.between(), write) for write in writes)


def test_large_content_its_name_and_then_its_record_are_synced_one_after_the_other(traced: list[Traced]) -> None:
    """A record must never name a file that a power cut can take away."""
    for message in traced:
        if not message.large:
            continue
        between = message.between()
        (first, *_) = [
            call
            for call in message.calls
            if call.is_write
            and f"Subject: {message.word}" in call.arguments
            and "/queue/" in call.path
            and call.ended < message.acknowledged.began
        ]
        record = [call for call in between if call.is_write and is_record(call, message)][-1]
        of_file = [call for call in between if call.path == first.path]
        last = [call for call in of_file if call.is_write][-1]
        sync = synced_after(between, last)
        assert sync is not None, f"{first.path} was not synced after its last octet"
        renames = [
            call for call in between if call.name.startswith(("rename", "link")) and first.path in call.arguments
        ]
        name = first.path
        if renames:
            (rename,) = renames
            assert rename.began > sync.ended
            name = rename.arguments.split('"')[3]
            assert rename.result == "0"
        entry = [
            call
            for call in between
            if call.is_sync and call.path == os.path.dirname(name) and (not renames or call.began > renames[0].ended)
        ]
        assert entry, f"the directory entry of {name} was not synced"
        record_sync = synced_after(between, record)
        assert record_sync is not None
        assert max(sync.ended, entry[0].ended) < record_sync.began


def test_the_files_of_the_queue_have_durable_names_before_the_first_250(traced: list[Traced]) -> None:
    first = traced[0]
    wal = next(call.path for call in first.between() if call.is_sync and call.path.endswith("-wal"))
    directory = os.path.dirname(wal)
    created = [
        call
        for call in first.calls
        if call.name == "openat" and "O_CREAT" in call.arguments and call.path in (wal, wal.removesuffix("-wal"))
    ]
    for creation in created:
        assert any(
            call.is_sync and call.path == directory and creation.ended < call.began
            for call in first.calls
            if call.ended < first.acknowledged.began
        ), f"{creation.path} may be gone after a power cut"
