"""What mail programs fetch: the octets of `sekisho autoconfig`, on the right hosts, in the right types."""

from __future__ import annotations

import asyncio
import plistlib
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import httpx
import pytest

from sekisho.autoconfig.documents import documents
from sekisho.portal.parts import Parts

from .conftest import MakeParts, get, visiting

REQUEST = """<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
<Request><EMailAddress>{address}</EMailAddress>
<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
</Request></Autodiscover>"""

FOUND = "https://autodiscover.example.test/autodiscover/autodiscover.xml"
TWO_DOMAINS = {"local__domains": ["example.test", "cs.example.test"]}


def post(parts: Parts, content: str | bytes, path: str = "/autodiscover/autodiscover.xml") -> httpx.Response:
    octets = content.encode() if isinstance(content, str) else content
    headers = {"content-type": "text/xml", "user-agent": "Microsoft Office/16.0"}
    return visiting(
        parts, lambda browser: browser.post(path, content=octets, headers=headers), host="autodiscover.example.test"
    )


@pytest.mark.parametrize("domain", ["example.test", "cs.example.test"])
def test_every_document_has_the_octets_that_the_command_writes(make_parts: MakeParts, domain: str) -> None:
    parts = make_parts(**TWO_DOMAINS)
    found, left_out = documents(parts.provider, domain, None)
    assert not left_out
    assert len(found) == 8
    parts.signer = None
    for document in found:
        for host in document.hosts:
            answer = get(parts, f"/{document.path}", host=host)
            assert answer.status_code == 200, document.path
            assert answer.content == document.octets, document.path
            assert answer.headers["content-type"] == document.content_type
            assert answer.headers["cache-control"] == "public, max-age=3600"


def test_the_domain_is_that_of_the_address_before_that_of_the_host(make_parts: MakeParts) -> None:
    parts = make_parts(**TWO_DOMAINS)

    def first_domain(path: str, host: str) -> str | None:
        root = ElementTree.fromstring(get(parts, path, host=host).content)
        return root.findtext("emailProvider/domain")

    path = "/mail/config-v1.1.xml"
    assert first_domain(path, "autoconfig.cs.example.test") == "cs.example.test"
    assert first_domain(f"{path}?emailaddress=rin%40cs.example.test", "autoconfig.example.test") == "cs.example.test"
    assert first_domain(path, "mail.example.test") == "example.test"


@pytest.mark.parametrize("address", ["rin@other.test", "no address", "@", "rin@", "x" * 400 + "@example.test"])
@pytest.mark.parametrize("path", ["/mail/config-v1.1.xml", "/profile/mail.mobileconfig", "/profile/mail.svg"])
def test_addresses_of_others_are_told_nothing(make_parts: MakeParts, path: str, address: str) -> None:
    answer = get(make_parts(), str(httpx.URL(path, params={"emailaddress": address})))
    assert answer.status_code == 404
    assert "incoming.imap" not in answer.text
    assert "local.domains" not in answer.text


def test_where_nothing_can_be_told_the_reason_is_the_operators(make_parts: MakeParts) -> None:
    parts = make_parts(incoming__imap=None)
    for path in ("mail/config-v1.1.xml", "autodiscover/autodiscover.xml", ".well-known/user-agent-configuration.json"):
        answer = get(parts, f"/{path}")
        assert answer.status_code == 404
        assert "incoming" not in answer.text


def test_nobody_learns_who_exists(make_parts: MakeParts) -> None:
    parts = make_parts()
    asyncio.run(parts.accounts.call(lambda store: store.add("rin@example.test", "correct horse battery")))
    names = ("rin", "nob")
    for path in ("/mail/config-v1.1.xml", "/profile/mail.svg", "/autodiscover/autodiscover.json"):
        query = "protocol=AutodiscoverV1&emailaddress={0}@example.test&email={0}@example.test"
        known, unknown = (get(parts, f"{path}?{query.format(name)}") for name in names)
        assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    known, unknown = (post(parts, REQUEST.format(address=f"{name}@example.test")) for name in names)
    assert known.text.replace("rin", "nob") == unknown.text


