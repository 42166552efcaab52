"""The gate on Linux: puts a version of the rules into the kernel, and can take it back.

`Backend` gives whole rulesets to nft, in one transaction each, and touches two tables only: `inet sekisho_edge` (the
policy) and `inet sekisho_count` (the counters, which survive a change). Together with each version goes a chain whose
name is the version's digest, so that the kernel itself always says which version it holds: a kill at any moment leaves
the old version or the new one, and `Backend.recover` finds out which.

A change can be put on trial: it is undone at its deadline unless it was confirmed. A process of its own, `guard`, sees
to that; it is there before the kernel is touched and needs neither us, nor the command line, nor the ssh session.

**Drift.** Before a change, the kernel's tables are compared with the version that was applied last; where they differ,
somebody edited them by hand, and `apply` refuses to overwrite that unseen, unless it is told to (`force_drift`). Tables
that are gone altogether, as after a reboot or `nft flush ruleset`, are no reason to refuse.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sekisho.telemetry import EventLog, LogSettings

from . import guard as guards
from . import listing, scratch
from .batch import (
    COUNT_TABLE,
    MARKER,
    POLICY_TABLE,
    REMOVAL,
    TABLES,
    Batch,
    Present,
    abridged,
    batch,
    garbage,
    held,
    versioned,
)
from .changes import Applied, Candidate, Plan, SetChange, Status, Verified, rules_diff, set_changes
from .holding import QUARANTINE_TABLE
from .netlink import generation, present
from .nft import Absent, KernelLacks, Nft, NftError, Run
from .state import (
    KEPT_VERSIONS,
    LOCK_PATIENCE,
    NOTHING,
    Busy,
    Current,
    EdgeError,
    Pending,
    StateDirectory,
    Version,
    boot_id,
    digest,
)

__all__ = [
    "COUNT_TABLE",
    "POLICY_TABLE",
    "TABLES",
    "Applied",
    "Backend",
    "Candidate",
    "Drifted",
    "NothingToDo",
    "OnTrial",
    "Plan",
    "SetChange",
    "Status",
    "Unproven",
    "Verified",
]

UNDER_WAY: Final = 0.03  # seconds in which a packet that met the old rules has left them for sure
OWN: Final = tuple((name.split()[0], name.split()[1]) for name in (*TABLES, QUARANTINE_TABLE))


class Drifted(EdgeError):
    """The kernel's rules are not those that were applied last."""


class OnTrial(EdgeError):
    """A change waits to be confirmed."""


class NothingToDo(EdgeError):
    """There is nothing to confirm, or to go back to."""


class Unproven(EdgeError):
    """The compiled rules do not do what the policy says."""


