"""Access lists for Cisco IOS / IOS-XE and for IOS-XR."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from ipaddress import IPv4Network

from sekisho.edge.policy import PORT, Policy
from sekisho.edge.prefix import BITS, Prefix

from .terms import Effect, Export, Filter, Group, Term, common_limits, filters, tag

__all__ = ["export_ios", "export_iosxr"]


def export_ios(policy: Policy, today: date) -> Export:
    """IOS and IOS-XE: one extended list for IPv4, with object groups, and one for IPv6, without."""
    made = filters(policy, today)
    mark = tag(made)
    lines = [f"! sekisho {mark}: lists to be put in place of those of an earlier export"]
    for one in made:
        lines += _ios_ipv4(one, mark)
        lines += _ios_ipv6(one, mark)
    lines += _applied(made, mark, "ip access-group {name} in", "ipv6 traffic-filter {name} in")
    lines.append("end")
    return Export({"sekisho-ios.cfg": "\n".join(lines) + "\n"}, _IOS_LIMITS + common_limits(policy, today))


_IOS_LIMITS = (
    "Changing a list line by line is not atomic: each export has names of its own, so that the interfaces change from "
    "the old list to the new one; then remove the old lists and object groups.",
    "An interface has one list in each direction: where there is one already, join the two by hand.",
    "Every list ends with a permit for all else: without it, the implicit deny would cut the network off.",
    "IOS answers a denied packet with ICMP administratively prohibited, unless the interface has `no ip unreachables` "
    "and `no ipv6 unreachables`: drop and reject differ by that alone.",
    "Names with a trailing * cannot be given to `interface`: apply the lists to those interfaces, or to their "
    "virtual template.",
    "Object groups need IOS 12.4(20)T or later.",
)


def _list_name(one: Filter, family: int, mark: str) -> str:
    return f"SEKISHO-{mark.upper()}-{one.number}-V{family}"


def _ios_ipv4(one: Filter, mark: str) -> Iterator[str]:
    for group in one.groups(4):
        yield f"object-group network {_group_name(group, 4, mark)}"
        for prefix in group.prefixes:
            yield f" {_subnet(prefix)}"
    yield f"ip access-list extended {_list_name(one, 4, mark)}"
    for term in one.terms[4]:
        source, destination = (
            "any" if group is None else f"object-group {_group_name(group, 4, mark)}"
            for group in (term.source, term.destination)
        )
        yield f" remark {term.name}"
        yield f" {_verb(term)} tcp {source} {destination} eq {PORT}"
    yield " remark all else"
    yield " permit ip any any"


def _ios_ipv6(one: Filter, mark: str) -> Iterator[str]:
    yield f"ipv6 access-list {_list_name(one, 6, mark)}"
    for term in one.terms[6]:
        yield f" remark {term.name}"
        for source in _each(term.source):
            for destination in _each(term.destination):
                yield f" {_verb(term)} tcp {source} {destination} eq {PORT}"
    yield " remark all else"
    yield " permit ipv6 any any"


def _each(group: Group | None) -> list[str]:
    if group is None:
        return ["any"]
    return [f"{prefix.network}" for prefix in group.prefixes]


def _subnet(prefix: Prefix) -> str:
    """A member of an object group: these take a subnet mask, where entries would take a wildcard mask."""
    network = prefix.network
    assert isinstance(network, IPv4Network)
    if prefix.length == BITS[4]:
        return f"host {network.network_address}"
    return f"{network.network_address} {network.netmask}"


def _group_name(group: Group, family: int, mark: str) -> str:
    return f"SEKISHO-{mark.upper()}-{group.name.upper()}-V{family}"


def _verb(term: Term) -> str:
    return "permit" if term.effect in (Effect.PERMIT, Effect.WATCH) else "deny"


def _applied(made: tuple[Filter, ...], mark: str, *commands: str) -> Iterator[str]:
    for one in made:
        for interface in one.interfaces:
            if interface.endswith("*"):
                yield f"! interfaces {interface}: apply these two commands to each, or to their template"
                lead = "! "
            else:
                yield f"interface {interface}"
                lead = ""
            for family, command in zip(BITS, commands, strict=True):
                yield f"{lead} {command.format(name=_list_name(one, family, mark))}"


def export_iosxr(policy: Policy, today: date) -> Export:
    """IOS-XR: object groups for both families, prefix notation, sequence numbers."""
    made = filters(policy, today)
    mark = tag(made)
    lines = [f"! sekisho {mark}: load, then `commit confirmed 600`, look, and `commit`"]
    for one in made:
        for family in BITS:
            lines += _xr_list(one, family, mark)
    lines += _applied(made, mark, "ipv4 access-group {name} ingress", "ipv6 access-group {name} ingress")
    lines.append("end")
    return Export({"sekisho-iosxr.cfg": "\n".join(lines) + "\n"}, _XR_LIMITS + common_limits(policy, today))


_XR_LIMITS = (
    "A commit is atomic; `commit confirmed` takes it back by itself unless it is confirmed.",
    "An interface has one list of each family in each direction: where there is one already, join the two by hand.",
    "Names with a trailing * cannot be given to `interface`: apply the lists to those interfaces, or to their "
    "dynamic template.",
    "Object groups in lists need a line card that takes them (`compress level`); see the platform's guide.",
)


def _xr_list(one: Filter, family: int, mark: str) -> Iterator[str]:
    for group in one.groups(family):
        yield f"object-group network ipv{family} {_group_name(group, family, mark)}"
        for prefix in group.prefixes:
            yield f" {prefix.network}"
        yield "!"
    yield f"ipv{family} access-list {_list_name(one, family, mark)}"
    number = 10
    for term in one.terms[family]:
        source, destination = (
            "any" if group is None else f"net-group {_group_name(group, family, mark)}"
            for group in (term.source, term.destination)
        )
        yield f" {number} remark {term.name}"
        silent = " icmp-off" if term.effect is Effect.DROP else ""
        yield f" {number + 10} {_verb(term)} tcp {source} {destination} eq {PORT}{silent}"
        number += 20
    yield f" {number} remark all else"
    yield f" {number + 10} permit ipv{family} any any"
    yield "!"
