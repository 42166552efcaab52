"""The proof of a large policy, in a process beside the one that gets its rules ready for the kernel.

Both look at the very same rules: the process is a copy of this one. Nothing is applied before it has said that they are
proven, and a process that ends without a word has proven nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from datetime import date
from typing import Final

from . import checker
from .nftables import Unproven
from .policy import Policy
from .ruleset import Ruleset

__all__ = ["proven", "proven_beside"]

WORTH_A_PROCESS: Final = 5000  # exemptions; fewer are proven sooner than a process is there
PROVEN: Final = b"proven"
MAX_WORDS: Final = 64 * 1024


def proven(policy: Policy, ruleset: Ruleset, today: date) -> None:
    """Prove that the rules do what *policy* says as of *today*.

    Raises:
        Unproven: they do not; this is a mistake of ours, and nothing may be applied.
    """
    problems = checker.prove(policy, ruleset, today)
    if problems:
        raise Unproven(
            "the compiled rules are not proven to do what the policy says, so they are not applied:\n"
            + "\n".join(f"    {problem}" for problem in problems[:20])
            + "\nThe rules in the kernel are as they were.\nRemedy: please report this with the policy."
        )


@contextlib.contextmanager
def proven_beside(policy: Policy, ruleset: Ruleset, today: date) -> Iterator[Callable[[], None]]:
    """Begin to prove as `proven` does, and yield the function that waits for the end of it and raises `Unproven`.

    The process is gone when the block ends, asked or not.
    """
    if len(policy.exemptions) < WORTH_A_PROCESS:
        yield lambda: proven(policy, ruleset, today)
        return
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _tell(writing, policy, ruleset, today)
    os.close(writing)
    said: list[bytes] = []

    def wait() -> None:
        if not said:
            said.append(_heard(reading))
        if said[0] != PROVEN:
            raise Unproven(said[0].decode(errors="replace") or "the proof ended without a result; nothing was applied")

    try:
        yield wait
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)  # it may be at work still, when something else was wrong
        os.waitpid(child, 0)


def _tell(writing: int, policy: Policy, ruleset: Ruleset, today: date) -> None:
    """In the copy: prove, write the result, and be gone without a look at what else this process was about to do."""
    words = b""
    try:
        proven(policy, ruleset, today)
        words = PROVEN
    except Unproven as error:
        words = str(error).encode()[:MAX_WORDS]
    except BaseException as error:
        words = f"the proof failed, so nothing was applied: {error!r}".encode()[:MAX_WORDS]
    finally:
        with contextlib.suppress(OSError):
            os.write(writing, words)
        os._exit(0)


def _heard(reading: int) -> bytes:
    heard = b""
    while octets := os.read(reading, MAX_WORDS):
        heard += octets
    return heard
