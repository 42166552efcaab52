"""The whole configuration: names the sections, and nothing else.

Each package declares its own settings beside the code they steer; this module alone knows them all, and the composition
in `worker` hands each part its own. Paths of the service that no setting names are derived here, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sekisho.accounts import AccountsSettings
from sekisho.autoconfig.settings import AutoconfigSettings, IncomingSettings
from sekisho.config import Duration, Endpoint, setting
from sekisho.delivery import DeliverySettings, LocalSettings, RouteSettings
from sekisho.guide.settings import GuideSettings
from sekisho.net.dns_settings import DnsSettings
from sekisho.net.settings import TlsSettings
from sekisho.policy import PolicySettings
from sekisho.queue import QueueSettings
from sekisho.server import ListenerSettings, RelaySettings
from sekisho.smtp import is_domain, to_a_labels
from sekisho.telemetry import LogSettings

from .portal_settings import PortalSettings

PORTS = {"submission": 587, "submissions": 465, "mx": 25}
"""Port of each kind of listener when its settings name no address (RFC 6409 §3.1, RFC 8314 §3.3, RFC 5321)."""

WIDEST_RELAY = {4: 8, 6: 19}
"""Prefix length of the largest network that somebody owns; a shorter one makes an open relay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSettings:
    """The service as a whole: its processes, its user, its directory."""

    directory: Path = setting(
        Path("/var/lib/sekisho"),
        "Where the service keeps everything: queue, accounts, logs, local mail, limits.",
    )
    user: str | None = setting(
        None,
        'User to become after the ports are bound; without it a start as root takes "sekisho". "root" keeps root.',
        example="sekisho",
    )
    group: str | None = setting(None, "Group to become; without it the user's own.", example="sekisho")
    workers: int = setting(0, "Mail processes; 0 means one for each core.")
    drain_timeout: Duration = setting(
        Duration(30.0), "When stopping, let transactions under way finish for this long.", reload=True
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenersSettings:
    """The services that clients connect to."""

    submission: ListenerSettings = setting(
        ListenerSettings(), "Port 587: mail clients, STARTTLS, AUTH before MAIL (RFC 6409)."
    )
    submissions: ListenerSettings = setting(
        ListenerSettings(), "Port 465: the same with TLS from the first octet (RFC 8314 §3.3)."
    )
    mx: ListenerSettings = setting(
        ListenerSettings(), "Port 25: mail for local domains from anywhere, and from listed networks to anywhere."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that can be configured."""

    hostname: str = setting(
        prose="Name of this server in greeting, certificates and trace headers; its DNS must lead here.",
        example="mail.example.jp",
    )
    language: Literal["ja", "en"] = setting(
        "ja", "Language of DSNs and settings cards where an account has none of its own.", reload=True
    )
    service: ServiceSettings = setting(ServiceSettings(), "The service as a whole.")
    tls: TlsSettings = setting(TlsSettings(), "Certificate and versions.")
    listener: ListenersSettings = setting(ListenersSettings(), "The services that clients connect to.")
    accounts: AccountsSettings = setting(AccountsSettings(), "Who may send.")
    policy: PolicySettings = setting(PolicySettings(), "How much, and under which addresses.")
    queue: QueueSettings = setting(QueueSettings(), "Where accepted mail waits.")
    delivery: DeliverySettings = setting(DeliverySettings(), "How mail leaves.")
    route: tuple[RouteSettings, ...] = setting((), "Smarthosts.", reload=True)
    local: LocalSettings = setting(LocalSettings(), "Domains whose mailboxes are here.")
    relay: RelaySettings = setting(RelaySettings(), "Relaying without AUTH.")
    dns: DnsSettings = setting(DnsSettings(), "Resolvers.")
    incoming: IncomingSettings = setting(IncomingSettings(), "Where mailboxes are read.")
    autoconfig: AutoconfigSettings = setting(AutoconfigSettings(), "What clients find by themselves.")
    guide: GuideSettings = setting(GuideSettings(), "What users are told.")
    portal: PortalSettings = setting(PortalSettings(), "The web pages of the service.")
    log: LogSettings = setting(LogSettings(), "What is written down.")

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What is wrong between settings that are well one by one: key, problem, remedy."""
        if "." not in self.hostname or self.hostname != self.hostname.lower() or not is_domain(self.hostname):
            yield (
                "hostname",
                f'"{self.hostname}" is not a full host name in lower case',
                "Use the name in DNS that clients connect to, such as mail.example.jp; other scripts as xn--….",
            )
        yield from self._local_problems()
        yield from self._route_problems()
        yield from self._address_problems()
        for network in self.relay.networks:
            if network.prefixlen < WIDEST_RELAY[network.version]:
                yield "relay.networks", f'"{network}" lets strangers send through here', "Name your own networks."
        for key, problem, remedy in self.guide.strangers(self.accounts.default_domain):
            yield f"guide.{key}", problem, remedy

    def _local_problems(self) -> Iterator[tuple[str, str, str]]:
        default = self.accounts.default_domain
        named = [("local.domains", domain) for domain in self.local.domains]
        for key, domain in [*named, *([("accounts.default_domain", default)] if default else [])]:
            if not is_domain(to_a_labels(domain)):
                yield key, f'"{domain}" is not a domain', 'Write what stands after the @, such as "example.jp".'
        if self.local.transport == "lmtp" and self.local.lmtp is None:
            yield "local.lmtp", 'is missing, and transport = "lmtp" needs it', 'For instance "unix:/run/dovecot/lmtp".'

    def _route_problems(self) -> Iterator[tuple[str, str, str]]:
        names = [route.name for route in self.route]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield "route", f'the name "{name}" stands twice', "Give each route its own."
        for route in self.route:
            if (route.username is None) != (route.password is None):
                yield "route", f'"{route.name}" has only one of username and password', "Give both or neither."
            if route.password is not None and route.tls == "none":
                yield "route", f'"{route.name}" would send its password in clear', 'Set tls = "required".'

    def _address_problems(self) -> Iterator[tuple[str, str, str]]:
        taken: dict[str, str] = {}
        mail = {f"listener.{kind}.addresses": listener.addresses for kind, listener in listeners(self).items()}
        for key, endpoints in {**mail, "portal.addresses": self.portal.addresses}.items():
            for endpoint in endpoints:
                if endpoint.path is not None:
                    if key in mail:  # those of the portal are told by its own settings
                        yield key, f"{endpoint} is a Unix socket", "A listener needs address:port."
                elif endpoint.port and taken.setdefault(str(endpoint), key) != key:
                    yield key, f"{endpoint} is also in {taken[str(endpoint)]}", "Give each listener its own port."


@dataclass(frozen=True, slots=True)
class Places:
    """Where the service's files are."""

    directory: Path
    queue: Path
    accounts: Path
    ledger: Path
    log: Path
    maildir: Path
    run: Path
    certificate: Path
    key: Path

    def control_socket(self, worker: int) -> Path:
        """Where a worker answers questions."""
        return self.run / f"worker-{worker}.sock"

    def writable(self) -> tuple[Path, ...]:
        """Directories that the service user must be able to write into."""
        own = {self.directory, self.queue, self.accounts.parent, self.ledger.parent, self.log, self.run}
        return tuple(sorted(own | {self.maildir}))


def places(settings: Settings) -> Places:
    """Return where everything is: what no setting names is below ``service.directory``."""
    directory = settings.service.directory
    return Places(
        directory=directory,
        queue=directory / "queue",
        accounts=directory / (settings.accounts.database or "accounts.sqlite"),
        ledger=directory / "ledger",
        log=directory / (settings.log.directory or "log"),
        maildir=directory / (settings.local.maildir or "mail"),
        run=directory / "run",
        certificate=settings.tls.certificate,
        key=settings.tls.key,
    )


def listeners(settings: Settings) -> dict[str, ListenerSettings]:
    """Return the enabled listeners by kind."""
    every = settings.listener
    kinds = {"submission": every.submission, "submissions": every.submissions, "mx": every.mx}
    return {kind: listener for kind, listener in kinds.items() if listener.enabled}


def addresses(kind: str, listener: ListenerSettings) -> list[tuple[Endpoint, bool]]:
    """Return where a listener listens, and whether the machine may lack it: the ``::`` of "all addresses"."""
    return [each for endpoint in listener.addresses or (Endpoint("", PORTS[kind]),) for each in everywhere(endpoint)]


def everywhere(endpoint: Endpoint) -> list[tuple[Endpoint, bool]]:
    """Return *endpoint*, or in place of "all addresses" those of both families, and whether the machine may lack it."""
    if endpoint.host or endpoint.path is not None:
        return [(endpoint, False)]
    return [(Endpoint("0.0.0.0", endpoint.port), False), (Endpoint("::", endpoint.port), True)]  # noqa: S104
