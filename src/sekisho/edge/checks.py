"""Whether a policy fits together: what no rule set may be made from, whoever wrote it.

Asked when a policy is read from its file, and again by the helper that has the right to change rules.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from .policy import DELEGATED_PREFIXES, INTERFACE, NAME, AccessNetwork, Exemption, Line, Phase, Policy, QuarantineAction
from .prefix import BITS, Prefix, Ranges

MAX_NETWORKS: Final = 1000
MAX_TEXT: Final = 2000
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that does not fit.

    Fields:
        place: keys from the root of the policy file; a number is a place in an array, from 0.
        note: "file:line" of an exemption; then it tells where, not the place.
    """

    place: tuple[str | int, ...]
    problem: str
    remedy: str
    note: str = ""

    @property
    def key(self) -> str:
        text = ""
        for part in self.place:
            text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
        return text


def mistakes_of(policy: Policy, today: date, *, force: bool = False) -> list[Mistake]:
    """Everything that does not fit in *policy* as of *today*. With *force*, enforcing unannounced is no mistake."""
    found = list(_names(policy))
    if found:
        return found  # what follows would only repeat it
    for check in (_texts, _servers, _networks, _interfaces, _overlaps, _exemptions, _own_hosts, _explaining):
        found += check(policy, today)
    found += _waves(policy)
    found += _quarantine(policy)
    if not force:
        found += _unannounced(policy, today)
    return found


def phases_from(policy: Policy, network: AccessNetwork, today: date) -> list[tuple[date, Phase]]:
    """The phase of *network* on *today* and each one that it will come to."""
    coming = [(on, phase) for on, phase in policy.changes_of(network) if on > today]
    return [(today, policy.phase_of(network, today)), *coming]


def _names(policy: Policy) -> Iterator[Mistake]:
    remedy = "Use small letters, digits and hyphens, a letter first, 31 at most."
    groups = {group.name for group in policy.servers}
    networks = {network.name for network in policy.networks}
    for table, names in (
        ("servers", [group.name for group in policy.servers]),
        ("networks", [network.name for network in policy.networks]),
    ):
        for name in names:
            if NAME.fullmatch(name) is None:
                yield Mistake((table, name), f"{name[:40]!r} cannot be a name", remedy)
            if names.count(name) > 1:
                yield Mistake((table, name), f"{name!r} is there twice", "Give each its own name.")
        if len(names) > MAX_NETWORKS:
            yield Mistake((table,), f"more than {MAX_NETWORKS}", "Put prefixes together.")
    if not policy.networks:
        yield Mistake(("networks",), "no access network", "Write [networks.NAME].")
    for network in policy.networks:
        for key, used in (("allowed", network.allowed), ("relay_only", network.relay_only)):
            for name in used:
                if name not in groups:
                    known = f"Known: {', '.join(sorted(groups))}." if groups else "Write [servers.NAME]."
                    yield Mistake(("networks", network.name, key), f"no server group is called {name[:40]!r}", known)
    mentions = [("waves", number, wave.networks) for number, wave in enumerate(policy.waves)]
    mentions += [("announcements", number, row.networks) for number, row in enumerate(policy.announcements)]
    for table, number, mentioned in mentions:
        for name in mentioned:
            if name not in networks:
                known = f"Known: {', '.join(sorted(networks))}."
                yield Mistake((table, number, "networks"), f"no access network is called {name[:40]!r}", known)


def _texts(policy: Policy, today: date) -> Iterator[Mistake]:
    rows: list[tuple[tuple[str | int, ...], str]] = [(("name",), policy.name)]
    rows += [(("networks", network.name, "product"), network.product) for network in policy.networks]
    rows += [(("waves", n, "name"), wave.name) for n, wave in enumerate(policy.waves)]
    rows += [(("announcements", n, "text"), row.text) for n, row in enumerate(policy.announcements)]
    rows += [(("reasons", language), words) for language, words in policy.reasons.items()]
    for place, text in rows:
        if _CONTROL.search(text) or len(text) > MAX_TEXT:
            yield Mistake(place, "has control characters or is too long", f"One line of {MAX_TEXT} characters at most.")
        elif not text.strip():
            yield Mistake(place, "is empty", "Say it in a few words.")


