"""Which real programs a test needs, and what happens without them: a reason on a laptop, an error in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["lacking", "need", "need_file", "need_perl", "need_root"]

SYSTEM_PATHS = ("/usr/sbin", "/sbin", "/usr/lib/postfix/sbin")


def lacking(reason: str) -> NoReturn:
    """End the test: skipped with its reason, or failed where everything is supposed to be installed (CI=true)."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; scripts/install-test-peers installs it", pytrace=False)
    pytest.skip(reason)


def need(program: str) -> str:
    """Return the path of *program*, or end the test."""
    path = shutil.which(program) or shutil.which(program, path=os.pathsep.join(SYSTEM_PATHS))
    if path is None:
        lacking(f"{program} is not installed")
    return path


def need_file(path: str) -> Path:
    """Return *path*, part of some package that has no program to ask for, or end the test."""
    if not Path(path).exists():
        lacking(f"{path} is not installed")
    return Path(path)


def need_perl(module: str) -> None:
    """End the test unless Perl has *module*."""
    if subprocess.run([need("perl"), f"-M{module}", "-e", "1"], capture_output=True).returncode != 0:
        lacking(f"the Perl module {module} is not installed")


def need_root(why: str) -> None:
    """End the test unless it runs as root."""
    if os.geteuid() != 0:
        lacking(f"needs root: {why}")
