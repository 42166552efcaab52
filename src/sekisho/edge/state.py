"""What the gate must remember between two runs: which rules hold, which held before, what is on trial until when.

Used by `nftables`, whose every verb takes the lock first. The directory is root's; where it has a group (and passes it
on: mode 2750), that group reads what a page may show: the policy, who is held, what the watcher saw. See `lookups`::

    lock                 held (flock) by whoever changes something; inside stands who it is
    guard.lock           held by the guard of a change on trial, as long as it lives; its process id
    current.json         the version that holds, and those before it, the newest first
    pending.json         a change under way or on trial; there is one at most
    versions/ID.nft      rules exactly as they were given to nft, ID their digest
    versions/ID.json     what is known of them
    versions/ID.policy   the policy they were compiled from, as `document` writes it; for `lookups` alone
    history.jsonl        one line for each change: who, when, which version
    log/                 events

Every file is replaced whole and synced before the kernel is touched, so a crash at any moment leaves a directory from
which the next run tells old from new: the kernel itself says which version it holds (`nftables.marker`), the directory
says which it should.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from sekisho.store import make_directory_durably, write_atomically

__all__ = [
    "SHARED",
    "Busy",
    "Current",
    "EdgeError",
    "Pending",
    "StateDamaged",
    "StateDirectory",
    "Version",
    "boot_id",
    "digest",
]

SHARED: Final = 0o640  # mode of what the directory's group may read
KEPT_VERSIONS: Final = 10  # how far `rollback` can go back
MAX_HISTORY_LINE: Final = 4096
LOCK_PATIENCE: Final = 10.0  # seconds

Record = TypeVar("Record")


class EdgeError(Exception):
    """The gate could not do what it was asked; what the kernel holds is told by *str()*, or is as it was.

    ::

        EdgeError
        ├── Busy               somebody else changes the gate at this moment
        ├── StateDamaged       a file of the state directory cannot be read
        ├── NftError           nft or the kernel refused (`nftables`)
        │   ├── NftMissing     the program is not installed
        │   ├── Absent         there is no such table
        │   ├── NoPrivilege    CAP_NET_ADMIN is missing
        │   └── KernelLacks    a kernel module is missing
        ├── Drifted            the kernel's rules are not those that were applied last (`nftables`)
        ├── OnTrial            a change waits to be confirmed (`nftables`)
        ├── NothingToDo        there is nothing to confirm or to go back to (`nftables`)
        ├── Unproven           the compiled rules do not do what the policy says (`nftables`)
        ├── HelperError        the privileged helper could not be asked (`helper`)
        └── SampleError        no packets can be had from the kernel (`nflog`)
    """


class Busy(EdgeError):
    """Somebody else changes the gate at this moment."""


class StateDamaged(EdgeError):
    """A file of the state directory cannot be read."""


def digest(text: str) -> str:
    """Name rules by their text: 16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def boot_id() -> str:
    """Which run of the kernel this is: after a reboot it holds no rules."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Version:
    """Rules that were applied once.

    Fields:
        id: digest of their text; empty for "no rules of ours at all".
        policy: name of the policy they were compiled from.
        policy_version: its number.
        made: UTC seconds since the epoch.
        who: who applied them.
        day: the date for which the policy was compiled; its waves and expiries depend on it.
    """

    id: str
    policy: str
    policy_version: int
    made: float
    who: str
    day: str


NOTHING: Final = Version("", "", 0, 0.0, "", "")


@dataclass(frozen=True, slots=True)
class Current:
    """What should be in the kernel.

    Fields:
        id: the version that holds; empty when there is none.
        before: those before it, newest first: `rollback` goes there.
        applied: when it was applied, UTC epoch.
        generation: the kernel's count of ruleset changes (of everybody) right after ours; 0 when it is not known.
        boot: `boot_id` of then.
    """

    id: str = ""
    before: tuple[str, ...] = ()
    applied: float = 0.0
    generation: int = 0
    boot: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A change between its beginning and its end.

    Fields:
        new, old: ids of versions.
        deadline: UTC epoch at which it is undone unless confirmed; None when no confirmation is asked.
        deadline_boottime: the same on CLOCK_BOOTTIME, which nobody sets and which goes on during suspend.
        boot: `boot_id` for which that clock counts.
        who: who asked for it.
        started: UTC epoch.
        back: it goes back one version instead of adding one.
    """

    new: str
    old: str
    deadline: float | None
    deadline_boottime: float
    boot: str
    who: str
    started: float
    back: bool = False

    @classmethod
    def begin(cls, new: str, old: str, *, within: float | None, who: str, back: bool = False) -> Pending:
        """Return a change that begins now and must be confirmed *within* seconds."""
        now = time.time()
        deadline = None if within is None else now + within
        return cls(
            new, old, deadline, time.clock_gettime(time.CLOCK_BOOTTIME) + (within or 0), boot_id(), who, now, back
        )

    def seconds_left(self) -> float:
        """Seconds until the deadline, negative when it is over; also when the machine was restarted since."""
        if self.deadline is None:
            return float("inf")
        if self.boot != boot_id():
            return float("-inf")
        return self.deadline_boottime - time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class StateDirectory:
    """The files named in the module's text. Reading needs no lock; all that writes is called with `locked`."""

    path: Path
    now: Callable[[], float] = field(default=time.time, repr=False)

    def prepare(self) -> None:
        """Make the directory, for its owner alone."""
        if not (self.path / "versions").is_dir():
            before = os.umask(0o022)  # the helper's own would keep out the directory's group
            try:
                make_directory_durably(self.path.parent, mode=0o711)
                make_directory_durably(self.path, mode=0o700)
                make_directory_durably(self.path / "versions", mode=0o750)
            finally:
                os.umask(before)
        found = self.path.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise StateDamaged(
                f"{self.path}: belongs to user {found.st_uid} with mode {found.st_mode & 0o7777:o}, so others could "
                f"choose the rules\nRemedy: chown {os.geteuid()} and chmod 700, or name another directory with --state."
            )

    @contextlib.contextmanager
    def locked(self, who: str, *, patience: float = LOCK_PATIENCE, steal: bool = False) -> Iterator[None]:
        """Be the only one who changes anything.

        Args:
            patience: seconds to wait for another one.
            steal: go on without the lock after that; for the guard, which a process that hangs must not stop.

        Raises:
            Busy: another one did not end in time; its words about itself are told.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _take(descriptor, patience):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} ({who})".encode()[:500], 0)
            elif not steal:
                holder = os.pread(descriptor, 500, 0).decode(errors="replace")
                raise Busy(
                    f"another change of the gate is under way: {holder or 'by an unknown process'}\n"
                    "Remedy: wait for it to end; `sekisho edge status` shows what came of it."
                )
            yield
        finally:
            os.close(descriptor)

    def current(self) -> Current:
        """Return what should be in the kernel."""
        found = self._read("current.json")
        return Current() if found is None else self._made(Current, {**found, "before": tuple(_texts(found, "before"))})

    def set_current(self, current: Current) -> None:
        """Replace what should be in the kernel."""
        self._write("current.json", asdict(current), mode=SHARED)

    def pending(self) -> Pending | None:
        """Return the change that is under way or on trial."""
        found = self._read("pending.json")
        return None if found is None else self._made(Pending, found)

    def set_pending(self, pending: Pending) -> None:
        """Note, before the kernel is touched, what is about to be done."""
        self._write("pending.json", asdict(pending), mode=SHARED)

    def clear_pending(self) -> None:
        """The change has ended: it holds, or it was undone."""
        (self.path / "pending.json").unlink(missing_ok=True)

    def keep(self, version: Version, text: str, document: bytes = b"") -> None:
        """Keep rules, so that they can be put back, and the *document* of their policy, for pages."""
        write_atomically(self.path / "versions" / f"{version.id}.nft", text.encode())
        if document:
            write_atomically(self.path / "versions" / f"{version.id}.policy", document, mode=SHARED)
        self._write(f"versions/{version.id}.json", asdict(version), mode=SHARED)

    def version(self, name: str) -> Version:
        """Return what is known of a version; `NOTHING` for the empty name."""
        if not name:
            return NOTHING
        found = self._read(f"versions/{name}.json")
        if found is None:
            raise StateDamaged(
                f"{self.path / 'versions' / name}.json is missing\nRemedy: apply the policy again with --force-drift."
            )
        return self._made(Version, found)

    def text(self, name: str) -> str:
        """Return the rules of a version, as they were given to nft; empty for the empty name.

        Raises:
            StateDamaged: they are missing, or are not those that once had this name.
        """
        if not name:
            return ""
        path = self.path / "versions" / f"{name}.nft"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StateDamaged(f"{path}: {error}\nRemedy: apply the policy file again with --force-drift.") from error
        if digest(text) != name:
            raise StateDamaged(f"{path}: was changed\nRemedy: apply the policy file again with --force-drift.")
        return text

    def document(self, name: str) -> bytes:
        """Return the document of the policy that a version was compiled from.

        Raises:
            OSError: it cannot be read; FileNotFoundError also when the version was applied by an older program.
        """
        return (self.path / "versions" / f"{name}.policy").read_bytes()

    def forget_others(self, wanted: set[str]) -> None:
        """Delete all versions but the *wanted* ones."""
        for path in (self.path / "versions").iterdir():
            if path.name.startswith(".") or path.stem not in wanted:
                path.unlink(missing_ok=True)

    def record(self, what: str, **fields: object) -> None:
        """Add a line to the history, synced."""
        line = json.dumps({"t": round(self.now(), 3), "what": what, **fields}, default=str)
        descriptor = os.open(self.path / "history.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode()[:MAX_HISTORY_LINE] + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def history(self, limit: int = 20) -> list[dict[str, object]]:
        """Return the last changes, the newest first; lines torn by a crash are left out."""
        try:
            with (self.path / "history.jsonl").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - limit * MAX_HISTORY_LINE))
                lines = file.read().splitlines()[-limit:]
        except FileNotFoundError:
            return []
        found = []
        for line in reversed(lines):
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    found.append(row)
        return found

    def guard_lives(self) -> bool:
        """Whether a guard watches over the change on trial."""
        descriptor = os.open(self.path / "guard.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return not _take(descriptor, 0)
        finally:
            os.close(descriptor)

    def become_guard(self, patience: float) -> int | None:
        """Take the guard's lock for as long as the descriptor returned is open; None when another guard keeps it."""
        descriptor = os.open(self.path / "guard.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _take(descriptor, patience):
            os.pwrite(descriptor, f"{os.getpid()}\n".ljust(20).encode(), 0)
            return descriptor
        os.close(descriptor)
        return None

    def _read(self, name: str) -> dict[str, object] | None:
        path = self.path / name
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StateDamaged(f"{path}: {error}\nRemedy: {self._start_anew()}") from error
        if not isinstance(value, dict):
            raise StateDamaged(f"{path}: is not what was written\nRemedy: {self._start_anew()}")
        return value

    def _made(self, kind: Callable[..., Record], fields: Mapping[str, object]) -> Record:
        try:
            return kind(**fields)
        except TypeError as error:
            raise StateDamaged(f"{self.path}: {error}\nRemedy: {self._start_anew()}") from error

    def _start_anew(self) -> str:
        return f"move {self.path} away and apply the policy with --force-drift; the kernel's rules stay meanwhile."

    def _write(self, name: str, value: Mapping[str, object], *, mode: int = 0o600) -> None:
        write_atomically(self.path / name, json.dumps(value, indent=1).encode() + b"\n", mode=mode)


def _texts(found: Mapping[str, object], key: str) -> list[str]:
    value = found.get(key)
    return [str(one) for one in value] if isinstance(value, list) else []


def _take(descriptor: int, patience: float) -> bool:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)
        else:
            return True
