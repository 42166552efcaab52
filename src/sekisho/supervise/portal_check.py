"""What `sekisho check` says of the portal: who it speaks for, who may reach it how, and the files it shows."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from sekisho.guide.errors import GuideError

from .card import guide_card
from .certificate import Finding, covers
from .portal_settings import is_loopback
from .provider import provider
from .sections import Places, Settings

__all__ = ["files", "portal"]

LIBRARIES = ("starlette", "uvicorn", "h11", "jinja2")
MAX_LOGO = 64 * 1024  # octets
LOGO_TYPES = (".svg", ".png", ".webp")


def portal(settings: Settings, where: Places) -> list[Finding]:
    """Return what is to be said about the settings; one line when the portal is off."""
    if not settings.portal.addresses:
        return [Finding("ok", "portal", "is off: portal.addresses names none")]
    findings = [*_who_speaks(settings), *_who_reaches(settings), *_certificate(settings, where)]
    shown = ", ".join(str(each) for each in settings.portal.addresses)
    return findings or [Finding("ok", "portal", f"opens on {shown}")]


def _who_speaks(settings: Settings) -> Iterator[Finding]:
    try:
        card = guide_card(settings)
    except GuideError as error:
        yield Finding("error", "portal", str(error), "mend [guide]")
        return
    if not card.ways:
        text = "no way to send is open, so there is nothing to guide anybody to: the portal does not start"
        yield Finding(
            "error", "portal", text, "enable listener.submission or listener.submissions, and see guide.offer"
        )
    if card.name is None:
        text = f"pages are headed {settings.hostname}: nobody is named who runs the service"
        yield Finding("warning", "portal", text, "set name_ja and name_en in [guide]")
    if card.contact is None:
        text = "pages name the postmaster's address as the place to ask"
        yield Finding("warning", "portal", text, "set contact_ja and contact_en in [guide]")


def _who_reaches(settings: Settings) -> Iterator[Finding]:
    own = settings.portal
    plain = [each for each in own.addresses if not own.speaks_tls(each)]
    open_plain = [each for each in plain if not is_loopback(each)]
    has_tls = len(plain) < len(own.addresses)
    if open_plain and not has_tls and not own.trusted_proxies:
        yield Finding(
            "warning",
            "portal.addresses",
            f"{', '.join(map(str, open_plain))} speaks plain HTTP: pages are shown, but nobody can log in",
            'set portal.tls = "on", or name the web server in front that has TLS in portal.trusted_proxies',
        )
    if len(plain) == len(own.addresses) and not open_plain and not own.trusted_proxies:
        yield Finding(
            "warning",
            "portal.trusted_proxies",
            "only this machine reaches the portal, and no web server in front of it is believed",
            'name it: trusted_proxies = ["127.0.0.1/32", "::1/128"]; without one in front, listen on ":443"',
        )


def _certificate(settings: Settings, where: Places) -> Iterator[Finding]:
    if not any(settings.portal.speaks_tls(each) for each in settings.portal.addresses):
        return
    try:
        leaf = x509.load_pem_x509_certificates(where.certificate.read_bytes())[0]
    except (OSError, ValueError):
        return  # told where the certificate itself is examined
    told = provider(settings)
    for name in dict.fromkeys((told.web_host, *settings.portal.names)):
        if not covers(leaf, name):
            text = f"the certificate is not for {name}, where people open the portal: browsers warn of it"
            yield Finding("error", "portal", text, "get a certificate with that name as well")
    missing = [name for name in _automatic(told.domains) if not covers(leaf, name)]
    if missing:
        text = f"the certificate is not for {', '.join(missing)}: mail programs that look there find no settings"
        yield Finding("warning", "portal", text, "add the names, or let a web server that has them stand in front")


def _automatic(domains: tuple[str, ...]) -> Iterator[str]:
    for domain in domains:
        yield f"autoconfig.{domain}"
        yield f"autodiscover.{domain}"


def files(settings: Settings) -> list[Finding]:
    """Return what is wrong with the files that the portal reads; to be called as the service user."""
    own, findings = settings.portal, []
    if own.addresses:
        findings += list(_libraries())
    if own.logo is not None:
        findings += list(_logo(own.logo))
    if own.edge is not None:
        try:
            next(own.edge.iterdir(), None)
        except OSError as error:
            text = f"cannot read {own.edge}: {error.strerror}; the self-check knows nothing of the gate"
            findings.append(Finding("warning", "portal.edge", text, "let the service user's group read it"))
    return findings


def _libraries() -> Iterator[Finding]:
    """The portal loads its libraries in its own process, when root has been given up."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing or not os.access(os.__file__, os.R_OK):
        text = f"the service user cannot read {', '.join(missing) or 'the standard library'}: the portal does not start"
        yield Finding("warning", "portal", text, "install Sekisho where every user may read, such as below /opt")


def _logo(path: Path) -> Iterator[Finding]:
    try:
        size = path.stat().st_size
        path.open("rb").close()
    except OSError as error:
        yield Finding("warning", "portal.logo", f"cannot read {path}: {error.strerror}", "pages are shown without it")
        return
    if size > MAX_LOGO or path.suffix.lower() not in LOGO_TYPES:
        text = f"{path} is not an SVG, PNG or WebP of up to 64 KiB"
        yield Finding("warning", "portal.logo", text, "pages are shown without it")
