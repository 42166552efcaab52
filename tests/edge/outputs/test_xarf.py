"""X-ARF: what the published schema wants is there (core: required fields and formats;
infrastructure/botnet). The schema: xarf.org/schemas/v4; the Python package xarf 1.0.0 finds no mistake in such reports.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from typing import Any

import pytest

from sekisho.edge.outputs import Contact, xarf
from sekisho.edge.watcher import Finding, Verdict, VerdictKind

DESK = Contact("Example Net", "abuse@example.jp", "example.jp")
EVIDENCE = (Finding("attempts_per_minute", 300), Finding("last_seen", 1_767_225_660))


def rendered(line: str = "192.0.2.7", **more: Any) -> dict[str, Any]:
    verdict = Verdict(line, "ftth", VerdictKind.WORM_LIKE, 1_767_225_600.0, EVIDENCE)
    text = xarf(verdict, DESK, now=1_767_225_700.0, **more)
    assert text is not None
    document: dict[str, Any] = json.loads(text)
    return document


def test_a_report_has_every_field_the_schema_requires() -> None:
    report = rendered(asn=64500)
    assert re.fullmatch(r"4\.\d+\.\d+", report["xarf_version"])
    uuid.UUID(report["report_id"])
    assert report["timestamp"] == "2026-01-01T00:01:00Z"
    assert (
        report["reporter"]
        == report["sender"]
        == {"org": "Example Net", "contact": DESK.contact, "domain": "example.jp"}
    )
    assert (report["category"], report["type"]) == ("infrastructure", "botnet")
    assert "attempts within a minute: 300" in report["compromise_evidence"]
    assert report["source_identifier"] == "192.0.2.7"
    assert report["source_asn"] == 64500
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_+-]*:[a-z0-9][a-z0-9_+-.]*", tag) for tag in report["tags"])
    (evidence,) = report["evidence"]
    payload = base64.b64decode(evidence["payload"])
    assert json.loads(payload)["attempts_per_minute"] == 300
    assert evidence["hash"] == f"sha256:{hashlib.sha256(payload).hexdigest()}"
    assert evidence["size"] == len(payload)
    assert set(evidence) <= {"content_type", "description", "payload", "hash", "size"}


KNOWN = {
    "xarf_version": str,
    "report_id": str,
    "timestamp": str,
    "reporter": dict,
    "sender": dict,
    "source_identifier": str,
    "source_port": int,
    "category": str,
    "type": str,
    "evidence_source": str,
    "evidence": list,
    "tags": list,
    "compromise_evidence": str,
    "bot_capabilities": list,
}
OURS = {"first_seen", "source_asn", "source_prefix"}  # the core schema allows further fields
CAPABILITIES = {
    "ddos",
    "spam",
    "proxy",
    "keylogger",
    "file_download",
    "remote_shell",
    "cryptocurrency_mining",
    "data_theft",
}


@pytest.mark.parametrize("line", ["192.0.2.7", "2001:db8:0:100::/56", "203.0.113.9:4096-5119"])
def test_types_and_bounds_are_those_of_the_schema(line: str) -> None:
    report = rendered(line, asn=64500)
    assert set(report) - OURS <= set(KNOWN)
    assert all(type(report[name]) is kind for name, kind in KNOWN.items() if name in report)
    assert set(report["reporter"]) == {"org", "contact", "domain"}  # nothing else is allowed there
    assert set(report["bot_capabilities"]) <= CAPABILITIES
    assert 1 <= report.get("source_port", 1) <= 65535
    assert len(report["tags"]) <= 20
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_+-]*:[a-z0-9][a-z0-9_+-]*", tag) for tag in report["tags"])
    for evidence in report["evidence"]:
        assert {"content_type", "payload"} <= set(evidence)
        assert len(evidence["description"]) <= 500
        assert 0 <= evidence["size"] <= 5 * 1024 * 1024
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", evidence["hash"])


@pytest.mark.parametrize(
    ("line", "source", "port"),
    [
        ("2001:db8:0:100::/56", "2001:db8:0:100::", None),
        ("203.0.113.9:4096-5119", "203.0.113.9", 4096),
        ("203.0.113.9:0-1023", "203.0.113.9", 1),
    ],
)
def test_the_source_is_an_address_with_its_first_port_when_it_is_shared(
    line: str, source: str, port: int | None
) -> None:
    report = rendered(line)
    assert report["source_identifier"] == source
    assert report.get("source_port") == port


def test_the_same_verdict_has_the_same_id_and_another_has_another() -> None:
    assert rendered()["report_id"] == rendered()["report_id"]
    assert rendered()["report_id"] != rendered("192.0.2.8")["report_id"]


def test_only_worm_like_lines_are_reported() -> None:
    verdict = Verdict("192.0.2.7", "ftth", VerdictKind.MISCONFIGURED_CLIENT, 1e9, EVIDENCE)
    assert xarf(verdict, DESK, now=1e9) is None
