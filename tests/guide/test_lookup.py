"""Other providers' settings: found on a real HTTPS server, and never asked for where a visitor must not lead us."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.interop.certificates import Authority

from sekisho.guide.lookup import (
    BadDocument,
    Fetcher,
    FetchError,
    Finder,
    Outgoing,
    Probed,
    Reached,
    Source,
    fetch,
    may_connect,
    probe,
    read_document,
    registered_part,
)

DOCUMENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1"><emailProvider id="other.test">
<domain>other.test</domain><displayName>Other &amp; Co</displayName>
<incomingServer type="imap"><hostname>imap.other.test</hostname><port>993</port></incomingServer>
<outgoingServer type="smtp"><hostname>smtp.other.test</hostname><port>587</port><socketType>STARTTLS</socketType>
<username>%EMAILLOCALPART%</username></outgoingServer>
<outgoingServer type="smtp"><hostname>smtp.other.test</hostname><port>465</port><socketType>SSL</socketType>
<username>%EMAILADDRESS%</username></outgoingServer>
<outgoingServer type="smtp"><hostname>smtp.other.test</hostname><port>25</port><socketType>plain</socketType>
</outgoingServer>
<documentation url="https://other.test/help"/>
</emailProvider></clientConfig>"""
OK = b"HTTP/1.1 200 OK\r\n"
NAMES = ("autoconfig.other.test", "other.test", "autoconfig.hoster.test", "smtp.other.test", "db.test")

Answer = Callable[[str, str], bytes]  # host and target → octets