class Backend:
    """Changes the rules of this network namespace, and remembers what it did in a state directory."""

    def __init__(
        self,
        directory: Path,
        *,
        run: Run | None = None,
        names: Callable[[], Present | None] | None = None,
        leg: Callable[[str], None] = lambda name: None,
        start_guard: Callable[[Path], contextlib.AbstractContextManager[None]] = guards.started,
    ) -> None:
        """Use the state in *directory*, which `apply` makes when it is missing.

        Args:
            run: how nft is run.
            names: what of ours the kernel has, None when it does not tell; without it, the kernel is asked when nft is
                the installed one, else nft.
            leg: called with the name of each leg of a change before it begins; crash tests end the process there.
            start_guard: starts a guard; when the block ends it must be alive and look at the pending change.
        """
        self.state = StateDirectory(directory)
        self.run: Run = run or Nft()
        self._names = names or ((lambda: None) if run is not None else (lambda: present(TABLES)))
        self._leg = leg
        self._start_guard = start_guard

    def plan(self, candidate: Candidate) -> Plan:
        """Say what `apply` would change. Changes nothing."""
        current = self.state.current()
        old_text = self.state.text(current.id)
        return Plan(
            old=current.id,
            new=candidate.id,
            first=not current.id,
            rules=tuple(rules_diff(old_text, candidate.text)),
            sets=tuple(set_changes(old_text, candidate.text)),
            drift=tuple(self._drift(current)),
        )

    def apply(
        self, candidate: Candidate, *, who: str, confirm_within: float | None, force_drift: bool = False
    ) -> Applied:
        """Put *candidate* into force, on trial when *confirm_within* seconds are given.

        Legs, each durable before the next: nft checks the text (nothing changed), which by then is proven; the text is
        kept; a guard starts and the pending change is noted with its deadline; the kernel takes the whole text, or
        nothing of it; the state says so. A kill after any leg leaves the old rules or the new ones; before the last
        leg, `recover` or the guard finishes or undoes the change.

        Raises:
            OnTrial: an earlier change waits to be confirmed.
            Drifted: the kernel does not hold what was applied last.
            Unproven: the rules are not what the policy says; nothing was kept or changed.
            NftError: the text was refused; the rules are as they were.
            Busy, StateDamaged.
        """
        self.state.prepare()
        with self.state.locked(who):
            self.recover(who)
            if (trial := self.state.pending()) is not None:
                raise OnTrial(
                    f"version {trial.new} of {trial.who} is on trial for another {trial.seconds_left():.0f} seconds\n"
                    "Remedy: `sekisho edge confirm` or `sekisho edge rollback` first."
                )
            current = self.state.current()
            notes = self._refuse_drift(current, force_drift)
            if candidate.id == current.id and not notes:
                candidate.proof()
                return Applied(candidate.id, False, None, 0.0, ("these rules hold already",))
            return self._change(candidate, current, who, confirm_within, notes)

    def _change(
        self, candidate: Candidate, current: Current, who: str, confirm_within: float | None, notes: list[str]
    ) -> Applied:
        began = time.monotonic()
        with self._start_guard(self.state.path) if confirm_within is not None else contextlib.nullcontext():
            made = self._checked(candidate.text)
            candidate.proof()
            self._leg("keep the text")
            self.state.keep(candidate.version(who, time.time()), candidate.text, candidate.document)
            self._leg("note the change")
            pending = Pending.begin(candidate.id, current.id, within=confirm_within, who=who)
            self.state.set_pending(pending)
        self._leg("commit")
        try:
            count = self._commit(made)
        except NftError:
            if self.held() != candidate.id:
                self.state.clear_pending()
            raise
        seconds = time.monotonic() - began
        self._leg("tell the state")
        if self.state.pending() != pending:  # we hung for so long that the guard gave the change up
            self._load(current.id)
            raise EdgeError("the change took longer than its trial, and was undone\nRemedy: apply it again.")
        if confirm_within is None:
            self._finish(pending, count)
        self.tell(
            "edge.applied",
            who=who,
            version=candidate.id,
            before=current.id,
            policy=candidate.policy,
            day=candidate.day,
            confirm_within=confirm_within,
            seconds=round(seconds, 3),
        )
        return Applied(candidate.id, True, pending.deadline, seconds, tuple(notes))

    def confirm(self, *, who: str) -> Version:
        """Let the change on trial hold.

        Raises:
            NothingToDo: there is none; perhaps its time was over.
            Drifted: the kernel does not hold it any more.
        """
        self.state.prepare()
        with self.state.locked(who):
            self.recover(who)
            pending = self.state.pending()
            if pending is None:
                raise NothingToDo(
                    "no change waits to be confirmed\nRemedy: `sekisho edge status` tells what became of the last one."
                )
            if (name := self.held()) != pending.new:
                raise Drifted(
                    f"version {pending.new} is on trial, but the kernel holds {name or 'none of ours'}\n"
                    "Remedy: `sekisho edge rollback`, then apply again."
                )
            version = self.state.version(pending.new)
            self._finish(pending, 0)
            self.tell("edge.confirmed", who=who, version=pending.new, before=pending.old)
            return version

    def rollback(self, *, who: str) -> Version:
        """Undo the change on trial, or go back one version; from the first version, take our tables away.

        Returns:
            The version that holds now; its `id` is empty when there is none.

        Raises:
            NothingToDo: there is nothing to go back from.
        """
        self.state.prepare()
        with self.state.locked(who):
            self.recover(who)
            pending = self.state.pending()
            if pending is not None:
                self._undo(pending)
                self.tell("edge.rolled_back", who=who, version=pending.old, before=pending.new, reason="asked")
                return self.state.version(pending.old)
            current = self.state.current()
            if not current.id:
                raise NothingToDo("no rules of ours hold, so there is nothing to go back to")
            target = current.before[0] if current.before else ""
            text = self.state.text(target)
            pending = Pending.begin(target, current.id, within=None, who=who, back=True)
            self.state.set_pending(pending)
            self._leg("go back")
            self._finish(pending, self._load(target, text))
            self.tell("edge.rolled_back", who=who, version=target, before=current.id, reason="asked")
            return self.state.version(target)

    def restore(self, *, who: str) -> Version:
        """Put the version that should hold into the kernel again, as after a reboot; what was on trial is given up.

        Raises:
            NothingToDo: no version was ever confirmed.
        """
        self.state.prepare()
        with self.state.locked(who):
            self.recover(who)
            current = self.state.current()
            if not current.id:
                raise NothingToDo("no rules of ours were confirmed, so there is nothing to restore")
            if self.state.pending() is None and self.held() != current.id:
                made = self._load(current.id)
                self.state.set_current(replace(current, generation=made, boot=boot_id()))
                self.tell("edge.restored", who=who, version=current.id)
            return self.state.version(current.id)

    def expire(self) -> bool:
        """Undo the change on trial if its time is over; for the guard. Returns whether its work is done."""
        pending = self.state.pending()
        if pending is None or pending.deadline is None:
            return True
        left = pending.seconds_left()
        if left > 0:
            return False
        try:
            # who holds the lock is about to end, as a rule; a process that hangs must not keep the change alive
            with self.state.locked("guard of a change on trial", patience=0.2, steal=left < -LOCK_PATIENCE):
                if self.state.pending() == pending:
                    self._expire(pending)
        except Busy:
            return False
        return True

    def recover(self, who: str) -> None:
        """End what a killed process began. Called with the lock held; does nothing when all is well."""
        pending = self.state.pending()
        if pending is None:
            return
        current = self.state.current()
        self._tidy()
        if pending.new == current.id:  # killed between the two last steps of confirming
            self.state.clear_pending()
            return
        name = self.held()
        if pending.deadline is not None and pending.seconds_left() <= 0:
            self._expire(pending)
        elif name == (pending.old or None) or (name is None and pending.boot != boot_id()):
            self.state.clear_pending()
            self.tell("edge.given_up", who=who, version=pending.new, before=pending.old, reason="killed before commit")
        elif pending.deadline is None:
            if name == (pending.new or None):
                self._finish(pending, 0)
                self.tell("edge.recovered", who=who, version=pending.new, before=pending.old)
            else:
                self.state.clear_pending()
        elif not self.state.guard_lives():
            with self._start_guard(self.state.path):
                pass

    def verify(self, candidate: Candidate | None = None) -> Verified:
        """Hold the kernel's tables against *candidate*, or against the version that should hold. Changes nothing."""
        pending = self.state.pending()
        current = self.state.current()
        expected = pending.new if pending is not None and self.held() == pending.new else current.id
        told: list[str] = []
        notes: list[str] = []
        if candidate is not None and candidate.id != expected:
            told.append(
                f"the policy makes version {candidate.id}, but version {expected or '(none)'} was applied; "
                "`sekisho edge plan` shows the difference"
            )
        text = candidate.text if candidate is not None else self.state.text(expected)
        told += self._differences(text, notes)
        try:
            others = listing.foreign(self.run(["-j", "-t", "list", "ruleset"]), OWN)
        except NftError as error:
            others = []
            notes.append(f"rules of others could not be read: {error}")
        notes += _legacy_tables()
        return Verified(tuple(told), tuple(others), tuple(notes))

    def status(self) -> Status:
        """Say how the gate stands. Reads only, and needs no lock."""
        current = self.state.current()
        known = []
        for name in current.before:
            with contextlib.suppress(EdgeError):
                known.append(self.state.version(name))
        now = generation()
        return Status(
            current=self.state.version(current.id) if current.id else NOTHING,
            applied=current.applied,
            before=tuple(known),
            held=self.held(),
            pending=self.state.pending(),
            guard=self.state.path.exists() and self.state.guard_lives(),
            changed_since=bool(current.generation and (now != current.generation or current.boot != boot_id())),
            history=tuple(self.state.history()),
        )

    def held(self) -> str | None:
        """Return the version that the kernel says it holds; "?" for tables of ours without one, None for no tables."""
        return held(self._present())

    def _drift(self, current: Current) -> list[str]:
        """Say how the kernel differs from *current*; the kernel's count of changes tells quickly that it does not."""
        if current.generation and current.boot == boot_id() and generation() == current.generation:
            return []
        if not current.id:
            present = [name for name in TABLES if self._listed(name, terse=True) is not None]
            return [f"table {name}: is there, but was not made from a version known here" for name in present]
        return self._differences(self.state.text(current.id), [])

    def _refuse_drift(self, current: Current, force: bool) -> list[str]:
        drift = self._drift(current)
        if drift and self.held() is None:
            return ["our tables were gone from the kernel; they are put back"] if current.id else []
        if drift and not force:
            raise Drifted(
                "the kernel's rules are not those that were applied last; somebody changed them:\n"
                + "".join(f"    {line}\n" for line in drift[:10])
                + f"{'' if len(drift) <= 10 else f'    and {len(drift) - 10} more' + chr(10)}"
                "Remedy: see `sekisho edge verify`; put the change into the policy, then apply with --force-drift."
            )
        return [f"overwritten: {line}" for line in drift]

    def _differences(self, text: str, notes: list[str]) -> list[str]:
        found: dict[listing.TableName, listing.Table] = {}
        for name in TABLES:
            if (document := self._listed(name)) is not None:
                found.update(listing.tables(document, ignore=(MARKER,)))
        if not text:
            return [str(one) for one in listing.compare({}, found)]
        if left := [line.split()[-1] for line in garbage(self._present()).splitlines()]:
            notes.append("a change that was killed left things that nothing leads to; the next one removes them")
            for table in found.values():
                table.leave_out(left)
        wanted = [name for name in TABLES if f" {name}\n" in text or f" {name} " in text]
        try:
            documents = scratch.listed(versioned(text, self._present()), wanted, self.run)
        except scratch.NoNamespace as error:
            notes.append(f"rules were compared by version only, their text was not: {error}")
            version = self.held()
            return [] if version == digest(text) else [f"table {POLICY_TABLE}: holds {version or 'nothing'}"]
        expected = {}
        for document in documents:
            expected.update(listing.tables(document))
        return [str(one) for one in listing.compare(expected, found)]

    def _checked(self, text: str) -> Batch:
        """Return how to put *text* into force, after nft has checked it.

        Of long lists of elements only the beginning is checked: reading 50,000 of them takes as long as committing
        them, and a commit with an error in any of them changes nothing either.
        """
        made = batch(text, self._present())
        try:
            self.run(["-c", "-f", "-"], abridged(made.prepare + made.switch))
        except KernelLacks:
            raise
        except NftError:
            # a counter of the same name but another kind cannot be changed in place: make the tables anew, in one
            # transaction; the counters begin anew with them
            anew = Batch(REMOVAL + batch(text, {}).switch)
            with contextlib.suppress(NftError):
                self.run(["-c", "-f", "-"], abridged(anew.switch))
                return anew
            raise
        return made

    def _present(self) -> Present:
        if (found := self._names()) is not None:
            return found
        listed = {table: self._listed(table, terse=True) for table in TABLES}
        return {table: listing.names(document) for table, document in listed.items() if document is not None}

    def _listed(self, table: str, *, terse: bool = False) -> str | None:
        try:
            return self.run([*(("-t",) if terse else ()), "-j", "list", "table", *table.split()])
        except Absent:
            return None

    def _commit(self, made: Batch) -> int:
        """Give *made* to the kernel, and return the kernel's count of changes if only we changed it meanwhile."""
        before = generation()
        for text in (made.clean, made.prepare):
            if text:
                self.run(["-f", "-"], text)
        self._leg("switch")
        self.run(["-f", "-"], made.switch)
        self._leg("tidy")
        if made.tidy:
            time.sleep(UNDER_WAY)
            with contextlib.suppress(NftError):  # the rules hold; `verify` tells what was left, and an apply removes it
                self.run(["-f", "-"], made.tidy)
        after = generation()
        return after if before and after == before + made.count() else 0

    def _load(self, name: str, text: str | None = None) -> int:
        """Put a version that was in force before back into the kernel, in one transaction."""
        if not name:
            return self._commit(Batch(REMOVAL))
        return self._commit(self._checked(self.state.text(name) if text is None else text))

    def _tidy(self) -> None:
        """Remove what a killed change left without use."""
        if left := garbage(self._present()):
            with contextlib.suppress(NftError):
                self.run(["-f", "-"], left)

    def _undo(self, pending: Pending) -> None:
        self._leg("undo")
        made = self._load(pending.old)
        current = self.state.current()
        if current.id == pending.old:
            self.state.set_current(replace(current, generation=made, boot=boot_id()))
        self.state.clear_pending()

    def _expire(self, pending: Pending) -> None:
        if self.state.current().id == pending.new:
            self.state.clear_pending()
            return
        self._undo(pending)
        self.tell("edge.expired", who=pending.who, version=pending.old, before=pending.new)

    def _finish(self, pending: Pending, made: int) -> None:
        """The change holds: the state says so, and only then is it no longer pending."""
        old = self.state.current()
        if pending.back:
            before = old.before[1:] if old.id == pending.old else old.before
        else:
            before = (pending.old, *old.before)[:KEPT_VERSIONS] if pending.old else old.before
        made = made or (generation() if pending.deadline is not None and self.held() == pending.new else 0)
        self.state.set_current(Current(pending.new, before, time.time(), made, boot_id()))
        self._leg("clear")
        self.state.clear_pending()
        self.state.forget_others({pending.new, *before})

    def tell(self, event: str, **fields: object) -> None:
        """Note a change in the history, and as an event."""
        self.state.record(event, **fields)
        log = EventLog(self.state.path / "log", LogSettings(), 0)
        log.emit(event, **fields)
        log.close()


def _legacy_tables() -> Sequence[str]:
    """Say that the older iptables has rules, which nft cannot list."""
    notes = []
    for file in ("ip_tables_names", "ip6_tables_names"):
        with contextlib.suppress(OSError):
            if present := Path("/proc/self/net", file).read_text(encoding="ascii").split():
                notes.append(
                    f"iptables-legacy holds tables ({', '.join(present)}) that nft does not show; look at them with "
                    f"`{'iptables' if file[2] == '_' else 'ip6tables'}-legacy-save`"
                )
    return notes
