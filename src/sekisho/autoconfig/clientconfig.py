"""Thunderbird's own format, ``clientConfig`` 1.1, which K-9, FairEmail, Evolution and KMail read as well.

Written for the strictest reader, Thunderbird for Android: the provider's id is a host name, one plain domain at least,
no cleartext server anywhere (one spoils the whole file), no space around a value. A server with POP3 alone is of no use
there; the desktop takes it.

Source: draft-ietf-mailmaint-autoconfig-03; Thunderbird 153 ``readFromXML.sys.mjs``.
"""

from __future__ import annotations

from .markup import DECLARATION, element
from .provider import Provider, Security, Server
from .settings import UserName

__all__ = ["CONTENT_TYPE", "PATHS", "client_config"]

CONTENT_TYPE = "text/xml; charset=utf-8"

PATHS = ("mail/config-v1.1.xml", ".well-known/autoconfig/mail/config-v1.1.xml")
"""Where clients ask: the first on autoconfig.DOMAIN, the second on DOMAIN."""

SOCKET_TYPES = {Security.TLS: "SSL", Security.STARTTLS: "STARTTLS"}
USER_NAMES = {UserName.ADDRESS: "%EMAILADDRESS%", UserName.LOCAL_PART: "%EMAILLOCALPART%"}
VERSION = {"version": "1.1"}
HELP = {"ja": "メールソフトの設定方法", "en": "How to set up a mail program"}


def client_config(provider: Provider, domain: str) -> bytes:
    """Return the document for *domain*. It is the same for every address, which clients seldom send along.

    Raises:
        DomainNotOurs, NotOffered
    """
    domain = provider.domain(domain)
    provider.require_servers()
    others = [name for name in provider.domains if name != domain]
    parts = [element("domain", text=name) for name in (domain, *others)]
    parts.append(element("displayName", text=provider.name))
    parts.append(element("displayShortName", text=provider.short_name))
    parts += [_server("incomingServer", server) for server in provider.incoming]
    parts += [_server("outgoingServer", server) for server in provider.outgoing]
    if provider.help_url is not None:
        words = [element("descr", attributes={"lang": language}, text=text) for language, text in HELP.items()]
        parts.append(element("documentation", *words, attributes={"url": provider.help_url}))
    whole = element("clientConfig", element("emailProvider", *parts, attributes={"id": domain}), attributes=VERSION)
    return (DECLARATION + whole).encode()


def _server(name: str, server: Server) -> str:
    return element(
        name,
        element("hostname", text=server.host),
        element("port", text=str(server.port)),
        element("socketType", text=SOCKET_TYPES[server.security]),
        element("authentication", text="password-cleartext"),  # inside TLS; "encrypted" would mean CRAM-MD5
        element("username", text=USER_NAMES[server.user_name]),
        attributes={"type": server.protocol},
    )
