"""Files for `ipset restore`, `iptables-restore --noflush` and `ip6tables-restore --noflush`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from sekisho.edge.policy import PORT, Policy
from sekisho.edge.prefix import BITS

from .terms import Effect, Export, ExportError, Filter, common_limits, filters, tag

__all__ = ["export"]

_FAMILY = {4: "inet", 6: "inet6"}
_REJECT = {4: "icmp-admin-prohibited", 6: "icmp6-adm-prohibited"}


def export(policy: Policy, today: date) -> Export:
    """Sets with names of their own for each export, so that the old rules keep the old sets until they are gone."""
    made = filters(policy, today)
    mark = tag(made)
    sets: list[str] = []
    for one in made:
        for interface in one.interfaces:
            if len(interface.rstrip("*")) > 15 or "/" in interface:
                raise ExportError(f"{interface!r} cannot be an interface of Linux")
        for family in BITS:
            sets += _sets(one, family, mark)
    files = {"sekisho.ipset": "\n".join(sets) + "\n"}
    for family, name in ((4, "sekisho.iptables"), (6, "sekisho.ip6tables")):
        files[name] = "\n".join(_table(made, family, mark)) + "\n"
    return Export(files, _LIMITS + common_limits(policy, today))


_LIMITS = (
    "In this order: `ipset restore < sekisho.ipset`, `iptables-restore --noflush < sekisho.iptables`, "
    "`ip6tables-restore --noflush < sekisho.ip6tables`. Each restore is one transaction of one family, so IPv4 and "
    "IPv6 change one after the other.",
    "Once, by hand: `iptables -I FORWARD -p tcp --dport 25 -j SEKISHO`, and the same with ip6tables. The files fill "
    "that chain and touch no other.",
    "Sets of earlier exports stay until you destroy them (`ipset list -n`, `ipset destroy NAME`).",
    "Only forwarded packets are filtered, not those to the router itself.",
)


def _set_name(one: Filter, number: int, family: int, mark: str) -> str:
    return f"sekisho-{mark}-{one.number}-{number}-v{family}"  # 31 octets at most


def _numbers(one: Filter, family: int) -> dict[str, int]:
    return {group.name: number for number, group in enumerate(one.groups(family))}


def _sets(one: Filter, family: int, mark: str) -> Iterator[str]:
    for number, group in enumerate(one.groups(family)):
        name = _set_name(one, number, family, mark)
        if len(name) > 31:
            raise ExportError("too many networks for the names of ipset")
        room = max(1024, len(group.prefixes))
        yield f"create {name} hash:net family {_FAMILY[family]} maxelem {room} -exist"
        yield f"flush {name}"
        for prefix in group.prefixes:
            yield f"add {name} {prefix} -exist"


def _table(made: tuple[Filter, ...], family: int, mark: str) -> Iterator[str]:
    yield "*filter"
    yield ":SEKISHO - [0:0]"
    for one in made:
        yield f":SEKISHO-{one.number} - [0:0]"
    for one in made:
        for interface in one.interfaces:
            pattern = f"{interface[:-1]}+" if interface.endswith("*") else interface
            yield f"-A SEKISHO -i {pattern} -p tcp -m tcp --dport {PORT} -j SEKISHO-{one.number}"
    for one in made:
        numbers = _numbers(one, family)
        for term in one.terms[family]:
            words = [f"-A SEKISHO-{one.number} -p tcp -m tcp --dport {PORT}"]
            for side, group in (("src", term.source), ("dst", term.destination)):
                if group is not None:
                    name = _set_name(one, numbers[group.name], family, mark)
                    words.append(f"-m set --match-set {name} {side}")
            words.append(f'-m comment --comment "{term.name}"')
            words.append(_target(term.effect, family))
            yield " ".join(words)
    yield "COMMIT"


def _target(effect: Effect, family: int) -> str:
    if effect is Effect.DROP:
        return "-j DROP"
    return f"-j REJECT --reject-with {_REJECT[family]}" if effect is Effect.REJECT else "-j RETURN"
