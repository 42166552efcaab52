"""What the kernel holds, as `nft -j` lists it: brought into one form, compared, and searched for rules of others.

Pure: documents in, findings out. Handles, counters and the order of elements do not count; elements of interval sets
are compared as ranges, so that merging by nft makes no difference; elements that packets add are left out.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from .nft import NftError

__all__ = ["Difference", "Foreign", "Table", "compare", "elements_of", "foreign", "names", "tables"]

Json: TypeAlias = Any
TableName: TypeAlias = tuple[str, str]
Range: TypeAlias = tuple[int, int, int]  # family length in bits, first, last

EXAMPLES: Final = 5  # elements named in a difference
MAIL: Final = 25


@dataclass(slots=True)
class Table:
    """One table: its chains with their rules, its sets with their elements."""

    chains: dict[str, str] = field(default_factory=dict)
    rules: dict[str, list[str]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    elements: dict[str, list[Json]] = field(default_factory=dict)
    """Of sets whose elements the policy alone makes."""

    def leave_out(self, names: Iterable[str]) -> None:
        """Forget chains and sets of these names."""
        for name in names:
            for part in (self.chains, self.rules, self.sets, self.elements):
                part.pop(name, None)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in the kernel that is not as it was generated."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Foreign:
    """A rule of somebody else that meets port 25.

    Fields:
        bypasses: it may take packets past our rules, or change what they see; otherwise it is only worth knowing.
    """

    bypasses: bool
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def objects(document: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield kind and content of each object in the output of `nft -j list …`.

    Raises:
        NftError: it is no such output.
    """
    try:
        for row in json.loads(document)["nftables"]:
            for kind, value in row.items():
                if kind != "metainfo":
                    yield kind, value
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NftError(f"nft listed what cannot be read: {error}") from error


def names(document: str) -> dict[str, set[str]]:
    """Return the names of chains, sets, maps and the like in a listing of one table, by kind."""
    found: dict[str, set[str]] = {}
    for kind, value in objects(document):
        if kind not in ("table", "rule", "element"):
            found.setdefault(kind, set()).add(str(value.get("name")))
    return found


def tables(document: str, *, ignore: Iterable[str] = ()) -> dict[TableName, Table]:
    """Bring a listing into the form that is compared; chains whose name begins with one of *ignore* are left out."""
    skip = tuple(ignore)
    found: dict[TableName, Table] = {}
    for kind, value in objects(document):
        family = value.get("family", "")
        if kind == "table":
            found.setdefault((family, value["name"]), Table())
            continue
        table = found.setdefault((family, value.get("table", "")), Table())
        name = str(value.get("name", ""))
        if kind == "rule":
            table.rules.setdefault(value["chain"], []).append(_plain(value.get("expr", []), value.get("comment")))
        elif kind == "chain" and not (skip and name.startswith(skip)):
            table.chains[name] = _plain({key: part for key, part in value.items() if key != "handle"})
            table.rules.setdefault(name, [])
        elif kind in ("set", "map"):
            told = {key: part for key, part in value.items() if key not in ("handle", "elem")}
            table.sets[name] = _plain(told)
            if not {"dynamic", "timeout"} & set(_listed(value.get("flags", []))):
                table.elements[name] = value.get("elem", [])
        elif kind in ("counter", "quota", "limit"):
            table.sets[name] = kind
    return found


def _listed(value: Json) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _plain(value: Json, comment: str | None = None) -> str:
    return json.dumps([_without_counts(value), comment], sort_keys=True)


def _without_counts(value: Json) -> Json:
    if isinstance(value, dict):
        return {
            key: {} if key == "counter" and isinstance(part, dict) else _without_counts(part)
            for key, part in value.items()
            if key != "used"
        }
    if isinstance(value, list):
        return [_without_counts(part) for part in value]
    return value


def compare(expected: Mapping[TableName, Table], found: Mapping[TableName, Table]) -> list[Difference]:
    """Say in what *found* differs from *expected*."""
    told: list[Difference] = []
    for key in sorted({*expected, *found}):
        where = f"table {' '.join(key)}"
        if key not in found:
            told.append(Difference(where, "is missing"))
        elif key not in expected:
            told.append(Difference(where, "should not be there"))
        else:
            told += _compare_tables(where, expected[key], found[key])
    return told


def _compare_tables(where: str, expected: Table, found: Table) -> Iterator[Difference]:
    for what, ours, theirs in (("chain", expected.chains, found.chains), ("set", expected.sets, found.sets)):
        for name in sorted({*ours, *theirs}):
            if name not in theirs:
                yield Difference(where, f"{what} {name} is missing")
            elif name not in ours:
                yield Difference(where, f"{what} {name} should not be there")
            elif ours[name] != theirs[name]:
                yield Difference(where, f"{what} {name} is declared otherwise")
    for name in sorted(expected.rules.keys() & found.rules.keys()):
        yield from _compare_rules(f"{where} chain {name}", expected.rules[name], found.rules[name])
    for name in sorted(expected.elements.keys() & found.elements.keys()):
        if expected.elements[name] != found.elements[name]:
            yield from _compare_elements(f"{where} set {name}", expected.elements[name], found.elements[name])


