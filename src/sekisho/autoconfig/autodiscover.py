"""Autodiscover, Microsoft's way: version 1 ("POX", plain XML by POST) and version 2 (JSON by GET).

Some builds of the classic Outlook ask version 1 about IMAP and POP; newer ones and phones do not ask at all.
Clients vary the case of the path. Nobody is ever asked for a password (401) here: that is for Exchange, and a client
would show a dialog.

Source: MS-OXDSCLI §2.2 and §3.1.5; POX for IMAP, POP and SMTP as documented under "Autodiscover for Exchange".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sekisho.smtp import Mailbox

from .errors import AutoconfigError, RequestRefused
from .markup import DECLARATION, element, read
from .provider import Protocol, Provider, Security, Server

__all__ = ["JSON_PATH", "XML_PATH", "Answer", "Request", "answer_json", "answer_xml", "read_request", "settings_xml"]

XML_PATH = "autodiscover/autodiscover.xml"
JSON_PATH = "autodiscover/autodiscover.json"

_AUTODISCOVER = "http://schemas.microsoft.com/exchange/autodiscover/"
RESPONSE = f"{_AUTODISCOVER}responseschema/2006"
OUTLOOK = f"{_AUTODISCOVER}outlook/responseschema/2006a"

INVALID_REQUEST = 600
NO_SUCH_SCHEMA = 601
NO_SUCH_ADDRESS = 500


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked by version 1."""

    address: str
    response_schema: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP."""

    status: int
    content_type: str
    octets: bytes


def read_request(octets: bytes) -> Request:
    """Read the body of a POST.

    Raises:
        RequestRefused
    """
    root = read(octets)
    request = root.find("Request")
    if root.local_name != "Autodiscover" or request is None:
        raise RequestRefused("the request is not one of Autodiscover")
    address, schema = request.find("EMailAddress"), request.find("AcceptableResponseSchema")
    if address is None or not address.text.strip():
        raise RequestRefused("the request names no EMailAddress")
    # Outlook always names the schema; scripts and other clients leave it out and want the usual one
    wanted = schema.text.strip() if schema is not None else ""
    return Request(address.text.strip(), wanted or OUTLOOK)


def answer_xml(provider: Provider, octets: bytes, now: datetime) -> Answer:
    """Answer a POST of version 1. What is wrong with it goes back as the protocol's own error, with status 200."""
    try:
        request = read_request(octets)
        if request.response_schema != OUTLOOK:
            return _xml(_error(NO_SUCH_SCHEMA, "Provider is not available: no Exchange here", now))
    except RequestRefused as error:
        return _xml(_error(INVALID_REQUEST, f"Invalid Request: {error.problem}", now))
    try:
        return _xml(settings_xml(provider, provider.mailbox(request.address)))
    except AutoconfigError as error:
        return _xml(_error(NO_SUCH_ADDRESS, error.problem, now))


def _xml(octets: bytes) -> Answer:
    return Answer(200, "text/xml; charset=utf-8", octets)


def settings_xml(provider: Provider, mailbox: Mailbox | None) -> bytes:
    """Return the settings as version 1 sends them.

    Args:
        mailbox: None for a document that serves everybody; Outlook then fills in the user name by itself.

    Raises:
        NotOffered
    """
    provider.require_servers()
    servers = [_protocol(server, mailbox) for server in (*provider.incoming, *provider.outgoing[:1])]
    account = element("Account", element("AccountType", text="email"), element("Action", text="settings"), *servers)
    user = element("User", element("DisplayName", text=str(mailbox) if mailbox is not None else provider.name))
    return _document(element("Response", user, account, attributes={"xmlns": OUTLOOK}))


def _protocol(server: Server, mailbox: Mailbox | None) -> str:
    rows = {"Type": server.protocol.upper(), "Server": server.host, "Port": str(server.port), "DomainRequired": "off"}
    if mailbox is not None:
        rows["LoginName"] = server.login(mailbox)
    rows |= {"SPA": "off", "SSL": "on", "Encryption": "SSL" if server.security is Security.TLS else "TLS"}
    rows["AuthRequired"] = "on"
    if server.protocol is Protocol.SMTP:
        rows |= {"UsePOPAuth": "on", "SMTPLast": "off"}
    return element("Protocol", *(element(name, text=text) for name, text in rows.items()))


def _error(code: int, message: str, now: datetime) -> bytes:
    error = element(
        "Error",
        element("ErrorCode", text=str(code)),
        element("Message", text=message),
        element("DebugData", text=""),
        attributes={"Time": f"{now:%H:%M:%S}.0000000", "Id": "0"},
    )
    return _document(element("Response", error))


def _document(response: str) -> bytes:
    return (DECLARATION + element("Autodiscover", response, attributes={"xmlns": RESPONSE})).encode()


def answer_json(provider: Provider, address: str, protocol: str) -> Answer:
    """Answer a GET of version 2, which knows addresses of services only: it leads to version 1."""
    if protocol.lower() != "autodiscoverv1":
        supported = "Supported values are 'AutodiscoverV1'."
        return _json(400, {"ErrorCode": "InvalidProtocol", "ErrorMessage": f"No Exchange here. {supported}"})
    try:
        mailbox = provider.mailbox(address)
    except AutoconfigError as error:
        return _json(404, {"ErrorCode": "UserNotFound", "ErrorMessage": error.problem})
    return _json(200, {"Protocol": "AutodiscoverV1", "Url": f"https://autodiscover.{mailbox.domain}/{XML_PATH}"})


def _json(status: int, value: dict[str, str]) -> Answer:
    return Answer(status, "application/json", json.dumps(value, ensure_ascii=False).encode())
