"""Listening sockets: bound together or not at all, never beside somebody else's, explained when refused."""

from __future__ import annotations

import os
import socket

import pytest

from sekisho.config import Endpoint
from sekisho.supervise.errors import StartError
from sekisho.supervise.sockets import Wanted, bind_all, close_all, explain_bind, holder_of

LOOPBACK = Endpoint("127.0.0.1", 0)
KEY = "listener.submission.addresses"


def test_every_worker_gets_a_socket_of_its_own_on_the_same_port() -> None:
    (bound,) = bind_all([Wanted("submission", LOOPBACK, KEY)], 3)
    try:
        assert len(bound.sockets) == 3
        assert {listening.getsockname() for listening in bound.sockets} == {("127.0.0.1", bound.endpoint.port)}
        with socket.create_connection(("127.0.0.1", bound.endpoint.port), timeout=2):
            pass
    finally:
        close_all([bound])


def test_a_busy_port_names_the_setting_and_the_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError) as caught:
            bind_all([Wanted("submission", Endpoint("127.0.0.1", port), KEY)], 1)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{KEY}: cannot listen on 127.0.0.1:{port}: the port is held by ")
    assert f"(process {os.getpid()})" in problem


def test_a_port_shared_by_reuseport_counts_as_busy() -> None:
    """A second instance of the same user could otherwise take half of the connections unnoticed."""
    first = bind_all([Wanted("mx", LOOPBACK, KEY)], 2)
    try:
        with pytest.raises(StartError, match="held by"):
            bind_all([Wanted("mx", first[0].endpoint, KEY)], 1)
    finally:
        close_all(first)


def test_one_bad_address_leaves_nothing_bound_and_every_problem_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    wanted = [
        Wanted("submission", Endpoint("127.0.0.1", free), KEY),
        Wanted("submissions", Endpoint("192.0.2.77", 0), "listener.submissions.addresses"),
        Wanted("mx", Endpoint("mail.example.jp", 25), "listener.mx.addresses"),
    ]
    with pytest.raises(StartError) as caught:
        bind_all(wanted, 1)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "listener.submissions.addresses",
        "listener.mx.addresses",
    ]
    with socket.create_server(("127.0.0.1", free)):
        pass


def test_an_optional_address_that_the_machine_lacks_is_left_out() -> None:
    bound = bind_all([Wanted("mx", Endpoint("192.0.2.77", 0), KEY, optional=True)], 1)
    assert bound == []


def test_a_port_that_needs_root_says_so() -> None:
    problem = explain_bind(Wanted("mx", Endpoint("0.0.0.0", 25), KEY), PermissionError(13, "Permission denied"))
    assert "need root" in problem
    assert problem.startswith(KEY)


def test_nobody_holds_a_free_port() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert holder_of(probe.getsockname()[1]) is None
