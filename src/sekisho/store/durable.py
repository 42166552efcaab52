"""Files and directories that are still there after a power cut.

Called by whoever must not lose a file: `queue`, `accounts`, `supervise`. A file is durable when its octets *and* the
directory entry that names it are synced; each function here does both, so that no caller has to remember the second
half.
"""

import os
import tempfile
from pathlib import Path

__all__ = ["fsync_directory", "make_directory_durably", "rename_durably", "write_atomically"]


def fsync_directory(directory: Path) -> None:
    """Make the entries of *directory* (files created, renamed, removed in it) survive a power cut.

    Raises:
        OSError: the directory cannot be opened or synced.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory_durably(directory: Path, *, mode: int = 0o700) -> None:
    """Create *directory* and its missing parents with *mode*, each entry synced; an existing one is left as it is.

    Two processes may do this at the same time.
    """
    if directory.is_dir():
        return
    parent = directory.parent
    if parent != directory:
        make_directory_durably(parent, mode=mode)
    directory.mkdir(mode=mode, exist_ok=True)
    fsync_directory(parent)


def rename_durably(source: Path, target: Path) -> None:
    """Give *source*, which the caller has synced, the name *target*, replacing what had it; both in one directory."""
    source.replace(target)
    fsync_directory(target.parent)


def write_atomically(path: Path, octets: bytes, *, mode: int = 0o600) -> None:
    """Replace the file *path* by *octets*: after a crash it holds the old content or the new, never a part.

    Legs: a temporary file beside it is written and synced, renamed over *path*, the directory synced. A crash before
    the rename leaves a file named ``.NAME.*.tmp``, which nothing reads.

    Raises:
        OSError: nothing was replaced.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(octets)
            file.flush()
            os.fsync(descriptor)
        rename_durably(Path(temporary), path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
