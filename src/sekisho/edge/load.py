"""Read a policy from its TOML file and the CSV file of exemptions that it may name; report every mistake at once.

What the file may say is declared here; whether it fits together is asked in `edge.checks`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from sekisho.config import (
    DAY,
    MINUTE,
    ConfigError,
    ConfigErrors,
    Duration,
    Endpoint,
    Network,
    between,
    load,
    setting,
)
from sekisho.config.locate import locate

from .checks import Mistake, mistakes_of
from .policy import (
    MAX_QUARANTINED,
    VERSION,
    AccessNetwork,
    Action,
    Announcement,
    Exemption,
    Explainer,
    Line,
    Phase,
    Policy,
    Quarantine,
    QuarantineAction,
    ServerGroup,
    SourceCheck,
    Wave,
)
from .prefix import Prefix

MAX_EXEMPTIONS: Final = 500_000
MAX_CSV_OCTETS: Final = 64 * 1024 * 1024
COLUMNS: Final = ("prefix", "owner", "reason", "expires")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _day(text: str) -> tuple[str, str] | None:
    try:
        if _DAY.fullmatch(text):
            date.fromisoformat(text)
            return None
    except ValueError:
        pass
    return f'"{text[:40]}" is not a date', 'Write year, month and day: "2027-04-01".'


def _version(number: int) -> tuple[str, str] | None:
    return None if number == VERSION else (f"version {number} is unknown", f"This program reads version {VERSION}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServersFile:
    """Mail servers that access networks may reach by port 25, as a named group."""

    prefixes: tuple[Network, ...] = setting(prose="Their addresses.", example=["192.0.2.25", "2001:db8::25"])


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkFile:
    """The lines of one product: where they enter, which addresses they have, and what happens to their port 25."""

    product: str = setting("", "The product's name, as customers know it.")
    interfaces: tuple[str, ...] = setting(
        prose='Where its lines enter this router. A trailing `*` stands for any rest: "ppp*".',
        example=["ppp*"],
    )
    prefixes: tuple[Network, ...] = setting(
        prose="Addresses of its lines, IPv4 and IPv6.", example=["198.51.100.0/24", "2001:db8:100::/40"]
    )
    line: Line = setting(
        Line.DYNAMIC,
        "`fixed`: its lines keep their addresses by contract and are exempt as a whole. `dynamic`: any other, also a "
        "campus on which each server is registered as an exemption.",
    )
    phase: Phase = setting(Phase.OFF, "How far the roll-out has come, until a wave says otherwise.")
    action: Action = setting(
        Action.DROP, "What `enforce` does: no answer, or ICMP administratively prohibited (clients give up at once)."
    )
    allowed: tuple[str, ...] | None = setting(None, "Server groups it may reach by port 25. Omitted: all groups.")
    own_space: bool = setting(False, "It may also reach any address of the policy's `own_space` by port 25.")
    relay_only: tuple[str, ...] = setting(
        (), "Server groups that are the only destinations, for exempt hosts too. Takes the place of `allowed`."
    )
    delegated_prefix: int = setting(56, "Bits of the IPv6 prefix that one line has: 48, 52, 56, 60, 64 or 128.")
    shared_ports: int | None = setting(
        None, "Contiguous source ports of one line, when lines share an IPv4 address (MAP-E, CGN): a power of two."
    )
    psid_offset: int = setting(
        0, "Leading port bits that do not tell lines apart (RFC 7597 §5.1); 4 is usual with MAP-E, 0 with blocks."
    )
    guard: bool = setting(
        True, "Drop port 25 from sources outside the prefixes, once the phase is `explain` or `enforce`."
    )
    triangular: bool = setting(
        False,
        "Drop SYN+ACK from foreign port 25 towards its lines likewise: the answer to a forged packet that left by "
        "another network.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExemptionFile:
    """A host or prefix that may use port 25."""

    prefix: str = setting(prose="Its addresses, within an access network.", example="198.51.100.25")
    owner: str = setting(prose="Who answers for it.", example="Example Trading, contract 4711")
    reason: str = setting(prose="Why it needs port 25.", example="own mail server")
    expires: str = setting("", 'The last day on which it counts: "2027-03-31". Empty: until it is taken out.')


@dataclass(frozen=True, kw_only=True, slots=True)
class WaveFile:
    """A step of the roll-out: from a day on, networks are in a phase."""

    name: str = setting(prose="What you call it.", example="first lines")
    networks: tuple[str, ...] = setting(prose="Names of access networks.", example=["home"])
    phase: Phase = setting(prose="Their phase from that day on.", example="observe")
    on: str = setting(prose="The first day of it.", example="2027-02-01", check=_day)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnouncementFile:
    """A record that users were told. Without one, `enforce` is refused."""

    networks: tuple[str, ...] = setting(prose="Names of access networks.", example=["home"])
    on: str = setting(prose="The day they were told.", example="2027-01-10", check=_day)
    text: str = setting(prose="What they were told: an address or reference.", example="https://isp.example/notice/25")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainerFile:
    """Where port 25 is sent in the explain phase. An endpoint without host is this router itself."""

    ipv4: Endpoint | None = setting(None, "For IPv4.", example=":2525")
    ipv6: Endpoint | None = setting(None, "For IPv6.", example=":2525")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantineFile:
    """What happens to lines that look infected for long. Lines that are exempt, or fixed, are never among them."""

    action: QuarantineAction = setting(
        QuarantineAction.OFF,
        "`limit`: such a line opens only so many connections. `garden`: it reaches the mail servers, the management "
        "networks, `reachable` and DNS alone, and its port 80 is sent to `garden_port`.",
    )
    after: Duration = setting(
        Duration(10 * MINUTE),
        "The watcher proposes a line once it has behaved worm-like over this long.",
        check=between(0, DAY),
    )
    most_lines: int = setting(1000, "Lines in quarantine at once.", check=between(1, MAX_QUARANTINED))
    connections_per_second: int = setting(
        2, "TCP connections that a line may open; those it has go on untouched.", check=between(1, 10_000)
    )
    packets_per_second: int = setting(
        200,
        "Packets of a line that are not TCP (a telephone call is 50, a video call some hundreds); in the garden, "
        "its questions to DNS.",
        check=between(1, 1_000_000),
    )
    garden_port: int | None = setting(
        None, "Port of this router where a web server tells these lines what has happened.", check=between(1, 65535)
    )
    reachable: tuple[Network, ...] = setting(
        (), "Further addresses that they reach unhindered, such as the portal.", example=["192.0.2.80"]
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReasonsFile:
    """Why port 25 is closed, in the words that users and support staff read."""

    ja: str = setting("", "In Japanese.")
    en: str = setting("", "In English.")


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyFile:
    """A port 25 policy."""

    version: int = setting(prose="Version of this format.", example=1, check=_version)
    name: str = setting(prose="What you call this policy.", example="Example Net")
    management: tuple[Network, ...] = setting(
        (), "Networks of your own staff and monitoring: always reachable, and never within an access network."
    )
    own_space: tuple[Network, ...] = setting((), "All of your address space, for networks with `own_space = true`.")
    exemptions_file: Path | None = setting(
        None, "A CSV file of exemptions with the columns prefix, owner, reason, expires.", example="exemptions.csv"
    )
    source_check: SourceCheck = setting(
        SourceCheck.ROUTE,
        "`route`: an exemption counts only when the route back to its address leaves by the interface the packet came "
        "in by, so that a neighbor cannot forge it. `interface`: for any interface of its network, where routes differ "
        "by direction.",
    )
    mark_shift: int = setting(
        28,
        "Lowest of four packet mark bits that the rules use, on port 25 traffic of access networks alone.",
        check=between(0, 28),
    )
    log_group: int = setting(525, "Netlink group to which samples of caught packets go.", check=between(1, 65535))
    log_rate: int = setting(20, "Samples each second, for each network.", check=between(1, 10_000))
    explainer: ExplainerFile = setting(ExplainerFile(), "Where port 25 is sent in the explain phase.")
    quarantine: QuarantineFile = setting(QuarantineFile(), "What happens to lines that look infected for long.")
    reasons: ReasonsFile = setting(ReasonsFile(), "Why port 25 is closed.")
    servers: dict[str, ServersFile] = setting({}, "Mail servers that may be reached, by group.")
    networks: dict[str, NetworkFile] = setting(prose="Access networks, by name.")
    exemptions: tuple[ExemptionFile, ...] = setting((), "Hosts that may use port 25.")
    waves: tuple[WaveFile, ...] = setting((), "The roll-out by date.")
    announcements: tuple[AnnouncementFile, ...] = setting((), "What users were told.")


def load_policy(path: Path, *, today: date, force: bool = False) -> Policy:
    """Read the policy at *path*.

    Args:
        today: decides which exemptions have expired and which phases hold.
        force: enforce without an announcement.

    Raises:
        ConfigErrors: with every mistake found: file, line, key, problem and remedy.
    """
    if not path.is_file():
        raise ConfigErrors([ConfigError(str(path), "", "no such file", "Name the policy file.")])
    document = load(PolicyFile, path, {})
    text = path.read_text(encoding="utf-8-sig")
    return _Assembly(path, text, document, today, force).policy()


class _Assembly:
    """Turns a file that reads well into a policy that fits together."""

    def __init__(self, path: Path, text: str, document: PolicyFile, today: date, force: bool) -> None:
        self.file = str(path)
        self.lines = locate(text)
        self.document = document
        self.today = today
        self.force = force
        self.errors: list[ConfigError] = []
        self.days: dict[str, date | None] = {"": None}  # read before: thousands of exemptions end on the same days

    def policy(self) -> Policy:
        """Raises ConfigErrors."""
        document = self.document
        policy = Policy(
            version=document.version,
            name=document.name,
            management=document.management,
            own_space=document.own_space,
            servers=tuple(ServerGroup(name=name, prefixes=of.prefixes) for name, of in document.servers.items()),
            networks=tuple(self._network(name, of) for name, of in document.networks.items()),
            exemptions=(*self._exemptions(), *self._listed()),
            waves=tuple(
                Wave(name=w.name, networks=w.networks, phase=w.phase, on=date.fromisoformat(w.on))
                for w in document.waves
            ),
            announcements=tuple(
                Announcement(networks=a.networks, on=date.fromisoformat(a.on), text=a.text)
                for a in document.announcements
            ),
            explainer=Explainer(ipv4=document.explainer.ipv4, ipv6=document.explainer.ipv6),
            quarantine=self._quarantine(),
            reasons={
                language: words
                for language, words in (("ja", document.reasons.ja), ("en", document.reasons.en))
                if words
            },
            source_check=document.source_check,
            mark_shift=document.mark_shift,
            log_group=document.log_group,
            log_rate=document.log_rate,
        )
        self.errors += [self._error(mistake) for mistake in mistakes_of(policy, self.today, force=self.force)]
        if self.errors:
            raise ConfigErrors(sorted(self.errors, key=lambda e: (e.file != self.file, e.file, e.line or 0)))
        return policy

    def _network(self, name: str, of: NetworkFile) -> AccessNetwork:
        return AccessNetwork(
            name=name,
            product=of.product or name,
            interfaces=of.interfaces,
            prefixes=of.prefixes,
            line=of.line,
            phase=of.phase,
            action=of.action,
            allowed=tuple(self.document.servers) if of.allowed is None else of.allowed,
            own_space=of.own_space,
            relay_only=of.relay_only,
            delegated_prefix=of.delegated_prefix,
            shared_ports=of.shared_ports,
            psid_offset=of.psid_offset,
            guard=of.guard,
            triangular=of.triangular,
        )

    def _quarantine(self) -> Quarantine:
        of = self.document.quarantine
        return Quarantine(
            action=of.action,
            after=float(of.after),
            most_lines=of.most_lines,
            connections_per_second=of.connections_per_second,
            packets_per_second=of.packets_per_second,
            garden_port=of.garden_port,
            reachable=of.reachable,
        )

    def _exemptions(self) -> Iterator[Exemption]:
        """Those in the policy file itself."""
        for number, row in enumerate(self.document.exemptions):
            line = self.lines.get(("exemptions", number), 1)
            exemption = self._exemption([row.prefix, row.owner, row.reason, row.expires], self.file, line)
            if exemption is not None:
                yield exemption

    def _listed(self) -> Iterator[Exemption]:
        """Those of the CSV file."""
        path = self.document.exemptions_file
        if path is None:
            return
        try:
            if path.stat().st_size > MAX_CSV_OCTETS:
                self._list_error(str(path), "is larger than 64 MiB", "Is this the right file?")
                return
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from self._rows(csv.reader(file), str(path))
        except OSError as error:
            line = self.lines.get(("exemptions_file",))
            self.errors.append(
                ConfigError(
                    self.file,
                    "exemptions_file",
                    f"{path} cannot be read: {error.strerror}",
                    "Check its path, owner and mode.",
                    line,
                )
            )
        except UnicodeDecodeError:
            self._list_error(str(path), "is not UTF-8", "Save it as UTF-8.")

    def _rows(self, rows: Iterator[list[str]], file: str) -> Iterator[Exemption]:
        parse, days = Prefix.parse, self.days
        try:
            head = next(rows, None)
            if head is None:
                return
            if tuple(cell.strip().lower() for cell in head) != COLUMNS:
                remedy = f"The first line is: {','.join(COLUMNS)}"
                self._list_error(file, "the columns are not named", remedy, 1)
                return
            for row in rows:
                line: int = rows.line_num  # type: ignore[attr-defined]  # a csv.reader, whose type has no public name
                try:  # as nearly all rows are; whatever is unusual about one is looked at below
                    text, owner, reason, last_day = row
                    usual = Exemption(parse(text), owner.strip(), reason.strip(), days[last_day], f"{file}:{line}")
                except (ValueError, KeyError):
                    pass
                else:
                    yield usual
                    continue
                if not row or row[0].startswith("#"):
                    continue
                if len(row) != len(COLUMNS):
                    self._list_error(
                        file,
                        f"{len(row)} columns instead of {len(COLUMNS)}",
                        "Quote text that has commas; leave `expires` empty for none.",
                        line,
                    )
                    continue
                exemption = self._exemption(row, file, line)
                if exemption is not None:
                    yield exemption
        except csv.Error as error:
            self._list_error(file, f"not valid CSV: {error}", "Correct this line.", rows.line_num)  # type: ignore[attr-defined]

    def _exemption(self, row: list[str], file: str, line: int) -> Exemption | None:
        prefix_text, owner, reason, expires_text = row
        try:
            prefix = Prefix.parse(prefix_text.strip())
        except ValueError as error:
            self._list_error(file, str(error), 'Write "192.0.2.0/24", "2001:db8::/56", or one address.', line, "prefix")
            return None
        try:
            expires = self.days[expires_text]
        except KeyError:
            wrong = _day(expires_text.strip())
            if wrong is not None:
                self._list_error(file, wrong[0], wrong[1], line, "expires")
                return None
            expires = self.days[expires_text] = date.fromisoformat(expires_text.strip())
        return Exemption(prefix, owner.strip(), reason.strip(), expires, f"{file}:{line}")

    def _list_error(self, file: str, problem: str, remedy: str, line: int | None = None, key: str = "") -> None:
        if len(self.errors) < 1000:
            self.errors.append(ConfigError(file, f"exemption.{key}" if key else "exemption", problem, remedy, line))

    def _error(self, mistake: Mistake) -> ConfigError:
        if mistake.note:
            file, _, line = mistake.note.rpartition(":")
            return ConfigError(file, mistake.key, mistake.problem, mistake.remedy, int(line))
        at = mistake.place
        while at and at not in self.lines:
            at = at[:-1]
        return ConfigError(self.file, mistake.key, mistake.problem, mistake.remedy, self.lines.get(at))