def _compare_rules(where: str, expected: Sequence[str], found: Sequence[str]) -> Iterator[Difference]:
    if len(expected) != len(found):
        yield Difference(where, f"has {len(found)} rules instead of {len(expected)}")
    for number, (ours, theirs) in enumerate(zip(expected, found, strict=False), 1):
        if ours != theirs:
            yield Difference(where, f"rule {number} is another one: {theirs[:200]}")
            return


def _compare_elements(where: str, expected: Sequence[Json], found: Sequence[Json]) -> Iterator[Difference]:
    (ours, our_ranges), (theirs, their_ranges) = _comparable(expected), _comparable(found)
    lacks = [*sorted(ours - theirs), *map(_shown, _without(our_ranges, their_ranges))]
    besides = [*sorted(theirs - ours), *map(_shown, _without(their_ranges, our_ranges))]
    for words, odd in (("lacks", lacks), ("has besides", besides)):
        if odd:
            more = f" and {len(odd) - EXAMPLES} more" if len(odd) > EXAMPLES else ""
            yield Difference(where, f"{words} {', '.join(odd[:EXAMPLES])}{more}")


def _comparable(elements: Sequence[Json]) -> tuple[set[str], list[Range]]:
    """Part the elements into addresses, as merged ranges in order, and the rest."""
    found: set[str] = set()
    ranges: list[Range] = []
    for element in elements_of(elements):
        as_range = _range(element)
        if as_range is None:
            found.add(json.dumps(_without_counts(element), sort_keys=True))
        else:
            ranges.append(as_range)
    return found, list(_merged(ranges))


def _without(ranges: Sequence[Range], others: Sequence[Range]) -> Iterator[Range]:
    """Yield the parts of *ranges* that are in none of *others*; both are merged and in order."""
    at = 0
    for bits, first, last in ranges:
        while at < len(others) and (others[at][0], others[at][2]) < (bits, first):
            at += 1
        for other in others[at:]:
            if (other[0], other[1]) > (bits, last) or first > last:
                break
            if other[1] > first:
                yield bits, first, other[1] - 1
            first = other[2] + 1
        if first <= last:
            yield bits, first, last


def elements_of(elements: Sequence[Json]) -> Iterator[Json]:
    """Yield the keys of a set's elements, without counters and timeouts; of a map, key and value."""
    for element in elements:
        if isinstance(element, dict) and "elem" in element:
            yield element["elem"]["val"]
        else:
            yield element


def _range(element: Json) -> Range | None:
    """Return an address, prefix or range of addresses as numbers; None for anything else."""
    try:
        if isinstance(element, str):
            bits, first = _number(element)
            return bits, first, first
        if isinstance(element, dict) and "prefix" in element:
            bits, first = _number(element["prefix"]["addr"])
            return bits, first, first | ((1 << (bits - int(element["prefix"]["len"]))) - 1)
        if isinstance(element, dict) and "range" in element:
            (bits, first), (_, last) = map(_number, element["range"])
            return bits, first, last
    except (OSError, TypeError, ValueError):
        pass
    return None


def _number(address: str) -> tuple[int, int]:
    if ":" in address:
        return 128, int.from_bytes(socket.inet_pton(socket.AF_INET6, address), "big")
    return 32, int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big")


def _merged(ranges: list[Range]) -> Iterator[Range]:
    ranges.sort()
    held: Range | None = None
    for one in ranges:
        if held is not None and one[0] == held[0] and one[1] <= held[2] + 1:
            held = (held[0], held[1], max(held[2], one[2]))
        else:
            if held is not None:
                yield held
            held = one
    if held is not None:
        yield held


