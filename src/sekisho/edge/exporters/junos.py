"""Firewall filters for Junos, as text for `load replace`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from sekisho.edge.policy import PORT, Policy
from sekisho.edge.prefix import BITS

from .terms import Effect, Export, Filter, Term, common_limits, filters

__all__ = ["export"]

_FAMILY = {4: "inet", 6: "inet6"}
_PROTOCOL = {4: "protocol", 6: "payload-protocol"}  # finds TCP behind IPv6 extension headers, as `next-header` does not
_THEN = {
    Effect.PERMIT: ("accept",),
    Effect.WATCH: ("count {name}", "accept"),
    Effect.DROP: ("count {name}", "discard"),
    Effect.REJECT: ("count {name}", "reject administratively-prohibited"),
}


def export(policy: Policy, today: date) -> Export:
    """Prefix lists and filters, each with a `replace:` tag, and the interfaces that use them."""
    made = filters(policy, today)
    lines = ["policy-options {"]
    for one in made:
        lines += (f"    {line}" for line in _lists(one))
    lines.append("}")
    lines.append("firewall {")
    for family in BITS:
        lines.append(f"    family {_FAMILY[family]} {{")
        for one in made:
            lines += (f"        {line}" for line in _filter(one, family))
        lines.append("    }")
    lines.append("}")
    return Export(
        {"sekisho-junos.conf": "\n".join(lines) + "\n", "sekisho-junos-interfaces.set": _interfaces(made)},
        _LIMITS + common_limits(policy, today),
    )


_LIMITS = (
    "Load with `load replace`, then `commit confirmed 10`, look, and `commit`: it takes itself back otherwise.",
    "The port is matched as `destination-port`: `port 25` would match answers of mail servers inside as well.",
    "Every filter ends with a term that accepts all else; without it all else is discarded.",
    "An interface has one input filter of each family: where there is one already, use `input-list` with this one "
    "last, since its last term accepts.",
    "Interface names need their unit; the file of set commands takes names as the policy has them, with unit 0 where "
    "none is given. Names with a trailing * are left to you, such as in a dynamic profile.",
    "`payload-protocol` is for MX and later platforms; others have `next-header`, which TCP behind an extension header "
    "gets past.",
)


def _name(one: Filter, family: int) -> str:
    return f"sekisho-{one.number}-v{family}"


def _list_name(one: Filter, group: str, family: int) -> str:
    return f"{_name(one, family)}-{group}"


def _lists(one: Filter) -> Iterator[str]:
    for family in BITS:
        for group in one.groups(family):
            yield f"replace: prefix-list {_list_name(one, group.name, family)} {{"
            for prefix in group.prefixes:
                yield f"    {prefix.network};"
            yield "}"


def _filter(one: Filter, family: int) -> Iterator[str]:
    yield f"replace: filter {_name(one, family)} {{"
    for term in one.terms[family]:
        yield f"    term {term.name} {{"
        yield "        from {"
        yield from (f"            {line}" for line in _from(one, term, family))
        yield "        }"
        yield "        then {"
        for action in _THEN[term.effect]:
            yield f"            {action.format(name=f'sekisho-{term.name}')};"
        yield "        }"
        yield "    }"
    yield "    term all-else {"
    yield "        then accept;"
    yield "    }"
    yield "}"


def _from(one: Filter, term: Term, family: int) -> Iterator[str]:
    for side, group in (("source", term.source), ("destination", term.destination)):
        if group is not None:
            yield f"{side}-prefix-list {{"
            yield f"    {_list_name(one, group.name, family)};"
            yield "}"
    yield f"{_PROTOCOL[family]} tcp;"
    yield f"destination-port {PORT};"


def _interfaces(made: tuple[Filter, ...]) -> str:
    lines = []
    for one in made:
        for interface in one.interfaces:
            if interface.endswith("*"):
                names = f"{_name(one, 4)} (inet), {_name(one, 6)} (inet6)"
                lines.append(f"# {interface}: input filters {names}")
                continue
            name, _, unit = interface.partition(".")
            for family in BITS:
                place = f"interfaces {name} unit {unit or '0'} family {_FAMILY[family]}"
                lines.append(f"set {place} filter input {_name(one, family)}")
    return "\n".join(lines) + "\n"
