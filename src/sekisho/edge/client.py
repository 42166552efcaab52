"""The unprivileged side of `helper`: what is asked of it, and how it is reached.

It speaks to the socket when it may not do otherwise, else starts a helper of its own, as root. Imports little, and
`HelperClient.begin` starts the helper at once: it gets ready while the policy is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from .state import EdgeError

if TYPE_CHECKING:
    from .policy import Policy

__all__ = ["DIRECTORY", "MAX_ANSWER", "SOCKET", "HelperClient", "HelperError", "Refused", "Request"]

DIRECTORY: Final = Path("/var/lib/sekisho-edge/gate")
SOCKET: Final = Path("/run/sekisho/edge.sock")
PACKAGES: Final = Path(__file__).parents[2]

ANSWER_WITHIN: Final = 300.0  # seconds
MAX_ANSWER: Final = 256 * 1024 * 1024
MAX_TRIAL: Final = 7 * 86400.0  # seconds
MAX_HOLD: Final = 30 * 86400.0
MAX_LINES: Final = 500  # of one request
MAX_LINE_TEXT: Final = 64
PIPE: Final = 1 << 20  # octets


class HelperError(EdgeError):
    """The helper could not be asked, or did not understand."""


class Refused(EdgeError):
    """The helper refused; `str()` tells why in its words, and `kind` is the name of its exception."""

    def __init__(self, kind: str, words: str) -> None:
        """Take the exception's name and words."""
        super().__init__(words)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Fields:
        confirm_within: seconds of the trial; None: the change holds at once.
        force: enforce without an announcement.
        force_drift: overwrite what others changed in our tables.
        on: day for which the policy is compiled; only for planning.
        add: lines to be held in quarantine, each with seconds; `release` and `spare` likewise, see `quarantine`.
        by: "operator" or "watch".
    """

    verb: str
    confirm_within: float | None = None
    force: bool = False
    force_drift: bool = False
    on: date | None = None
    add: tuple[tuple[str, float], ...] = ()
    release: tuple[str, ...] = ()
    spare: float = 0.0
    by: str = "operator"

    @classmethod
    def parse(cls, line: bytes) -> Request:
        """Read the first line of a request.

        Raises:
            HelperError: it is not one.
        """
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise HelperError("the request is not a line of JSON") from error
        if not isinstance(row, dict) or row.keys() - set(cls.__slots__) or not isinstance(row.get("verb"), str):
            raise HelperError("the request has unknown keys, or no verb")
        within, on = row.get("confirm_within"), row.get("on")
        if within is not None and (not isinstance(within, int | float) or isinstance(within, bool)):
            raise HelperError("confirm_within is not a number")
        if within is not None and not 1 <= within <= MAX_TRIAL:
            raise HelperError("confirm_within is not from one second to seven days")
        if not isinstance(row.get("force", False), bool) or not isinstance(row.get("force_drift", False), bool):
            raise HelperError("force and force_drift are true or false")
        try:
            day = None if on is None else date.fromisoformat(str(on))
        except ValueError as error:
            raise HelperError("on is not a date") from error
        by = row.get("by", "operator")
        if by not in ("operator", "watch"):
            raise HelperError("by is neither operator nor watch")
        return cls(
            row["verb"],
            within,
            row.get("force", False),
            row.get("force_drift", False),
            day,
            tuple((_line(line), _hold(seconds)) for line, seconds in _pairs(row.get("add", []))),
            tuple(_line(line) for line in _list(row.get("release", []))),
            _hold(row["spare"]) if "spare" in row else 0.0,
            by,
        )

    def render(self) -> bytes:
        """Write the first line of a request."""
        row = {**asdict(self), "on": None if self.on is None else self.on.isoformat()}
        return json.dumps({key: value for key, value in row.items() if value not in (None, False, ())}).encode() + b"\n"


def _list(raw: object) -> list[object]:
    if not isinstance(raw, list) or len(raw) > MAX_LINES:
        raise HelperError(f"a list of lines is none, or has more than {MAX_LINES}")
    return raw


def _pairs(raw: object) -> list[list[object]]:
    rows = _list(raw)
    pairs = [row for row in rows if isinstance(row, list) and len(row) == 2]
    if len(pairs) != len(rows):
        raise HelperError("add has something else than pairs")
    return pairs


def _line(raw: object) -> str:
    if not isinstance(raw, str) or not 0 < len(raw) <= MAX_LINE_TEXT:
        raise HelperError("a line is no text, or too long")
    return raw


def _hold(raw: object) -> float:
    if not isinstance(raw, int | float) or isinstance(raw, bool) or not 1 <= raw <= MAX_HOLD:
        raise HelperError("a line is held or spared from one second to thirty days")
    return float(raw)


class HelperClient:
    """Asks the helper; for the command line and the services."""

    __slots__ = ("_begun", "_directory", "_socket_path")

    def __init__(self, directory: Path = DIRECTORY, *, socket_path: Path = SOCKET) -> None:
        """Use the helper behind *socket_path*; as root, one of our own, with its state in *directory*."""
        self._directory = directory
        self._socket_path = socket_path
        self._begun: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def begin(self) -> Iterator[HelperClient]:
        """Have a helper get ready beside the block. When the block ends without a question, it ends too.

        Within the block no cycles are looked for: tens of thousands of values are made, and all are wanted to its end.

        Raises:
            HelperError: it cannot be started.
        """
        if os.geteuid() == 0:
            self._begun = self._started()
        collecting = gc.isenabled()
        gc.disable()
        try:
            yield self
        finally:
            if collecting:
                gc.enable()
            unasked, self._begun = self._begun, None
            if unasked is not None:
                unasked.communicate()  # the end of its input: it refuses an empty request, and is gone

    def ask(self, request: Request, policy: Policy | None = None) -> dict[str, object]:
        """Return the result.

        Raises:
            Refused: in the helper's words.
            HelperError: it could not be asked.
        """
        octets = request.render()
        if policy is not None:
            from .document import encode

            octets += encode(policy)
        answer = self._by_process(octets) if os.geteuid() == 0 else self._by_socket(octets)
        try:
            row = json.loads(answer)
            if row["ok"]:
                return dict(row["result"])
            kind, words = str(row["kind"]), str(row["error"])
        except (ValueError, KeyError, TypeError) as error:
            raise HelperError(
                f"the helper did not answer; it said: {answer[-500:].decode(errors='replace')}"
            ) from error
        raise Refused(kind, words)

    def _by_process(self, octets: bytes) -> bytes:
        process, self._begun = self._begun or self._started(), None
        assert process.stdin is not None
        with contextlib.suppress(
            BrokenPipeError
        ):  # it refuses without reading to the end; `communicate` brings its words
            process.stdin.write(octets)  # it answers nothing before it has read all; `communicate` writes in crumbs
        told, words = process.communicate()
        return told or words

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-s", "-m", "sekisho.edge.helper", "--state", str(self._directory.absolute())]
        kept = {key: os.environ[key] for key in ("SUDO_UID", "TZ") if key in os.environ}
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "PYTHONPATH": str(PACKAGES), **kept}
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd="/")
        except OSError as error:
            raise HelperError(f"the helper cannot be started: {error.strerror}") from error
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # more than a user may have, on some machines
            fcntl.fcntl(process.stdin, fcntl.F_SETPIPE_SZ, PIPE)
        return process

    def _by_socket(self, octets: bytes) -> bytes:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(ANSWER_WITHIN)
                connection.connect(str(self._socket_path))
                connection.sendall(octets)
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as answer:
                    return _whole(answer)
        except OSError as error:
            raise HelperError(
                f"no privilege, and no helper at {self._socket_path}: {error.strerror}\n"
                "Remedy: run as root (sudo), or have the helper's socket unit started and be in its group: "
                "docs/operate/edge-rollout.md, section 1."
            ) from error


def _whole(answer: BinaryIO) -> bytes:
    return answer.read(MAX_ANSWER)
