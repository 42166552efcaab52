"""Files and directories that outlast a power cut: what is synced, and in which order."""

import os
from pathlib import Path

import pytest

from sekisho.store import fsync_directory, make_directory_durably, rename_durably, write_atomically


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was synced, renamed or made, in order."""
    seen: list[str] = []
    real_fsync, real_replace, real_mkdir = os.fsync, Path.replace, Path.mkdir

    def fsync(descriptor: int) -> None:
        seen.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name.split(".")[-1])
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        seen.append(f"rename to {target.name}")
        return real_replace(self, target)

    def mkdir(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        seen.append(f"make {self.name}")
        real_mkdir(self, mode, parents, exist_ok)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    return seen


def test_a_file_is_synced_before_it_gets_its_name_and_the_directory_after(tmp_path: Path, calls: list[str]) -> None:
    write_atomically(tmp_path / "key", b"secret")
    assert calls == ["sync tmp", "rename to key", f"sync {tmp_path.name}"]
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "key", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "key", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").read_bytes() == b"old"


def test_each_directory_made_is_entered_durably_in_its_parent(tmp_path: Path, calls: list[str]) -> None:
    make_directory_durably(tmp_path / "spool" / "content")
    assert calls == ["make spool", f"sync {tmp_path.name}", "make content", "sync spool"]
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    make_directory_durably(tmp_path / "spool" / "content")
    assert len(calls) == 4


def test_a_rename_is_synced(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "new").write_bytes(b"x")
    rename_durably(tmp_path / "new", tmp_path / "name")
    assert calls == ["rename to name", f"sync {tmp_path.name}"]


def test_a_directory_that_is_none_cannot_be_synced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        fsync_directory(tmp_path / "file")
