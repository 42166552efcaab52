"""Trying out whether a server of somebody else takes submissions: 587 and 465, greeting, EHLO, STARTTLS, AUTH.

For hosts that `find` found and no others, under the rules of `fetch`. No login, no mail; it ends after EHLO.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .fetch import Fetcher, FetchError, connect

__all__ = ["Probed", "Reached", "probe"]

PORTS: Final = {587: "starttls", 465: "tls"}
CONNECT_TIME: Final = 4.0  # seconds
TIME: Final = 8.0  # seconds for a whole try; some servers greet late on purpose
MAX_LINES: Final = 40
_LINE = re.compile(rb"([2-5]\d\d)([ -])(.{0,1000})", re.ASCII)


class Reached(StrEnum):
    """How far a try came."""

    READY = "ready"  # encryption and login are offered
    NO_TLS = "no-tls"
    NO_AUTH = "no-auth"
    BAD_CERTIFICATE = "bad-certificate"
    REFUSED = "refused"  # it answered, but not as a submission server does
    CLOSED = "closed"  # no connection
    NOT_TRIED = "not-tried"  # the address is none that may be connected to


@dataclass(frozen=True, slots=True)
class Probed:
    """One port of a server."""

    port: int
    security: str
    reached: Reached


async def probe(
    fetcher: Fetcher, host: str, *, hello: str, ports: Mapping[int, str] | None = None
) -> tuple[Probed, ...]:
    """Try the ports of *host*, one after the other, and return what came of it. Never raises.

    Args:
        hello: name to give in EHLO.
        ports: security by port; 587 and 465 without.
    """
    found = []
    for port, security in (ports or PORTS).items():
        try:
            async with asyncio.timeout(TIME), fetcher.turn:
                reached = await _try(fetcher, host, port, security, hello)
        except ssl.SSLCertVerificationError:
            reached = Reached.BAD_CERTIFICATE
        except FetchError:
            reached = Reached.NOT_TRIED
        except (OSError, TimeoutError):
            reached = Reached.CLOSED
        except (EOFError, ValueError, asyncio.LimitOverrunError):  # asyncio.IncompleteReadError is an EOFError
            reached = Reached.REFUSED
        found.append(Probed(port, security, reached))
    return tuple(found)


async def _try(fetcher: Fetcher, host: str, port: int, security: str, hello: str) -> Reached:
    context = fetcher.context if security == "tls" else None
    reader, writer = await connect(
        fetcher.names, host, port, allowed=fetcher.allowed, context=context, time=CONNECT_TIME
    )
    try:
        code, _ = await _reply(reader)
        if code != 220:
            return Reached.REFUSED
        offered = await _ehlo(reader, writer, hello)
        if security == "starttls":
            if "STARTTLS" not in offered:
                return Reached.NO_TLS
            writer.write(b"STARTTLS\r\n")
            code, _ = await _reply(reader)
            if code != 220:
                return Reached.NO_TLS
            await writer.start_tls(fetcher.context, server_hostname=host)
            offered = await _ehlo(reader, writer, hello)
        writer.write(b"QUIT\r\n")
        return Reached.READY if any(each.split()[:1] == ["AUTH"] for each in offered) else Reached.NO_AUTH
    finally:
        writer.transport.abort()


async def _ehlo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: str) -> list[str]:
    writer.write(f"EHLO {hello}\r\n".encode("ascii"))
    code, lines = await _reply(reader)
    if code != 250:
        raise ValueError("EHLO was refused")
    return [line.upper() for line in lines[1:]]


async def _reply(reader: asyncio.StreamReader) -> tuple[int, list[str]]:
    """Read one reply. Raises ValueError when it is none."""
    lines = []
    for _ in range(MAX_LINES):
        line = _LINE.fullmatch((await reader.readuntil(b"\n")).rstrip(b"\r\n"))
        if line is None:
            raise ValueError("no reply")
        lines.append(line[3].decode("ascii", "replace"))
        if line[2] == b" ":
            return int(line[1]), lines
    raise ValueError("too long a reply")
