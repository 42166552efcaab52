"""From the rules that are wanted to the transactions that bring the kernel there without a gap. Pure.

**Why not one.** One nft transaction is atomic for whoever lists rules, and not for a packet that is under way. A chain
is read as of the moment the packet entered the hook; a set or map that it looks into is read as of the moment of the
look. A packet in the old rules that looks into a map which has been deleted, or filled for the new rules, finds nothing
or is led into a chain that was empty in the old rules, falls through, and leaves. Measured with 150,000 packets a
second of a blocked line and some hundred changes: thousands leaked when the table was deleted and made anew, a few when
its maps were filled in place, none as it is done here.

**How.** Everything but the chains that hang on hooks bears the version in its name, so that no name ever changes its
meaning, and a version comes in three transactions:

    prepare   its sets, maps and chains are added under their own names; nothing leads there yet
    switch    the few chains on hooks are emptied and filled with rules that lead to them; and the chain that says which
              version holds. This one is the change: before it the old version holds whole, after it the new one
    tidy      what the old version had is removed, when no packet can be in it any more

A kill between any two leaves the old or the new version, and perhaps things that nothing leads to, which the next
change removes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .nft import NftError
from .state import digest

__all__ = ["COUNT_TABLE", "MARKER", "POLICY_TABLE", "REMOVAL", "TABLES", "Batch", "Present", "abridged"]
__all__ += ["batch", "garbage", "held", "versioned"]

POLICY_TABLE: Final = "inet sekisho_edge"
COUNT_TABLE: Final = "inet sekisho_count"
TABLES: Final = (POLICY_TABLE, COUNT_TABLE)
MARKER: Final = "edge_version_"
REMOVAL: Final = "".join(f"add table {table}\ndelete table {table}\n" for table in TABLES)
CHECKED_LINES: Final = 8  # of a list of elements
AUTO_MERGE: Final = "\t\tauto-merge\n"
KINDS: Final = ("map", "set", "chain")  # in the order of removal: who leads somewhere first

_COUNTING = re.compile(rf"^add (set|map|chain) {COUNT_TABLE} ([a-z][a-z0-9_]*)", re.MULTILINE)
_OBJECT = re.compile(r"\t(set|map|chain) ([a-z][a-z0-9_]*) \{")
_REFERENCE = re.compile(r"(@|\b(?:goto|jump|chain|set|map) )([a-z][a-z0-9_]*)")

Present = Mapping[str, Mapping[str, set[str]]]
"""What the kernel holds: names of objects by table and kind, as `listing.names` tells them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is given to nft, one transaction after the other; `prepare` and `tidy` change nothing for any packet.

    Fields:
        clean: removes what a killed change left.
    """

    switch: str
    clean: str = ""
    prepare: str = ""
    tidy: str = ""

    def count(self) -> int:
        """How many transactions these are."""
        return sum(map(bool, (self.clean, self.prepare, self.switch, self.tidy)))


@dataclass(frozen=True, slots=True)
class _Object:
    kind: str
    name: str
    lines: tuple[str, ...]

    @property
    def hooked(self) -> bool:
        return self.kind == "chain" and any(" hook " in line for line in self.lines[:2])


def batch(text: str, present: Present) -> Batch:
    """Return how to put the version *text* in the place of what is *present*.

    Raises:
        NftError: *text* is not in the form that `edge.render` writes.
    """
    policy = present.get(POLICY_TABLE)
    suffix = f"_{digest(text)[:8]}"
    if policy is None:
        return Batch(versioned(text, present) + _marker(text))
    clean = garbage(present)
    kept = _without(policy, clean)
    if any(name.endswith(f"{suffix}a") for names in kept.values() for name in names):
        suffix += "b"  # the same version over again: it was changed by hand
    else:
        suffix += "a"
    objects, rest = _parted(text)
    renamed = [_renamed(one, objects, suffix) for one in objects]
    hooked = [one for one in renamed if one.hooked]
    others = [one for one in renamed if not one.hooked]
    hooks = {name for name in kept.get("chain", ()) if _is_hook(name)}
    marker = next((name for name in kept.get("chain", ()) if name.startswith(MARKER)), None)
    switch = [f"flush chain {POLICY_TABLE} {name}\n" for name in sorted(hooks)]
    switch.append(_block(hooked))
    switch += [f"delete chain {POLICY_TABLE} {marker}\n"] if marker else []
    switch += [rest, _marker(text)]
    wanted = {one.name for one in hooked}
    old = {
        kind: {name for name in names if name not in wanted and name != marker}
        for kind, names in kept.items()
        if kind in KINDS
    }
    counting = {name for _, name in _COUNTING.findall(rest)}
    strange = {
        kind: {name for name in present.get(COUNT_TABLE, {}).get(kind, ()) if name not in counting} for kind in KINDS
    }
    tidy = _removal(POLICY_TABLE, old) + _removal(COUNT_TABLE, strange)
    prepare = "".join(map(_added, others)) + _block([one for one in others if one.kind != "set"])
    return Batch("".join(switch), clean, prepare, tidy)


def versioned(text: str, present: Present) -> str:
    """Return *text* with the names that it has, or would have, in the kernel, as one transaction for empty tables."""
    suffix = f"_{digest(text)[:8]}"
    names = present.get(POLICY_TABLE, {})
    again = any(name.endswith(f"{suffix}b") for kind in names.values() for name in kind)
    objects, rest = _parted(text)
    renamed = [_renamed(one, objects, f"{suffix}{'b' if again else 'a'}") for one in objects]
    return f"{REMOVAL.splitlines()[0]}\n{REMOVAL.splitlines()[1]}\n{_block(renamed)}{rest}"


def held(present: Present) -> str | None:
    """Return the version that the kernel says it holds; "?" for tables without one, None for no table."""
    if POLICY_TABLE not in present:
        return None
    chains = present[POLICY_TABLE].get("chain", set())
    return next((name.removeprefix(MARKER) for name in sorted(chains) if name.startswith(MARKER)), "?")


def garbage(present: Present) -> str:
    """Return what removes things of ours that nothing leads to: those of other versions than the one that holds."""
    policy = present.get(POLICY_TABLE, {})
    version = held(present)
    if version in (None, "?"):
        return ""
    names = {name for kind in KINDS for name in policy.get(kind, ())}
    ours = re.compile(rf"_{str(version)[:8]}[ab]$")
    suffixes = {match[0] for name in names if (match := re.search(r"_[0-9a-f]{8}[ab]$", name))}
    mine = sorted(suffix for suffix in suffixes if ours.fullmatch(suffix))
    if len(suffixes) <= 1 or len(mine) > 1:
        return ""
    stale = tuple(suffixes - set(mine))
    objects = {kind: {name for name in policy.get(kind, ()) if name.endswith(stale)} for kind in KINDS}
    return _removal(POLICY_TABLE, objects)


def _without(policy: Mapping[str, set[str]], removal: str) -> dict[str, set[str]]:
    gone = {line.split()[-1] for line in removal.splitlines() if line.startswith("delete")}
    return {kind: names - gone for kind, names in policy.items()}


def _removal(table: str, objects: Mapping[str, set[str]]) -> str:
    chains = sorted(objects.get("chain", ()))
    lines = [f"flush chain {table} {name}\n" for name in chains]
    for kind in KINDS:
        lines += [f"delete {kind} {table} {name}\n" for name in sorted(objects.get(kind, ()))]
    return "".join(lines)


def _is_hook(name: str) -> bool:
    return not name.startswith(MARKER) and re.search(r"_[0-9a-f]{8}[ab]$", name) is None


def _marker(text: str) -> str:
    return f"add chain {POLICY_TABLE} {MARKER}{digest(text)}\n"


def _added(one: _Object) -> str:
    """Return a set as a command of its own, and nothing for other objects.

    Within the block of a table, `auto-merge` has nft 1.0.6 read all elements of all sets first: as long again.
    """
    if one.kind != "set":
        return ""
    return "".join((f"add set {POLICY_TABLE} {one.name} {{\n", *one.lines[1:-1], "}\n"))


def _block(objects: list[_Object]) -> str:
    if not objects:
        return ""
    lines = "".join("".join(one.lines) for one in objects)
    return f"table {POLICY_TABLE} {{\n{lines}}}\n"


def _renamed(one: _Object, objects: list[_Object], suffix: str) -> _Object:
    """Return *one* with the suffix at each name but those of the chains on hooks."""
    names = {other.name for other in objects if not other.hooked}

    def name(match: re.Match[str]) -> str:
        return f"{match[0]}{suffix}" if match[2] in names else match[0]

    new = one.name if one.hooked else f"{one.name}{suffix}"
    leading = 1 if one.kind == "set" else len(one.lines)  # elements of a set lead nowhere, and there are many
    renamed = [_REFERENCE.sub(name, line) for line in one.lines[:leading]]
    return _Object(one.kind, new, (*renamed, *one.lines[leading:]))


def _parted(text: str) -> tuple[list[_Object], str]:
    """Part a version into the objects of the policy table and the rest."""
    before, opening, inside = text.partition(f"table {POLICY_TABLE} {{\n")
    if not opening or before != "".join(REMOVAL.splitlines(keepends=True)[:2]):
        raise NftError("a version is not in the form in which versions are written")
    objects: list[_Object] = []
    lines: list[str] = []
    header: re.Match[str] | None = None
    rows = iter(inside.splitlines(keepends=True))
    for line in rows:
        if header is None:
            if line == "}\n":
                break
            header = _OBJECT.match(line)
            if header is None:
                raise NftError(f"a version has an unknown line: {line.strip()[:100]}")
        lines.append(line)
        if line == "\t}\n":
            objects.append(_Object(header[1], header[2], tuple(lines)))
            header, lines = None, []
    return objects, "".join(rows)


def abridged(text: str) -> str:
    """Leave out all but the first lines of each list of elements, and what would have nft read those of other sets."""
    return "".join(_abridged(text))


def _abridged(text: str) -> Iterator[str]:
    left = -1  # lines of elements still to keep; negative outside
    for line in text.splitlines(keepends=True):
        if left >= 0:
            if line.strip() == "}":
                left = -1
            elif left == 0:
                continue
            else:
                left -= 1
        elif line == AUTO_MERGE:
            continue
        elif line.strip().startswith("elements = {") and "}" not in line:
            left = CHECKED_LINES
        yield line
