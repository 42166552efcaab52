"""An instance that relays to a sink, and keeps a Maildir for one account; the load it is put under."""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from tests.interop.certificates import Authority
from tests.interop.instance import Instance, Settings, merged
from tests.interop.letter import Submission
from tests.interop.sink import Sink
from tests.interop.wire import Wire

__all__ = ["LARGE", "LOCAL", "REMOTE", "Load", "deliver", "install", "local_deliveries"]

PASSWORD = "correct horse battery"
LOCAL = "rin@home.test"
REMOTE = "somebody@sink.test"
LARGE = 150_000  # octets: above the smallest inline limit, so that the content has a file of its own


def install(place: Path, authority: Authority, sink: Sink, *, changes: Settings | None = None) -> Instance:
    """Write an installation below *place*; it is not started.

    Port 25 relays for this machine without AUTH or TLS, so that the load is mail and not handshakes.
    """
    settings: Settings = {
        "relay": {"networks": ["127.0.0.0/8"]},
        "queue": {"inline_limit": "64KiB"},
        "route": [{"name": "sink", "host": "127.0.0.1", "port": sink.port, "tls": "none", "recipients": ["sink.test"]}],
        "delivery": {"first_retry": "1s"},
        "log": {"level": "info"},
    }
    pair = authority.issue("mail.home.test", "127.0.0.1")
    return Instance(place, pair, authority.certificate, changes=merged(settings, changes or {}))


def add_people(instance: Instance) -> Submission:
    """Make directories and the account; return how it submits."""
    instance.initialize()
    return instance.add_account(LOCAL, PASSWORD)


def content(identifier: str, size: int) -> bytes:
    head = f"From: <{LOCAL}>\r\nTo: <{REMOTE}>\r\nSubject: load\r\nMessage-ID: {identifier}\r\n\r\n".encode()
    return head + (b"x" * 74 + b"\r\n") * (size // 76) + b"the end\r\n"


def deliver(wire: Wire, identifier: str, size: int, recipients: Iterable[str] = (LOCAL, REMOTE)) -> str:
    """Send one message and return the reply to it: the first refusal, or that to the final dot."""
    for line in (f"MAIL FROM:<{LOCAL}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients)):
        if not (reply := wire.say(line)).startswith("250"):
            wire.say("RSET")
            return reply
    if not (reply := wire.say("DATA")).startswith("354"):
        wire.say("RSET")
        return reply
    wire.send(content(identifier, size) + b".\r\n")
    return wire.reply()


def local_deliveries(instance: Instance) -> dict[str, list[float]]:
    """Return the times (UTC epoch) at which each Message-ID came into the Maildir."""
    found: dict[str, list[float]] = {}
    for folder in ("new", "cur"):
        for file in (instance.data / "mail" / LOCAL / folder).glob("*"):
            identifier = re.search(rb"(?im)^Message-ID: *(\S+)", file.read_bytes()[:4000])
            assert identifier is not None, file
            found.setdefault(identifier[1].decode(), []).append(file.stat().st_mtime)
    return found


class Load:
    """Threads that send, each on its own connections, until `stop`; it notes what was acknowledged.

    A message counts as acknowledged when its 250 has arrived, whatever happens to the connection afterwards.
    """

    def __init__(self, instance: Instance, submission: Submission, *, threads: int = 4, seed: int = 1) -> None:
        self.acknowledged: dict[str, float] = {}
        self.sent: set[str] = set()
        self.refusals: list[str] = []
        self._instance, self._submission = instance, submission
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, random.Random(f"{seed} {number}")), daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _run(self, number: int, chance: random.Random) -> None:
        count = 0
        while not self._ending.is_set():
            try:
                with self._connect(number) as wire:
                    if number % 4 != 3:
                        wire.say("EHLO load.test")
                    for _ in range(chance.randrange(1, 30)):
                        if self._ending.is_set():
                            return
                        count += 1
                        identifier = f"<{number}.{count}@load.test>"
                        self.sent.add(identifier)
                        reply = deliver(wire, identifier, LARGE if chance.random() < 0.1 else chance.randrange(4000))
                        if reply.startswith("250"):
                            self.acknowledged[identifier] = time.time()
                        elif not reply:
                            break
                        else:
                            self.refusals.append(reply)
            except (OSError, AssertionError):
                time.sleep(0.02)  # it is being killed, or not up again yet

    def _connect(self, number: int) -> Wire:
        """Every fourth thread is a mail program with TLS and AUTH, the others are hosts of a relay network."""
        if number % 4 == 3:
            return Wire(self._submission.submission_port).login(self._submission)
        return Wire(self._instance.mx_port)


def is_up(port: int) -> bool:
    """Tell whether something listens on *port*."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
