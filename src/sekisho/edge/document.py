"""A policy as one self-contained document, for the helper that may change rules and for keeping.

A line of JSON says everything but the exemptions, of which there may be tens of thousands; these follow column by
column, for reading them by the row would take longer than all the rest::

    {"version":1,...,"exemptions":{"count":3,"ipv4":2,"octets":200}}
    lengths      behind a line end: one octet for each exemption, in order: 0 to 32 for IPv4, 33 + length for IPv6
    addresses    those of IPv4, four octets each, then those of IPv6, sixteen each; in network order
    texts        owners, reasons, last days (empty: none) and notes, separated by NUL, in UTF-8

The helper trusts nothing of it: `decode` reads each value as strictly as the policy file is read, and asks
`edge.checks` again whether it fits together.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any, Final, TypeVar

from sekisho.config import Endpoint, parse_network

from .checks import mistakes_of
from .policy import (
    MAX_QUARANTINED,
    VERSION,
    AccessNetwork,
    Action,
    Announcement,
    Exemption,
    Explainer,
    Line,
    Phase,
    Policy,
    Quarantine,
    QuarantineAction,
    ServerGroup,
    SourceCheck,
    Wave,
)
from .prefix import BITS, Prefix

__all__ = ["DocumentError", "decode", "encode", "policy_of"]

T = TypeVar("T")
MAX_OCTETS: Final = 256 * 1024 * 1024
IPV6_LENGTHS: Final = 33  # added to a length of IPv6
NUL: Final = "\0"


class DocumentError(ValueError):
    """A document that is no policy, or one that does not fit together; says what is wrong."""


def encode(policy: Policy) -> bytes:
    """Write *policy* so that `decode` makes an equal one."""
    columns = b"".join(_columns(policy.exemptions))
    rows = {
        "version": policy.version,
        "name": policy.name,
        "management": [str(p) for p in policy.management],
        "own_space": [str(p) for p in policy.own_space],
        "servers": [{"name": g.name, "prefixes": [str(p) for p in g.prefixes]} for g in policy.servers],
        "networks": [_network(n) for n in policy.networks],
        "exemptions": {
            "count": len(policy.exemptions),
            "ipv4": sum([e.prefix.family == 4 for e in policy.exemptions]),
            "octets": len(columns),
        },
        "waves": [
            {"name": w.name, "networks": w.networks, "phase": w.phase, "on": w.on.isoformat()} for w in policy.waves
        ],
        "announcements": [
            {"networks": a.networks, "on": a.on.isoformat(), "text": a.text} for a in policy.announcements
        ],
        "explainer": {"ipv4": _endpoint(policy.explainer.ipv4), "ipv6": _endpoint(policy.explainer.ipv6)},
        "quarantine": _quarantine(policy.quarantine),
        "reasons": dict(policy.reasons),
        "source_check": policy.source_check,
        "mark_shift": policy.mark_shift,
        "log_group": policy.log_group,
        "log_rate": policy.log_rate,
    }
    head = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    return b"".join((head, b"\n", columns))


def _columns(exemptions: Sequence[Exemption]) -> Iterator[bytes]:
    if not exemptions:
        return
    prefixes, owners, reasons, expires, notes = zip(*exemptions, strict=True)
    days = {day: day.isoformat() if day else "" for day in set(expires)}
    yield bytes([length if family == 4 else length + IPV6_LENGTHS for family, _, length in prefixes])
    four = [first for family, first, _ in prefixes if family == 4]
    yield struct.pack(f">{len(four)}I", *four)
    yield b"".join([first.to_bytes(16) for family, first, _ in prefixes if family == 6])
    yield NUL.join((*owners, *reasons, *[days[day] for day in expires], *notes)).encode()


def _network(network: AccessNetwork) -> dict[str, object]:
    row: dict[str, object] = {name: getattr(network, name) for name in AccessNetwork.__slots__}
    row["prefixes"] = [str(p) for p in network.prefixes]
    return row


def _quarantine(quarantine: Quarantine) -> dict[str, object]:
    row: dict[str, object] = {name: getattr(quarantine, name) for name in Quarantine.__slots__}
    row["reachable"] = [str(p) for p in quarantine.reachable]
    return row


def _endpoint(endpoint: Endpoint | None) -> str:
    return "" if endpoint is None else str(endpoint)


def decode(octets: bytes, *, today: date, force: bool = False) -> Policy:
    """Read what `encode` wrote, trusting none of it.

    Raises:
        DocumentError: it is no policy, or does not fit together as of *today*.
    """
    policy = policy_of(octets)
    mistakes = mistakes_of(policy, today, force=force)
    if mistakes:
        raise DocumentError("\n".join(f"{m.note or m.key}: {m.problem}. {m.remedy}" for m in mistakes[:50]))
    return policy


def policy_of(octets: bytes) -> Policy:
    """Read what `encode` wrote, without asking whether it fits together: for a policy that was applied once.

    Raises:
        DocumentError: it is no policy.
    """
    if len(octets) > MAX_OCTETS:
        raise DocumentError("the document is too large")
    try:
        head, _, columns = octets.partition(b"\n")
        return _policy(json.loads(head), columns)
    except DocumentError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, struct.error) as error:
        raise DocumentError(f"not a policy document: {type(error).__name__}") from error


def _policy(raw: object, columns: bytes) -> Policy:
    row = _keys(raw, Policy.__slots__)
    if row["version"] != VERSION:
        raise DocumentError(f"version {row['version']!r} is unknown")
    explainer = _keys(row["explainer"], Explainer.__slots__)
    return Policy(
        version=VERSION,
        name=_text(row["name"]),
        management=_each(row["management"], _network_prefix),
        own_space=_each(row["own_space"], _network_prefix),
        servers=_each(row["servers"], _group),
        networks=_each(row["networks"], _access_network),
        exemptions=_exemptions(row["exemptions"], columns),
        waves=_each(row["waves"], _wave),
        announcements=_each(row["announcements"], _announcement),
        explainer=Explainer(ipv4=_parse_endpoint(explainer["ipv4"]), ipv6=_parse_endpoint(explainer["ipv6"])),
        quarantine=_parse_quarantine(row["quarantine"]),
        reasons={_text(k): _text(v) for k, v in _keys(row["reasons"], None).items()},
        source_check=SourceCheck(row["source_check"]),
        mark_shift=_number(row["mark_shift"], 0, 28),
        log_group=_number(row["log_group"], 1, 65535),
        log_rate=_number(row["log_rate"], 1, 10_000),
    )


def _group(raw: object) -> ServerGroup:
    row = _keys(raw, ServerGroup.__slots__)
    return ServerGroup(name=_text(row["name"]), prefixes=_each(row["prefixes"], _network_prefix))


def _access_network(raw: object) -> AccessNetwork:
    row = _keys(raw, AccessNetwork.__slots__)
    ports = row["shared_ports"]
    return AccessNetwork(
        name=_text(row["name"]),
        product=_text(row["product"]),
        interfaces=_each(row["interfaces"], _text),
        prefixes=_each(row["prefixes"], _network_prefix),
        line=Line(row["line"]),
        phase=Phase(row["phase"]),
        action=Action(row["action"]),
        allowed=_each(row["allowed"], _text),
        own_space=_flag(row["own_space"]),
        relay_only=_each(row["relay_only"], _text),
        delegated_prefix=_number(row["delegated_prefix"], 0, 128),
        shared_ports=None if ports is None else _number(ports, 1, 65535),
        psid_offset=_number(row["psid_offset"], 0, 15),
        guard=_flag(row["guard"]),
        triangular=_flag(row["triangular"]),
    )


def _exemptions(raw: object, columns: bytes) -> tuple[Exemption, ...]:
    row = _keys(raw, ("count", "ipv4", "octets"))
    count = _number(row["count"], 0, len(columns))
    prefixes = _prefixes(columns, count, _number(row["ipv4"], 0, count))
    texts = columns[count + 16 * count - 12 * row["ipv4"] :].decode().split(NUL) if count else []
    if len(texts) != 4 * count or row["octets"] != len(columns):
        raise DocumentError("the exemptions are not as many as was said")
    expires = texts[2 * count : 3 * count]
    days = {text: date.fromisoformat(text) if text else None for text in set(expires)}
    last_days = [days[text] for text in expires]
    return tuple(map(Exemption, prefixes, texts[:count], texts[count : 2 * count], last_days, texts[3 * count :]))


def _prefixes(columns: bytes, count: int, ipv4: int) -> list[Prefix]:
    """The first two columns. An address with host bits set, or a length that there is not, is refused."""
    lengths = columns[:count]
    if sum(map(IPV6_LENGTHS.__gt__, lengths)) != ipv4 or (count and max(lengths) > IPV6_LENGTHS + 128):
        raise DocumentError("the lengths of exemptions are not those of prefixes")
    four = iter(struct.unpack_from(f">{ipv4}I", columns, count))
    halves = struct.unpack_from(f">{2 * (count - ipv4)}Q", columns, count + 4 * ipv4)
    six = iter([high << 64 | low for high, low in zip(halves[::2], halves[1::2], strict=True)])
    made = [
        Prefix(4, next(four), length) if length < IPV6_LENGTHS else Prefix(6, next(six), length - IPV6_LENGTHS)
        for length in lengths
    ]
    hosts = {family: [(1 << (bits - n)) - 1 for n in range(bits + 1)] for family, bits in BITS.items()}
    if any(first & hosts[family][length] for family, first, length in made):
        raise DocumentError("an exemption has host bits set")
    return made


def _wave(raw: object) -> Wave:
    row = _keys(raw, Wave.__slots__)
    return Wave(
        name=_text(row["name"]),
        networks=_each(row["networks"], _text),
        phase=Phase(row["phase"]),
        on=date.fromisoformat(_text(row["on"])),
    )


def _announcement(raw: object) -> Announcement:
    row = _keys(raw, Announcement.__slots__)
    return Announcement(
        networks=_each(row["networks"], _text), on=date.fromisoformat(_text(row["on"])), text=_text(row["text"])
    )


def _parse_quarantine(raw: object) -> Quarantine:
    row = _keys(raw, Quarantine.__slots__)
    port = row["garden_port"]
    after = row["after"]
    if not isinstance(after, int | float) or isinstance(after, bool) or not 0 <= after <= 86400:
        raise DocumentError("a number of seconds is missing or not from 0 to 86400")
    return Quarantine(
        action=QuarantineAction(row["action"]),
        after=after,
        most_lines=_number(row["most_lines"], 1, MAX_QUARANTINED),
        connections_per_second=_number(row["connections_per_second"], 1, 10_000),
        packets_per_second=_number(row["packets_per_second"], 1, 1_000_000),
        garden_port=None if port is None else _number(port, 1, 65535),
        reachable=_each(row["reachable"], _network_prefix),
    )


def _parse_endpoint(raw: object) -> Endpoint | None:
    text = _text(raw)
    return Endpoint.parse(text) if text else None


def _network_prefix(raw: object) -> Any:
    return parse_network(_text(raw))


def _keys(raw: object, names: Any) -> dict[str, Any]:
    """*raw* as a table with exactly the keys *names*, or any keys when that is None."""
    if not isinstance(raw, dict) or (names is not None and set(raw) != set(names)):
        raise DocumentError("a table has missing or unknown keys")
    return raw


def _each(raw: object, read: Callable[[object], T]) -> tuple[T, ...]:
    if not isinstance(raw, list):
        raise DocumentError("a list is missing")
    return tuple(read(element) for element in raw)


def _text(raw: object) -> str:
    if not isinstance(raw, str) or len(raw) > 10_000:
        raise DocumentError("a text is missing or too long")
    return raw


def _number(raw: object, low: int, high: int) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not low <= raw <= high:
        raise DocumentError(f"a number is missing or not from {low} to {high}")
    return raw


def _flag(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise DocumentError("true or false is missing")
    return raw
