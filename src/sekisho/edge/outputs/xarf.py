"""X-ARF: a verdict as a report that abuse desks read by machine (XARF 4.0, category
infrastructure, type botnet; drafts of version 4 called the type "bot").

Only worm-like verdicts become one. The source is the line's address; of an IPv6 prefix its first address, with the
prefix beside it, and behind a shared address the first port of the line's block.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sekisho.edge.watcher import Finding, Verdict, VerdictKind

from .words import finding_text

__all__ = ["Contact", "xarf"]

VERSION = "4.0.0"
_NAMESPACE = uuid.UUID("6f0e0a3c-7a5b-5d43-9a39-6d1f0c3f2b25")


@dataclass(frozen=True, slots=True)
class Contact:
    """Who reports: organization, mail address of its abuse desk, its domain."""

    org: str
    contact: str
    domain: str


def xarf(verdict: Verdict, reporter: Contact, *, now: float, asn: int | None = None) -> str | None:
    """Render *verdict* as one JSON document; None unless it is worm-like.

    The same verdict gives the same ``report_id`` each time, so that one sent twice is known as such.
    """
    if verdict.kind is not VerdictKind.WORM_LIKE:
        return None
    source, port = _source(verdict.line)
    who = asdict(reporter)
    evidence = json.dumps({finding.name: finding.value for finding in verdict.evidence}, indent=1).encode()
    report: dict[str, object] = {
        "xarf_version": VERSION,
        "report_id": str(uuid.uuid5(_NAMESPACE, f"{reporter.domain} {verdict.line} {verdict.since:.0f}")),
        "timestamp": _time(_last_seen(verdict.evidence, now)),
        "reporter": who,
        "sender": who,
        "source_identifier": source,
        "category": "infrastructure",
        "type": "botnet",
        "evidence_source": "flow_analysis",
        "compromise_evidence": "TCP port 25: " + "; ".join(finding_text(one, "en") for one in verdict.evidence),
        "bot_capabilities": ["spam"],
        "first_seen": _time(verdict.since),
        "evidence": [
            {
                "content_type": "application/json",
                "description": "Counted at the edge of the access network, before any address translation",
                "payload": base64.b64encode(evidence).decode("ascii"),
                "hash": f"sha256:{hashlib.sha256(evidence).hexdigest()}",
                "size": len(evidence),
            }
        ],
        "tags": ["port:25", f"network:{verdict.network}"],
    }
    if port is not None:
        report["source_port"] = port
    if asn is not None:
        report["source_asn"] = asn
    if "/" in verdict.line:
        report["source_prefix"] = verdict.line
    return json.dumps(report, indent=1)


def _source(line: str) -> tuple[str, int | None]:
    if "/" in line:
        return line.partition("/")[0], None
    address, colon, ports = line.rpartition(":")
    first = ports.partition("-")[0]
    if colon and "-" in ports and first.isascii() and first.isdigit():
        return address, max(int(first), 1)
    return line, None


def _last_seen(evidence: tuple[Finding, ...], now: float) -> float:
    return next((float(one.value) for one in evidence if one.name == "last_seen"), now)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
