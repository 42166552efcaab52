"""The settings card: everything a mail client has to be told, taken from the running configuration.

Guides, self-check and pages take every value from here, so that none of them can differ from what the server does.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sekisho.accounts import AccountsSettings
from sekisho.config import Endpoint
from sekisho.server import ListenerSettings

from .errors import GuideError
from .model import CAPABILITIES, Both
from .settings import GuideSettings

__all__ = ["Audience", "Card", "Notice", "Way", "make_card"]

_PASSWORD_MECHANISMS = ("PLAIN", "LOGIN")
_WITH_TLS = (*_PASSWORD_MECHANISMS, "SCRAM-SHA-256", "SCRAM-SHA-1")
_ORDER = (*_WITH_TLS, "CRAM-MD5")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send that is open.

    Fields:
        capability: its name in the facts.
        mechanisms: what the server offers there, in its order.
    """

    capability: str
    port: int
    mechanisms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audience:
    """A class of accounts.

    Fields:
        name: None when there is only one class, and nothing to tell apart.
        example: an address of theirs, with "name" for the person's own part.
        user_name: what such a person types as user name.
    """

    name: Both | None
    domain: str
    host: str
    example: str
    user_name: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What the operator has to tell the readers, or what changed in the guide.

    Fields:
        programs: whose guides it concerns: empty for all of them, None for none.
    """

    date: datetime.date
    text: Both
    programs: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """The values.

    Fields:
        minimum_tls: oldest version accepted, in the words of the facts.
        audiences: at least one.
        parameters: further facts about the operator for self-check and articles, by the names they use; the unset are
            missing.
        notices: of the operator, newest first.
    """

    hostname: str
    ways: tuple[Way, ...]
    minimum_tls: str
    audiences: tuple[Audience, ...]
    name: Both | None
    contact: Both | None
    hours: Both | None
    url: str | None
    profile_url: str | None
    parameters: Mapping[str, str]
    access_network: bool
    notices: tuple[Notice, ...] = ()

    def way(self, capability: str) -> Way | None:
        """Return the way *capability*, if it is open."""
        return next((way for way in self.ways if way.capability == capability), None)

    def for_person(self, address: str) -> Audience:
        """Return the values of one person, in place of those of a class."""
        local_part, _, domain = address.rpartition("@")
        of_domain = next((each for each in self.audiences if each.domain == domain), None)
        is_bare = of_domain is not None and "@" not in of_domain.user_name
        host = of_domain.host if of_domain else self.hostname
        return Audience(None, domain, host, address, local_part if is_bare else address)


def make_card(
    settings: GuideSettings,
    *,
    hostname: str,
    listeners: Mapping[str, tuple[Endpoint | None, ListenerSettings]],
    usual_ports: Mapping[str, int],
    accounts: AccountsSettings,
    minimum_tls: str,
    domains: Sequence[str],
    incoming: Mapping[str, str] | None = None,
) -> Card:
    """Derive the card.

    Args:
        listeners: those that are on, by kind, each with the first address it listens on (None: all addresses).
        domains: the local ones.
        incoming: values of the servers of the mailboxes, by the names that articles use.
    """
    ports = {
        kind: endpoint.port if endpoint and endpoint.port else usual_ports[kind]
        for kind, (endpoint, _) in listeners.items()
    }
    ways = []
    for name in settings.offer:
        capability = CAPABILITIES[name]
        if capability.listener not in listeners:
            continue
        offered = _mechanisms(capability.tls != "none", accounts, listeners[capability.listener][1])
        fit: Sequence[str] = ("CRAM-MD5",) if name == "crammd5_587" else _ORDER
        fit = _PASSWORD_MECHANISMS if name == "plain_587" else fit
        if mechanisms := tuple(each for each in offered if each in fit):
            ways.append(Way(name, ports[capability.listener], mechanisms))
    parameters = {
        "operator.webmail_url": settings.webmail_url,
        "operator.vpn_url": settings.vpn_url,
        "operator.password_change_url": settings.password_url,
        "operator.account_migration_date": settings.accounts_renewed,
        **(incoming or {}),
    }
    return Card(
        hostname=hostname,
        ways=tuple(ways),
        minimum_tls=f"TLS{minimum_tls}",
        audiences=tuple(_audiences(settings, hostname, domains)),
        name=_both("name", settings.name_ja, settings.name_en),
        contact=_both("contact", settings.contact_ja, settings.contact_en),
        hours=_both("hours", settings.hours_ja, settings.hours_en),
        url=settings.url,
        profile_url=settings.profile_url,
        parameters={key: value for key, value in parameters.items() if value},
        access_network=settings.access_network,
        notices=tuple(_notices(settings)),
    )


def _notices(settings: GuideSettings) -> list[Notice]:
    try:
        found = [
            Notice(datetime.date.fromisoformat(each.date), Both(each.ja, each.en), () if each.in_guides else None)
            for each in settings.notice
        ]
    except ValueError as error:
        raise GuideError([f"[guide] notice: {error}"]) from error
    return sorted(found, key=lambda each: each.date, reverse=True)


def _both(key: str, ja: str | None, en: str | None) -> Both | None:
    if ja and en:
        return Both(ja, en)
    if ja or en:
        raise GuideError([f"[guide] {key}_{'en' if ja else 'ja'}: is missing, and the other language is there"])
    return None


def _mechanisms(tls: bool, accounts: AccountsSettings, listener: ListenerSettings) -> tuple[str, ...]:
    """Return what the server offers on a listener, as `accounts` decides, without the forms with channel binding."""
    allowed = {*_WITH_TLS} if tls else {*_PASSWORD_MECHANISMS} if accounts.allow_cleartext_passwords else set()
    if not accounts.scram_sha_1:
        allowed.discard("SCRAM-SHA-1")
    if accounts.cram_md5 and (tls or accounts.allow_without_tls):
        allowed.add("CRAM-MD5")
    return tuple(name for name in [each.upper() for each in listener.mechanisms] or _ORDER if name in allowed)


def _audiences(settings: GuideSettings, hostname: str, domains: Sequence[str]) -> list[Audience]:
    if not settings.audience:
        domain = domains[0] if domains else hostname.partition(".")[2]
        return [Audience(None, domain, hostname, f"name@{domain}", f"name@{domain}")]
    found = []
    for each in settings.audience:
        example = f"name@{each.domain}"
        user_name = example if each.username == "address" else "name"
        name = Both(each.name_ja, each.name_en)
        found.append(Audience(name, each.domain, each.host or hostname, example, user_name))
    return found
