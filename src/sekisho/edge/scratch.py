"""What a kernel makes of a ruleset: loaded into a network namespace of its own, listed, and gone.

The namespace is made by a child process, needs no privilege where users may make user namespaces, and sees no packet.
Used to compare the rules in force with those that were generated, in the kernel's own words.
"""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from collections.abc import Sequence

from .nft import NftError, Run
from .privileges import keep_through_exec

__all__ = ["NoNamespace", "listed"]

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET of linux/sched.h


class NoNamespace(NftError):
    """This process may not make a network namespace."""


def listed(text: str, names: Sequence[str], run: Run) -> list[str]:
    """Load *text*, and return `nft -j list table NAME` for each of *names* ("inet x").

    Raises:
        NoNamespace: it is not allowed here.
        NftError: the kernel refused the text.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.close(reading)
            status = _in_child(text, names, run, writing)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        answer = pipe.read()
    _, wait_status = os.waitpid(child, 0)
    status = os.waitstatus_to_exitcode(wait_status)
    if status == 3:
        raise NoNamespace(f"no network namespace of our own can be made: {answer}")
    if status != 0:
        raise NftError(answer or f"the comparison ended with status {status}")
    return answer.split("\0")


def _in_child(text: str, names: Sequence[str], run: Run, writing: int) -> int:
    with open(writing, "w", encoding="utf-8") as pipe:
        try:
            _unshare()
        except OSError as error:
            pipe.write(str(error.strerror))
            return 3
        try:
            run(["-f", "-"], text)
            pipe.write("\0".join(run(["-j", "list", "table", *name.split()]) for name in names))
        except NftError as error:
            pipe.write(str(error))
            return 4
    return 0


def _unshare() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(NEW_NETWORK) == 0:  # CAP_SYS_ADMIN
        return
    if library.unshare(NEW_USER | NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    # all capabilities within the new namespace; nft, which has no user there, inherits the one it needs. Naming a user
    # would ask for CAP_SETFCAP when we are root without it
    keep_through_exec(library)