class FixedNames:
    """A resolver that knows what a test told it."""

    def __init__(self) -> None:
        self.hosts: dict[str, tuple[str, ...]] = dict.fromkeys(NAMES, ("127.0.0.1",))
        self.mx: dict[str, tuple[tuple[int, str], ...]] = {}
        self.srv: dict[str, tuple[tuple[int, int, int, str], ...]] = {}
        self.asked: list[str] = []

    async def addresses(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        return self.hosts.get(host, ())

    async def exchangers(self, domain: str) -> tuple[tuple[int, str], ...]:
        return self.mx.get(domain, ())

    async def services(self, name: str) -> tuple[tuple[int, int, int, str], ...]:
        return self.srv.get(name, ())


class Site:
    """A real HTTPS server on loopback, and a fetcher that may go there."""

    def __init__(self, server: asyncio.Server, context: ssl.SSLContext) -> None:
        self.names = FixedNames()
        self.requests: list[str] = []
        self.answers: dict[str, bytes] = {}
        port = server.sockets[0].getsockname()[1]
        self.fetcher = Fetcher(self.names, allowed=lambda address: address == "127.0.0.1", port=port, context=context)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(handle: Handler, tls: ssl.SSLContext | None) -> AsyncIterator[asyncio.Server]:
    """A server on loopback that leaves nothing open behind."""
    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(OSError, EOFError):
                await handle(reader, writer)
                await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server
    finally:
        server.close()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def site(authority: Authority) -> AsyncIterator[Site]:
    pair = authority.issue(*NAMES)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(pair.certificate, pair.key)
    made: list[Site] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        host = next(line[6:] for line in head.split("\r\n") if line.startswith("Host: "))
        url = f"{host}{head.split(' ')[1]}"
        made[0].requests.append(url)
        writer.write(made[0].answers.get(url, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))

    async with serving(serve, served) as server:
        made.append(Site(server, ssl.create_default_context(cafile=str(authority.certificate))))
        yield made[0]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def at_site(authority: Authority, work: Callable[[Site], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), site(authority) as one:
            await work(one)

    asyncio.run(main())


OWN = "autoconfig.other.test/mail/config-v1.1.xml"
WELL_KNOWN = "other.test/.well-known/autoconfig/mail/config-v1.1.xml"


def plain(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes) -> bytes:
    parts = b"".join(
        b"%x\r\n%s\r\n" % (len(body[at : at + 100]), body[at : at + 100]) for at in range(0, len(body), 100)
    )
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"


@pytest.mark.parametrize("url", [OWN, WELL_KNOWN])
@pytest.mark.parametrize("render", [plain, chunked, lambda body: OK + b"\r\n" + body])
def test_what_a_domain_publishes_is_found(authority: Authority, url: str, render: Callable[[bytes], bytes]) -> None:
    async def work(one: Site) -> None:
        one.answers[url] = render(DOCUMENT)
        found = await Finder(one.fetcher).find("other.test")
        assert found.source is Source.DOMAIN
        assert found.published is not None
        assert found.published.name == "Other & Co"
        assert found.published.help_url == "https://other.test/help"
        assert found.published.servers == (
            Outgoing("smtp.other.test", 465, "tls", "address"),
            Outgoing("smtp.other.test", 587, "starttls", "local-part"),
            Outgoing("smtp.other.test", 25, "none", ""),
        )

    at_site(authority, work)


def test_the_mail_host_then_dns_then_a_named_database_are_asked(authority: Authority) -> None:
    async def work(one: Site) -> None:
        names = one.names
        finder = Finder(one.fetcher, database="https://db.test/v1.1", clock=lambda: clock[0])
        clock = [0.0]
        assert (await finder.find("other.test")).published is None
        one.answers["db.test/v1.1/other.test"] = plain(DOCUMENT)
        assert (await finder.find("other.test")).published is None, "remembered"
        clock[0] += 601
        assert (await finder.find("other.test")).source is Source.DATABASE
        clock[0] += 7 * 3600
        names.srv["_submissions._tcp.other.test"] = ((0, 1, 465, "smtp.other.test"),)
        names.srv["_submission._tcp.other.test"] = ((0, 0, 0, "."),)  # RFC 6186 §3.4: not offered
        found = await finder.find("other.test")
        assert found.source is Source.DNS
        assert found.published is not None
        assert found.published.servers == (Outgoing("smtp.other.test", 465, "tls"),)
        clock[0] += 7 * 3600
        names.mx["other.test"] = ((20, "spare.elsewhere.test"), (10, "mx1.hoster.test"))
        one.answers["autoconfig.hoster.test/mail/config-v1.1.xml"] = plain(DOCUMENT)
        assert (await finder.find("other.test")).source is Source.MAIL_HOST

    at_site(authority, work)


def test_without_a_named_database_no_third_party_hears_of_the_domain(authority: Authority) -> None:
    async def work(one: Site) -> None:
        await Finder(one.fetcher).find("other.test")
        assert set(one.names.asked) == {"autoconfig.other.test", "other.test"}

    at_site(authority, work)


def test_many_who_ask_at_once_cost_one_question(authority: Authority) -> None:
    async def work(one: Site) -> None:
        one.answers[OWN] = plain(DOCUMENT)
        finder = Finder(one.fetcher)
        answers = await asyncio.gather(*(finder.find("other.test") for _ in range(20)))
        assert len(set(answers)) == 1
        assert sorted(one.requests) == [OWN, WELL_KNOWN]
        assert finder.is_kept("other.test")
        assert not finder.is_kept("elsewhere.test")

    at_site(authority, work)


def test_whoever_keeps_all_turns_busy_does_not_have_nothing_remembered_about_others(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TIME", 0.2)

    async def work(one: Site) -> None:
        one.answers[OWN] = plain(DOCUMENT)
        finder = Finder(one.fetcher)
        for _ in range(fetch.AT_ONCE):
            await one.fetcher.turn.acquire()
        assert (await finder.find("other.test")).published is None
        assert not finder.is_kept("other.test")
        for _ in range(fetch.AT_ONCE):
            one.fetcher.turn.release()
        monkeypatch.setattr(fetch, "TIME", 8.0)
        assert (await finder.find("other.test")).published is not None

    at_site(authority, work)


# Where it must not go


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.5.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("255.255.255.255", "192.0.2.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::1", "::127.0.0.1", "localhost", ""),
        *("fec0::1", "feff::1", "3fff::1", "192.0.0.8", "192.88.99.1", "64:ff9b:1::1", "2001:0:1::1", "5f00::1"),
    ],
)
def test_addresses_that_are_not_public_are_never_connected_to(address: str) -> None:
    assert not may_connect(address)


def test_public_addresses_are_except_those_of_named_networks() -> None:
    own = (ipaddress.ip_network("8.8.8.0/24"),)
    assert may_connect("8.8.4.4", own)
    assert may_connect("2606:4700::1111", own)
    assert not may_connect("8.8.8.8", own)


@given(st.ip_addresses())
def test_what_may_be_connected_to_is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not may_connect(str(address)) or address.is_global


def refused(authority: Authority, url: str, change: Callable[[Site], None] = lambda one: None) -> str:
    """Return why *url* is not fetched, and see that nothing of it was asked for."""
    reasons: list[str] = []

    async def work(one: Site) -> None:
        one.answers["other.test/"] = plain(DOCUMENT)
        change(one)
        with pytest.raises(FetchError) as caught:
            await one.fetcher.get(url)
        reasons.append(str(caught.value))
        assert one.requests == []

    at_site(authority, work)
    return reasons[0]


def test_a_name_with_one_address_inside_is_refused_whole(authority: Authority) -> None:
    """DNS rebinding: a public address beside one that is not."""

    def inside(one: Site) -> None:
        one.names.hosts["other.test"] = ("127.0.0.1", "192.168.0.1")

    assert "not public" in refused(authority, "https://other.test/", inside)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://other.test/",
            "https://other.test:8443/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://localhost/",
        ),
        *(
            "ftp://other.test/",
            "https://user@other.test/",
            "https://other.test/a b",
            "https://other.test/\r\nX: y",
            "x",
        ),
        *("https://other.test:x/", "https://" + "a" * 600 + ".test/", "https://2130706433/"),
    ],
)
def test_addresses_of_other_kinds_are_not_fetched(authority: Authority, url: str) -> None:
    refused(authority, url)


