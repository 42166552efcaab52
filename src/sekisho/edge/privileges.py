"""Give away every right but the one to change packet filter rules, for this process and all it starts.

After `drop_privileges` the process has CAP_NET_ADMIN and no other capability, cannot gain one by running a program
(no_new_privs, bounding set, securebits), and can open local and netlink sockets only: it cannot speak to any network.

Source: capabilities(7), prctl(2), seccomp(2); linux/capability.h, linux/securebits.h, linux/seccomp.h, linux/audit.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import socket
import struct
from pathlib import Path
from typing import Final

from .nft import NoPrivilege

__all__ = ["NET_ADMIN", "capabilities", "drop_all", "drop_privileges", "keep_through_exec"]

NET_ADMIN: Final = 12
ONE: Final = 1 << NET_ADMIN
CAPABILITY_VERSION: Final = 0x20080522
SET_SECCOMP, SET_SECUREBITS, CAPBSET_DROP, SET_NO_NEW_PRIVS, CAP_AMBIENT = 22, 28, 24, 38, 47
AMBIENT_RAISE: Final = 2
NOROOT: Final = 0b00101111  # noroot, no_setuid_fixup, both locked, keep_caps off and locked
MAX_MEMORY: Final = 4 << 30  # octets

AUDIT_ARCHITECTURES: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # and number of socket(2)
IO_URING_SETUP: Final = 425
ALLOW, KILL, REFUSE_FAMILY, REFUSE_CALL = 0x7FFF0000, 0x80000000, 0x00050000 | 97, 0x00050000 | 38
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06


def capabilities() -> dict[str, int]:
    """Return the capability sets of this process by their names in /proc: CapPrm, CapEff, CapBnd, CapAmb, CapInh."""
    found = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("Cap"):
            name, _, value = line.partition(":")
            found[name] = int(value.strip(), 16)
    return found


def drop_privileges() -> None:
    """Keep CAP_NET_ADMIN alone. May be called again.

    Raises:
        NoPrivilege: the process has not even that, or the kernel refused to take the others away.
    """
    if not capabilities().get("CapPrm", 0) >> NET_ADMIN & 1:
        raise NoPrivilege(
            "no privilege to change packet filter rules (CAP_NET_ADMIN)\nThe rules in the kernel are as they were.\n"
            "Remedy: run as root, or let the helper do it: docs/operate/edge-rollout.md, section 1."
        )
    library = ctypes.CDLL(None, use_errno=True)
    for number in range(64):
        if number != NET_ADMIN:
            library.prctl(CAPBSET_DROP, number, 0, 0, 0)  # needs CAP_SETPCAP; without it no_new_privs must do
    library.prctl(SET_SECUREBITS, NOROOT, 0, 0, 0)
    keep_through_exec(library)
    _must(library.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _forbid_networks(library)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft in (-1, resource.RLIM_INFINITY) or soft > MAX_MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, hard))
    os.umask(0o077)
    left = capabilities()
    if left["CapEff"] != ONE or left["CapPrm"] != ONE:
        raise NoPrivilege("the kernel did not take the other privileges away; nothing was done")


def drop_all() -> None:
    """Give away every capability for good: for root that only listens and writes its own files.

    Raises:
        NoPrivilege: the kernel refused.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for number in range(64):
        library.prctl(CAPBSET_DROP, number, 0, 0, 0)
    library.prctl(SET_SECUREBITS, NOROOT, 0, 0, 0)
    _must(library.capset(struct.pack("=Ii", CAPABILITY_VERSION, 0), bytes(24)), "capset")
    _must(library.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def keep_through_exec(library: ctypes.CDLL) -> None:
    """Have CAP_NET_ADMIN alone, and let the programs started from here have it.

    Raises:
        NoPrivilege: the kernel refused.
    """
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    _must(library.capset(header, struct.pack("=6I", ONE, ONE, ONE, 0, 0, 0)), "capset")
    _must(library.prctl(CAP_AMBIENT, AMBIENT_RAISE, NET_ADMIN, 0, 0), "the ambient set")


def _must(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise NoPrivilege(f"privileges could not be given away ({what}: {os.strerror(number)}); nothing was done")


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _forbid_networks(library: ctypes.CDLL) -> None:
    """Let socket(2) make local and netlink sockets only; on other machines than the usual ones, do without."""
    known = AUDIT_ARCHITECTURES.get(platform.machine())
    if known is None:
        return
    architecture, socket_call = known
    steps = (
        (LOAD, 0, 0, 4),  # 0  seccomp_data.arch
        (JUMP_EQUAL, 1, 0, architecture),  # 1
        (RETURN, 0, 0, KILL),  # 2  another machine's calls would have other numbers
        (LOAD, 0, 0, 0),  # 3  seccomp_data.nr
        (JUMP_AT_LEAST, 0, 1, 0x40000000),  # 4  x32
        (RETURN, 0, 0, KILL),  # 5
        (JUMP_EQUAL, 6, 0, IO_URING_SETUP),  # 6  -> 13: it could make sockets by itself
        (JUMP_EQUAL, 0, 4, socket_call),  # 7  -> 12
        (LOAD, 0, 0, 16),  # 8  lower half of the first argument
        (JUMP_EQUAL, 2, 0, socket.AF_UNIX),  # 9  -> 12
        (JUMP_EQUAL, 1, 0, 16),  # 10 -> 12 AF_NETLINK
        (RETURN, 0, 0, REFUSE_FAMILY),  # 11
        (RETURN, 0, 0, ALLOW),  # 12
        (RETURN, 0, 0, REFUSE_CALL),  # 13
    )
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    described = _Program(len(steps), program)
    _must(library.prctl(SET_SECCOMP, 2, ctypes.byref(described), 0, 0), "seccomp")
