"""Verdicts to a webhook: one POST for each change, with bounded patience and memory.

A notice waits in memory, of which there are `waiting` at most (the oldest goes, counted), and is tried `attempts` times
with doubling pauses; then it is given up with an event. Order is kept: one connection, one notice at a time. A redirect
is an error: the address is the operator's to correct. The body is signed when there is a secret: ``X-Sekisho-Signature:
t=TIME,v1=HEX``, the HMAC-SHA-256 of ``TIME.BODY``; ``X-Sekisho-Notice`` is the same for each try of a notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from sekisho.config import Duration, Secret, between, setting
from sekisho.edge.watcher import Verdict
from sekisho.net.tls import client_context

from .words import explain

__all__ = ["WebhookError", "WebhookSender", "WebhookSettings", "payload"]

MAX_ANSWER: Final = 16 * 1024
MAX_PAUSE: Final = 300.0  # seconds
LASTING: Final = frozenset({400, 401, 403, 404, 405, 410, 413, 415, 422})  # trying again would not help


class WebhookError(Exception):
    """A notice was not taken. `lasting`: it will not be, so that further tries are spared."""

    def __init__(self, problem: str, *, lasting: bool = False) -> None:
        super().__init__(problem)
        self.lasting = lasting


def _check_url(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname is not None and (parts.port is None or parts.port)
    except ValueError:
        fine = False
    if not fine or not url.isascii() or not url.isprintable() or " " in url or "@" in url:
        return "is no web address without a login", 'Write it as "https://desk.example.jp/hooks/sekisho".'
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookSettings:
    """Where changed verdicts are sent."""

    url: str = setting(
        prose="Address of the webhook.", example="https://desk.example.jp/hooks/sekisho", check=_check_url
    )
    secret: Secret | None = setting(None, "Key of the signature; without it notices are not signed.")
    attempts: int = setting(6, "Tries of one notice, the first included.", check=between(1, 20))
    first_pause: Duration = setting(
        Duration(2.0), "Pause before the second try; each further one is twice as long.", check=between(0, 300)
    )
    timeout: Duration = setting(Duration(10.0), "Most time for one try.", check=between(0.1, 120))
    waiting: int = setting(1000, "Notices that may wait; beyond that the oldest is dropped.", check=between(1, 100_000))


def payload(verdict: Verdict, *, now: float, language: str = "en") -> bytes:
    """Render a changed verdict as JSON."""
    return json.dumps(
        {
            "version": 1,
            "event": "verdict.changed",
            "at": round(now, 3),
            "line": verdict.line,
            "network": verdict.network,
            "verdict": verdict.kind.value,
            "previous": verdict.previous.value,
            "since": round(verdict.since, 3),
            "evidence": {finding.name: finding.value for finding in verdict.evidence},
            "text": explain(verdict, language),
        },
        ensure_ascii=False,
    ).encode()


@dataclass(slots=True)
class _Notice:
    name: str
    body: bytes
    tries: int = 0


class WebhookSender:
    """Sends notices in the background, from `start` to `close`."""

    __slots__ = (
        "_emit",
        "_notices",
        "_now",
        "_pause",
        "_settings",
        "_task",
        "_tls",
        "_url",
        "_wake",
        "dropped",
        "sent",
    )

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        emit: Callable[..., None],
        now: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """*emit* hears of notices given up."""
        self._settings = settings
        self._emit = emit
        self._now = now
        self._pause = pause
        self._url: SplitResult = urlsplit(settings.url)
        self._tls = client_context(verify=True) if self._url.scheme == "https" else None
        self._notices: deque[_Notice] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        self.sent = 0

    @property
    def waiting(self) -> int:
        """How many notices wait."""
        return len(self._notices)

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def send(self, body: bytes) -> None:
        """Let *body* wait for its turn. Never blocks."""
        if len(self._notices) >= self._settings.waiting:
            self._give_up(self._notices.popleft(), "too many notices wait")
        self._notices.append(_Notice(str(uuid.uuid4()), body))
        self._wake.set()

    async def close(self, grace: float = 5.0) -> None:
        """Send what waits for *grace* seconds at most, and end."""
        task, self._task = self._task, None
        if task is None:
            return
        if self._notices:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied(), grace)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        while self._notices:
            self._give_up(self._notices.popleft(), "the service stops")

    # ------------------------------------------------------------------ inside

    async def _emptied(self) -> None:
        while self._notices:
            self._wake.clear()
            await self._wake.wait()

    async def _run(self) -> None:
        while True:
            if not self._notices:
                self._wake.clear()
                await self._wake.wait()
                continue
            notice = self._notices[0]
            notice.tries += 1
            try:
                await asyncio.wait_for(self._post(notice), self._settings.timeout)
            except (WebhookError, OSError, TimeoutError, EOFError) as error:
                await self._failed(notice, error)
                continue
            self.sent += 1
            self._remove(notice)

    async def _failed(self, notice: _Notice, error: Exception) -> None:
        settings = self._settings
        if notice.tries >= settings.attempts or (isinstance(error, WebhookError) and error.lasting):
            if self._remove(notice):
                self._give_up(notice, str(error) or type(error).__name__)
            return
        await self._pause(min(settings.first_pause * 2 ** (notice.tries - 1), MAX_PAUSE))

    def _remove(self, notice: _Notice) -> bool:
        """Take *notice* out, unless it had to make room meanwhile."""
        try:
            self._notices.remove(notice)
        except ValueError:
            return False
        self._wake.set()
        return True

    def _give_up(self, notice: _Notice, reason: str) -> None:
        self.dropped += 1
        self._emit("edge.webhook_given_up", notice=notice.name, reason=reason, tries=notice.tries)

    async def _post(self, notice: _Notice) -> None:
        url = self._url
        host = url.hostname or ""
        port = url.port or (443 if self._tls is not None else 80)
        reader, writer = await asyncio.open_connection(host, port, ssl=self._tls)
        try:
            writer.write(self._request(notice))
            await writer.drain()
            line = await reader.readline()
            _check_answer(line)
            await reader.read(MAX_ANSWER)
        except ValueError as error:  # a line without end
            raise WebhookError("the answer is not HTTP") from error
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _request(self, notice: _Notice) -> bytes:
        url = self._url
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        head = [
            f"POST {target} HTTP/1.1",
            f"Host: {url.netloc}",
            "User-Agent: Sekisho",
            "Content-Type: application/json; charset=utf-8",
            f"Content-Length: {len(notice.body)}",
            f"X-Sekisho-Notice: {notice.name}",
            "Connection: close",
        ]
        if self._settings.secret is not None:
            at = int(self._now())
            key = self._settings.secret.reveal().encode()
            signature = hmac.new(key, f"{at}.".encode() + notice.body, hashlib.sha256).hexdigest()
            head.append(f"X-Sekisho-Signature: t={at},v1={signature}")
        return "\r\n".join([*head, "", ""]).encode("ascii") + notice.body


def _check_answer(line: bytes) -> None:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if not version.startswith(b"HTTP/1.") or not code.isdigit():
        raise WebhookError("the answer is not HTTP" if line else "the connection was closed without an answer")
    status = int(code)
    if not 200 <= status < 300:
        lasting = status in LASTING or 300 <= status < 400
        raise WebhookError(f"answered {status}", lasting=lasting)
