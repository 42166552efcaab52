"""Judging what was seen: expectations and observations in, lines with pass or fail, evidence and time out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

WORKS, EXPLAINED, DROPPED, REJECTED = "works", "explained", "dropped", "rejected"


@dataclass(frozen=True, slots=True)
class Observation:
    """What came of one act or measurement.

    Fields:
        outcome: one of the words in `actor.OUTCOMES`.
        evidence: what was seen, in one line.
        seconds: how long it took.
        arrived: seconds until the message was found where it was to arrive; None when it was not, or none was sent.
        at: when it ended, by the clock that all programs of a machine share (CLOCK_MONOTONIC).
    """

    outcome: str
    evidence: str
    seconds: float
    arrived: float | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an observation has to be.

    Fields:
        outcomes: the words that are well.
        contains: texts that must stand in the evidence.
        arrives: name of the node at which the message must be found; empty: no message is followed.
        within: most seconds that it may take; None: any.
    """

    outcomes: tuple[str, ...] = (WORKS,)
    contains: tuple[str, ...] = ()
    arrives: str = ""
    within: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the scorecard."""

    step: str
    words: str
    passed: bool
    outcome: str
    evidence: str
    seconds: float


def judge(step: str, words: str, wanted: Wanted, seen: Observation) -> Line:
    """Hold what was seen against what was wanted; a line that failed says why in its evidence."""
    reasons = []
    if seen.outcome not in wanted.outcomes:
        reasons.append(f"wanted {' or '.join(wanted.outcomes)}, was {seen.outcome}")
    reasons += [f"lacks {text!r}" for text in wanted.contains if text not in seen.evidence]
    evidence = seen.evidence
    if wanted.arrives:
        if seen.arrived is None:
            reasons.append(f"did not arrive at {wanted.arrives}")
        else:
            evidence = f"{evidence}; at {wanted.arrives} after {seen.arrived:.1f} s"
    if wanted.within is not None and seen.seconds > wanted.within:
        reasons.append(f"took longer than {wanted.within:g} s")
    if reasons:
        evidence = f"{', '.join(reasons)}: {evidence}"
    return Line(step, words, not reasons, seen.outcome, evidence, seen.seconds)


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Everything that was judged, in the order of the day."""

    lines: tuple[Line, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every line passed, and there was one at all."""
        return bool(self.lines) and all(line.passed for line in self.lines)

    def text(self) -> str:
        """Return the scorecard for the terminal."""
        shown = []
        step = None
        for line in self.lines:
            if line.step != step:
                step = line.step
                shown += ["", step]
            shown += line_text(line)
        failed = sum(not line.passed for line in self.lines)
        verdict = "all passed" if self.passed else f"{failed} FAILED" if failed else "nothing was played"
        return "\n".join([*shown, "", f"{len(self.lines)} checks, {verdict}, {self.seconds:.0f} s"])

    def document(self) -> dict[str, object]:
        """Return the scorecard as a JSON document."""
        return {
            "passed": self.passed,
            "seconds": round(self.seconds, 1),
            "lines": [asdict(line) for line in self.lines],
        }


def line_text(line: Line) -> Sequence[str]:
    """Return one line of the scorecard with its evidence below; foreign text loses its control characters."""
    evidence = "".join(character if character.isprintable() else "?" for character in line.evidence)
    return f"  {'pass' if line.passed else 'FAIL'}  {line.words}  ({line.seconds:.2f} s)", f"        {evidence}"
