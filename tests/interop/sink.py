"""A next hop inside the test process: takes everything at once, remembers what it took and when, and never dies."""

from __future__ import annotations

import re
import socketserver
import threading
import time
from dataclasses import dataclass

from .processes import wait_for

__all__ = ["Sink", "Taken"]


@dataclass(frozen=True, slots=True)
class Taken:
    """One delivery to one recipient; *at* is the UTC epoch just before the 250 left."""

    recipient: str
    identifier: str
    size: int
    at: float


class Sink:
    """SMTP on a loopback port, with PIPELINING. `refusal`, while set, answers every RCPT in place of 250."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.transactions = 0
        self.refusal: bytes | None = None
        self._server = _Server(self)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, identifier: str) -> int:
        """Return how often the message with this Message-ID came."""
        return sum(taken.identifier == identifier for taken in self.taken)

    def wait(self, identifier: str, *, seconds: float = 20.0) -> Taken:
        """Return the first delivery of the message with this Message-ID, once it came."""
        return wait_for(
            f"{identifier} at the sink",
            lambda: next((taken for taken in list(self.taken) if taken.identifier == identifier), None),
            seconds=seconds,
        )


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        super().__init__(("127.0.0.1", 0), _Session)


class _Session(socketserver.StreamRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            self._converse()
        except OSError:
            pass  # the client was killed: what this server is for

    def _converse(self) -> None:
        recipients: list[str] = []
        self.wfile.write(b"220 sink.test ESMTP\r\n")
        while line := self.rfile.readline(4096):
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.wfile.write(b"250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif verb == b"RCPT":
                refusal = self.server.sink.refusal
                if refusal is None:
                    recipients.append(line.partition(b"<")[2].partition(b">")[0].decode())
                self.wfile.write(refusal or b"250 2.1.5 OK\r\n")
            elif verb == b"DATA" and recipients:
                self._take(recipients)
                recipients = []
            elif verb == b"DATA":
                self.wfile.write(b"503 5.5.1 No recipient\r\n")
            elif verb == b"QUIT":
                self.wfile.write(b"221 2.0.0 Bye\r\n")
                return
            else:
                recipients = [] if verb in (b"RSET", b"MAIL") else recipients
                self.wfile.write(b"250 2.0.0 OK\r\n")

    def _take(self, recipients: list[str]) -> None:
        self.wfile.write(b"354 Go ahead\r\n")
        lines = []
        while (line := self.rfile.readline(1_000_000)) != b".\r\n":
            if not line:
                return
            lines.append(line)
        content = b"".join(lines)
        found = re.search(rb"(?im)^Message-ID: *(\S+)", content)
        identifier = found[1].decode() if found else ""
        sink, now = self.server.sink, time.time()
        sink.taken += [Taken(recipient, identifier, len(content), now) for recipient in recipients]
        sink.transactions += 1
        self.wfile.write(b"250 2.0.0 Taken\r\n")
