"""One HTTPS document of a stranger, fetched for a visitor: from public addresses alone, bounded in time and size.

A visitor names the domain, so one must assume that an attacker chose it. The name is resolved first, every address that
is not public is refused, and the connection goes to the very address that was checked, with the name in SNI and in the
certificate: a name that resolves differently a moment later leads nowhere else. Only port 443; a redirection is
followed under the same rules, at most twice.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
import urllib.parse
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from sekisho.config import Network
from sekisho.net.tls import client_context

from .document import is_host_name

__all__ = ["Crowded", "FetchError", "Fetched", "Fetcher", "Names", "connect", "may_connect"]

MAX_BODY: Final = 64 * 1024  # octets
MAX_HEAD: Final = 16 * 1024
MAX_REDIRECTIONS: Final = 2
MAX_ADDRESSES: Final = 2  # of one name that are tried
MAX_URL: Final = 500
CONNECT_TIME: Final = 4.0  # seconds, with the TLS handshake
TIME: Final = 8.0  # seconds for one document, redirections included
AT_ONCE: Final = 8  # documents of all visitors together

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: .*)?", re.ASCII)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;.*)?", re.ASCII)
_PUBLIC_IPV6: Final = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out to the Internet. What holds an IPv4 address, which would have to be checked as well, or
was once meant for sites, is outside of it or in the next list."""
_SPECIAL: Final = tuple(
    ipaddress.ip_network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "2001::/32", "2002::/16", "3fff::/20")
)
"""Networks that `is_global` takes for public, all of them or in some versions of Python."""

MayConnect = Callable[[str], bool]


class FetchError(Exception):
    """There is no document; `str()` says why, for the log."""


class Crowded(FetchError):
    """Nobody was asked: others had all turns until the time was over."""


class Names(Protocol):
    """What is asked of DNS. Each method returns nothing where there is nothing, and raises nothing."""

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a host."""

    async def exchangers(self, domain: str) -> tuple[tuple[int, str], ...]:
        """Return preference and host of the MX records."""

    async def services(self, name: str) -> tuple[tuple[int, int, int, str], ...]:
        """Return priority, weight, port and host of the SRV records."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document, and the host that it came from in the end."""

    host: str
    body: bytes


def may_connect(address: str, refused: Collection[Network] = ()) -> bool:
    """Tell whether *address* is public, and in none of the networks *refused*."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and (ip.scope_id or ip not in _PUBLIC_IPV6):
        return False
    return not any(ip in network for network in (*_SPECIAL, *refused))


class Fetcher:
    """Fetches documents. One for the process: it bounds how many are under way."""

    def __init__(
        self,
        names: Names,
        *,
        allowed: MayConnect = may_connect,
        port: int = 443,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare to fetch.

        Args:
            allowed: tells whether an address may be connected to.
            port: the only one; another than 443 is for tests.
            context: verifies certificates and names; that of `net.tls` without.
        """
        self.names = names
        self.allowed = allowed
        self._port = port
        self.context = context or client_context(verify=True)
        self.turn = asyncio.Semaphore(AT_ONCE)

    async def get(self, url: str) -> Fetched:
        """Return the document at *url*.

        Raises:
            FetchError
        """
        waits = True
        try:
            async with asyncio.timeout(TIME), self.turn:
                waits = False
                for _ in range(MAX_REDIRECTIONS + 1):
                    host, target = _parts(url)
                    answer = await self._ask(host, target)
                    if isinstance(answer, bytes):
                        return Fetched(host, answer)
                    url = urllib.parse.urljoin(url, answer)
        except TimeoutError as error:
            raise (Crowded("no turn in time") if waits else FetchError("no answer in time")) from error
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:  # ssl.SSLError is an OSError
            raise FetchError(str(error) or type(error).__name__) from error
        raise FetchError("too many redirections")

    async def _ask(self, host: str, target: str) -> bytes | str:
        """Return the document, or where it redirects to."""
        reader, writer = await connect(
            self.names, host, self._port, allowed=self.allowed, context=self.context, time=CONNECT_TIME
        )
        try:
            writer.write(
                f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/xml, application/xml\r\n"
                "User-Agent: Sekisho\r\nConnection: close\r\n\r\n".encode("ascii")
            )
            return await _read(reader)
        finally:
            writer.transport.abort()


async def connect(
    names: Names, host: str, port: int, *, allowed: MayConnect, context: ssl.SSLContext | None, time: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an allowed address of *host*, with TLS for its name where a *context* is given.

    Raises:
        FetchError: it has no address, or one that may not be connected to.
        OSError, TimeoutError
    """
    addresses = await names.addresses(host)
    if not addresses:
        raise FetchError(f"{host} has no address")
    if not all(allowed(address) for address in addresses):
        raise FetchError(f"{host} has an address that is not public")  # half a rebinding is one
    failure: Exception = FetchError("not tried")
    for address in addresses[:MAX_ADDRESSES]:
        try:
            async with asyncio.timeout(time):
                return await _open(address, host, port, context)
        except (OSError, TimeoutError) as error:
            failure = error
    raise failure


async def _open(
    address: str, host: str, port: int, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
        if opened.getsockname()[0] == address and not ipaddress.ip_address(address).is_loopback:
            raise FetchError(f"{address} is this machine")
        return await asyncio.open_connection(
            sock=opened, ssl=context, server_hostname=host if context is not None else None, limit=MAX_HEAD
        )
    except BaseException:
        opened.close()
        raise


def _parts(url: str) -> tuple[str, str]:
    """Return host and target of *url*. Raises FetchError when it may not be fetched."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or parts.port not in (None, 443) or parts.username is not None or len(url) > MAX_URL:
        raise FetchError("an address that is not fetched")
    if not is_host_name(host):
        raise FetchError("an address without a host name")
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    if not target.isascii() or not target.isprintable() or " " in target:
        raise FetchError("an address that cannot be asked for")
    return host, target


async def _read(reader: asyncio.StreamReader) -> bytes | str:
    """Read an answer: the document, or the address that it redirects to."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise FetchError("too long a head") from error
    first, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise FetchError("not HTTP")
    fields = {
        name.strip().lower(): value.strip().decode("latin-1")
        for name, _, value in (line.partition(b":") for line in lines if line)
    }
    if status[1] in (b"301", b"302", b"303", b"307", b"308"):
        return fields.get(b"location", "")
    if status[1] != b"200":
        raise FetchError(f"status {status[1].decode()}")
    if fields.get(b"content-encoding", "identity") != "identity":
        raise FetchError("compressed, though nobody asked for that")
    if fields.get(b"transfer-encoding", "").lower() == "chunked":
        return await _chunks(reader)
    length = fields.get(b"content-length")
    if length is not None:
        if not length.isascii() or not length.isdigit() or len(length) > 9 or int(length) > MAX_BODY:
            raise FetchError("too long")
        return await reader.readexactly(int(length))
    body = b""
    while part := await reader.read(MAX_BODY):
        body += part
        if len(body) > MAX_BODY:
            raise FetchError("too long")
    return body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """Read a chunked body (RFC 9112 §7.1); what follows the last chunk is not looked at."""
    body = b""
    while True:
        line = _CHUNK.fullmatch((await reader.readuntil(b"\r\n"))[:-2])
        if line is None:
            raise FetchError("not a chunk")
        size = int(line[1], 16)
        if size == 0:
            return body
        if len(body) + size > MAX_BODY:
            raise FetchError("too long")
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise FetchError("not a chunk")
