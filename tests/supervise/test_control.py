"""The control socket, both ends."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sekisho.supervise.control import ControlServer, ask, running_workers
from sekisho.supervise.errors import ControlError


async def _double(request: Mapping[str, Any]) -> object:
    if request["n"] < 0:
        raise ControlError("a negative number")
    return request["n"] * 2


async def _fail(request: Mapping[str, Any]) -> object:
    raise ZeroDivisionError("secret detail")


async def _ping(request: Mapping[str, Any]) -> object:
    return {}


VERBS = {"double": _double, "fail": _fail, "ping": _ping}


def asked(path: Path, verb: str, **arguments: object) -> Any:
    async def run() -> Any:
        server = ControlServer(path, VERBS)
        await server.start()
        try:
            return await asyncio.to_thread(ask, path, verb, **arguments)
        finally:
            server.close()

    return asyncio.run(run())


def test_a_verb_is_answered(tmp_path: Path) -> None:
    assert asked(tmp_path / "worker-0.sock", "double", n=21) == 42


def test_a_directory_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    assert asked(deep / "worker-0.sock", "double", n=1) == 2


def test_a_refusal_says_why(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="a negative number"):
        asked(tmp_path / "worker-0.sock", "double", n=-1)


def test_an_unknown_verb_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="not a request"):
        asked(tmp_path / "worker-0.sock", "explode")


def test_an_internal_error_keeps_its_detail_to_the_log(tmp_path: Path) -> None:
    with pytest.raises(ControlError) as caught:
        asked(tmp_path / "worker-0.sock", "fail")
    assert "secret detail" not in str(caught.value)


def test_only_the_service_user_may_open_it_and_it_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.sock"

    async def run() -> int:
        server = ControlServer(path, VERBS)
        await server.start()
        mode = path.stat().st_mode
        server.close()
        return mode

    assert stat.S_IMODE(asyncio.run(run())) == 0o600
    assert not path.exists()


def test_a_socket_that_nobody_answers_is_no_running_worker(tmp_path: Path) -> None:
    (tmp_path / "worker-0.sock").touch()
    assert running_workers(tmp_path) == []
    with pytest.raises(ControlError, match="no answer"):
        ask(tmp_path / "worker-0.sock", "ping")