def test_a_certificate_of_another_name_is_not_trusted(authority: Authority) -> None:
    def unknown(one: Site) -> None:
        one.names.hosts["stranger.test"] = ("127.0.0.1",)

    assert "CERTIFICATE_VERIFY_FAILED" in refused(authority, "https://stranger.test/", unknown)


@pytest.mark.parametrize(
    "location", ["http://other.test/", "https://127.0.0.1/", "https://inside.test/", "gopher://x/", "", "//[", "/loop"]
)
def test_a_redirection_leads_nowhere_that_could_not_be_asked_for_directly(authority: Authority, location: str) -> None:
    async def work(one: Site) -> None:
        one.names.hosts["inside.test"] = ("10.0.0.7",)
        away = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode()
        one.answers |= {"other.test/start": away, "other.test/loop": away}
        with pytest.raises(FetchError):
            await one.fetcher.get("https://other.test/start")
        assert len(one.requests) <= 3
        assert all(request.startswith("other.test/") for request in one.requests)

    at_site(authority, work)


def test_a_redirection_to_another_public_host_is_followed(authority: Authority) -> None:
    async def work(one: Site) -> None:
        one.answers[OWN] = b"HTTP/1.1 301 Moved\r\nLocation: https://autoconfig.hoster.test/other\r\n\r\n"
        one.answers["autoconfig.hoster.test/other"] = plain(DOCUMENT)
        found = await one.fetcher.get(f"https://{OWN}")
        assert (found.host, found.body) == ("autoconfig.hoster.test", DOCUMENT)

    at_site(authority, work)


BIG = b"x" * 70_000


@pytest.mark.parametrize(
    "octets",
    [
        plain(BIG),
        chunked(BIG),
        OK + b"\r\n" + BIG,
        OK + b"Content-Length: 99999999999\r\n\r\nx",
        OK + b"Content-Length: -1\r\n\r\nx",
        OK + b"Content-Length: 50\r\n\r\nshort",
        OK + b"Content-Encoding: gzip\r\n\r\nx",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        OK + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\n\r\n",
        b"",
    ],
    ids=range(13),
)
def test_an_answer_out_of_bounds_is_none(authority: Authority, octets: bytes) -> None:
    async def work(one: Site) -> None:
        one.answers["other.test/"] = octets
        with pytest.raises(FetchError):
            await one.fetcher.get("https://other.test/")

    at_site(authority, work)


# The document

BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><clientConfig>&b;</clientConfig>'


@pytest.mark.parametrize(
    "octets",
    [
        BOMB,
        b"<! DOCTYPE x SYSTEM 'file:///etc/passwd'>" + DOCUMENT,
        DOCUMENT.decode().encode("utf-16"),
        b"<clientConfig/>",
        b"<other/>",
        b"",
        b"<clientConfig>" + b"<a>" * 3000 + b"</a>" * 3000 + b"</clientConfig>",
        DOCUMENT.replace(b"outgoingServer", b"elsewhere"),
        DOCUMENT.replace(b"smtp.other.test", b"127.0.0.1"),
        DOCUMENT.replace(b"smtp.other.test", b"x'&gt;&lt;script&gt;.test"),
        b"\xff\xff" + DOCUMENT,
    ],
    ids=range(11),
)
def test_a_document_that_is_none_is_refused(octets: bytes) -> None:
    with pytest.raises(BadDocument):
        read_document(octets)


@given(st.binary(max_size=300))
def test_no_document_raises_anything_else(octets: bytes) -> None:
    with contextlib.suppress(BadDocument):
        read_document(octets)
    with contextlib.suppress(BadDocument):
        read_document(DOCUMENT[:200] + octets + DOCUMENT[200:])


def test_a_help_page_that_is_no_plain_address_is_left_out() -> None:
    for url in (b"javascript:alert(1)", b"http://other.test/", b"https://o.test/&quot;x"):
        assert read_document(DOCUMENT.replace(b"https://other.test/help", url)).help_url is None


