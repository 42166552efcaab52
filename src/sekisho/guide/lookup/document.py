"""Reading another provider's ``clientConfig`` document, the little of it that is wanted here: how to send.

The octets are a stranger's. A document type or an entity is refused before any parser sees it, text is cut and
printable, a host is a domain name, a port one of those for submission; whatever does not fit is left out.

Source: draft-ietf-mailmaint-autoconfig-03.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree
from xml.parsers import expat

from sekisho.smtp import is_domain

__all__ = ["BadDocument", "Outgoing", "Published", "is_host_name", "read_document"]

MAX_SERVERS: Final = 4
MAX_NAME: Final = 80  # characters of a provider's name
SECURITY: Final = {"SSL": "tls", "STARTTLS": "starttls", "plain": "none"}
USER_NAMES: Final = {"%EMAILADDRESS%": "address", "%EMAILLOCALPART%": "local-part"}
PORTS: Final = (465, 587, 25, 2525, 2587)
_DECLARATION = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY|ATTLIST|ELEMENT|NOTATION)", re.IGNORECASE)


class BadDocument(ValueError):
    """The document cannot be read, or names no server to send through."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One server to send through.

    Fields:
        security: "tls", "starttls", or "none".
        user_name: "address", "local-part", or "" for what only the provider knows.
    """

    host: str
    port: int
    security: str
    user_name: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """What a provider publishes. The servers are those with encryption first."""

    name: str
    servers: tuple[Outgoing, ...]
    help_url: str | None = None


def read_document(octets: bytes) -> Published:
    """Read a document.

    Raises:
        BadDocument
    """
    if b"\0" in octets or octets[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BadDocument("not in UTF-8")  # other encodings could hide a declaration
    if _DECLARATION.search(octets) is not None:
        raise BadDocument("a document type or an entity")
    try:
        root = ElementTree.fromstring(octets.decode("utf-8"), ElementTree.XMLParser(target=_Builder()))  # noqa: S314 - without declarations
    except (ElementTree.ParseError, expat.ExpatError, ValueError, RecursionError) as error:
        raise BadDocument("not XML") from error
    provider = root.find("emailProvider") if root.tag == "clientConfig" else None
    if provider is None:
        raise BadDocument("another kind of document")
    servers = tuple(sorted(set(_servers(provider)), key=lambda each: (each.security == "none", each.port != 465)))
    if not servers:
        raise BadDocument("no server to send through")
    return Published(_text(provider, "displayName"), servers[:MAX_SERVERS], _help(provider))


def is_host_name(text: str) -> bool:
    """Tell whether *text* is a name with a domain, and no address."""
    return is_domain(text) and "." in text and not text.rpartition(".")[2].isdigit()


class _Builder(ElementTree.TreeBuilder):
    """Builds no tree deeper or larger than such a document ever is."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._count = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ElementTree.Element:
        """Begin an element. Raises ValueError when there are too many."""
        self._depth += 1
        self._count += 1
        if self._depth > 20 or self._count > 2000:
            raise ValueError("too large")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        """End an element."""
        self._depth -= 1
        return super().end(tag)


def _servers(provider: ElementTree.Element) -> Iterator[Outgoing]:
    for server in provider.findall("outgoingServer"):
        host, port = _text(server, "hostname").lower().rstrip("."), _text(server, "port")
        security = SECURITY.get(_text(server, "socketType"))
        is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) in PORTS
        if server.get("type", "smtp") == "smtp" and is_port and security and is_host_name(host):
            yield Outgoing(host, int(port), security, USER_NAMES.get(_text(server, "username"), ""))


def _text(element: ElementTree.Element, name: str) -> str:
    text = (element.findtext(name) or "").strip()[:MAX_NAME]
    return "".join(character if character.isprintable() else "?" for character in text)


def _help(provider: ElementTree.Element) -> str | None:
    for each in provider.findall("documentation"):
        url = each.get("url", "")
        if re.fullmatch(r"https://[A-Za-z0-9.-]+(?:/[A-Za-z0-9._~/?#&=+%-]*)?", url, re.ASCII) and len(url) <= 300:
            return url
    return None