@pytest.mark.parametrize(
    "path", ["/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml", "/AutoDiscover/AUTODISCOVER.XML"]
)
def test_outlook_gets_the_persons_own_login_however_it_writes_the_path(make_parts: MakeParts, path: str) -> None:
    answer = post(make_parts(), REQUEST.format(address="rin@example.test"), path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    assert "<LoginName>rin@example.test</LoginName>" in answer.text
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "600"),
        ("<not><xml", "600"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><Autodiscover>&a;</Autodiscover>', "600"),
        (REQUEST.format(address="rin@other.test"), "500"),
        (b"\xff\xfe\x00", "600"),
    ],
)
def test_broken_autodiscover_requests_get_the_protocols_own_error(
    make_parts: MakeParts, content: str | bytes, code: str
) -> None:
    answer = post(make_parts(), content)
    assert answer.status_code == 200
    assert f"<ErrorCode>{code}</ErrorCode>" in answer.text


def test_a_request_of_outlook_has_bounds_and_needs_no_origin(make_parts: MakeParts) -> None:
    assert post(make_parts(), b"x" * 70_000).status_code == 413


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        (
            "/autodiscover/autodiscover.json?Email=rin@example.test&Protocol=AutodiscoverV1",
            200,
            "autodiscover.example.test",
        ),
        (
            "/Autodiscover/Autodiscover.json/v1.0/rin@example.test?Protocol=autodiscoverv1",
            200,
            "autodiscover.example.test",
        ),
        ("/autodiscover/autodiscover.json?Email=rin@example.test&Protocol=ActiveSync", 400, "InvalidProtocol"),
        ("/autodiscover/autodiscover.json?Email=rin@other.test&Protocol=AutodiscoverV1", 404, "UserNotFound"),
        ("/autodiscover/autodiscover.json?Email=rin@example.test", 400, "InvalidProtocol"),
    ],
)
def test_autodiscover_version_2_leads_to_version_1(make_parts: MakeParts, path: str, status: int, words: str) -> None:
    answer = get(make_parts(), path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert words in answer.text


def test_the_profile_is_signed_and_made_for_one_person_on_request(make_parts: MakeParts, tmp_path: Path) -> None:
    parts = make_parts()
    for query, address in (("", None), ("?address=rin%2Bphone@example.test", "rin+phone@example.test")):
        answer = get(parts, f"/profile/mail.mobileconfig{query}")
        assert answer.headers["content-type"] == "application/x-apple-aspen-config"
        assert answer.headers["content-disposition"] == 'attachment; filename="mail.mobileconfig"'
        assert answer.headers["cache-control"] == ("no-store" if address else "public, max-age=3600")
        signed = tmp_path / "mail.mobileconfig"
        signed.write_bytes(answer.content)
        trust = ["-CAfile", str(parts.where.certificate), "-purpose", "any"]
        command = ["openssl", "cms", "-verify", "-inform", "DER", "-in", str(signed), *trust]
        done = subprocess.run(command, capture_output=True, check=True)
        (account,) = plistlib.loads(done.stdout)["PayloadContent"]
        assert account.get("EmailAddress") == address


def test_head_is_answered_as_get(make_parts: MakeParts) -> None:
    for path in ("/mail/config-v1.1.xml", "/autodiscover/autodiscover.xml", "/profile/mail.mobileconfig"):
        answer = visiting(make_parts(), lambda browser, path=path: browser.head(path))  # type: ignore[misc]
        assert answer.status_code == 200


def test_the_sts_policy_is_where_other_servers_look(make_parts: MakeParts) -> None:
    """RFC 8461 §3.3."""
    answer = get(make_parts(), "/.well-known/mta-sts.txt", host="mta-sts.example.test")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.text.startswith("version: STSv1\r\n")
