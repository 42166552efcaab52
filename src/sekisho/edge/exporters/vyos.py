"""Commands for VyOS 1.4 and later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from sekisho.edge.policy import PORT, Policy
from sekisho.edge.prefix import BITS

from .terms import Effect, Export, Filter, Term, common_limits, filters

__all__ = ["export"]

FIRST_RULE = 2500
_ACTION = {Effect.PERMIT: "return", Effect.WATCH: "return", Effect.DROP: "drop", Effect.REJECT: "reject"}
_GROUP = {4: "network-group", 6: "ipv6-network-group"}


def export(policy: Policy, today: date) -> Export:
    """Groups, one chain of rules for each group of interfaces, and the jumps to it from the forward filter."""
    made = filters(policy, today)
    lines: list[str] = []
    for one in made:
        lines += _clearing(one)
    for one in made:
        lines += _interfaces(one)
        for family in BITS:
            lines += _chain(one, family)
            lines += _jump(one, family)
    return Export({"sekisho-vyos.txt": "\n".join(lines) + "\n"}, _LIMITS + common_limits(policy, today))


_LIMITS = (
    "For VyOS 1.4 (sagitta) and later; 1.3 has another tree (`firewall name`), and these commands fail there.",
    "Paste in configuration mode, then `commit-confirm 10`, look, and `confirm`; `delete` of what is not there yet "
    "only warns.",
    "Rules 2500 and on of the forward filters are taken. A rule before them that accepts lets port 25 past.",
    "Chains say `default-action return`: the default of VyOS is drop, and would cut the lines off.",
    '`reject` answers with ICMP port unreachable, so that clients say "connection refused".',
    "Port 25 of the router itself is not filtered: only what it forwards.",
)


def _set(words: str) -> str:
    return f"set firewall {words}"


def _name(one: Filter) -> str:
    return f"SEKISHO-{one.number}"


def _clearing(one: Filter) -> Iterator[str]:
    yield f"delete firewall group interface-group {_name(one)}"
    for family in BITS:
        yield f"delete firewall ipv{family} forward filter rule {FIRST_RULE + one.number}"
        yield f"delete firewall ipv{family} name {_name(one)}"
        for group in one.groups(family):
            yield f"delete firewall group {_GROUP[family]} {_group_name(one, group.name, family)}"


def _group_name(one: Filter, group: str, family: int) -> str:
    return f"SEKISHO-{one.number}-V{family}-{group.upper()}"


def _interfaces(one: Filter) -> Iterator[str]:
    for interface in one.interfaces:
        yield _set(f"group interface-group {_name(one)} interface '{interface}'")


def _chain(one: Filter, family: int) -> Iterator[str]:
    for group in one.groups(family):
        for prefix in group.prefixes:
            name = _group_name(one, group.name, family)
            yield _set(f"group {_GROUP[family]} {name} network '{prefix.network}'")
    chain = f"ipv{family} name {_name(one)}"
    yield _set(f"{chain} default-action 'return'")
    for number, term in enumerate(one.terms[family], 1):
        yield from (_set(f"{chain} rule {number * 10} {words}") for words in _rule(one, term, family))


def _rule(one: Filter, term: Term, family: int) -> Iterator[str]:
    yield f"action '{_ACTION[term.effect]}'"
    yield f"description '{term.name}'"
    yield "protocol 'tcp'"
    yield f"destination port '{PORT}'"
    for side, group in (("source", term.source), ("destination", term.destination)):
        if group is not None:
            yield f"{side} group network-group '{_group_name(one, group.name, family)}'"


def _jump(one: Filter, family: int) -> Iterator[str]:
    rule = f"ipv{family} forward filter rule {FIRST_RULE + one.number}"
    yield _set(f"{rule} action 'jump'")
    yield _set(f"{rule} jump-target '{_name(one)}'")
    yield _set(f"{rule} inbound-interface group '{_name(one)}'")
    yield _set(f"{rule} protocol 'tcp'")
    yield _set(f"{rule} destination port '{PORT}'")
