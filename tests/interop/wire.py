"""A socket and SMTP typed by hand: for what no well-behaved client sends."""

from __future__ import annotations

import base64
import re
import socket
import ssl
from pathlib import Path
from types import TracebackType

from .letter import Submission

__all__ = ["Wire", "plain"]


def plain(login: str, password: str) -> str:
    """Return the message of PLAIN (RFC 4616), in base64."""
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode()


class Wire:
    """One connection; replies come back as their whole text, lines joined by newlines."""

    def __init__(self, port: int, *, tls: Path | None = None, source: str = "127.0.0.1", greeted: bool = True) -> None:
        """Connect; with *tls*, speak TLS at once and trust the authority in that file.

        Args:
            source: own address, anywhere in 127/8: what the server counts by address stays apart.
            greeted: wait for the greeting.
        """
        self._socket: socket.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=20, source_address=(source, 0)
        )
        self._buffer = b""
        try:
            if tls is not None:
                self._wrap(tls)
            self.greeting = self.reply() if greeted else ""
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, octets: bytes | str) -> None:
        self._socket.sendall(octets.encode() if isinstance(octets, str) else octets)

    def line(self) -> bytes:
        """Return the next line, with its end; what there is when the connection closes before it."""
        while b"\n" not in self._buffer and (octets := self._receive()):
            self._buffer += octets
        line, end, self._buffer = self._buffer.partition(b"\n")
        return line + end

    def reply(self) -> str:
        """Return the next reply; "" when the server closed instead."""
        lines = []
        while line := self.line():
            assert re.fullmatch(rb"[2-5][0-9][0-9][ -][^\r\n]*\r\n", line), f"not a reply line: {line!r}"
            lines.append(line[:-2].decode())
            if line[3:4] == b" ":
                break
        return "\n".join(lines)

    def say(self, line: str) -> str:
        """Send one command and return its reply."""
        self.send(line + "\r\n")
        return self.reply()

    def is_closed(self) -> bool:
        """Tell whether the server closes now, without another word."""
        return self.line() == b""

    def start_tls(self, authority: Path) -> None:
        assert self.say("STARTTLS").startswith("220 ")
        self._wrap(authority)

    def secured(self, server: Submission) -> Wire:
        """Go through EHLO, STARTTLS and EHLO again; return self."""
        self.say("EHLO vm")
        self.start_tls(server.authority)
        self.say("EHLO vm")
        return self

    def login(self, server: Submission) -> Wire:
        """Do as `secured`, then log in with PLAIN; return self."""
        try:
            self.secured(server)
            reply = self.say(f"AUTH PLAIN {plain(server.login, server.password)}")
            assert reply.startswith("235 "), reply
        except BaseException:
            self.close()
            raise
        return self

    def deliver(self, sender: str, recipients: list[str], content: bytes) -> str:
        """Send one message, dots doubled, and return the reply to the final dot."""
        assert (reply := self.say(f"MAIL FROM:<{sender}>")).startswith("250"), reply
        for recipient in recipients:
            assert (reply := self.say(f"RCPT TO:<{recipient}>")).startswith("250"), reply
        assert (reply := self.say("DATA")).startswith("354"), reply
        self.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
        return self.reply()

    def _wrap(self, authority: Path) -> None:
        trust = ssl.create_default_context(cafile=str(authority))
        self._socket = trust.wrap_socket(self._socket, server_hostname="127.0.0.1")

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return b""