def _servers(policy: Policy, today: date) -> Iterator[Mistake]:
    rows: list[tuple[tuple[str | int, ...], tuple[object, ...]]] = []
    for group in policy.servers:
        if not group.prefixes:
            yield Mistake(("servers", group.name, "prefixes"), "no addresses", "Name them, or take the group out.")
        rows.append((("servers", group.name, "prefixes"), group.prefixes))
    rows.append((("management",), policy.management))
    rows.append((("own_space",), policy.own_space))
    for place, prefixes in rows:
        if any(getattr(prefix, "prefixlen", 1) == 0 for prefix in prefixes):
            yield Mistake(place, "covers the whole Internet", 'That would switch the policy off; use phase = "off".')


def _networks(policy: Policy, today: date) -> Iterator[Mistake]:
    for network in policy.networks:
        here = ("networks", network.name)
        if not network.prefixes:
            yield Mistake((*here, "prefixes"), "no addresses", "Name the addresses of its lines.")
        if not network.interfaces:
            yield Mistake((*here, "interfaces"), "no interfaces", "Name the interfaces where its lines enter.")
        for prefix in network.prefixes:
            if prefix.prefixlen == 0:
                yield Mistake((*here, "prefixes"), f"{prefix} covers everybody", "Name the addresses of its lines.")
            elif prefix.version == 6 and prefix.prefixlen > network.delegated_prefix:
                yield Mistake(
                    (*here, "prefixes"),
                    f"{prefix} is smaller than the /{network.delegated_prefix} of one line",
                    f"Set delegated_prefix to {_fitting(prefix.prefixlen)}.",
                )
        if network.delegated_prefix not in DELEGATED_PREFIXES:
            choices = ", ".join(str(bits) for bits in DELEGATED_PREFIXES)
            yield Mistake((*here, "delegated_prefix"), f"{network.delegated_prefix} cannot be used", f"Use {choices}.")
        ports = network.shared_ports
        if ports is not None and (ports & (ports - 1) or not 16 <= ports <= 32768):
            yield Mistake((*here, "shared_ports"), f"{ports} is no power of two from 16 to 32768", "Count once more.")
        elif ports is not None and not 0 <= network.psid_offset <= 16 - ports.bit_length():
            yield Mistake((*here, "psid_offset"), f"{network.psid_offset} leaves no bits for lines", "Use 0 to 6.")
        elif ports is None and network.psid_offset:
            yield Mistake((*here, "psid_offset"), "given without shared_ports", "Set shared_ports as well.")
        if network.own_space and not policy.own_space:
            yield Mistake((*here, "own_space"), "the policy names no own_space", "Write own_space = [...] at the top.")


def _fitting(length: int) -> int:
    return next(bits for bits in DELEGATED_PREFIXES if bits >= length)


def _interfaces(policy: Policy, today: date) -> Iterator[Mistake]:
    remedy = "Letters, digits and _ . / : @ -, with one * at the end at most."
    names: dict[str, str] = {}
    for network in policy.networks:
        for interface in network.interfaces:
            if INTERFACE.fullmatch(interface) is None:
                place = ("networks", network.name, "interfaces")
                yield Mistake(place, f"{interface[:40]!r} cannot be an interface", remedy)
            names.setdefault(interface, network.name)
    for pattern, owner in names.items():
        if not pattern.endswith("*"):
            continue
        for other in names:
            if other != pattern and other.startswith(pattern[:-1]):
                yield Mistake(
                    ("networks", owner, "interfaces"),
                    f"{pattern!r} covers {other!r}, so it is not clear which of them counts",
                    "Name interfaces so that none covers another; two networks may share the very same name.",
                )


