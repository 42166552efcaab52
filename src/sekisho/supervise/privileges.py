"""Giving up root: called once by the supervisor, after the ports are bound and the keys are read, before it forks.

Workers are forked afterwards and so never had a right to lose. Nothing here can be undone by the process.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import resource
from dataclasses import dataclass

from .errors import PrivilegeError

WANTED_FILES = 65536
PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and group the service runs as."""

    name: str
    uid: int
    gid: int


def look_up(user: str | None, group: str | None) -> Identity | None:
    """Find the identity to take on; None when the process is not root and stays what it is.

    Raises:
        PrivilegeError: unknown user or group, root without a user to become, or another user wanted without root.
    """
    if os.geteuid() != 0:
        if user is not None and user != _own_name():
            raise PrivilegeError(
                f"[service] user = {user!r} needs a start as root, but this process runs as {_own_name()}; "
                f"start it as root, or remove the setting"
            )
        return None
    if user is None:
        user = "sekisho"
        if not _exists(user):
            raise PrivilegeError(
                "started as root without a user to become; create one with `useradd --system sekisho`, or name one in "
                '[service] user ("root" keeps root, for a container that has nothing else in it)'
            )
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise PrivilegeError(
            f"[service] user: there is no user {user!r}; create it with `useradd --system {user}`, or name another"
        ) from error
    if group is None:
        return Identity(user, entry.pw_uid, entry.pw_gid)
    try:
        return Identity(user, entry.pw_uid, grp.getgrnam(group).gr_gid)
    except KeyError as error:
        raise PrivilegeError(
            f"[service] group: there is no group {group!r}; create it with `groupadd --system {group}`, or name another"
        ) from error


def harden() -> None:
    """Set what every process keeps: no core dump (it would hold passwords), private files, many open files."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    raise_file_limit()


def raise_file_limit() -> int:
    """Raise the limit on open files as far as allowed, and return it; one connection takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    if soft == endless or soft >= WANTED_FILES:
        return soft
    limits = [(WANTED_FILES, hard)] if hard == endless or hard >= WANTED_FILES else [(WANTED_FILES,) * 2, (hard, hard)]
    for limit in limits:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        except (ValueError, OSError):
            continue  # only root may raise the hard limit, and in a container not even root
        return limit[0]
    return soft


def drop(identity: Identity | None) -> None:
    """Become *identity* for good, and prove that there is no way back.

    The order matters: supplementary groups need root, the group must go before the user.

    Raises:
        PrivilegeError: a step was refused, or root could be regained.
    """
    if identity is not None:
        try:
            os.setgroups(os.getgrouplist(identity.name, identity.gid))
            os.setresgid(identity.gid, identity.gid, identity.gid)
            os.setresuid(identity.uid, identity.uid, identity.uid)
        except OSError as error:
            raise PrivilegeError(f"cannot become user {identity.name}: {error.strerror}") from error
    _forbid_new_privileges()
    if identity is not None and identity.uid != 0:
        _prove_dropped(identity)


def _forbid_new_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise PrivilegeError(f"prctl(PR_SET_NO_NEW_PRIVS): {os.strerror(ctypes.get_errno())}")


def _prove_dropped(identity: Identity) -> None:
    if os.getresuid() != (identity.uid,) * 3 or os.getresgid() != (identity.gid,) * 3:
        raise PrivilegeError(f"still not wholly user {identity.name}: uids {os.getresuid()}, gids {os.getresgid()}")
    try:
        os.setuid(0)
    except OSError:
        return
    raise PrivilegeError("root could be regained after giving it up")


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
