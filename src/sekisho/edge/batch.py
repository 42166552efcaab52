"""From the rules that are wanted to the transaction that brings the kernel there. Pure.

The text of a version says what should be. Given as it is, it deletes the policy table and makes it anew: correct before
and after, but not for a packet that is under way at that moment. Such a packet has entered a chain of the old table,
and the maps of a deleted table answer nothing any more: it falls through all rules and leaves (measured: about one
packet in 100,000 under continuous fire). So the table is replaced in place: chains, sets and maps that both versions
have are emptied and filled in the transaction, and at each moment answer for the old version or the new one. What only
the old version has keeps its elements in that transaction, and is removed in a second one, when no packet can be in it
any more; from the first one on, nothing leads there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .state import digest

__all__ = [
    "COUNT_TABLE",
    "MARKER",
    "POLICY_TABLE",
    "REMOVAL",
    "TABLES",
    "Batch",
    "Present",
    "abridged",
    "anew",
    "batch",
]

POLICY_TABLE: Final = "inet sekisho_edge"
COUNT_TABLE: Final = "inet sekisho_count"
TABLES: Final = (POLICY_TABLE, COUNT_TABLE)
MARKER: Final = "edge_version_"
REMOVAL: Final = "".join(f"add table {table}\ndelete table {table}\n" for table in TABLES)
CHECKED_LINES: Final = 8  # of a list of elements
KINDS: Final = ("map", "set", "chain", "counter", "quota", "limit")  # in the order of removal: users before used

Present = Mapping[str, Mapping[str, set[str]]]
"""What the kernel holds: names of objects by table and kind, as `listing.names` tells them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is given to nft.

    Fields:
        replace: one transaction: before it the old version holds, after it the new one.
        tidy: a second one, for what the first left without use; may be empty.
    """

    replace: str
    tidy: str = ""


def batch(text: str, present: Present) -> Batch:
    """Return how to put the version *text* in the place of what is *present*."""
    name, wanted = digest(text), set(_named(text))
    first: list[str] = []
    last: list[str] = []
    tidy: list[tuple[str, str, str]] = []
    for table, objects in present.items():
        if f"add table {table}" not in text:
            last.append(f"delete table {table}\n")
            continue
        in_place = f"delete table {table}\n" in text
        text = text.replace(f"delete table {table}\n", "")
        for kind in KINDS:
            for one in sorted(objects.get(kind, ())):
                is_wanted = (table, one) in wanted
                if kind == "chain" and one.startswith(MARKER):
                    last.append(f"delete chain {table} {one}\n")
                    continue
                if kind == "chain" and (in_place or not is_wanted):
                    first.append(f"flush chain {table} {one}\n")
                elif kind in ("map", "set") and in_place and is_wanted:
                    first.append(f"flush {kind} {table} {one}\n")
                if not is_wanted:
                    tidy.append((kind, table, one))
    order = sorted(tidy, key=lambda one: KINDS.index(one[0]))
    end = "".join(f"delete {kind} {table} {name}\n" for kind, table, name in order)
    return Batch("".join((*first, _ended(text), *last, _marker(name))), end)


def anew(text: str) -> str:
    """Return the transaction that makes both tables anew, counters and all."""
    return REMOVAL + _ended(text) + _marker(digest(text))


def _marker(name: str) -> str:
    return f"add chain {POLICY_TABLE} {MARKER}{name}\n"


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _named(text: str) -> Iterator[tuple[str, str]]:
    """Yield table and name of each chain, set, map and the like that *text* declares, on its own or inside a table."""
    table = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["add"] and words[1] in KINDS and len(words) > 4:
            yield f"{words[2]} {words[3]}", words[4]
        elif words[:1] == ["table"] and words[-1] == "{":
            table = f"{words[1]} {words[2]}"
        elif len(words) == 3 and words[0] in KINDS and words[2] == "{":
            yield table, words[1]


def abridged(text: str) -> str:
    """Leave out all but the first lines of each list of elements."""
    kept = []
    left = -1  # lines of elements still to keep; negative outside
    for line in text.splitlines(keepends=True):
        if left >= 0:
            if line.strip() == "}":
                left = -1
            elif left == 0:
                continue
            else:
                left -= 1
        elif line.strip().startswith("elements = {") and "}" not in line:
            left = CHECKED_LINES
        kept.append(line)
    return "".join(kept)
