"""The privileged helper: takes a policy, never rules, and alone may change the kernel's packet filter.

One request on standard input or on one connection of a local socket, one answer, and it is gone::

    {"verb": "apply", "confirm_within": 300}\\n      request, at most 64 KiB
    {...}                                          the policy as `edge.document` writes it, to the end of the input

    {"ok": true, "result": {...}}                  or {"ok": false, "kind": "Drifted", "error": "words"}

Before it reads anything it gives away all rights but CAP_NET_ADMIN (`privileges`). What it reads it trusts in nothing:
the policy is checked again, compiled here, and the compiled rules are proven against it before nft sees them.

`client` is the other side.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import pwd
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, is_dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from .client import ANSWER_WITHIN, DIRECTORY, SOCKET, HelperClient, HelperError, Refused, Request
from .compile import compile_policy
from .document import MAX_OCTETS, DocumentError, decode
from .nftables import Backend, Candidate, NothingToDo
from .policy import Policy
from .privileges import drop_privileges
from .proof import proven, proven_beside
from .quarantine import Quarantine
from .render import render
from .state import NOTHING, EdgeError

__all__ = ["DIRECTORY", "SOCKET", "HelperClient", "HelperError", "Refused", "Request", "candidate", "main", "serve_one"]

MAX_REQUEST: Final = 64 * 1024
MAX_WORDS: Final = 64 * 1024  # octets of an error told
MAX_ELEMENTS_TOLD: Final = 200_000  # of a plan
READ_WITHIN: Final = 20.0  # seconds for the whole request
FIRST_DESCRIPTOR: Final = 3  # of socket activation, sd_listen_fds(3)


def candidate(policy: Policy, today: date) -> Candidate:
    """Compile *policy* as of *today*, and prove that the rules do what it says.

    Raises:
        Unproven: they do not; this is a mistake of ours, and nothing is applied.
    """
    ruleset = compile_policy(policy, today)
    proven(policy, ruleset, today)
    return Candidate(render(ruleset), policy.name, policy.version, today.isoformat())


Handler = Callable[[Backend, Request, bytes, str], object]


def _policy(request: Request, document: bytes, today: date) -> Policy:
    try:
        return decode(document, today=today, force=request.force)
    except DocumentError as error:
        raise HelperError(f"{error}\nThe rules in the kernel are as they were.") from error


def _candidate(request: Request, document: bytes) -> Candidate:
    today = request.on or date.today()
    return candidate(_policy(request, document, today), today)


def _plan(backend: Backend, request: Request, document: bytes, who: str) -> object:
    plan = backend.plan(_candidate(request, document))
    if sum(len(change.added) + len(change.removed) for change in plan.sets) > MAX_ELEMENTS_TOLD:
        raise HelperError(f"more than {MAX_ELEMENTS_TOLD} elements would change; compare the policy files instead")
    return {**asdict(plan), "changes": plan.changes}


def _apply(backend: Backend, request: Request, document: bytes, who: str) -> object:
    if request.on is not None:
        raise HelperError("rules are applied for today; another day can be planned only")
    today = date.today()
    policy = _policy(request, document, today)
    ruleset = compile_policy(policy, today)
    with proven_beside(policy, ruleset, today) as proof:
        made = Candidate(render(ruleset), policy.name, policy.version, today.isoformat(), document, proof)
        done = backend.apply(made, who=who, confirm_within=request.confirm_within, force_drift=request.force_drift)
    try:
        Quarantine(backend).suit(policy, today, who=who)
    except EdgeError as error:  # the policy holds; this must not look as if it did not
        return replace(done, notes=(*done.notes, f"the quarantine set is as it was: {error}"))
    return done


def _rollback(backend: Backend, request: Request, document: bytes, who: str) -> object:
    """The way back at once: the quarantine goes too, and first."""
    cleared = Quarantine(backend).clear(who=who, reason="rolled back", rolled_back=True)
    try:
        return backend.rollback(who=who)
    except NothingToDo:
        if not cleared:
            raise
        return NOTHING


def _quarantine(backend: Backend, request: Request, document: bytes, who: str) -> object:
    today = date.today()
    return Quarantine(backend).change(
        _policy(request, document, today),
        today,
        add=request.add,
        release=request.release,
        spare=request.spare,
        by=request.by,
        who=who,
    )


def _verify(backend: Backend, request: Request, document: bytes, who: str) -> object:
    found = backend.verify(_candidate(request, document) if document else None)
    return {**asdict(found), "ok": found.ok}


def _counters(backend: Backend, request: Request, document: bytes, who: str) -> object:
    from .counters import documents

    return {"documents": documents(backend.run)}


def _status(backend: Backend, request: Request, document: bytes, who: str) -> object:
    from .counters import BESIDE, Beside, beside, documents

    status = backend.status()
    try:
        counted = beside(documents(backend.run, BESIDE))
    except EdgeError:  # the rest is worth telling all the same
        counted = Beside({}, {})
    return {**asdict(status), **asdict(counted)}


VERBS: Final[dict[str, Handler]] = {
    "plan": _plan,
    "apply": _apply,
    "verify": _verify,
    "confirm": lambda backend, request, document, who: backend.confirm(who=who),
    "rollback": _rollback,
    "quarantine": _quarantine,
    "quarantined": lambda backend, request, document, who: Quarantine(backend).listed(),
    "restore": lambda backend, request, document, who: backend.restore(who=who),
    "status": _status,
    "counters": _counters,
}
WITH_POLICY: Final = frozenset({"plan", "apply", "quarantine"})


def serve_one(read: Callable[[int], bytes], backend: Backend, who: str) -> bytes:
    """Answer one request.

    Args:
        read: returns at most so many octets, and none at the end.
        who: whoever asks, as the kernel knows it.
    """
    try:
        line, document = _received(read)
        request = Request.parse(line)
        handler = VERBS.get(request.verb)
        if handler is None:
            raise HelperError(f"there is no verb {request.verb[:40]!r}")
        if request.verb in WITH_POLICY and not document:
            raise HelperError(f"{request.verb} needs a policy")
        result = handler(backend, request, document, who)
    except EdgeError as error:
        return _answer({"ok": False, "kind": type(error).__name__, "error": str(error)[:MAX_WORDS]})
    except OSError as error:
        words = f"{error.filename or 'the state directory'}: {error.strerror}"
        return _answer({"ok": False, "kind": "OSError", "error": words})
    return _answer({"ok": True, "result": _plain(result)})


def _answer(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _plain(value: object) -> object:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _received(read: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    chunks, size = [], 0
    while octets := read(1 << 20):
        chunks.append(octets)
        size += len(octets)
        if size > MAX_OCTETS:
            raise HelperError("the policy is too large")
    line, _, document = b"".join(chunks).partition(b"\n")
    if len(line) > MAX_REQUEST:
        raise HelperError("the request is too long")
    return line, document


def main(argv: list[str] | None = None) -> int:
    """Serve standard input, or a local socket until the end of days."""
    parser = argparse.ArgumentParser(prog="python -m sekisho.edge.helper", description="changes packet filter rules")
    parser.add_argument("--state", type=Path, default=DIRECTORY, metavar="DIR", help="what must be remembered")
    parser.add_argument("--socket", action="store_true", help="serve the socket that systemd hands over")
    parser.add_argument("--listen", type=Path, metavar="PATH", help="serve a local socket made here")
    arguments = parser.parse_args(argv)
    listener = _listener(arguments)
    try:
        drop_privileges()
    except EdgeError as error:
        refusal = _answer({"ok": False, "kind": type(error).__name__, "error": str(error)})
        if listener is None:
            sys.stdout.buffer.write(refusal)
        else:
            print(error, file=sys.stderr)
        return 1
    if listener is not None:
        _serve(listener, arguments.state)
        return 0
    gc.disable()  # one request, and the process is gone
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.stdout.buffer.write(serve_one(sys.stdin.buffer.read, Backend(arguments.state), _myself()))
    sys.stdout.buffer.flush()
    return 0


def _listener(arguments: argparse.Namespace) -> socket.socket | None:
    if arguments.socket:
        return socket.socket(fileno=FIRST_DESCRIPTOR)
    if arguments.listen is None:
        return None
    arguments.listen.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    os.umask(0o117)
    listener.bind(str(arguments.listen))
    listener.listen(8)
    return listener


def _serve(listener: socket.socket, state: Path) -> None:
    """Answer one connection after the other, each in a process of its own."""
    while True:
        connection, _ = listener.accept()
        child = os.fork()
        if child == 0:
            try:
                gc.disable()
                signal.alarm(int(ANSWER_WITHIN))
                _converse(connection, Backend(state))
            finally:
                os._exit(0)
        connection.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _converse(connection: socket.socket, backend: Backend) -> None:
    process, user, _ = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    end = time.monotonic() + READ_WITHIN

    def read(size: int) -> bytes:
        connection.settimeout(max(0.001, end - time.monotonic()))
        return connection.recv(size)

    answer = serve_one(read, backend, f"{_user(user)}, process {process}")
    connection.settimeout(READ_WITHIN)
    with contextlib.suppress(OSError):
        connection.sendall(answer)


def _user(number: int) -> str:
    try:
        return f"{pwd.getpwuid(number).pw_name} ({number})"
    except KeyError:
        return str(number)


def _myself() -> str:
    """Who logged in: the kernel's audit id outlives su and sudo; without one, what sudo says, or this user."""
    try:
        number = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        number = 0xFFFFFFFF
    if number != 0xFFFFFFFF:
        return _user(number)
    told = os.environ.get("SUDO_UID", "")
    return _user(int(told)) if told.isascii() and told.isdigit() and len(told) < 11 else _user(os.getuid())


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # without taking apart a hundred thousand values first
