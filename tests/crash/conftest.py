"""What happens when the service is killed, and when the disk is full. Uses the peers of the interop tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.interop.fixtures import authority, new_place, scratch
from tests.interop.sink import Sink

__all__ = ["authority", "new_place", "scratch", "sink"]


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    yield server
    server.stop()
