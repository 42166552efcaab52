"""The operator at the edge: every measurement of the day, done with the commands that an operator has.

Each takes its arguments as texts and tells what was seen: ``works`` with evidence, or ``failed`` with what was there
instead. What can be asked of somebody else is: of the witness beyond the edge, and of the actors.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

from .actors import perform
from .errors import LabFailed
from .lab import Lab
from .place import environment, program
from .processes import wait_for
from .rollout import EXPLAINER_PORT, Rollout
from .scenario import PATIENCE, ROLLOUTS, STRANGERS
from .scorecard import Observation
from .topology import BY_NAME, CROWD, EDGE, SERVER_NAMES, Host
from .witness import testimony

TABLES = ("inet sekisho_edge", "inet sekisho_count")
COMMAND_SECONDS = 30.0
HEAD_START = 1.5  # seconds for an actor to begin
READ_EVERY = "5s"
VERDICT_SECONDS = 60.0
RECORD_SECONDS = 5.0
TRIES = 4
TRIAL_SECONDS = 6  # more than an actor is patient: it repeats its request, and must not meet the end of the trial
RELOADS = 8
DELEGATED = 56
BOTH = (4, 6)

Told = tuple[bool, str, float | None]
"""Whether it was as it should be, the evidence, and the seconds that count; None: those of the whole measurement."""


class Gatekeeper:
    """Works the gate of *lab*. `leave` ends what it started."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._place = lab.place(EDGE)
        self._start_anew()
        self._policy = self._place.directory / "policy.toml"
        self._state = self._place.directory / "state"
        self._began = time.monotonic()
        self._before = testimony(lab)

    def _start_anew(self) -> None:
        """Forget an earlier play: its programs, its rules and counters, its files."""
        self.leave()
        shutil.rmtree(self._place.directory, ignore_errors=True)
        self._place.directory.mkdir(parents=True)
        for name in ("explainer", "watcher"):
            self._lab.processes.log(name).unlink(missing_ok=True)
        batch = "".join(f"add table {table}\ndelete table {table}\n" for table in TABLES)
        self._lab.namespaces.run(EDGE, ["nft", "-f", "-"], text=batch)

    def measure(self, name: str, arguments: tuple[str, ...]) -> Observation:
        """Do the measurement *name*, one of `MEASUREMENTS`.

        Raises:
            LabError: it could not be done.
        """
        started = time.monotonic()
        well, evidence, seconds = MEASUREMENTS[name](self, *arguments)
        took = time.monotonic() - started if seconds is None else seconds
        return Observation("works" if well else "failed", evidence, took)

    def begin_step(self) -> None:
        """The acts of a step begin: the time until a verdict, and what the witness sees, count from here."""
        self._began = time.monotonic()
        self._before = testimony(self._lab)

    def leave(self) -> None:
        """End the explainer and the watcher."""
        self._lab.processes.stop("explainer", "watcher")

    def apply(self, name: str) -> Told:
        """Write the policy *name* and put it into force."""
        self._write(ROLLOUTS[name])
        said = self._edge("apply")
        return True, _first_line(said), None

    def refused(self, name: str, words: str) -> Told:
        """Try to put the policy *name* into force: it must be refused with *words*, and the rules stay."""
        before, old = self._rules(), self._policy.read_text(encoding="utf-8")
        self._write(ROLLOUTS[name])
        try:
            self._edge("apply")
        except LabFailed as error:
            said = " ".join(str(error).splitlines()[1:])
        else:
            return False, "it was put into force", None
        finally:
            self._policy.write_text(old, encoding="utf-8")
        return words in said and self._rules() == before, said, None

    def report(self, *wanted: str) -> Told:
        """Ask who would be hit: the lines of *wanted*, both families, and nobody else."""
        document = json.loads(self._edge("report", "--hit", "--json"))
        listed = {str(row["line"]) for row in document["lines"]}
        expected = {line for name in wanted for line in lines_of(BY_NAME[name])}
        missing, strangers = sorted(expected - listed), sorted(listed - expected)
        evidence = f"{len(listed)} lines: {', '.join(sorted(listed))}"
        if missing or strangers:
            evidence = f"missing {missing}, not to be there {strangers}; {evidence}"
        return not missing and not strangers, evidence, None

    def explainer(self) -> Told:
        """Start the explainer."""
        self._place.start(
            "explainer", program("edge", "explainer", *self._options(), "--hostname", SERVER_NAMES["mail"])
        )
        seconds = self._place.wait_until_it_listens("explainer", EXPLAINER_PORT)
        return True, f"listens on port {EXPLAINER_PORT}", seconds

    def explained(self, actor: str, destination: str) -> Told:
        """Look whether the explainer wrote down who came and where they wanted to go."""
        wanted = set(zip(lines_of(BY_NAME[actor]), _addresses(destination), strict=True))
        found: set[tuple[str, str]] = set()

        def is_there() -> bool:
            for row in self._events("edge.explained"):
                found.update((str(row["line"]), str(target)) for target in row["destinations"])
            return wanted <= found

        seconds = wait_for(f"{sorted(wanted)} in the log", is_there, seconds=RECORD_SECONDS)
        return True, f"recorded: {sorted(found)}", seconds

    def watcher(self) -> Told:
        """Start the watcher."""
        self._place.start("watcher", program("edge", "watch", *self._options(), "--json", "--every", READ_EVERY))
        return True, "watches", None

    def verdict(self, actor: str, kind: str) -> Told:
        """Wait until the watcher has called both lines of *actor* this; the time counts from when its acts began."""
        wanted = set(lines_of(BY_NAME[actor]))

        def is_said() -> bool:
            return wanted <= {row["line"] for row in self._verdicts() if row["kind"] == kind}

        left = max(1.0, VERDICT_SECONDS - (time.monotonic() - self._began))
        try:
            wait_for(f"the verdict {kind} on {actor}", is_said, seconds=left)
        except LabFailed as error:
            return False, f"{error}; said so far: {list(self._verdicts())}", None
        rows = [row for row in self._verdicts() if row["line"] in wanted and row["kind"] == kind]
        return True, "; ".join(json.dumps(row) for row in rows), time.monotonic() - self._began

    def only_worm(self, actor: str) -> Told:
        """Look whether nobody else than *actor* was called worm-like."""
        called = {str(row["line"]) for row in self._verdicts() if row["kind"] == "worm-like"}
        return called == set(lines_of(BY_NAME[actor])), f"called worm-like: {', '.join(sorted(called))}", None

    def seen(self, destination: str, *sources: str) -> Told:
        """Ask the witness whether something from each of *sources* came to *destination* in this step."""
        counted = self._counted(destination, sources)
        return all(counted.values()), f"packets to {destination}: {counted}", None

    def unseen(self, destination: str, *sources: str) -> Told:
        """Ask the witness whether nothing from *sources* came to *destination* in this step."""
        counted = self._counted(destination, sources)
        return not any(counted.values()), f"packets to {destination}: {counted}", None

    def _counted(self, destination: str, sources: tuple[str, ...]) -> dict[str, int]:
        now = testimony(self._lab)
        targets = " ".join(CROWD if destination == "crowd" else (addresses[0] for addresses in STRANGERS))
        return {
            f"{name} IPv{family}": now.count(line, targets) - self._before.count(line, targets)
            for name in sources
            for family, line in zip(BOTH, _lines(name), strict=True)
        }

    def reload(self, name: str) -> Told:
        """Apply the policy *name* with other exemptions again and again."""
        longest = 0.0
        for number in range(RELOADS):
            self._write(ROLLOUTS[name], others=1 + number)
            started = time.monotonic()
            self._edge("apply")
            longest = max(longest, time.monotonic() - started)
        return True, f"{RELOADS} changed policies applied, the longest took {longest:.2f} s", None

    def verify(self) -> Told:
        """Let the gate compare the kernel's rules with the policy."""
        return True, _first_line(self._edge("verify")), None

    def rollback(self, name: str, actor: str, outcome: str, within: str) -> Told:
        """Go back one version; the time ends when *actor*, who tries all the while, gets through.

        A machine that is busy with other things can slow any command down. So, when it took longer than *within*
        seconds, the policy *name* is applied and taken back again, a few times at most, and the fastest counts.
        """
        took: list[float] = []
        while not took or (took[-1] > float(within) and len(took) < TRIES):
            if took:
                self.apply(name)
            took.append(self._time_rollback(actor))
        seen = self._greet(actor)
        well = all(each.outcome == outcome for each in seen)
        times = ", ".join(f"{seconds:.2f}" for seconds in took)
        return well, f"{actor} gets through after {times} s; then: {_outcomes(seen)}", min(took)

    def _time_rollback(self, actor: str) -> float:
        server = BY_NAME["msa"].four
        task: dict[str, object] = {"kind": "until", "address": server, "port": 25, "seconds": COMMAND_SECONDS}
        with ThreadPoolExecutor(1) as pool:
            trying = pool.submit(perform, self._lab, actor, [task])
            time.sleep(HEAD_START)
            started = time.monotonic()
            self._edge("rollback")
            through = trying.result()[0]
        if through.outcome != "works" or through.at < started:
            raise LabFailed([f"{actor} was to be cut off until the rollback: {through.outcome}, {through.evidence}"])
        return through.at - started

    def unconfirmed(self, name: str, actor: str, outcome: str, after: str) -> Told:
        """Apply the policy *name* on trial, confirm nothing: *actor* experiences *outcome*, and then *after* again."""
        self._write(ROLLOUTS[name])
        self._edge("apply", "--confirm-within", str(TRIAL_SECONDS))
        applied = time.monotonic()
        on_trial = self._greet(actor)
        time.sleep(max(0.0, applied + TRIAL_SECONDS + 1 - time.monotonic()))
        undone = self._greet(actor)
        well = all(each.outcome == outcome for each in on_trial) and all(each.outcome == after for each in undone)
        return well, f"on trial for {TRIAL_SECONDS} s: {_outcomes(on_trial)}; then: {_outcomes(undone)}", None

    def away(self, *actors: str) -> Told:
        """Switch every network off; the *actors* reach the hosting company's port 25 again."""
        self._write(ROLLOUTS["off"])
        self._edge("apply")
        seen = [each for actor in actors for each in self._greet(actor)]
        return all(each.outcome == "works" for each in seen), _outcomes(seen), None

    def _greet(self, actor: str) -> list[Observation]:
        """Let *actor* connect to the hosting company's port 25, by both families."""
        tasks = [
            {"kind": "greet", "address": BY_NAME["msa"].address(family), "port": 25, "seconds": PATIENCE}
            for family in BOTH
        ]
        return perform(self._lab, actor, tasks)

    def _write(self, rollout: Rollout, others: int = 0) -> None:
        self._policy.write_text(rollout.text(_today(), others=others), encoding="utf-8")

    def _options(self) -> list[str]:
        return ["--policy", str(self._policy), "--state", str(self._state)]

    def _edge(self, verb: str, *words: str) -> str:
        return self._lab.namespaces.run(
            EDGE, program("edge", verb, *self._options(), *words), seconds=COMMAND_SECONDS, env=environment()
        )

    def _rules(self) -> str:
        return self._lab.namespaces.run(EDGE, ["nft", "-s", "list", "table", "inet", "sekisho_edge"])

    def _events(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the events *name* that the edge's programs logged so far."""
        for file in self._place.directory.rglob("events-*.jsonl"):
            for row in _json_lines(file.read_text(errors="replace")):
                if row.get("event") == name:
                    yield row

    def _verdicts(self) -> Iterator[dict[str, Any]]:
        """Return what the watcher said so far."""
        text = self._lab.processes.log("watcher").read_text(errors="replace")
        return (row for row in _json_lines(text) if "line" in row and "kind" in row)


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects among the lines of *text*; what is under way or meant for people is left out."""
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def lines_of(host: Host) -> tuple[str, str]:
    """Return how the gate names the line of *host*: its address, and its delegated prefix."""
    network = ipaddress.ip_network(f"{host.six}/{DELEGATED}", strict=False)
    return host.four, str(network)


def _addresses(name: str) -> tuple[str, str]:
    return BY_NAME[name].four, BY_NAME[name].six


def _lines(name: str) -> tuple[str, str]:
    return BY_NAME[name].four, BY_NAME[name].prefix[0]


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no words")


def _outcomes(seen: list[Observation]) -> str:
    return ", ".join(f"{each.outcome} ({each.evidence[:60]})" for each in seen)


def _today() -> date:
    return date.today()  # waves come with the operator's own calendar


MEASUREMENTS: dict[str, Callable[..., Told]] = {
    "apply": Gatekeeper.apply,
    "refused": Gatekeeper.refused,
    "report": Gatekeeper.report,
    "explainer": Gatekeeper.explainer,
    "explained": Gatekeeper.explained,
    "watcher": Gatekeeper.watcher,
    "verdict": Gatekeeper.verdict,
    "only_worm": Gatekeeper.only_worm,
    "seen": Gatekeeper.seen,
    "unseen": Gatekeeper.unseen,
    "reload": Gatekeeper.reload,
    "verify": Gatekeeper.verify,
    "rollback": Gatekeeper.rollback,
    "unconfirmed": Gatekeeper.unconfirmed,
    "away": Gatekeeper.away,
}
