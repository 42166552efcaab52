"""Every operational event, named once, and the log they are written to.

An event is one JSON object on one line: ``t`` (UTC seconds since the epoch), ``event`` (its name), ``worker``, and what
the caller knows: ``session``, ``queue_id``, ``client``, ``account`` and so on. Fields that are None are left out.
Secrets are never handed to this module; values are escaped by JSON, so that none can begin a line of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Final

from sekisho.kernel import compiled

from .redact import redact_address
from .settings import LogSettings
from .trace import purge

__all__ = ["EVENTS", "EventLog", "Level", "Row", "file_name"]

FLUSH_AFTER: Final = 0.1  # seconds an event may wait in memory
FLUSH_OCTETS: Final = 64 * 1024
MAX_BUFFERED_OCTETS: Final = 4 * 1024 * 1024  # kept while the disk is full; then the oldest are dropped and counted
MAX_TEXT: Final = 2000  # characters of one value


class Level(IntEnum):
    """How much an event matters."""

    DEBUG = 10
    INFO = 20
    NOTICE = 30
    WARNING = 40


@dataclass(frozen=True, slots=True)
class Row:
    """One event: its level, and what it means, for the reference and for `sekisho trace`."""

    level: Level
    prose: str


EVENTS: Final[dict[str, Row]] = {
    "session.opened": Row(Level.DEBUG, "A client connected."),
    "session.closed": Row(
        Level.INFO,
        "A client left without having sent a message. `tried` names an old way to send that it tried: `auth` or "
        "`relay` on port 25, `cleartext` on the submission port.",
    ),
    "session.refused": Row(Level.NOTICE, "A connection was refused: too many of them."),
    "session.failed": Row(
        Level.WARNING,
        "A session met an error of ours. `reason` is `internal` (the program's log has the traceback) or `accounts` "
        "(they could not be read).",
    ),
    "tls.failed": Row(
        Level.NOTICE,
        "A TLS handshake with a client failed. `reason` is `version` (its TLS is too old), `cipher` (none in common), "
        "`certificate` (it does not accept ours), `not-tls`, `at-once` (it spoke TLS where it was greeted in clear, "
        "not so the next time), `timeout`, `broken-off` or `other`; `problem` has OpenSSL's word for it.",
    ),
    "auth.accepted": Row(
        Level.INFO,
        "A client logged in. `name` is the host name that it asked for by TLS, where that is not ours; `app_password` "
        "the number of the app password, where it was one.",
    ),
    "auth.refused": Row(
        Level.NOTICE,
        "A login failed; `reason` tells why, which the client is not told: `bad-credentials`, `renewal` (the "
        "same, and the account needs a new password in any case), `app-password-required` (the account's own password "
        "was right, but there is a second factor), `suspended`, `throttled`, `busy`, `malformed`, `cancelled`. "
        "`account` is the canonical name, `claimed` what was typed, where it differs.",
    ),
    "command.refused": Row(
        Level.INFO,
        "A command was out of order, malformed or unknown; or, with `reason`, `tls-required`, `auth-required`, "
        "`auth-not-offered`, `mechanism-not-offered`.",
    ),
    "message.accepted": Row(
        Level.INFO,
        "A message is durable in the queue, and the client was told so. `agent` is the client program as its "
        "User-Agent or X-Mailer field names it; `relayed` marks mail from a network that may relay without a login.",
    ),
    "message.refused": Row(
        Level.NOTICE,
        "A sender, a recipient or a message was refused: `reply` says why, and where it is one of the usual ones "
        "`reason` (`relay-denied`, `no-such-mailbox`, `too-big`, `loop`, `suspended`, `password-changed`, `storage`).",
    ),
    "delivery.delivered": Row(Level.INFO, "A next hop took responsibility for a recipient's copy."),
    "delivery.deferred": Row(Level.NOTICE, "An attempt failed for now; another follows at `next_attempt`."),
    "delivery.failed": Row(Level.NOTICE, "A recipient was refused for good."),
    "delivery.login_refused": Row(Level.WARNING, "A smarthost refused our login; mail for it waits."),
    "delivery.expired": Row(Level.NOTICE, "A recipient was given up: the message's lifetime is over."),
    "dsn.queued": Row(Level.INFO, "A delivery status notification was queued to the sender."),
    "dsn.dropped": Row(Level.NOTICE, "A report was due, but nobody may get it: the reverse-path was null."),
    "queue.held": Row(
        Level.NOTICE, "An operator put a message on hold; `by` is the account, where it was done in the portal."
    ),
    "queue.released": Row(Level.NOTICE, "An operator released a held message."),
    "queue.retried": Row(Level.NOTICE, "An operator asked for an attempt at once."),
    "queue.deleted": Row(Level.NOTICE, "An operator deleted a message; nobody is notified."),
    "queue.recovered": Row(Level.INFO, "A spool was opened after a start or a crash."),
    "queue.damaged": Row(Level.WARNING, "The stored content of a message does not match its checksum."),
    "queue.trouble": Row(Level.WARNING, "The disk of a spool refused something; outcomes wait in memory meanwhile."),
    "queue.full": Row(Level.WARNING, "There was no room for a message; the client was told to come back."),
    "service.started": Row(
        Level.NOTICE, "The service listens. kernel: compiled, partly, off (by PURE_PYTHON) or absent (not built)."
    ),
    "service.reloaded": Row(Level.NOTICE, "The configuration was read again."),
    "service.stopping": Row(Level.NOTICE, "The service takes no more connections and finishes what is under way."),
    "worker.started": Row(Level.INFO, "A mail process was started, or the portal: `number` -3."),
    "worker.died": Row(Level.WARNING, "A mail process or the portal ended; another takes its place."),
    "account.password_set": Row(
        Level.NOTICE, "A password was set; `by` tells how: operator, portal, or token (one handed out by an operator)."
    ),
    "account.token_issued": Row(Level.NOTICE, "An operator handed out a one-time token for a new password."),
    "account.renewal_asked": Row(Level.NOTICE, "An operator asked for a new password of an account."),
    "account.factor_on": Row(Level.NOTICE, "A second factor was switched on."),
    "account.factor_off": Row(Level.NOTICE, "A second factor was switched off; `by` tells whether by its owner."),
    "account.app_password_added": Row(Level.NOTICE, "An app password was made; `app_password` is its number."),
    "account.app_password_removed": Row(Level.NOTICE, "An app password was revoked."),
    "portal.login": Row(Level.INFO, "Somebody logged in to the portal."),
    "portal.login_refused": Row(
        Level.NOTICE,
        "A login to the portal failed; `step` tells at what, `reason` why: wrong (`detail` says what, which the "
        "visitor is not told) or throttled.",
    ),
    "portal.limited": Row(
        Level.NOTICE, "An address makes more requests than the portal takes; at most one event a minute for each."
    ),
    "portal.crowded": Row(
        Level.WARNING, "The portal closes connections unheard, for it holds as many as it may; at most one a minute."
    ),
    "portal.failed": Row(
        Level.WARNING, "A page could not be made: a mistake of ours, whose traceback is on the service's error output."
    ),
    "ledger.replaced": Row(Level.WARNING, "The file of limits was damaged: the counts begin anew."),
    "edge.applied": Row(Level.NOTICE, "Rules for port 25 were put into the kernel; with `confirm_within`, on trial."),
    "edge.confirmed": Row(Level.NOTICE, "Rules on trial hold from now on."),
    "edge.expired": Row(Level.WARNING, "Rules on trial were not confirmed in time; those before them hold again."),
    "edge.rolled_back": Row(Level.NOTICE, "An operator went back to earlier rules for port 25."),
    "edge.restored": Row(Level.NOTICE, "The rules that should hold were put into the kernel again."),
    "edge.recovered": Row(Level.NOTICE, "A change of rules whose process was killed had been made, and holds."),
    "edge.given_up": Row(Level.NOTICE, "A change of rules whose process was killed had not been made."),
    "edge.quarantined": Row(Level.NOTICE, "A line was put into the quarantine set; `by` tells whether by the watcher."),
    "edge.released": Row(Level.NOTICE, "A line left the quarantine set; `reason` tells why."),
    "edge.guard_failed": Row(Level.WARNING, "Rules on trial could not be undone at their deadline; it is tried again."),
    "edge.explained": Row(
        Level.INFO,
        "A line reached the explainer on port 25 and was told why; at most one event a minute for each line.",
    ),
    "edge.crowded": Row(Level.WARNING, "The explainer holds all connections it may; further ones are closed unheard."),
    "edge.policy_refused": Row(Level.WARNING, "The explainer could not read the policy again; the old one goes on."),
    "edge.verdict": Row(Level.NOTICE, "The watcher's verdict on a line changed; `evidence` says by what."),
    "edge.webhook_given_up": Row(Level.WARNING, "A notice could not be delivered to a webhook and was given up."),
    "log.dropped": Row(Level.WARNING, "Events were lost: the log could not be written."),
}

_LEVELS: Final = {"debug": Level.DEBUG, "info": Level.INFO, "notice": Level.NOTICE, "warning": Level.WARNING}


def file_name(day: str) -> str:
    """Name of the file that holds the events of *day* (``2026-11-24``, UTC)."""
    return f"events-{day}.jsonl"


class EventLog:
    """Appends events to the day's file, shared by all processes: each flush is one append of whole lines.

    With a running event loop, events are flushed within `FLUSH_AFTER` seconds by it; without one, call `flush`. Writing
    never raises: mail goes on when the log's disk is full, and the loss is told once there is room again.
    """

    def __init__(
        self, directory: Path, settings: LogSettings, worker: int, *, now: Callable[[], float] = time.time
    ) -> None:
        """Events go to *directory*, made when it is missing; *worker* is the number of this process in each of them."""
        self.directory = directory
        self.worker = worker
        self._now = now
        self._buffer: list[bytes] = []
        self._size = 0
        self._dropped = 0
        self._failing = False  # the last write failed: the timer tries again, not every event
        self._torn = b""  # what ends a line that was cut off, while the disk has no room even for that
        self._fd = -1
        self._day = -1
        self._timer: asyncio.TimerHandle | None = None
        self._suffix = f',"worker":{worker}}}\n'
        self.reload(settings)

    def reload(self, settings: LogSettings) -> None:
        """Use *settings* from now on."""
        lowest = _LEVELS[settings.level]
        self._unwanted = frozenset(name for name, row in EVENTS.items() if row.level < lowest)
        self._addresses = settings.client_addresses
        self._retention_days = settings.retention_days

    def emit(self, event: str, /, **fields: object) -> None:
        """Note that *event*, a row of `EVENTS`, happened.

        *fields* are text, numbers, booleans, or lists of these; None is left out.
        """
        if event in self._unwanted:
            return
        start = f'{{"t":{self._now():.3f},"event":"{event}"'
        if self._addresses != "full" and fields.get("client") is not None:
            fields["client"] = redact_address(str(fields["client"]), self._addresses)
        line = _render(start, fields, self._suffix, MAX_TEXT) or render_in_python(start, fields, self._suffix)
        self._buffer.append(line)
        self._size += len(line)
        if self._size >= FLUSH_OCTETS and not self._failing:
            self.flush()
        elif self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)
            except RuntimeError:  # no loop: the caller flushes
                pass

    def flush(self) -> None:
        """Write what waits in memory."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._buffer:
            return
        octets = self._torn + b"".join(self._buffer)
        try:
            self._turn_page()
            written = os.write(self._fd, octets)
        except OSError:
            self._failing = True
            self._keep_what_fits()
            return
        self._failing = False
        self._torn = b""
        if written < len(octets):  # the disk filled up: end the torn line, so that the next one can be read
            try:
                os.write(self._fd, b"\n")
            except OSError:
                self._torn = b"\n"
            self._dropped += octets.count(b"\n", written)
        self._buffer.clear()
        self._size = 0
        if self._dropped and written == len(octets):
            dropped, self._dropped = self._dropped, 0
            self.emit("log.dropped", count=dropped)

    def close(self) -> None:
        """Flush, and let go of the file."""
        self.flush()
        self.flush()  # what the first one had to tell about itself
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._day = -1

    def _turn_page(self) -> None:
        """Have the file of the present day (UTC) open; with each new one, delete those past their retention."""
        now = self._now()
        day = int(now // 86400)
        if day == self._day and self._fd >= 0:
            return
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        path = self.directory / file_name(time.strftime("%Y-%m-%d", time.gmtime(now)))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o640)
        except FileNotFoundError:
            self.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._fd = os.open(path, flags, 0o640)
        self._day = day
        with contextlib.suppress(OSError):
            purge(self.directory, self._retention_days, now)

    def _keep_what_fits(self) -> None:
        """Nothing could be written: keep what waits, within bounds."""
        while self._size > MAX_BUFFERED_OCTETS - FLUSH_OCTETS and self._buffer:
            half = len(self._buffer) // 2 + 1
            self._dropped += half
            del self._buffer[:half]
            self._size = sum(map(len, self._buffer))


def _decline(start: str, fields: dict[str, object], end: str, longest: int) -> bytes | None:
    return None


_render: Final = compiled.render_event if compiled is not None else _decline


def render_in_python(start: str, fields: dict[str, object], end: str) -> bytes:
    """Return *start*, a JSON member for each of *fields* that is not None, and *end*."""
    parts = [f'"{name}":{_encoded(value)}' for name, value in fields.items() if value is not None]
    return (",".join([start, *parts]) + end).encode("ascii")


def _encoded(value: object) -> str:
    if isinstance(value, str):
        return encode_basestring_ascii(value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…")
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return json.dumps(round(value, 6)) if value == value and abs(value) != float("inf") else "null"
    if isinstance(value, list | tuple):
        return f"[{','.join([_encoded(element) for element in value])}]"
    return encode_basestring_ascii(str(value)[:MAX_TEXT])