def _overlaps(policy: Policy, today: date) -> Iterator[Mistake]:
    """Two access networks, or two prefixes of one, that hold the same address; management within an access network."""
    rows = sorted((Prefix.of(prefix), network.name) for network in policy.networks for prefix in network.prefixes)
    before: tuple[Prefix, str] | None = None
    for prefix, name in rows:
        if before is not None and before[0].covers(prefix):
            yield Mistake(
                ("networks", name, "prefixes"),
                f"{prefix} lies within {before[0]} of network {before[1]!r}",
                "Each address belongs to one network, once.",
            )
        else:
            before = (prefix, name)


def _exemptions(policy: Policy, today: date) -> Iterator[Mistake]:
    ranges = {family: _owned(policy, family) for family in BITS}
    seen: dict[Prefix, Exemption] = {}
    for number, exemption in enumerate(policy.exemptions):
        wrong = _wrong_exemption(exemption, ranges[exemption.prefix.family], today)
        twin = seen.setdefault(exemption.prefix, exemption)
        if wrong is None and twin is not exemption:
            wrong = (f"{exemption.prefix} is exempt already ({twin.owner}, {twin.note})", "Keep one of the two.")
        if wrong is not None:
            yield Mistake(("exemptions", number), *wrong, note=exemption.note)


def _owned(policy: Policy, family: int) -> tuple[list[int], list[int]]:
    """First and last addresses of the access networks' prefixes, sorted; neighbors stay apart."""
    rows = sorted(Prefix.of(p) for network in policy.networks for p in network.prefixes if p.version == family)
    return [prefix.first for prefix in rows], [prefix.last for prefix in rows]


def _wrong_exemption(exemption: Exemption, owned: tuple[list[int], list[int]], today: date) -> tuple[str, str] | None:
    prefix, owner = exemption.prefix, exemption.owner
    if not owner:
        return f"{prefix} has no owner", "Name who answers for it."
    if not exemption.reason:
        return f"{prefix} has no reason", "Say why it needs port 25."
    if len(owner) > 200 or len(exemption.reason) > MAX_TEXT:
        return f"{prefix}: owner or reason is too long", "Keep it short."
    if not (owner.isprintable() and exemption.reason.isprintable()):
        return f"{prefix}: owner or reason has control characters", "Keep each on one line."
    if exemption.expires is not None and exemption.expires < today:
        return (
            f"the exemption of {prefix} ended on {exemption.expires}; its owner is {owner}",
            "Ask the owner; extend it or take it out.",
        )
    firsts, lasts = owned
    at = bisect_right(firsts, prefix.first) - 1
    if at < 0 or prefix.last > lasts[at]:
        return f"{prefix} lies in no access network", "Correct the address, or take it out."
    if prefix.first == firsts[at] and prefix.last == lasts[at]:
        return f"{prefix} is all of a network's prefix", 'Make it a network with line = "fixed", or phase = "off".'
    return None


def _own_hosts(policy: Policy, today: date) -> Iterator[Mistake]:
    """Own mail servers and the management network must not be cut off by the policy itself."""
    exempt: dict[int, Ranges] = {}  # made when the first host lies within a network, which is rare
    hosts: list[tuple[tuple[str | int, ...], str, Prefix]] = [
        (("servers", group.name, "prefixes"), f"server group {group.name!r}", Prefix.of(p))
        for group in policy.servers
        for p in group.prefixes
    ]
    hosts += [(("management",), "the management network", Prefix.of(p)) for p in policy.management]
    for network in policy.networks:
        if network.line is Line.FIXED or all(phase is Phase.OFF for _, phase in phases_from(policy, network, today)):
            continue
        prefixes = [Prefix.of(p) for p in network.prefixes]
        for place, what, host in hosts:
            inside = next((p for p in prefixes if p.covers(host) or host.covers(p)), None)
            if inside is None:
                continue
            if host.family not in exempt:
                exempt[host.family] = Ranges.of(host.family, (e.prefix for e in policy.exemptions))
            if not network.relay_only and _is_within(host, exempt[host.family]):
                continue
            remedy = (
                "Give it a network without relay_only."
                if network.relay_only
                else f"Exempt {host}, or correct {inside}."
            )
            yield Mistake(place, f"{host} of {what} lies within network {network.name!r} and would be cut off", remedy)


