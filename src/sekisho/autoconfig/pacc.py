"""PACC: one JSON document for all kinds of clients, whose digest stands in DNS.

Clients compare the octets of the body with the digest, so the document depends on nothing but the settings: no time, no
order that could change. It names hosts alone; TLS on its own port is understood, and the address as the user name. What
does not fit that is left out.

Source: draft-ietf-mailmaint-pacc-02.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from .errors import NotOffered
from .provider import Provider
from .settings import UserName

__all__ = ["CONTENT_TYPE", "PATH", "pacc", "pacc_digest"]

CONTENT_TYPE = "application/json"
PATH = ".well-known/user-agent-configuration.json"  # on ua-auto-config.DOMAIN
SHORT = 20


def pacc(provider: Provider) -> bytes:
    """Return the document, the same for each of the domains.

    Raises:
        NotOffered: no server that it could name: it must take TLS on 465, 993 or 995.
    """
    servers = (*provider.incoming, *provider.outgoing)
    protocols = {
        server.protocol.value: {"host": server.host}
        for server in servers
        if server.has_standard_tls_port and server.user_name is UserName.ADDRESS
    }
    if "smtp" not in protocols:
        raise NotOffered("PACC needs submission with TLS on port 465: enable listener.submissions there")
    if len(protocols) == 1:
        raise NotOffered(
            "PACC needs IMAP on 993 or POP3 on 995, with the address as user name: set incoming.imap or incoming.pop3"
        )
    info: dict[str, Any] = {"provider": {"name": provider.name, "shortName": provider.short_name[:SHORT]}}
    if provider.help_url is not None:
        info["help"] = {"documentation": provider.help_url}
    document = {"protocols": protocols, "authentication": {"password": True}, "info": info}
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def pacc_digest(octets: bytes) -> str:
    """Return the text of the TXT record for ``_ua-auto-config.DOMAIN``."""
    return f"v=UAAC1; a=sha256; d={base64.b64encode(hashlib.sha256(octets).digest()).decode()}"
