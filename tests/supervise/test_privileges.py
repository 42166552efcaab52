"""Giving up root, in processes of their own: it cannot be undone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sekisho.supervise.errors import PrivilegeError
from sekisho.supervise.privileges import look_up

DROP = """
import os, resource, sys
from sekisho.supervise.privileges import drop, harden, look_up
harden()
drop(look_up("nobody", None))
print(os.getresuid(), os.getgroups(), resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))
for regain in (lambda: os.setuid(0), lambda: os.seteuid(0), lambda: os.setgid(0)):
    try:
        regain()
    except PermissionError:
        continue
    sys.exit("root came back")
status = open("/proc/self/status").read()
assert "NoNewPrivs:\\t1" in status, status
assert "CapEff:\\t0000000000000000" in status, status
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@needs_root
def test_root_is_gone_for_good() -> None:
    done = subprocess.run([sys.executable, "-c", DROP], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "(65534, 65534, 65534)" in done.stdout
    assert "(0, 0)" in done.stdout
    assert "0o77" in done.stdout


@needs_root
def test_an_unknown_user_is_named_with_the_command_that_makes_one() -> None:
    with pytest.raises(PrivilegeError, match="useradd --system nobody-at-all"):
        look_up("nobody-at-all", None)


@needs_root
def test_an_unknown_group_is_named_with_the_command_that_makes_one() -> None:
    with pytest.raises(PrivilegeError, match="groupadd --system nothing"):
        look_up("nobody", "nothing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_another_user_needs_a_start_as_root() -> None:
    with pytest.raises(PrivilegeError, match="needs a start as root"):
        look_up("nobody", None)
