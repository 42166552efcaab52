"""An actor says in few words what it experienced."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sekisho.lab.actor import observe


@contextmanager
def server(words: bytes) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(words)
                connection.settimeout(2)
                connection.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def greet(port: int) -> dict[str, object]:
    return observe({"kind": "greet", "address": "127.0.0.1", "port": port, "seconds": 0.3})


def test_a_server_that_greets_works() -> None:
    with server(b"220 mx.example ESMTP\r\n") as port:
        seen = greet(port)
    assert (seen["outcome"], seen["evidence"]) == ("works", "220 mx.example ESMTP")


def test_a_greeting_of_several_lines_is_read_whole() -> None:
    with server("554-5.7.1 No\r\n554-5.7.1 だめ\r\n554 5.7.1 https://x.example/c/1\r\n".encode()) as port:
        seen = greet(port)
    assert seen["outcome"] == "explained"
    assert seen["evidence"] == "554-5.7.1 No 5.7.1 だめ 5.7.1 https://x.example/c/1"


def test_a_server_that_closes_without_a_word_failed() -> None:
    with server(b"") as port:
        seen = greet(port)
    assert seen["outcome"] in ("failed", "dropped")


def test_silence_is_called_dropped() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        seen = greet(listener.getsockname()[1])
    assert seen["outcome"] == "dropped"
    assert seen["evidence"] == "no answer within 0.3 s"


def test_a_closed_port_is_called_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert greet(port)["outcome"] == "refused"


def test_a_stream_counts_what_was_answered() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        task = {"kind": "stream", "addresses": ["127.0.0.1"], "port": port, "seconds": 0.3, "per_second": 50.0}
        seen = observe(task)
    assert seen["outcome"] == "works"
