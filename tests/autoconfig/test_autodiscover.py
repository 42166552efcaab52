"""Autodiscover: what Outlook sends, what others send, what nobody should send."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.autoconfig.autodiscover import OUTLOOK, RESPONSE, answer_json, answer_xml, read_request
from sekisho.autoconfig.errors import RequestRefused

from .providers import provider

NOW = datetime(2027, 4, 1, 9, 30, tzinfo=UTC)
REQUEST = """\
<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
  <Request>
    <EMailAddress>{address}</EMailAddress>
    <AcceptableResponseSchema>{schema}</AcceptableResponseSchema>
  </Request>
</Autodiscover>
"""
MOBILE = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"


def ask(octets: bytes) -> ElementTree.Element:
    answer = answer_xml(provider(), octets, NOW)
    assert (answer.status, answer.content_type) == (200, "text/xml; charset=utf-8")
    return ElementTree.fromstring(answer.octets)


def request(address: str = "rin@example.jp", schema: str = OUTLOOK) -> bytes:
    return REQUEST.format(address=address, schema=schema).encode()


def error_of(root: ElementTree.Element) -> tuple[str | None, str | None]:
    where = f"{{{RESPONSE}}}Response/{{{RESPONSE}}}Error/{{{RESPONSE}}}"
    return root.findtext(f"{where}ErrorCode"), root.findtext(f"{where}Message")


def test_outlook_is_told_all_servers() -> None:
    root = ask(request())
    space = f"{{{OUTLOOK}}}"
    account = root.find(f"{space}Response/{space}Account")
    assert account is not None
    protocols = [
        {row.tag.removeprefix(space): row.text for row in server} for server in account.findall(f"{space}Protocol")
    ]
    assert [(row["Type"], row["Server"], row["Port"], row["Encryption"]) for row in protocols] == [
        ("IMAP", "imap.example.jp", "993", "SSL"),
        ("POP3", "pop.example.jp", "995", "SSL"),
        ("SMTP", "mail.example.jp", "465", "SSL"),
    ]
    for row in protocols:
        assert (row["LoginName"], row["SSL"], row["SPA"], row["AuthRequired"]) == ("rin@example.jp", "on", "off", "on")


def test_a_request_without_schema_gets_the_usual_answer() -> None:
    assert read_request(b"<Autodiscover><Request><EMailAddress> a@b.jp </EMailAddress></Request></Autodiscover>") == (
        read_request(request("a@b.jp"))
    )


@pytest.mark.parametrize(
    ("octets", "code", "words"),
    [
        (request("rin@elsewhere.test"), "500", "not one of the domains"),
        (request("rin"), "500", "no mail address"),
        (request("r\u00ednn@example.jp"), "500", "outside ASCII"),
        (request("rin@[192.0.2.1]"), "500", "no domain"),
        (request(schema=MOBILE), "601", "no Exchange here"),
        (b"", "600", "not well-formed"),
        (b"GET / HTTP/1.1", "600", "not well-formed"),
        (b"<Autodiscover/>", "600", "not one of Autodiscover"),
        (request(""), "600", "no EMailAddress"),
        (request("x" * 20_000), "600", "longer than"),
        (b"<a>" * 17, "600", "more elements"),
        (b"<a>" + b"<b/>" * 101 + b"</a>", "600", "more elements"),
        (request().replace(b"rin", b"&rin;"), "600", "undefined entity"),
        (request().replace(b"rin", b"\xff"), "600", "not well-formed"),
    ],
)
def test_a_wrong_request_gets_the_protocols_own_error(octets: bytes, code: str, words: str) -> None:
    found, message = error_of(ask(octets))
    assert found == code
    assert message is not None
    assert words in message


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
        '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
        + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
        + "]>",
    ],
)
def test_a_document_type_is_refused_before_it_is_read(doctype: str) -> None:
    octets = request("&e;&i;").replace(b"<Autodiscover", doctype.encode() + b"<Autodiscover", 1)
    started = time.monotonic()
    with pytest.raises(RequestRefused, match="document type"):
        read_request(octets)
    assert time.monotonic() - started < 0.5


@given(st.binary(max_size=300) | st.text(max_size=80).map(lambda text: request(text)))
@settings(max_examples=100, deadline=None)
def test_every_request_gets_a_well_formed_answer(octets: bytes) -> None:
    ask(octets)


def test_version_2_leads_to_version_1() -> None:
    answer = answer_json(provider(), "rin@example.net", "autodiscoverv1")
    assert answer.status == 200
    url = "https://autodiscover.example.net/autodiscover/autodiscover.xml"
    assert json.loads(answer.octets) == {"Protocol": "AutodiscoverV1", "Url": url}


def test_version_2_knows_no_exchange_and_no_other_domain() -> None:
    answer = answer_json(provider(), "rin@example.jp", "ActiveSync")
    assert (answer.status, json.loads(answer.octets)["ErrorCode"]) == (400, "InvalidProtocol")
    answer = answer_json(provider(), "rin@example.org", "AutodiscoverV1")
    assert (answer.status, json.loads(answer.octets)["ErrorCode"]) == (404, "UserNotFound")
