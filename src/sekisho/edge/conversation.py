"""One connection to the explainer: greet with the refusal, read one EHLO, refuse all else, close."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

from sekisho.net.tls import is_client_hello
from sekisho.smtp import replies
from sekisho.smtp.commands import HTTP_VERBS

from .codes import MAX_NAME, Explained

if TYPE_CHECKING:
    from .explainer import Explainer

LINGER: Final = 2.0  # seconds for the peer to take the last words before the socket is closed
MAX_LINE: Final = 512  # octets, RFC 5321 §4.5.3.1.4
MAX_IGNORED: Final = 4096  # octets taken from a peer that goes on after the end

_HTTP: Final = frozenset(f"{verb} "[:4].encode() for verb in HTTP_VERBS)

log = logging.getLogger(__name__)


class Conversation(asyncio.Protocol):
    """One connection, without task or timer of its own: `Explainer` sweeps."""

    __slots__ = (
        "_explainer",
        "_greeting",
        "_ignored",
        "_introduced",
        "_over",
        "_transport",
        "_unended",
        "crowded",
        "deadline",
        "entry",
    )

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer
        self._transport: asyncio.Transport | None = None
        self._greeting = b""
        self._unended = b""  # the beginning of a line
        self._introduced = False  # EHLO was heard
        self._ignored = 0
        self._over = False
        self.entry: Explained | None = None
        self.crowded = False
        self.deadline = explainer.clock() + explainer.wait

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet with the refusal."""
        self._transport = cast("asyncio.Transport", transport)
        try:
            wire = self._explainer.admit(self, self._transport)
        except Exception:
            log.exception("a connection could not be explained")
            wire = None
        if wire is None:
            self._transport.abort()
            return
        self._greeting = wire
        self._transport.write(wire)
        if self.crowded:
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        """Count the connection out."""
        self._transport = None
        self._explainer.dismiss(self)

    def data_received(self, data: bytes) -> None:
        """Read one EHLO, and refuse all else."""
        if self._over or self._transport is None:
            self._ignored += len(data)
            if self._ignored > MAX_IGNORED:
                self.abort()
            return
        heard = self._unended + data[: MAX_LINE + 1 - len(self._unended)]
        if heard[:4].upper() in _HTTP or is_client_hello(heard):
            self._explainer.counts.cut += 1
            self.abort()
            return
        line, end, rest = heard.partition(b"\n")
        if not end and len(heard) <= MAX_LINE:
            self._unended = heard
            return
        self._unended = b""
        self._answer(line.rstrip(b"\r"))
        if rest and not self._over:  # what comes without waiting for the answer is not worth a second look
            self._finish()

    def eof_received(self) -> bool:
        """Close: the peer has said what it had to say."""
        return False

    def expire(self, now: float) -> None:
        """End the connection: its time is over. A second call closes it hard."""
        if self._over:
            self.abort()
        else:
            self._finish()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, line: bytes) -> None:
        assert self._transport is not None
        verb = line[:5].upper().strip()
        if verb == b"QUIT":
            self._transport.write(replies.BYE.wire)
            self._finish()
            return
        self._transport.write(self._greeting)
        if verb in (b"EHLO", b"HELO") and not self._introduced:
            # RFC 5321 §3.1 has the server wait for QUIT after 554; it may still come, until the time is over.
            if self.entry is not None and (name := _name(line[5:])):
                self._explainer.named(self.entry, name)
            self._introduced = True
            return
        self._finish()

    def _finish(self) -> None:
        """Send what is due, then wait a moment: closing over unread octets would reset the peer before it reads."""
        self._over = True
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self.deadline = self._explainer.clock() + LINGER
        try:
            transport.write_eof()
        except (OSError, RuntimeError):
            transport.abort()


def _name(octets: bytes) -> str:
    """Return what a mail program calls itself, without anything that could be more than a name."""
    text = octets.strip().decode("ascii", "replace")[:MAX_NAME]
    return "".join(character if character.isalnum() or character in ".-_:[]" else "?" for character in text)
