"""Comparing with DNS: rules over a fixed answer, and the command against a real nsd."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.processes import free_port
from tests.interop.zone import Dns as RealDns

from sekisho.autoconfig.lookup import LookupFailed
from sekisho.autoconfig.records import Kind, Record, records, zone
from sekisho.autoconfig.verify import State, verify
from sekisho.cli.main import main
from sekisho.supervise.init import Answers, initialize
from sekisho.supervise.provider import provider as provider_of
from sekisho.supervise.serve import read_settings


class Fixed:
    """DNS as a table; a name with ``!`` fails."""

    def __init__(self, table: dict[tuple[str, str], list[str]]) -> None:
        self._table = table

    async def values(self, name: str, kind: str) -> list[str]:
        if name.startswith("!"):
            raise LookupFailed("no DNS server answered in time")
        return self._table.get((name, kind), [])


def judge(record: Record, **table: list[str]) -> tuple[State, str]:
    fixed = Fixed({(record.name, kind): values for kind, values in table.items()} | {("web.test", "A"): ["192.0.2.9"]})
    (verdict,) = asyncio.run(verify([record], fixed))
    return verdict.state, verdict.words


SPF = Record("d.test", Kind.TXT, "v=spf1 mx -all", "", "v=spf1")
DMARC = Record("_dmarc.d.test", Kind.TXT, "v=DMARC1; p=quarantine; rua=mailto:a@d.test", "", "v=DMARC1")
STS = Record("_mta-sts.d.test", Kind.TXT, "v=STSv1; id=1", "", "v=STSv1")
MX = Record("d.test", Kind.MX, "10 mail.d.test", "")
SRV = Record("_imaps._tcp.d.test", Kind.SRV, "0 1 993 imap.d.test", "")
NONE = Record("_imap._tcp.d.test", Kind.SRV, "0 0 0 .", "")
ALIAS = Record("autoconfig.d.test", Kind.CNAME, "web.test", "")


@pytest.mark.parametrize(
    ("record", "kind", "values", "state", "words"),
    [
        (SPF, "TXT", ["v=spf1 mx -all", "other=1"], State.RIGHT, "as it should"),
        (SPF, "TXT", ["v=spf1 ip4:192.0.2.0/24 mx ~all"], State.RIGHT, "and others"),
        (SPF, "TXT", ["v=spf1 include:other.test -all"], State.DIFFERENT, "does not name"),
        (SPF, "TXT", ["v=spf1 mx -all", "v=spf1 a -all"], State.DIFFERENT, "more than once"),
        (SPF, "TXT", ["v=spf10 mx"], State.MISSING, "not published"),
        (DMARC, "TXT", ["v=DMARC1;p=reject"], State.RIGHT, "p=reject"),
        (DMARC, "TXT", ["v=DMARC1; p=none"], State.DIFFERENT, "less than p=quarantine"),
        (DMARC, "TXT", ["v=DMARC1"], State.DIFFERENT, "no valid p="),
        (STS, "TXT", ["v=STSv1;id=1;"], State.RIGHT, "as it should"),
        (STS, "TXT", ["v=STSv1; id=2"], State.DIFFERENT, "another policy"),
        (MX, "MX", ["5 other.test", "20 mail.d.test"], State.RIGHT, "to this host"),
        (MX, "MX", ["0 ."], State.DIFFERENT, "elsewhere"),
        (MX, "MX", [], State.MISSING, "no MX"),
        (SRV, "SRV", ["5 9 993 imap.d.test"], State.RIGHT, "right"),
        (SRV, "SRV", ["0 1 143 imap.d.test"], State.DIFFERENT, "another host or port"),
        (NONE, "SRV", ["0 0 0 ."], State.RIGHT, "not offered"),
        (NONE, "SRV", ["0 1 143 imap.d.test"], State.DIFFERENT, "not offered here"),
        (ALIAS, "CNAME", ["web.test"], State.RIGHT, "alias"),
        (ALIAS, "A", ["192.0.2.9"], State.RIGHT, "address"),
        (ALIAS, "A", ["192.0.2.1"], State.DIFFERENT, "another host"),
        (ALIAS, "CNAME", ["gone.test"], State.DIFFERENT, "leads nowhere"),
        (ALIAS, "TXT", ["x"], State.MISSING, "no such name"),
        (Record("!d.test", Kind.MX, "10 a.test", ""), "MX", [], State.UNREACHABLE, "in time"),
    ],
)
def test_each_record_is_judged_by_what_it_is_for(
    record: Record, kind: str, values: list[str], state: State, words: str
) -> None:
    found, said = judge(record, **{kind: values})
    assert found is state
    assert words in said


DOMAIN = "home.test"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "sekisho.toml"
    changes = {"incoming.imap": f'"imap.{DOMAIN}"'}
    initialize(Answers(path, f"mail.{DOMAIN}", DOMAIN, "data", changes), None)
    return path


@pytest.fixture(scope="module")
def port(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A zone as `sekisho dns show --zone` prints it, then spoiled in three places."""
    lines = zone(records(provider_of(read_settings(config, {})))).splitlines()
    kept = [line for line in lines if not line.startswith("_smtp._tls.")]
    text = (
        "\n".join(kept).replace("v=UAAC1; a=sha256; d=", "v=UAAC1; a=sha256; d=AAAA").replace("465 mail.", "466 mail.")
    )
    text += f'\nmail.{DOMAIN}. A 127.0.0.1\nimap.{DOMAIN}. AAAA ::1\n{DOMAIN}. TXT "other=1" "2"\n'
    server = RealDns(tmp_path_factory.mktemp("dns"), text)
    server.start()
    yield server.authority_port
    server.stop()


def verified(
    config: Path, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, str]]:
    monkeypatch.setenv("SEKISHO_DNS_SERVERS", f'["127.0.0.1:{port}"]')
    monkeypatch.setenv("SEKISHO_DNS_TIMEOUT", "1s")
    status = main(["dns", "verify", "--json", "--config", str(config)])
    rows = json.loads(capsys.readouterr().out)["verdicts"]
    return status, {f"{row['name']} {row['kind']}": row["state"] for row in rows}


def test_nsd_is_asked(
    config: Path, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, states = verified(config, port, monkeypatch, capsys)
    assert status == 1
    assert {name: state for name, state in states.items() if state != "right"} == {
        f"_smtp._tls.{DOMAIN} TXT": "missing",
        f"_ua-auto-config.{DOMAIN} TXT": "different",
        f"_submissions._tcp.{DOMAIN} SRV": "different",
    }
    assert main(["dns", "verify", "--config", str(config)]) == 1
    text = capsys.readouterr().out
    assert f"MISSING     _smtp._tls.{DOMAIN} TXT: is not published" in text
    assert f"publish: 0 1 465 mail.{DOMAIN}" in text
    assert f"found:   0 1 466 mail.{DOMAIN}" in text
    assert "not signed here yet" in text


def test_without_dns_every_record_is_unreachable(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, states = verified(config, free_port(), monkeypatch, capsys)
    assert (status, set(states.values())) == (1, {"unreachable"})
