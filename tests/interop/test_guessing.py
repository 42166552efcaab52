"""Guessers and crowds: they are limited, in parallel too, and nobody else is shut out because of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.interop.certificates import Authority
from tests.interop.fixtures import PASSWORD
from tests.interop.instance import Instance
from tests.interop.letter import Submission
from tests.interop.wire import Wire, plain

GUESSER, OWNER, CROWD, OTHER = "127.0.3.1", "127.0.3.2", "127.0.3.3", "127.0.3.4"
GUESSES = 60
LIMIT = 10


@pytest.fixture(scope="module")
def guarded(new_place: Callable[[str], Path], authority: Authority) -> Iterator[Instance]:
    pair = authority.issue("mail.home.test", "127.0.0.1")
    changes = {
        "policy": {"auth_delay": "10ms", "auth_max_delay": "100ms", "auth_failures_per_address": LIMIT},
        "listener": {"mx": {"max_connections_per_address": LIMIT}},
    }
    instance = Instance(new_place("guarded"), pair, authority.certificate, changes=changes)
    instance.initialize()
    instance.start()
    yield instance
    assert instance.stop() == 0
    assert "Traceback" not in instance.daemon.output()


def attempt(server: Submission, source: str, login: str, password: str) -> str:
    with Wire(server.submission_port, source=source).secured(server) as wire:
        return wire.say(f"AUTH PLAIN {plain(login, password)}")


def test_parallel_guesses_are_not_all_answered_and_the_owner_still_gets_in(guarded: Instance) -> None:
    server = guarded.add_account("rin@home.test", PASSWORD)
    assert attempt(server, OWNER, server.login, PASSWORD).startswith("235 ")

    with ThreadPoolExecutor(GUESSES) as crowd:
        guesses = [f"a guess, number {number}" for number in range(GUESSES)]
        replies = list(crowd.map(lambda guess: attempt(server, GUESSER, server.login, guess), guesses))

    answered = [reply for reply in replies if reply.startswith("535 ")]
    assert 1 <= len(answered) <= LIMIT
    assert {reply[:4] for reply in replies} <= {"535 ", "454 ", "421 "}
    # even the right word is put off now, where it could be a guess
    assert not attempt(server, GUESSER, server.login, PASSWORD).startswith("235 ")
    assert attempt(server, OWNER, server.login, PASSWORD).startswith("235 ")
    log = "".join(file.read_text() for file in (guarded.data / "log").glob("events-*"))
    assert "guess" not in log.replace(GUESSER, "")
    assert PASSWORD not in log + guarded.daemon.output()


def test_the_same_wrong_password_counts_once(guarded: Instance) -> None:
    """A mail program with an old password in it tries every minute, with every mechanism."""
    server = guarded.add_account("aoi@home.test", PASSWORD)
    source = "127.0.3.5"
    for _ in range(LIMIT + 5):
        assert attempt(server, source, server.login, "the password of last year").startswith("535 ")
    assert attempt(server, source, server.login, PASSWORD).startswith("235 ")


def test_one_address_cannot_take_all_connections(guarded: Instance) -> None:
    wires = []
    try:
        for _ in range(LIMIT + 5):
            wires.append(Wire(guarded.mx_port, source=CROWD))
        greetings = [wire.greeting[:4] for wire in wires]
        assert greetings.count("220 ") == LIMIT
        assert greetings.count("421 ") == 5
        with Wire(guarded.mx_port, source=OTHER) as wire:
            assert wire.greeting.startswith("220 ")
    finally:
        for wire in wires:
            wire.close()
