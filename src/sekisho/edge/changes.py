"""What the backend is asked and what it answers, as values; and how two versions differ. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from .listing import Foreign
from .state import Pending, Version, digest

__all__ = ["Applied", "Candidate", "Plan", "SetChange", "Status", "Verified", "rules_diff", "set_changes"]

ELEMENT_LINE: Final = re.compile(r"add element inet (sekisho_[a-z]+) ([A-Za-z0-9_.\-]+) \{(.*)\}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ruleset ready to be applied: compiled, proven, rendered.

    Fields:
        document: the policy it was compiled from, as `document` writes it; kept for `lookups`.
        proof: returns once the rules are proven to do what the policy says; `Backend.apply` asks before it keeps or
            changes anything. Raises Unproven.
    """

    text: str = field(repr=False)
    policy: str
    policy_version: int
    day: str
    document: bytes = field(default=b"", repr=False)
    proof: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)

    @property
    def id(self) -> str:
        """Digest of the text."""
        return digest(self.text)

    def version(self, who: str, made: float) -> Version:
        """Return what is kept of it."""
        return Version(self.id, self.policy, self.policy_version, made, who, self.day)


@dataclass(frozen=True, slots=True)
class SetChange:
    """Elements that a set gains and loses."""

    table: str
    name: str
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an apply would change, and whether it would be refused.

    Fields:
        first: nothing of ours holds yet.
        rules: differences of everything but elements, as a unified diff.
        drift: what is in the kernel and should not be, or the reverse.
    """

    old: str
    new: str
    first: bool
    rules: tuple[str, ...]
    sets: tuple[SetChange, ...]
    drift: tuple[str, ...]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.old != self.new or self.drift)


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did.

    Fields:
        deadline: UTC epoch at which it is undone unless confirmed; None when it holds.
        seconds: what nft needed to check and to commit.
        notes: what the operator should know besides.
    """

    id: str
    changed: bool
    deadline: float | None
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """The kernel's rules held against the generated ones.

    Fields:
        differences: what is not as generated; empty means that the kernel does what the policy says.
        foreign: rules of others that meet tcp/25.
        notes: what could not be looked at.
    """

    differences: tuple[str, ...]
    foreign: tuple[Foreign, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all is as generated, and nothing bypasses it."""
        return not self.differences and not any(one.bypasses for one in self.foreign)


@dataclass(frozen=True, slots=True)
class Status:
    """How the gate stands.

    Fields:
        held: the version that the kernel holds by its own words; None when our tables are not there.
        guard: whether a guard watches over the change on trial.
        changed_since: anybody changed any table of the kernel since our last change; a look with `verify` may pay.
    """

    current: Version
    applied: float
    before: tuple[Version, ...]
    held: str | None
    pending: Pending | None
    guard: bool
    changed_since: bool
    history: tuple[dict[str, object], ...]


def rules_diff(old: str, new: str) -> Iterator[str]:
    """Yield the lines in which two versions differ, but for elements."""
    before, after = _parted(old)[0], _parted(new)[0]
    yield from difflib.unified_diff(before, after, "in force", "planned", lineterm="", n=2)


def set_changes(old: str, new: str) -> Iterator[SetChange]:
    """Yield what each set gains and loses from one version to the other."""
    before, after = _parted(old)[1], _parted(new)[1]
    for key in sorted({*before, *after}):
        was, will = before.get(key, set()), after.get(key, set())
        if was != will:
            yield SetChange(f"inet {key[0]}", key[1], tuple(sorted(will - was)), tuple(sorted(was - will)))


def _parted(text: str) -> tuple[list[str], dict[tuple[str, str], set[str]]]:
    """Part rules as they are given to nft into lines, and the elements of each set by table and name."""
    lines: list[str] = []
    found: dict[tuple[str, str], set[str]] = {}
    table = name = ""
    inside = False
    for line in text.splitlines():
        words = line.split()
        if inside:
            inside = words[:1] != ["}"]
            if inside:
                found.setdefault((table, name), set()).update(_elements(line))
        elif words[:2] == ["elements", "="]:
            inside = True
        elif element := ELEMENT_LINE.match(line):
            found.setdefault((element[1], element[2]), set()).update(_elements(element[3]))
        elif words:
            lines.append(line)
            if words[:2] == ["table", "inet"]:
                table = words[2]
            elif words[0] in ("set", "map"):
                name = words[1]
    return lines, found


def _elements(text: str) -> Iterator[str]:
    return (part for piece in text.split(",") if (part := piece.strip()))
