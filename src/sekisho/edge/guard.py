"""The guard of a change on trial: a process that undoes it at its deadline unless it was confirmed.

It is started before the kernel is touched, belongs to no session and no terminal, reads its deadline from the state
directory, and needs nobody: neither the helper nor the command line nor the ssh session that started it. It ends as
soon as nothing is on trial.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .state import EdgeError, StateDirectory

__all__ = ["main", "started"]

LOOK_EVERY: Final = 0.25  # seconds
RETRY_AFTER: Final = 5.0  # seconds after an attempt to undo that failed
PREDECESSOR: Final = 15.0  # seconds that the guard of an earlier change has to see that its work is done
PACKAGES: Final = Path(__file__).parents[2]


@contextlib.contextmanager
def started(directory: Path) -> Iterator[None]:
    """Start a guard beside the block, which notes the pending change; when the block ends, the guard is at work.

    Raises:
        EdgeError: it did not start; nothing has been changed then.
    """
    ready, told = os.pipe()
    hold, release = os.pipe()
    intermediate = os.fork()
    if intermediate == 0:
        _become(directory, ready=told, hold=hold)
    os.close(told)
    os.close(hold)
    os.waitpid(intermediate, 0)
    try:
        yield
        with open(ready, "rb", closefd=False) as pipe:
            if not pipe.read(1):
                raise EdgeError("the guard that would undo the change did not start; nothing was changed")
    finally:
        os.close(ready)
        os.close(release)  # from here on it looks at the pending change


def _become(directory: Path, *, ready: int, hold: int) -> None:
    """In the child: leave session and parent, and run `main` in a program of its own. Never returns."""
    try:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        for descriptor in (ready, hold):
            os.set_inheritable(descriptor, True)
        os.chdir("/")
        command = [sys.executable, "-P", "-s", "-m", "sekisho.edge.guard", str(directory), str(ready), str(hold)]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "PYTHONPATH": str(PACKAGES)}
        os.execve(sys.executable, command, environment)  # noqa: S606 - a shell is the last thing wanted here
    finally:
        os._exit(70)


def main(directory: str, ready: int, hold: int) -> None:
    """Watch over the change on trial in *directory* until it ended.

    Args:
        ready: descriptor to write one octet to when the watch begins.
        hold: descriptor whose end says that the pending change has been noted, or that who would note it is dead.
    """
    from .nftables import Backend
    from .privileges import drop_privileges

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(EdgeError):
        drop_privileges()
    state = StateDirectory(Path(directory))
    lock = state.become_guard(PREDECESSOR)
    if lock is None:
        return
    with contextlib.suppress(OSError):
        os.write(ready, b".")
    os.close(ready)
    os.read(hold, 1)
    os.close(hold)
    backend = Backend(Path(directory))
    while True:
        try:
            if backend.expire():
                return
        except (EdgeError, OSError) as error:
            backend.tell("edge.guard_failed", reason=str(error))
            time.sleep(RETRY_AFTER)
        time.sleep(LOOK_EVERY)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
