"""The helper's input: a request line and a policy, and nothing else, whatever comes."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.edge import helper
from sekisho.edge.document import encode
from sekisho.edge.helper import HelperClient, HelperError, Refused, Request, candidate, serve_one
from sekisho.edge.load import load_policy
from sekisho.edge.nft import Absent
from sekisho.edge.nftables import Backend, Unproven

EXAMPLE = Path(__file__).parent / "example.toml"
TODAY = date(2026, 12, 1)


class Kernel:
    """A kernel without rules; remembers every text it was given."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self, arguments: Sequence[str], text: str = "", /) -> str:
        if "list" in arguments:
            raise Absent("nothing there")
        self.given.append(text)
        return ""


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def ask(octets: bytes, kernel: Kernel, directory: Path) -> dict[str, object]:
    answer = serve_one(io.BytesIO(octets).read, Backend(directory / "state", run=kernel), "rin")
    assert answer.endswith(b"\n")
    found = json.loads(answer)
    assert isinstance(found, dict)
    return found


def document() -> bytes:
    return encode(load_policy(EXAMPLE, today=date.today(), force=True))


def test_a_policy_is_applied_as_compiled_here(kernel: Kernel, tmp_path: Path) -> None:
    answer = ask(Request("apply", force=True).render() + document(), kernel, tmp_path)
    assert answer["ok"], answer
    assert "chain classify" in kernel.given[-1]
    status = ask(Request("status").render(), kernel, tmp_path)
    assert isinstance(status["result"], dict)
    assert status["result"]["current"]["who"] == "rin"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\n",
        b"{",
        b"[]\n",
        b'{"verb": 5}\n',
        b'{"verb": "apply"}\n',
        b'{"verb": "apply"}\n{}',
        b'{"verb": "apply", "text": "flush ruleset"}\n',
        b'{"verb": "flush"}\n',
        b'{"verb": "apply", "confirm_within": -1}\n{}',
        b'{"verb": "apply", "confirm_within": 1e9}\n{}',
        b'{"verb": "apply", "confirm_within": NaN}\n{}',
        b'{"verb": "apply", "force": "yes"}\n{}',
        b'{"verb": "plan", "on": "tomorrow"}\n{}',
        b'{"verb": "' + b"x" * 70_000 + b'"}\n',
        b"[" * 5000,
        b"table inet sekisho_edge { chain c { } }\n",
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_request_is_refused_and_the_kernel_never_hears_of_it(
    octets: bytes, kernel: Kernel, tmp_path: Path
) -> None:
    answer = ask(octets, kernel, tmp_path)
    assert not answer["ok"]
    assert answer["kind"] == "HelperError"
    assert kernel.given == []


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_octets_raise_or_reach_the_kernel(tmp_path_factory: pytest.TempPathFactory, octets: bytes) -> None:
    kernel = Kernel()
    directory = tmp_path_factory.getbasetemp() / "any"
    assert not ask(b'{"verb": "apply"}\n' + octets, kernel, directory)["ok"]
    ask(octets, kernel, directory)
    assert kernel.given == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("networks", 0, "interfaces"), ['ppp0" ; flush ruleset ; "']),
        (("networks", 0, "name"), "home } } flush ruleset"),
        (("networks", 0, "prefixes"), ["198.51.100.0/25 } ; flush ruleset"]),
        (("exemptions", "ipv4"), ["192.0.2.1\nflush ruleset"]),
        (("explainer",), {"ipv4": "127.0.0.1; drop:25", "ipv6": ""}),
        (("log_group",), "5; accept"),
        (("servers", 0, "prefixes"), ["0.0.0.0/0; accept"]),
    ],
)
def test_no_text_of_a_policy_becomes_rules(
    path: tuple[str | int, ...], value: object, kernel: Kernel, tmp_path: Path
) -> None:
    head, _, columns = document().partition(b"\n")
    row = json.loads(head)
    place = row
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    answer = ask(Request("apply", force=True).render() + json.dumps(row).encode() + b"\n" + columns, kernel, tmp_path)
    assert not answer["ok"]
    assert kernel.given == []


def test_a_policy_is_bounded(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "MAX_OCTETS", 1000)
    answer = ask(Request("apply", force=True).render() + document(), kernel, tmp_path)
    assert "too large" in str(answer["error"])


def test_rules_that_are_not_proven_are_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.edge.checker.prove", lambda *anything: ["a packet gets through"])
    with pytest.raises(Unproven, match="a packet gets through"):
        candidate(load_policy(EXAMPLE, today=TODAY), TODAY)


def test_rules_are_applied_for_today_alone(kernel: Kernel, tmp_path: Path) -> None:
    answer = ask(Request("apply", on=date(2027, 2, 1), force=True).render() + document(), kernel, tmp_path)
    assert "can be planned only" in str(answer["error"])
    assert ask(Request("plan", on=date(2027, 2, 1)).render() + document(), kernel, tmp_path)["ok"]
    assert kernel.given == []


def test_a_request_is_read_as_it_was_written() -> None:
    for request in (
        Request("status"),
        Request("apply", confirm_within=300.0, force=True, force_drift=True),
        Request("plan", on=date(2027, 2, 1)),
    ):
        assert Request.parse(request.render().rstrip(b"\n")) == request


def test_a_socket_serves_those_who_may_open_it_and_names_them_by_the_kernels_word(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HelperClient, "_by_process", HelperClient._by_socket)
    path = tmp_path / "edge.sock"
    backend = Backend(tmp_path / "state", run=kernel)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    helper._converse(connection, backend)

        thread = threading.Thread(target=serve)
        thread.start()
        client = HelperClient(tmp_path, socket_path=path)
        with pytest.raises(Refused, match="no rules of ours") as refused:
            client.ask(Request("rollback"))
        done = client.ask(Request("apply", force=True), load_policy(EXAMPLE, today=date.today(), force=True))
        thread.join()
    assert refused.value.kind == "NothingToDo"
    assert done["changed"]
    who = backend.state.history()[0]["who"]
    assert who == f"{helper._user(os.getuid())}, process {os.getpid()}"


def test_without_a_helper_the_words_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HelperError, match=r"(?s)no privilege.*sudo"):
        HelperClient(tmp_path, socket_path=tmp_path / "none.sock").ask(Request("status"))
