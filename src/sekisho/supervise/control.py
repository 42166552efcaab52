"""The control socket: what the operator's commands ask a running worker, as JSON lines over a Unix socket.

A request is one object with a ``verb`` and its arguments; the answer is ``{"ok": true, "result": …}`` or
``{"ok": false, "problem": "…"}``. The socket is the service user's alone (0600): whoever may open it may do all this to
the files anyway.

`ControlServer` runs in each worker, `ask` in the command line tool.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import ControlError

LINE_LIMIT = 1 << 20  # octets of one request: some tens of thousands of queue ids
ANSWER_TIMEOUT = 60.0  # seconds; a verb over a large queue works in batches

Verb = Callable[[Mapping[str, Any]], Awaitable[object]]
log = logging.getLogger(__name__)


class ControlServer:
    """Answers on one Unix socket inside a worker's event loop."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self._path = path
        self._verbs = verbs
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        """Listen; a socket that an earlier worker left behind is replaced. Raises OSError."""
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short_path(self._path) as short:
                listening.bind(short)
            self._path.chmod(0o600)
            listening.listen(16)
            listening.setblocking(False)
        except OSError:
            listening.close()
            raise
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=LINE_LIMIT)

    def close(self) -> None:
        """Stop answering and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the tool went away, or sent a line without end
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
            verb = self._verbs[request.pop("verb")]
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"ok": False, "problem": "not a request that this version knows"}
        try:
            return {"ok": True, "result": await verb(request)}
        except ControlError as error:
            return {"ok": False, "problem": str(error)}
        except Exception:
            log.exception("control request failed")
            return {"ok": False, "problem": "internal error; its details are in the service's log"}


def ask(path: Path, verb: str, timeout: float = ANSWER_TIMEOUT, /, **arguments: object) -> Any:
    """Ask the worker behind *path* and return its result.

    Args:
        timeout: seconds to wait for each part of the answer.

    Raises:
        ControlError: nobody answers there, or the worker refused.
    """
    request = json.dumps({"verb": verb, **arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _short_path(path) as short:
            connection.settimeout(timeout)
            connection.connect(short)
            connection.sendall(request)
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline())
    except (OSError, ValueError) as error:
        raise ControlError(f"no answer from the service at {path}: {error}") from error
    if not answer.get("ok"):
        raise ControlError(str(answer.get("problem")))
    return answer.get("result")


def running_workers(run: Path) -> list[Path]:
    """Return the control sockets under *run* that answer; none when the service is down."""
    alive = []
    for path in sorted(run.glob("worker-*.sock")):
        try:
            ask(path, "ping")
        except ControlError:
            continue
        alive.append(path)
    return alive


@contextlib.contextmanager
def _short_path(path: Path) -> Iterator[str]:
    """Name the socket through its directory's descriptor: a Unix socket's own path may have 107 octets only."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
