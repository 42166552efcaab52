"""Thunderbird's format, read back by the rules of its strictest reader."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from sekisho.autoconfig.clientconfig import client_config
from sekisho.autoconfig.errors import DomainNotOurs, NotOffered
from sekisho.autoconfig.provider import Server
from sekisho.autoconfig.settings import UserName

from .providers import IMAP, POP3, provider


class Unusable(Exception):
    """Thunderbird for Android would not take the file."""


def read_as_android(octets: bytes, address: str) -> dict[str, list[tuple[str, int, str, str]]]:
    """Follow RealAutoconfigParser of Thunderbird for Android: what it refuses, this refuses, plus what makes it crash.

    Text is taken as it stands, without trimming; every server of a kind it knows must be whole.
    """
    local_part, _, domain = address.partition("@")

    def filled(text: str) -> str:
        values = {"%EMAILDOMAIN%": domain, "%EMAILLOCALPART%": local_part, "%EMAILADDRESS%": address}
        for variable, value in values.items():
            text = text.replace(variable, value)
        return text

    def host(text: str | None) -> str:
        if text is None or not re.fullmatch(r"(?!-)[a-z0-9-]+(\.[a-z0-9-]+)+", filled(text)):
            raise Unusable(f"host {text!r}")
        return filled(text)

    def text_of(server: ElementTree.Element, name: str) -> str:
        found = server.findall(name)
        if not found or any(len(each) for each in found) or found[-1].text is None:
            raise Unusable(f"{name} missing")
        return found[-1].text

    root = ElementTree.fromstring(octets)
    source = root.find("emailProvider")
    if root.tag != "clientConfig" or source is None:
        raise Unusable("no provider")
    host(source.get("id"))
    if not [host(element.text) for element in source.findall("domain")]:
        raise Unusable("no domain")
    servers: dict[str, list[tuple[str, int, str, str]]] = {"imap": [], "smtp": []}
    for tag, kind in (("incomingServer", "imap"), ("outgoingServer", "smtp")):
        for server in source.findall(tag):
            if server.get("type") != kind:
                continue
            port = text_of(server, "port")
            if not re.fullmatch("[1-9][0-9]*", port) or int(port) > 65535:
                raise Unusable(f"port {port}")
            security = text_of(server, "socketType")
            if security not in ("SSL", "STARTTLS"):
                raise Unusable(f"socketType {security}")
            if text_of(server, "authentication") not in ("OAuth2", "password-cleartext", "password-encrypted"):
                raise Unusable("authentication")
            name = filled(text_of(server, "username"))
            servers[kind].append((host(text_of(server, "hostname")), int(port), security, name))
        if not servers[kind]:
            raise Unusable(f"no {tag}")
    return servers


def test_android_takes_it() -> None:
    assert read_as_android(client_config(provider(), "example.jp"), "rin@example.jp") == {
        "imap": [("imap.example.jp", 993, "SSL", "rin@example.jp")],
        "smtp": [
            ("mail.example.jp", 465, "SSL", "rin@example.jp"),
            ("mail.example.jp", 587, "STARTTLS", "rin@example.jp"),
        ],
    }


def test_pop3_alone_is_for_the_desktop_only() -> None:
    """What Android refuses, this reader refuses: otherwise the test above shows nothing."""
    octets = client_config(provider(incoming=(POP3,)), "example.jp")
    with pytest.raises(Unusable, match="no incomingServer"):
        read_as_android(octets, "rin@example.jp")
    server = ElementTree.fromstring(octets).find("emailProvider/incomingServer")
    assert server is not None
    assert server.get("type") == "pop3"


def test_each_domain_has_a_document_of_its_own_that_names_all() -> None:
    root = ElementTree.fromstring(client_config(provider(), "EXAMPLE.NET."))
    source = root.find("emailProvider")
    assert source is not None
    assert root.get("version") == "1.1"
    assert source.get("id") == "example.net"
    assert [element.text for element in source.findall("domain")] == ["example.net", "example.jp"]


def test_names_with_markup_in_them_stay_text() -> None:
    root = ElementTree.fromstring(client_config(provider(), "example.jp"))
    assert root.findtext("emailProvider/displayName") == "例のネット <&>"
    page = root.find("emailProvider/documentation")
    assert page is not None
    assert page.get("url") == "https://www.example.jp/mail/?a=1&b=2"
    assert [element.get("lang") for element in page.findall("descr")] == ["ja", "en"]


def test_a_local_part_as_user_name() -> None:
    server = Server(IMAP.protocol, IMAP.host, IMAP.port, IMAP.security, UserName.LOCAL_PART)
    read = read_as_android(client_config(provider(incoming=(server,)), "example.jp"), "rin@example.jp")
    assert read["imap"][0][3] == "rin"
    assert read["smtp"][0][3] == "rin@example.jp"


def test_what_cannot_be_told_is_an_error() -> None:
    with pytest.raises(DomainNotOurs, match=r'"example.org" is not one .*example.jp, example.net'):
        client_config(provider(), "example.org")
    with pytest.raises(NotOffered, match=r"incoming.imap"):
        client_config(provider(incoming=()), "example.jp")
    with pytest.raises(NotOffered, match=r"listener.submission"):
        client_config(provider(outgoing=()), "example.jp")
    with pytest.raises(NotOffered, match=r"local.domains"):
        provider(domains=()).domain()