@pytest.mark.parametrize(
    ("host", "part"),
    [
        ("mx1.hoster.test", "hoster.test"),
        ("mx.example.co.jp", "example.co.jp"),
        ("example.co.jp", None),
        ("mx.jp", None),
        ("", None),
        ("a.b.c.example.org", "b.c.example.org"),
    ],
)
def test_nobody_is_asked_who_only_registers_names(host: str, part: str | None) -> None:
    assert registered_part(host) == part


@pytest.mark.parametrize(
    ("typed", "domain"),
    [
        ("rin@Other.Test", "other.test"),
        (" other.test. ", "other.test"),
        ("日本語.jp", "xn--wgv71a119e.jp"),
        ("localhost", None),
        ("127.0.0.1", None),
        ("[::1]", None),
        ("a@b@other.test", "other.test"),
        ("other.test/../x", None),
        ("x" * 300 + ".test", None),
        ("", None),
        ("<script>", None),
    ],
)
def test_of_what_is_typed_the_domain_alone_is_used(typed: str, domain: str | None) -> None:
    assert Finder(Fetcher(FixedNames())).domain_of(typed) == domain


# The probe


class Talker:
    """A submission server of somebody else, as far as EHLO."""

    def __init__(self, greeting: bytes, ehlo: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.greeting, self.ehlo, self.tls = greeting, ehlo, tls
        self.heard: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting)
        while line := await reader.readline():
            self.heard.append(line)
            if line.startswith(b"EHLO"):
                writer.write(self.ehlo)
            elif line.startswith(b"STARTTLS") and self.tls is not None:
                writer.write(b"220 go\r\n")
                await writer.start_tls(self.tls)
            else:
                writer.write(b"502 no\r\n")


FULL = b"250-smtp.other.test\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"


@pytest.mark.parametrize(
    ("greeting", "ehlo", "security", "reached"),
    [
        (b"220-hello\r\n220 there\r\n", FULL, "starttls", Reached.READY),
        (b"220 hello\r\n", FULL, "tls", Reached.READY),
        (b"220 hello\r\n", b"250 smtp.other.test\r\n", "starttls", Reached.NO_TLS),
        (b"220 hello\r\n", b"250-x\r\n250 STARTTLS\r\n", "starttls", Reached.NO_AUTH),
        (b"554 no\r\n", FULL, "starttls", Reached.REFUSED),
        (b"220 hello\r\n", b"500 no\r\n", "starttls", Reached.REFUSED),
        (b"SSH-2.0-x\r\n", FULL, "starttls", Reached.REFUSED),
        (b"220 " + b"x" * 30_000, FULL, "starttls", Reached.REFUSED),
        (b"220-x\r\n" * 100, FULL, "starttls", Reached.REFUSED),
    ],
)
def test_a_server_is_tried_as_far_as_its_extensions(
    authority: Authority, greeting: bytes, ehlo: bytes, security: str, reached: Reached
) -> None:
    async def main() -> None:
        pair = authority.issue("smtp.other.test")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair.certificate, pair.key)
        talker = Talker(greeting, ehlo, tls)
        trust = ssl.create_default_context(cafile=str(authority.certificate))
        fetcher = Fetcher(FixedNames(), allowed=lambda address: address == "127.0.0.1", context=trust)
        async with serving(talker.serve, tls if security == "tls" else None) as server, asyncio.timeout(20):
            port = server.sockets[0].getsockname()[1]
            found = await probe(fetcher, "smtp.other.test", hello="mail.johoku.invalid", ports={port: security})
        assert found == (Probed(port, security, reached),)
        assert not [line for line in talker.heard if line.startswith((b"MAIL", b"AUTH"))]

    asyncio.run(main())


def test_a_server_that_is_not_trusted_or_not_there_is_told_as_that(authority: Authority) -> None:
    async def main() -> None:
        pair = authority.issue("someone.else.test")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair.certificate, pair.key)
        trust = ssl.create_default_context(cafile=str(authority.certificate))
        names = FixedNames()
        fetcher = Fetcher(names, allowed=lambda address: address == "127.0.0.1", context=trust)

        async def reached() -> Reached:
            return (await probe(fetcher, "smtp.other.test", hello="x.test", ports={port: "tls"}))[0].reached

        async with serving(Talker(b"220 x\r\n", FULL).serve, tls) as server:
            port = server.sockets[0].getsockname()[1]
            assert await reached() is Reached.BAD_CERTIFICATE
        assert await reached() is Reached.CLOSED
        names.hosts["smtp.other.test"] = ("10.0.0.1",)
        assert await reached() is Reached.NOT_TRIED

    asyncio.run(main())
