"""What a blocking policy says, as values: who may send by port 25 where, since when, and who said so.

`edge.load` reads one from a file, `edge.model` says what it means for a packet, `edge.compile` turns it into rules.
Nothing here reads a clock: *today* is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from sekisho.config import Endpoint, Network

from .prefix import Address, Prefix, address_text

VERSION: Final = 1
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]{0,62}\*?")
DELEGATED_PREFIXES: Final = (48, 52, 56, 60, 64, 128)
PORT: Final = 25
MAX_QUARANTINED: Final = 10_000
UNTOUCHED_PORTS: Final = (110, 143, 465, 587, 993, 995)


class Phase(StrEnum):
    """How far the roll-out has come in a network."""

    OFF = "off"
    OBSERVE = "observe"
    EXPLAIN = "explain"
    ENFORCE = "enforce"


class Action(StrEnum):
    """What `Phase.ENFORCE` does: no answer, or ICMP "administratively prohibited". Never a TCP reset."""

    DROP = "drop"
    REJECT = "reject"


class Line(StrEnum):
    """Whether the network's lines keep their addresses by contract. Those of a fixed network are all exempt."""

    DYNAMIC = "dynamic"
    FIXED = "fixed"


class SourceCheck(StrEnum):
    """When an exemption counts: always for its network's interfaces, or only if the route back agrees (RFC 3704)."""

    ROUTE = "route"
    INTERFACE = "interface"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerGroup:
    """Mail servers that access networks may reach by port 25."""

    name: str
    prefixes: tuple[Network, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessNetwork:
    """The lines of one product.

    Fields:
        interfaces: names, a trailing ``*`` standing for any rest.
        prefixes: source addresses of its lines, of both families.
        phase: before any wave; ask `Policy.phase_of`.
        allowed: names of server groups.
        own_space: the policy's own address space may be reached as well.
        relay_only: names of server groups that are the only destinations, for exempt hosts too; `allowed` and
            `own_space` then say nothing.
        delegated_prefix: bits of the IPv6 prefix that one line has.
        shared_ports: ports in a row of one line behind a shared IPv4 address, a power of two; None: no sharing.
        psid_offset: leading port bits that do not tell lines apart (RFC 7597 §5.1); 0 for contiguous blocks.
        guard: port 25 from sources outside the prefixes is dropped, once the phase is explain or enforce.
        triangular: SYN+ACK from foreign port 25 towards lines that may not send there is dropped likewise.
    """

    name: str
    product: str
    interfaces: tuple[str, ...]
    prefixes: tuple[Network, ...]
    line: Line = Line.DYNAMIC
    phase: Phase = Phase.OFF
    action: Action = Action.DROP
    allowed: tuple[str, ...] = ()
    own_space: bool = False
    relay_only: tuple[str, ...] = ()
    delegated_prefix: int = 56
    shared_ports: int | None = None
    psid_offset: int = 0
    guard: bool = True
    triangular: bool = False

    @property
    def port_mask(self) -> int:
        """The bits of a source port that tell lines behind one IPv4 address apart; 0 when the address does."""
        if self.shared_ports is None:
            return 0
        return (0xFFFF >> self.psid_offset) & ~(self.shared_ports - 1)

    def holds(self, address: Address) -> bool:
        return any(address in prefix for prefix in self.prefixes if prefix.version == address.version)

    def line_of(self, source: Address, port: int = 0) -> str:
        """Name the line a packet came from: "192.0.2.7", "2001:db8:0:100::/56" or "203.0.113.9:4096-5119".

        With a port-set offset the first block of the line's ports stands for all of them.
        """
        if source.version == 6:
            shift = 128 - self.delegated_prefix
            return f"{address_text(6, int(source) >> shift << shift)}/{self.delegated_prefix}"
        if self.shared_ports is None:
            return str(source)
        first = port & self.port_mask
        if self.psid_offset:
            first |= 1 << (16 - self.psid_offset)
        return f"{source}:{first}-{first + self.shared_ports - 1}"


class Exemption(NamedTuple):
    """A host or prefix that may use port 25, and who answers for it. A tuple: there are tens of thousands.

    Fields:
        expires: the last day on which it counts; None: until it is taken out.
        note: where it was written, as "file:line", for messages; two that differ in it alone are equal.
    """

    prefix: Prefix
    owner: str
    reason: str
    expires: date | None = None
    note: str = ""

    def __eq__(self, other: object) -> bool:
        return self[:4] == other[:4] if isinstance(other, Exemption) else NotImplemented

    def __hash__(self) -> int:
        return hash(self[:4])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """From the day *on*, these networks are in this phase."""

    name: str
    networks: tuple[str, ...]
    phase: Phase
    on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """The users of these networks were told on that day. `text` names what they were told: an address or reference."""

    networks: tuple[str, ...]
    on: date
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """Where port 25 is sent in the explain phase. An endpoint without host means this machine. None: not redirected."""

    ipv4: Endpoint | None = None
    ipv6: Endpoint | None = None


class QuarantineAction(StrEnum):
    """What happens to lines in the quarantine set."""

    OFF = "off"
    LIMIT = "limit"
    GARDEN = "garden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """What happens to lines that behave worm-like for long; see `quarantine`.

    Fields:
        after: seconds of worm-like behavior before the watcher proposes a line.
        most_lines: in the set at once.
        connections_per_second: TCP connections that a line may open; those it has go on.
        packets_per_second: packets of protocols other than TCP.
        garden_port: of this router, where port 80 of its lines is sent.
        reachable: further addresses that its lines reach unhindered, such as the portal.
    """

    action: QuarantineAction = QuarantineAction.OFF
    after: float = 600.0
    most_lines: int = 1000
    connections_per_second: int = 2
    packets_per_second: int = 200
    garden_port: int | None = None
    reachable: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The whole of it. Made by `edge.load`, which refuses what does not fit together.

    Fields:
        management: networks of the operator that are never cut off: always allowed as destinations.
        reasons: why port 25 is closed, by language ("ja", "en"), for the explainer, portal and logs.
        mark_shift: the lowest of the four mark bits that the rules use on port 25 traffic of access networks.
        log_group: netlink group of the samples (NFLOG).
        log_rate: samples each second, for each network.
    """

    version: int = VERSION
    name: str
    management: tuple[Network, ...] = ()
    own_space: tuple[Network, ...] = ()
    servers: tuple[ServerGroup, ...] = ()
    networks: tuple[AccessNetwork, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    waves: tuple[Wave, ...] = ()
    announcements: tuple[Announcement, ...] = ()
    explainer: Explainer = Explainer()
    quarantine: Quarantine = Quarantine()
    reasons: Mapping[str, str] = field(default_factory=dict)
    source_check: SourceCheck = SourceCheck.ROUTE
    mark_shift: int = 28
    log_group: int = 525
    log_rate: int = 20

    def network(self, name: str) -> AccessNetwork:
        """Raises KeyError."""
        for network in self.networks:
            if network.name == name:
                return network
        raise KeyError(name)

    def server_group(self, name: str) -> ServerGroup:
        """Raises KeyError."""
        for group in self.servers:
            if group.name == name:
                return group
        raise KeyError(name)

    def network_of(self, source: Address) -> AccessNetwork | None:
        """The network whose prefixes hold *source*; prefixes of two networks never overlap."""
        return next((network for network in self.networks if network.holds(source)), None)

    def line_of(self, source: Address, port: int = 0) -> str | None:
        """Name the line a packet came from; None for a source of no access network."""
        network = self.network_of(source)
        return None if network is None else network.line_of(source, port)

    def phase_of(self, network: AccessNetwork | str, today: date) -> Phase:
        """The phase of *network* on *today*: that of the latest wave that has come, else its own."""
        name = network if isinstance(network, str) else network.name
        come = [wave for wave in self.waves if name in wave.networks and wave.on <= today]
        if come:
            return max(come, key=lambda wave: wave.on).phase
        return self.network(name).phase

    def changes_of(self, network: AccessNetwork | str) -> Iterator[tuple[date, Phase]]:
        """The waves of *network*, by date."""
        name = network if isinstance(network, str) else network.name
        yield from sorted((wave.on, wave.phase) for wave in self.waves if name in wave.networks)

    def next_change(self, today: date) -> date | None:
        """The day after *today* on which rules made today would be wrong: a wave comes or an exemption ends."""
        days = [wave.on for wave in self.waves if wave.on > today]
        days += [e.expires + timedelta(1) for e in self.exemptions if e.expires is not None and e.expires >= today]
        return min(days, default=None)


def expiring(policy: Policy, today: date, within_days: int) -> tuple[Exemption, ...]:
    """The exemptions that end within *within_days* from *today*, the soonest first; ended ones come first of all."""
    until = today + timedelta(within_days)
    ending = [(e.expires, n) for n, e in enumerate(policy.exemptions) if e.expires is not None and e.expires <= until]
    return tuple(policy.exemptions[n] for _, n in sorted(ending))