def _is_within(prefix: Prefix, ranges: Ranges) -> bool:
    at = bisect_right(ranges.firsts, prefix.first) - 1
    return at >= 0 and prefix.last <= ranges.lasts[at]


def _explaining(policy: Policy, today: date) -> Iterator[Mistake]:
    for family, endpoint in ((4, policy.explainer.ipv4), (6, policy.explainer.ipv6)):
        key = f"ipv{family}"
        if endpoint is not None:
            wrong = _wrong_endpoint(endpoint.host, endpoint.port, endpoint.path, family)
            if wrong:
                yield Mistake(("explainer", key), wrong, f'Write ":2525", or an IPv{family} address and a port.')
            continue
        for network in policy.networks:
            if network.line is Line.FIXED or not any(p.version == family for p in network.prefixes):
                continue
            if any(phase is Phase.EXPLAIN for _, phase in phases_from(policy, network, today)):
                yield Mistake(
                    ("explainer", key),
                    f"network {network.name!r} comes to the explain phase, but its IPv{family} has no explainer",
                    f'Write {key} = ":2525" in [explainer].',
                )
                break


def _wrong_endpoint(host: str, port: int, path: str | None, family: int) -> str:
    if path is not None or not 0 < port < 65536:
        return "is no address with a port"
    if not host:
        return ""
    try:
        own = Prefix.parse(host)
    except ValueError:
        return f"{host[:60]!r} is not an address"
    return "" if own.family == family and own.length == BITS[family] else f"{host} is no IPv{family} address"


def _waves(policy: Policy) -> Iterator[Mistake]:
    days: dict[tuple[str, date], int] = {}
    for number, wave in enumerate(policy.waves):
        if not wave.networks:
            yield Mistake(("waves", number, "networks"), "no networks", "Name those that change on this day.")
        for name in wave.networks:
            if days.setdefault((name, wave.on), number) != number or wave.networks.count(name) > 1:
                yield Mistake(
                    ("waves", number, "on"), f"network {name!r} changes twice on {wave.on}", "Keep one of the waves."
                )


def _quarantine(policy: Policy) -> Iterator[Mistake]:
    told = policy.quarantine
    if told.action is QuarantineAction.GARDEN and told.garden_port is None:
        yield Mistake(
            ("quarantine", "garden_port"),
            "a garden without a port to send its lines to",
            'Name the port of a web server on this router, or write action = "limit".',
        )
    if any(prefix.prefixlen == 0 for prefix in told.reachable):
        yield Mistake(("quarantine", "reachable"), "covers the whole Internet", 'Write action = "off" for that.')


def _unannounced(policy: Policy, today: date) -> Iterator[Mistake]:
    for network in policy.networks:
        if network.line is Line.FIXED:
            continue
        told = [row.on for row in policy.announcements if network.name in row.networks]
        for on, phase in phases_from(policy, network, today):
            if phase is not Phase.ENFORCE or any(day <= on for day in told):
                continue
            wave = next((n for n, w in enumerate(policy.waves) if w.on == on and network.name in w.networks), None)
            yield Mistake(
                ("networks", network.name, "phase") if wave is None else ("waves", wave, "phase"),
                f"network {network.name!r} is to be blocked on {on}, but nobody was told before",
                "Announce it and record that in [[announcements]], or use --force.",
            )
            break
