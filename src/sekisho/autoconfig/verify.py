"""Comparing DNS with what should be published."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol as Port

from .lookup import LookupFailed
from .records import Kind, Record
from .settings import DmarcPolicy

__all__ = ["Dns", "State", "Verdict", "verify"]

AT_ONCE = 8  # questions under way at the same time


class Dns(Port):
    """What is asked; `Lookup` is one."""

    async def values(self, name: str, kind: str) -> list[str]:
        """Return the values, none where there is nothing.

        Raises:
            LookupFailed
        """


class State(StrEnum):
    """How a record stands."""

    RIGHT = "right"
    MISSING = "missing"
    DIFFERENT = "different"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What DNS says of one record.

    Fields:
        found: what is published in its place.
        words: what that means, for the operator.
    """

    record: Record
    state: State
    found: tuple[str, ...]
    words: str


Judged = tuple[State, list[str], str]


async def verify(found: list[Record], dns: Dns) -> list[Verdict]:
    """Return one verdict for each record, in their order."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def judge(record: Record) -> Verdict:
        async with gate:
            try:
                state, values, words = await _JUDGES[record.kind](record, dns)
            except LookupFailed as error:
                state, values, words = State.UNREACHABLE, [], f"{error}; nothing is known of this record"
        return Verdict(record, state, tuple(values), words)

    return list(await asyncio.gather(*map(judge, found)))


async def _addresses(name: str, dns: Dns) -> list[str]:
    four, six = await asyncio.gather(dns.values(name, "A"), dns.values(name, "AAAA"))
    return sorted(four) + sorted(six)


async def _judge_addresses(record: Record, dns: Dns) -> Judged:
    values = await _addresses(record.name, dns)
    if values:
        return State.RIGHT, values, "has addresses; whether they are this host's only you know"
    return State.MISSING, [], "has no address: nobody can connect to it"


async def _judge_mx(record: Record, dns: Dns) -> Judged:
    values = await dns.values(record.name, "MX")
    if not values:
        return State.MISSING, [], "the domain has no MX: other servers try its own addresses, or return the mail"
    host = record.value.split()[1]
    if any(value.split()[-1] == host for value in values):
        return State.RIGHT, values, "mail is led to this host"
    return State.DIFFERENT, values, f"mail is led elsewhere, not to {host}"


async def _judge_srv(record: Record, dns: Dns) -> Judged:
    values = await dns.values(record.name, "SRV")
    if not values:
        return State.MISSING, [], "clients that look here find nothing"
    not_offered = record.value.endswith(" .")
    for value in values:
        if value.split()[2:] == record.value.split()[2:] or (not_offered and value.endswith(" .")):
            extra = len(values) > 1
            words = "this server is named among others" if extra else "host and port are right"
            return State.RIGHT, values, "says that it is not offered" if not_offered else words
    words = (
        "a service is announced that is not offered here" if not_offered else "leads clients to another host or port"
    )
    return State.DIFFERENT, values, words


async def _judge_cname(record: Record, dns: Dns) -> Judged:
    aliases = await dns.values(record.name, "CNAME")
    if record.value in aliases:
        return State.RIGHT, aliases, "is an alias of the web server"
    own, wanted = await asyncio.gather(_addresses(record.name, dns), _addresses(record.value, dns))
    if not own:
        return (
            (State.DIFFERENT, aliases, "is an alias that leads nowhere")
            if aliases
            else (State.MISSING, [], "there is no such name: clients do not find the document")
        )
    if set(own) & set(wanted):
        return State.RIGHT, aliases or own, "has the web server's address"
    return State.DIFFERENT, aliases or own, f"leads to another host than {record.value}"


async def _judge_txt(record: Record, dns: Dns) -> Judged:
    values = [value for value in await dns.values(record.name, "TXT") if _begins(value, record.tag)]
    if not values:
        return State.MISSING, [], "is not published"
    if len(values) > 1:
        return State.DIFFERENT, values, "stands there more than once, which counts as not at all: keep one"
    if _plain(values[0]) == _plain(record.value):
        return State.RIGHT, values, "is as it should be"
    return _RULES.get(record.tag, _other_text)(values[0], record.value)


def _begins(value: str, tag: str) -> bool:
    return re.match(rf"{re.escape(tag)}\s*(;|\s|$)", value.strip(), re.IGNORECASE) is not None


def _plain(value: str) -> str:
    return re.sub(r"\s*;\s*", ";", value.strip().rstrip(";").strip())


def _other_text(value: str, wanted: str) -> Judged:
    return State.DIFFERENT, [value], "says something else than the service does; publish the record anew"


def _spf(value: str, wanted: str) -> Judged:
    """An operator's SPF often names other senders too; what counts is that we are among them (RFC 7208 §4.6)."""
    terms, ours = value.lower().split()[1:], wanted.split()[1]
    if ours in terms or f"+{ours}" in terms:
        return State.RIGHT, [value], "lets this server send, and others"
    words = f'does not name this server as "{ours}"; it may still cover it by an address or an include'
    return State.DIFFERENT, [value], words


def _dmarc(value: str, wanted: str) -> Judged:
    policy = _tags(value).get("p", "").lower()
    order = list(DmarcPolicy)
    if policy not in order:
        return State.DIFFERENT, [value], "has no valid p=, so receivers ignore it"
    if order.index(DmarcPolicy(policy)) >= order.index(DmarcPolicy(_tags(wanted)["p"])):
        return State.RIGHT, [value], f"asks receivers for p={policy}"
    return State.DIFFERENT, [value], f"asks for less than p={_tags(wanted)['p']}"


def _tls_reports(value: str, wanted: str) -> Judged:
    if _tags(value).get("rua", "").startswith(("mailto:", "https:")):
        return State.RIGHT, [value], "sends reports to an address of your own"
    return State.DIFFERENT, [value], "has no rua=, so nobody sends reports"


def _sts(value: str, wanted: str) -> Judged:
    return State.DIFFERENT, [value], "has the id of another policy: senders keep the old one until it changes"


def _pacc(value: str, wanted: str) -> Judged:
    return State.DIFFERENT, [value], "has another digest: clients refuse the document that is served now"


def _tags(value: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in value.split(";"))
    return {name.strip().lower(): text.strip() for name, _, text in pairs}


_RULES: dict[str, Callable[[str, str], Judged]] = {
    "v=spf1": _spf,
    "v=DMARC1": _dmarc,
    "v=TLSRPTv1": _tls_reports,
    "v=STSv1": _sts,
    "v=UAAC1": _pacc,
}

_JUDGES: dict[Kind, Callable[[Record, Dns], Awaitable[Judged]]] = {
    Kind.ADDRESS: _judge_addresses,
    Kind.MX: _judge_mx,
    Kind.SRV: _judge_srv,
    Kind.CNAME: _judge_cname,
    Kind.TXT: _judge_txt,
}
