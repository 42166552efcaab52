"""PACC and the DNS records."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from tests.interop.processes import run
from tests.interop.programs import need

from sekisho.autoconfig.errors import NotOffered
from sekisho.autoconfig.pacc import pacc, pacc_digest
from sekisho.autoconfig.provider import Security, Server
from sekisho.autoconfig.records import Kind, records, sts_policy, zone
from sekisho.autoconfig.settings import StsMode, UserName

from .providers import IMAP, POP3, SUBMISSION, SUBMISSIONS, provider


def values(kind: Kind, **changes: object) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for record in records(provider(domains=("example.jp",), **changes)):
        if record.kind is kind:
            found.setdefault(record.name.removesuffix(".example.jp"), []).append(record.value)
    return found


def test_pacc_names_hosts_alone_and_keeps_its_octets() -> None:
    """The digest is of these octets: whoever changes them breaks every client until DNS follows."""
    octets = pacc(provider(name="Example Network", short_name="Example", help_url=None))
    assert octets == (
        b'{"authentication":{"password":true},"info":{"provider":{"name":"Example Network","shortName":"Example"}},'
        b'"protocols":{"imap":{"host":"imap.example.jp"},"pop3":{"host":"pop.example.jp"},'
        b'"smtp":{"host":"mail.example.jp"}}}'
    )
    digest = base64.b64encode(hashlib.sha256(octets).digest()).decode()
    assert pacc_digest(octets) == f"v=UAAC1; a=sha256; d={digest}"


def test_pacc_leaves_out_what_it_cannot_say() -> None:
    """Neither STARTTLS, nor other ports, nor a local-part as the user name."""
    by_name = dataclasses.replace(POP3, user_name=UserName.LOCAL_PART)
    assert json.loads(pacc(provider(incoming=(IMAP, by_name))))["protocols"].keys() == {"imap", "smtp"}
    with pytest.raises(NotOffered, match="465"):
        pacc(provider(outgoing=(SUBMISSION, dataclasses.replace(SUBMISSIONS, port=4650))))
    with pytest.raises(NotOffered, match="993"):
        pacc(provider(incoming=(by_name,)))
    names = [record.name for record in records(provider(incoming=()))]
    assert not [name for name in names if "ua-auto-config" in name]


def test_srv_prefers_implicit_tls_and_denies_what_is_not_offered() -> None:
    """RFC 6186 §3, RFC 8314 §5.1."""
    assert values(Kind.SRV, incoming=(IMAP, Server(POP3.protocol, POP3.host, 110, Security.STARTTLS))) == {
        "_submissions._tcp": ["0 1 465 mail.example.jp"],
        "_submission._tcp": ["10 1 587 mail.example.jp"],
        "_imaps._tcp": ["0 1 993 imap.example.jp"],
        "_imap._tcp": ["0 0 0 ."],
        "_pop3s._tcp": ["0 0 0 ."],
        "_pop3._tcp": ["10 1 110 pop.example.jp"],
    }


def test_a_host_that_only_sends_is_named_in_spf_and_has_no_policy_for_arriving_mail() -> None:
    """RFC 7208."""
    assert values(Kind.TXT)["example.jp"] == ["v=spf1 mx -all"]
    only_sending = values(Kind.TXT, mx=())
    assert only_sending["example.jp"] == ["v=spf1 a:mail.example.jp -all"]
    assert "_mta-sts" not in only_sending
    assert "mta-sts" not in values(Kind.CNAME, mx=())


def test_the_id_of_the_mta_sts_policy_follows_the_policy() -> None:
    """RFC 8461 §3.1, §3.2."""
    assert sts_policy(provider()) == b"version: STSv1\r\nmode: testing\r\nmx: mail.example.jp\r\nmax_age: 86400\r\n"
    first, again, other = (
        values(Kind.TXT, mx=mx)["_mta-sts"] for mx in (("a.example.jp",), ("a.example.jp",), ("b.example.jp",))
    )
    assert first == again != other
    with pytest.raises(NotOffered, match=r"autoconfig.mta_sts"):
        sts_policy(provider(mta_sts=StsMode.OFF))


def test_the_zone_is_one_that_nsd_takes(tmp_path: Path) -> None:
    head = "$ORIGIN jp.\n$TTL 60\n@ SOA ns h 1 1 1 1 1\n@ NS ns\nns A 192.0.2.1\n"
    (tmp_path / "zone").write_text(head + zone(records(provider(domains=("example.jp",)))))
    done = run([need("nsd-checkzone"), "jp", tmp_path / "zone"])
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert "not signed here yet" in (tmp_path / "zone").read_text()
