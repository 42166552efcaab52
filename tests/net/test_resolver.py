"""The resolver against a real, tiny name server on a loopback port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from sekisho.config import Duration, Endpoint
from sekisho.net.dns_settings import DnsSettings
from sekisho.net.resolver import NoSuchDomain, Resolver, ResolverTemporary

SOA = "example.jp. 60 IN SOA ns.example.jp. root.example.jp. 1 3600 600 86400 60"
ZONE = {
    ("example.jp.", "MX"): ["example.jp. 300 IN MX 20 mx2.example.jp.", "example.jp. 300 IN MX 10 MX1.example.jp."],
    ("null.example.jp.", "MX"): ["null.example.jp. 300 IN MX 0 ."],
    ("alias.example.jp.", "MX"): [
        "alias.example.jp. 300 IN CNAME example.jp.",
        "example.jp. 300 IN MX 10 mx1.example.jp.",
    ],
    ("mx1.example.jp.", "A"): ["mx1.example.jp. 0 IN A 192.0.2.1"],
    ("mx1.example.jp.", "AAAA"): ["mx1.example.jp. 300 IN AAAA 2001:db8::1"],
    ("four.example.jp.", "A"): ["four.example.jp. 300 IN A 192.0.2.4"],
}
EMPTY = {"bare.example.jp.", "four.example.jp."}


class NameServer(asyncio.DatagramProtocol):
    """Answers from ZONE; counts the questions; can fail on demand."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, str]] = []
        self.broken: set[str] = set()
        self.silent = False
        self.secure = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own class does not derive from it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        key = (question.name.to_text().lower(), question.rdtype.name)
        self.questions.append(key)
        if self.silent:
            return
        answer = dns.message.make_response(query, recursion_available=True)
        if self.secure:
            answer.flags |= dns.flags.AD
        if key[1] in self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif key in ZONE:
            for line in ZONE[key]:
                name, ttl, _, kind, rest = line.split(" ", 4)
                found = dns.rrset.from_text(name, int(ttl), "IN", kind, rest)
                rrset = answer.find_rrset(answer.answer, found.name, found.rdclass, found.rdtype, create=True)
                for record in found:
                    rrset.add(record, found.ttl)
        else:
            name, ttl, _, kind, rest = SOA.split(" ", 4)
            answer.authority.append(dns.rrset.from_text(name, int(ttl), "IN", kind, rest))
            if key[0] not in EMPTY and not any(name == key[0] for name, _ in ZONE):
                answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), addr)


def ask(body: Callable[[Resolver, NameServer, list[float]], Coroutine[Any, Any, None]], *, entries: int = 100) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        clock = [0.0]
        settings = DnsSettings(servers=(Endpoint("127.0.0.1", port),), timeout=Duration(0.5), cache_entries=entries)
        try:
            await body(Resolver(settings, clock=lambda: clock[0]), server, clock)
        finally:
            transport.close()
            await asyncio.sleep(0)

    asyncio.run(run())


def test_mail_exchangers_come_with_preference_and_lower_case_names() -> None:
    async def body(resolver: Resolver, server: NameServer, _: list[float]) -> None:
        found = await resolver.mail_exchangers("Example.JP")
        assert sorted(found.hosts) == [(10, "mx1.example.jp"), (20, "mx2.example.jp")]
        assert not found.secure
        assert (await resolver.mail_exchangers("alias.example.jp")).hosts == ((10, "mx1.example.jp"),)
        assert (await resolver.mail_exchangers("null.example.jp")).hosts == ((0, ""),)
        assert (await resolver.mail_exchangers("bare.example.jp")).hosts == ()

    ask(body)


def test_addresses_of_both_families_are_found() -> None:
    async def body(resolver: Resolver, server: NameServer, _: list[float]) -> None:
        assert (await resolver.addresses("mx1.example.jp")).texts == ("2001:db8::1", "192.0.2.1")
        assert (await resolver.addresses("four.example.jp")).texts == ("192.0.2.4",)
        assert (await resolver.addresses("bare.example.jp")).texts == ()

    ask(body)


def test_one_family_failing_does_not_hide_the_other() -> None:
    async def body(resolver: Resolver, server: NameServer, _: list[float]) -> None:
        server.broken = {"AAAA"}
        assert (await resolver.addresses("mx1.example.jp")).texts == ("192.0.2.1",)
        server.broken = {"AAAA", "A"}
        with pytest.raises(ResolverTemporary):
            await resolver.addresses("four.example.jp")

    ask(body)


def test_no_such_domain_and_no_answer_are_told_apart() -> None:
    async def body(resolver: Resolver, server: NameServer, _: list[float]) -> None:
        for name in ("missing.example.jp", "a..b", "x" * 64 + ".example.jp"):
            with pytest.raises(NoSuchDomain):
                await resolver.mail_exchangers(name)
        with pytest.raises(NoSuchDomain):
            await resolver.addresses("missing.example.jp")
        server.silent = True
        with pytest.raises(ResolverTemporary):
            await resolver.mail_exchangers("example.jp")

    ask(body)


def test_answers_are_kept_for_their_ttl_and_failures_briefly() -> None:
    async def body(resolver: Resolver, server: NameServer, clock: list[float]) -> None:
        for _ in range(3):
            await resolver.mail_exchangers("example.jp")
            with pytest.raises(NoSuchDomain):
                await resolver.mail_exchangers("missing.example.jp")
        assert len(server.questions) == 2
        clock[0] = 299.0
        await resolver.mail_exchangers("example.jp")
        assert len(server.questions) == 2
        clock[0] = 301.0
        await resolver.mail_exchangers("example.jp")
        assert len(server.questions) == 3

    ask(body)


def test_questions_asked_at_the_same_time_are_asked_once() -> None:
    async def body(resolver: Resolver, server: NameServer, _: list[float]) -> None:
        answers = await asyncio.gather(*(resolver.mail_exchangers("example.jp") for _ in range(20)))
        assert len(set(answers)) == 1
        assert len(server.questions) == 1

    ask(body)


def test_one_asker_giving_up_does_not_end_the_question_of_the_others() -> None:
    async def body(resolver: Resolver, server: NameServer, _: list[float]) -> None:
        impatient = asyncio.ensure_future(resolver.mail_exchangers("example.jp"))
        patient = asyncio.ensure_future(resolver.mail_exchangers("example.jp"))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).hosts
        assert len(server.questions) == 1

    ask(body)


def test_the_cache_is_bounded() -> None:
    async def body(resolver: Resolver, server: NameServer, _: list[float]) -> None:
        await resolver.mail_exchangers("example.jp")
        for number in range(5):
            with pytest.raises(NoSuchDomain):
                await resolver.mail_exchangers(f"missing{number}.example.jp")
        await resolver.mail_exchangers("example.jp")
        assert server.questions.count(("example.jp.", "MX")) == 2

    ask(body, entries=3)


def test_the_flag_of_a_validated_answer_is_kept() -> None:
    """RFC 4035 §3.2.3."""

    async def body(resolver: Resolver, server: NameServer, _: list[float]) -> None:
        server.secure = True
        assert (await resolver.mail_exchangers("example.jp")).secure
        assert (await resolver.addresses("mx1.example.jp")).secure

    ask(body)
