"""Tests against the kernel: real nft, real packets, in network namespaces that the tests make. Root only.

On a laptop they are left out when that is not possible; with CI set, that is an error.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .namespaces import inside


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacking = _lacking()
    if not lacking or os.environ.get("CI") == "true":
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=lacking))


def _lacking() -> str:
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("nft", "ip") if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@pytest.fixture
def alone() -> Iterator[None]:
    """Run the test in a network namespace that nobody else has."""
    with inside():
        yield