def _shown(element: Range) -> str:
    bits, first, last = element
    family = socket.AF_INET if bits == 32 else socket.AF_INET6
    ends = [socket.inet_ntop(family, number.to_bytes(bits // 8, "big")) for number in (first, last)]
    return ends[0] if first == last else "-".join(ends)


BYPASSES: Final = {
    "dnat": "sends it elsewhere before our rules see where it was going",
    "redirect": "sends it to this machine before our rules see where it was going",
    "tproxy": "hands it to a program on this machine",
    "queue": "hands it to a program, which may let it pass by our rules",
    "fwd": "sends it out before any of our rules",
    "mangle": "may change the mark that our rules put on it",
}
ENDS: Final = {
    "accept": "accepts it; our rules see it all the same, since an accept ends its own chain only",
    "drop": "drops it before we count it",
    "reject": "refuses it before we count it",
}
ORDER: Final = ("ingress", "prerouting", "forward")  # of the hooks on a forwarded packet's way


def foreign(document: str, own: Iterable[TableName]) -> list[Foreign]:
    """Find rules of others that accept, drop or translate tcp/25 before the last of ours sees it.

    Args:
        document: `nft -j -t list ruleset`.
        own: our tables.
    """
    mine = set(own)
    last = (-1, 0)
    bases: dict[tuple[str, str, str], dict[str, Json]] = {}
    rules: dict[tuple[str, str, str], list[dict[str, Json]]] = {}
    for kind, value in objects(document):
        table = (value.get("family", ""), value.get("table", ""))
        if kind == "chain" and value.get("hook") in ORDER and value.get("family") not in ("arp", "bridge"):
            if table in mine:
                last = max(last, _place(value))
            else:
                bases[(*table, value["name"])] = value
        elif kind == "rule" and table not in mine:
            rules.setdefault((*table, value["chain"]), []).append(value)
    found: list[Foreign] = []
    for chain, base in sorted(bases.items()):
        if _place(base) <= last:
            found += _meeting(chain, base, rules)
            if base.get("policy") == "drop":
                found.append(Foreign(False, _where(chain, base), "drops whatever none of its rules accepts"))
    return found


def _place(base: Mapping[str, Json]) -> tuple[int, int]:
    return ORDER.index(base["hook"]), int(base.get("prio", 0))


def _where(chain: tuple[str, str, str], base: Mapping[str, Json]) -> str:
    return f"table {chain[0]} {chain[1]} chain {chain[2]} (hook {base['hook']}, priority {base.get('prio', 0)})"


def _meeting(
    start: tuple[str, str, str],
    base: Mapping[str, Json],
    rules: Mapping[tuple[str, str, str], Sequence[Mapping[str, Json]]],
) -> Iterator[Foreign]:
    waiting, seen = [start], {start}
    while waiting:
        chain = waiting.pop()
        for rule in rules.get(chain, ()):
            expressions = rule.get("expr", [])
            if not _may_be_mail(expressions):
                continue
            named = _names_mail(expressions)
            for expression in expressions:
                word = next(iter(expression), "")
                where = f"{_where(start, base)}, rule {rule.get('handle', '?')} in {chain[2]}"
                if word == "mangle" and expression[word].get("key", {}).get("meta", {}).get("key") != "mark":
                    continue
                if word in BYPASSES:
                    yield Foreign(True, where, f"meets tcp/25 and {BYPASSES[word]}")
                elif word in ENDS and named:
                    yield Foreign(False, where, f"meets tcp/25 and {ENDS[word]}")
                elif word == "xt" and base.get("type") == "nat":
                    yield Foreign(True, where, "is made by iptables and cannot be read; it may send tcp/25 elsewhere")
                elif word in ("jump", "goto"):
                    target = (chain[0], chain[1], str(expression[word].get("target")))
                    if target not in seen:
                        seen.add(target)
                        waiting.append(target)


def _ports(expressions: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    for expression in expressions:
        match = expression.get("match") if isinstance(expression, dict) else None
        if match and isinstance(match.get("left"), dict):
            payload = match["left"].get("payload", {})
            if payload.get("protocol") in ("tcp", "udp", "th") and payload.get("field") == "dport":
                yield match.get("op", "=="), match.get("right")


def _may_be_mail(expressions: Sequence[Json]) -> bool:
    for expression in expressions:
        match = expression.get("match") if isinstance(expression, dict) else None
        left = match.get("left") if match else None
        if not match or not isinstance(left, dict):
            continue
        if left.get("meta", {}).get("key") == "l4proto" and match.get("right") in (
            "udp",
            "icmp",
            "icmpv6",
            "ipv6-icmp",
        ):
            return False
        if left.get("payload", {}).get("protocol") in ("udp", "icmp", "icmpv6", "sctp", "esp", "ah"):
            return False
        if match.get("op") == "in" and "new" not in _listed_right(match) and left.get("ct", {}).get("key") == "state":
            return False  # established flows alone
    return all(_holds(right) != (op == "!=") for op, right in _ports(expressions))


def _listed_right(match: Mapping[str, Json]) -> list[str]:
    right = match.get("right")
    return [right] if isinstance(right, str) else [str(one) for one in right] if isinstance(right, list) else ["new"]


def _names_mail(expressions: Sequence[Json]) -> bool:
    return any(op != "!=" and _holds(right) for op, right in _ports(expressions))


def _holds(right: Json) -> bool:
    """Whether the right side of a match on a port holds 25; a named set may."""
    if isinstance(right, str):
        return right in ("smtp", "25") or right.startswith("@")
    if isinstance(right, dict):
        if "range" in right:
            return int(right["range"][0]) <= MAIL <= int(right["range"][1])
        if "set" in right:
            return any(_holds(one) for one in right["set"])
        return True
    return bool(right == MAIL)
