"""The settings card, filled in from the configuration that the service runs on."""

from __future__ import annotations

from dataclasses import replace

from sekisho import text
from sekisho.autoconfig.profile import PATH as PROFILE_PATH
from sekisho.autoconfig.settings import IncomingSettings, IncomingTls
from sekisho.guide.card import Card, make_card
from sekisho.guide.settings import GuideSettings

from .sections import PORTS, Settings, listeners

SPOKEN = {IncomingTls.IMPLICIT: "SSL/TLS", IncomingTls.STARTTLS: "STARTTLS"}  # as mail programs write it


def guide_card(settings: Settings) -> Card:
    """Return the values that every guide, page and document for users takes from here.

    Raises:
        GuideError: the settings of the guide do not go together.
    """
    enabled = {kind: listener for kind, listener in listeners(settings).items() if kind != "mx"}
    return make_card(
        _with_own_pages(settings),
        hostname=settings.hostname,
        listeners={kind: (next(iter(each.addresses), None), each) for kind, each in enabled.items()},
        usual_ports=PORTS,
        accounts=settings.accounts,
        minimum_tls=settings.tls.minimum,
        domains=settings.local.domains,
        incoming=_incoming(settings.incoming),
    )


def _with_own_pages(settings: Settings) -> GuideSettings:
    """Return what the guide tells, with pages of the portal where the operator names no others."""
    told, pages = settings.guide, own_pages(settings)
    if pages is None:
        return told
    if told.password_url is None:
        told = replace(told, password_url=f"{pages}/account/password")
    if told.profile_url is None and (settings.incoming.imap or settings.incoming.pop3):  # Apple wants both directions
        told = replace(told, profile_url=f"{pages}/{PROFILE_PATH}")
    return told


def _incoming(incoming: IncomingSettings) -> dict[str, str]:
    """Return what the article about encryption tells of the servers of the mailboxes."""
    found: dict[str, str] = {}
    for name, host, port, tls in (
        ("imap", incoming.imap, incoming.imap_port, incoming.imap_tls),
        ("pop3", incoming.pop3, incoming.pop3_port, incoming.pop3_tls),
    ):
        if host:
            values = {"": host, "_port": str(port), "_security": SPOKEN[tls]}
            found |= {f"incoming.{name}{key}": value for key, value in values.items()}
    return found


def own_pages(settings: Settings) -> str | None:
    """Return the address of the portal as people enter it, without the last slash; None where there is none."""
    portal = settings.portal
    if not portal.addresses:
        return None
    ports = {each.port for each in portal.addresses if portal.speaks_tls(each)}
    is_usual = not ports or 443 in ports or portal.trusted_proxies  # a web server in front has 443
    return f"https://{settings.autoconfig.web_host or settings.hostname}" + ("" if is_usual else f":{min(ports)}")


def settings_card(
    settings: Settings,
    login: str,
    *,
    host: str | None = None,
    password: str | None = None,
    language: str | None = None,
) -> str:
    """Return what to type into a mail client, on one screen.

    Args:
        host: name to connect to, when it is not the service's own.
        password: shown only when given, as for a demonstration.
        language: the account's; the service's without.
    """
    card = guide_card(settings)
    ports = {way.capability: way.port for way in card.ways}
    return text.settings_card(
        language or settings.language,
        host=host or card.for_person(login).host,
        submissions=ports.get("tls_465"),
        submission=ports.get("starttls_587"),
        login=login,
        password=password,
    )
