"""Local delivery: whole messages or none, durable before the answer."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.delivery.maildir import DELIVERED, MAILBOX_FULL, NO_ACCESS, MaildirDelivery, deliver, maildir_of
from sekisho.queue import ContentDamaged

PREFIX = b"Return-Path: <>\r\n"


def delivery(directory: Path, *chunks: bytes) -> MaildirDelivery:
    return MaildirDelivery(directory, PREFIX, lambda _: iter(chunks))


def files(directory: Path, name: str) -> list[Path]:
    return sorted((directory / name).iterdir()) if (directory / name).exists() else []


def test_each_message_is_a_file_in_new_with_line_feeds(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    replies = deliver([delivery(one, b"a\r\n"), delivery(two, b"b\r\n"), delivery(one, b"c\r\n")])
    assert replies == [DELIVERED] * 3
    assert sorted(path.read_bytes() for path in files(one, "new")) == [
        b"Return-Path: <>\na\n",
        b"Return-Path: <>\nc\n",
    ]
    assert len(files(two, "new")) == 1
    assert not files(one, "tmp")
    assert (one / "cur").is_dir()
    assert files(one, "new")[0].stat().st_mode & 0o777 == 0o600


@given(cuts=st.lists(st.integers(0, 12), max_size=5).map(sorted))
def test_line_ends_cut_in_two_are_still_line_ends(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    content = b"a\r\n\r\nb\rc\r\nd\r"
    edges = [0, *cuts, len(content)]
    chunks = [content[edges[at] : edges[at + 1]] for at in range(len(edges) - 1)]
    directory = tmp_path_factory.mktemp("m")
    deliver([delivery(directory, *chunks)])
    assert files(directory, "new")[0].read_bytes() == b"Return-Path: <>\na\n\nb\rc\nd\r"


def test_files_are_synced_before_they_appear_and_directories_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver([delivery(tmp_path, b"first")])
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        steps.append("sync " + os.path.basename(os.path.dirname(os.readlink(f"/proc/self/fd/{descriptor}") + "/x")))
        real_fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        steps.append("rename")
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    deliver([delivery(tmp_path, b"a"), delivery(tmp_path, b"b")])
    assert [step.split()[0] for step in steps] == ["sync", "rename", "sync", "rename", "sync"]
    assert steps[-1] == "sync new"


@pytest.mark.parametrize(
    ("number", "reply"), [(errno.ENOSPC, MAILBOX_FULL), (errno.EDQUOT, MAILBOX_FULL), (errno.EIO, NO_ACCESS)]
)
def test_what_cannot_be_written_leaves_nothing_and_waits(tmp_path: Path, number: int, reply: object) -> None:
    def chunks(_: int) -> Iterator[bytes]:
        yield b"half"
        raise OSError(number, "no")

    replies = deliver([MaildirDelivery(tmp_path, PREFIX, chunks), delivery(tmp_path, b"whole")])
    assert replies == [reply, DELIVERED]
    assert not files(tmp_path, "tmp")
    assert len(files(tmp_path, "new")) == 1


def test_damaged_content_costs_the_others_of_its_batch_nothing(tmp_path: Path) -> None:
    """What is in ``new`` already must not be answered as deferred: it would be delivered again."""

    def damaged(_: int) -> Iterator[bytes]:
        yield b"half a"
        raise ContentDamaged("the file is short")

    one = tmp_path / "one"
    replies = deliver([delivery(one, b"a\r\n"), MaildirDelivery(one, PREFIX, damaged), delivery(one, b"b\r\n")])
    assert replies == [DELIVERED, NO_ACCESS, DELIVERED]
    assert len(files(one, "new")) == 2
    assert not files(one, "tmp")


def test_a_directory_that_cannot_be_made_defers(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert deliver([delivery(tmp_path / "file" / "box", b"x")]) == [NO_ACCESS]


@pytest.mark.parametrize("login", ["", ".", "..", "a/b", "/etc", ".hidden", "a\0b", "x" * 300])
def test_a_login_never_leads_out_of_the_root(login: str) -> None:
    assert maildir_of(Path("/mail"), login) is None
    assert maildir_of(Path("/mail"), "rin@example.jp") == Path("/mail/rin@example.jp")
