"""Random policies that fit together, and packets near everything in them. For the kernel's tests as well."""

from __future__ import annotations

from datetime import date, timedelta
from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from sekisho.config import Endpoint, Network
from sekisho.edge.model import Packet
from sekisho.edge.policy import (
    AccessNetwork,
    Action,
    Announcement,
    Exemption,
    Explainer,
    Line,
    Phase,
    Policy,
    ServerGroup,
    SourceCheck,
    Wave,
)
from sekisho.edge.prefix import BITS, Prefix, address_of

TODAY = date(2027, 2, 1)
INTERFACES = ("ppp*", "eth1", "eth2", "vlan7")
ENTRIES = ("ppp0", "ppp17", "eth1", "eth2", "vlan7", "eth0", "vlan70")  # eth0 and vlan70 belong to no access network
LINES_4 = [str(p) for net in ("198.51.100.0/24", "203.0.113.0/24") for p in ip_network(net).subnets(new_prefix=26)]
LINES_6 = [f"2001:db8:{n:x}00::/40" for n in range(1, 9)]
SERVERS = ("192.0.2.25", "192.0.2.24/29", "192.0.2.32/28", "2001:db8::25", "2001:db8:0:40::/64")
PORTS = (24, 25, 26, 110, 143, 465, 587, 993, 995, 2525, 40000)


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


@st.composite
def access_networks(draw: st.DrawFn, number: int, groups: list[str]) -> AccessNetwork:
    """The network number *number*; its addresses are its own."""
    lines = LINES_4[2 * number : 2 * number + 2] + LINES_6[2 * number : 2 * number + 2]
    families = draw(st.sampled_from((slice(0, 4), slice(0, 2), slice(2, 4), slice(1, 3))))
    shared = draw(st.sampled_from((None, None, 16, 1024)))
    return AccessNetwork(
        name=f"net-{number}",
        product=f"Example {number}",
        interfaces=tuple(draw(st.lists(st.sampled_from(INTERFACES), min_size=1, max_size=2, unique=True))),
        prefixes=networks(tuple(lines[families])),
        line=draw(st.sampled_from((Line.DYNAMIC, Line.DYNAMIC, Line.DYNAMIC, Line.FIXED))),
        phase=draw(st.sampled_from(list(Phase))),
        action=draw(st.sampled_from(list(Action))),
        allowed=tuple(draw(st.lists(st.sampled_from(groups), unique=True))) if groups else (),
        own_space=draw(st.booleans()),
        relay_only=tuple(draw(st.one_of(st.just([]), st.lists(st.sampled_from(groups), max_size=1)))) if groups else (),
        delegated_prefix=draw(st.sampled_from((48, 56, 64))),
        shared_ports=shared,
        psid_offset=0 if shared is None else draw(st.sampled_from((0, 4))),
        guard=draw(st.booleans()),
        triangular=draw(st.booleans()),
    )


@st.composite
def exemptions(draw: st.DrawFn, own: list[Prefix]) -> tuple[Exemption, ...]:
    made: dict[Prefix, Exemption] = {}
    for prefix in draw(st.lists(st.sampled_from(own), max_size=6)):
        bits = draw(st.integers(prefix.length + 1, BITS[prefix.family]))
        first = prefix.first | draw(st.integers(0, 7)) << (BITS[prefix.family] - bits)
        part = Prefix(prefix.family, first & ~((1 << (BITS[prefix.family] - bits)) - 1), bits)
        if prefix.covers(part):
            expires = draw(st.sampled_from((None, TODAY, TODAY + timedelta(30))))
            made[part] = Exemption(part, f"owner of {part}", "own mail server", expires)
    return tuple(made.values())


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A policy without mistakes as of `TODAY`."""
    groups = [
        ServerGroup(name=f"group-{n}", prefixes=networks((text,)))
        for n, text in enumerate(draw(st.lists(st.sampled_from(SERVERS), max_size=3, unique=True)))
    ]
    count = draw(st.integers(1, 4))
    names = [group.name for group in groups]
    nets = tuple(draw(access_networks(number, names)) for number in range(count))
    everybody = tuple(network.name for network in nets)
    waves = [
        Wave(name=f"wave {days}", networks=(draw(st.sampled_from(everybody)),), phase=phase, on=TODAY + timedelta(days))
        for days, phase in draw(st.dictionaries(st.integers(-40, 40), st.sampled_from(list(Phase)), max_size=3)).items()
    ]
    own = [Prefix.of(prefix) for network in nets for prefix in network.prefixes]
    explainers = ((":2525", ":2525"), ("192.0.2.26:2525", "[2001:db8::26]:2525"), (":2525", "[2001:db8::26]:25"))
    ipv4, ipv6 = draw(st.sampled_from(explainers))
    return Policy(
        name="random",
        management=networks(("192.0.2.240/28",)) if draw(st.booleans()) else (),
        own_space=networks(("192.0.2.0/24", "198.51.100.0/25", "2001:db8::/36")),
        servers=tuple(groups),
        networks=nets,
        exemptions=draw(exemptions(own)),
        waves=tuple(waves),
        announcements=(Announcement(networks=everybody, on=TODAY - timedelta(90), text="told"),),
        explainer=Explainer(ipv4=Endpoint.parse(ipv4), ipv6=Endpoint.parse(ipv6)),
        reasons={"en": "spam"},
        source_check=draw(st.sampled_from(list(SourceCheck))),
        mark_shift=draw(st.sampled_from((28, 0, 12))),
    )


def prefixes_of(policy: Policy) -> list[Prefix]:
    """Every prefix that *policy* names."""
    rows: list[Network] = [*policy.management, *policy.own_space]
    for group in policy.servers:
        rows += group.prefixes
    for network in policy.networks:
        rows += network.prefixes
    return [Prefix.of(row) for row in rows] + [exemption.prefix for exemption in policy.exemptions]


@st.composite
def packets(draw: st.DrawFn, policy: Policy) -> Packet:
    """A packet at, or one address beside, a boundary of something in *policy*; most often towards port 25."""
    family = draw(st.sampled_from((4, 6)))
    edges = {int(ip_address("192.0.2.1" if family == 4 else "2001:db8:ffff::1:1"))}
    for prefix in prefixes_of(policy):
        if prefix.family == family:
            edges |= {prefix.first - 1, prefix.first, prefix.first + 1, prefix.last, prefix.last + 1}
    ordered = sorted(edge for edge in edges if 0 < edge < 1 << BITS[family])
    return Packet(
        iif=draw(st.sampled_from(ENTRIES)),
        source=address_of(family, draw(st.sampled_from(ordered))),
        destination=address_of(family, draw(st.sampled_from(ordered))),
        protocol=draw(st.sampled_from(("tcp", "tcp", "tcp", "udp"))),
        sport=draw(st.sampled_from((25, 40000, 587))),
        dport=draw(st.one_of(st.just(25), st.sampled_from(PORTS))),
        syn_ack=draw(st.booleans()),
        later_fragment=draw(st.sampled_from((False, False, False, True))),
        route_back=draw(st.booleans()),
        unplaced=draw(st.booleans()),
        mark=draw(st.integers(0, 15)),
    )
