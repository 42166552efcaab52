"""The names under which the portal is reached, and which of its pages each of them has.

A request under any other name is turned away: a page whose links and cookies belong to a name of somebody else's choice
is the beginning of most attacks on caches and logins.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response

from .forms import Refusal
from .parts import Parts

__all__ = ["Hosts"]

FOR_CLIENTS = (
    "/.well-known/autoconfig/",
    "/.well-known/user-agent-configuration.json",
    "/.well-known/mta-sts.txt",
    "/mail/config-v1.1.xml",
    "/autodiscover/",
    "/profile/",
)
LABELS = ("autoconfig", "autodiscover", "mta-sts", "ua-auto-config")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Hosts:
    """Names in lower case, without port.

    Fields:
        pages: they have the pages for people, and everything else.
        clients: they have the documents of automatic configuration alone.
        main: the one that others lead to.
    """

    pages: frozenset[str]
    clients: frozenset[str]
    main: str

    @classmethod
    def of(cls, parts: Parts) -> Hosts:
        """Take them from the settings."""
        provider, portal = parts.provider, parts.settings.portal
        pages = {parts.settings.hostname, provider.web_host, *portal.names, *LOOPBACK}
        clients = {f"{label}.{domain}" for domain in provider.domains for label in LABELS} | set(provider.domains)
        return cls(frozenset(pages), frozenset(clients - pages), provider.web_host)

    @staticmethod
    def is_for_clients(path: str) -> bool:
        """Tell whether mail programs ask for *path*, and not people."""
        return path.lower().startswith(FOR_CLIENTS)

    def judge(self, header: str, path: str) -> Response | None:
        """Return None for a request that is ours, or the way to the right name.

        Raises:
            Refusal: it is meant for somebody else (421), or says not for whom (400).
        """
        host = host_of(header)
        if host is None:
            raise Refusal(400, "common.no_host")
        if host in self.pages or (host in self.clients and self.is_for_clients(path)):
            return None
        if host in self.clients:
            return RedirectResponse(f"https://{self.main}/", 302, headers={"Cache-Control": "no-store"})
        raise Refusal(421, "common.wrong_host", {"host": self.main})


def host_of(header: str) -> str | None:
    """Return the host of a Host header in lower case, without port and trailing dot; None when it is none."""
    text = header.strip().lower()
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        try:
            host = str(ipaddress.IPv6Address(host))
        except ValueError:
            return None
        return host if bracket and (not port or _is_port(port)) else None
    host, colon, port = text.partition(":")
    if not host or len(host) > 255 or (colon and not _is_port(f":{port}")):
        return None
    return host.rstrip(".")


def _is_port(text: str) -> bool:
    return text.startswith(":") and len(text) <= 6 and (text[1:].isdigit() or text == ":")
