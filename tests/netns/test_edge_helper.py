"""The helper as a process: what it may, what it may not, and what it answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from sekisho.edge.helper import HelperClient, Request
from sekisho.edge.load import load_policy
from sekisho.edge.policy import Policy

from .namespaces import run

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "edge" / "example.toml"
NET_ADMIN = 1 << 12
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def policy() -> Policy:
    return load_policy(EXAMPLE, today=date.today(), force=True)


@pytest.fixture
def client(tmp_path: Path) -> HelperClient:
    return HelperClient(tmp_path / "state")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[bytes], HelperClient]]:
    """A helper that listens, and a client that has no other way."""
    monkeypatch.setattr(HelperClient, "_by_process", HelperClient._by_socket)
    path = tmp_path / "edge.sock"
    command = [sys.executable, "-m", "sekisho.edge.helper", "--state", str(tmp_path / "state"), "--listen", str(path)]
    process = subprocess.Popen(command, env=ENVIRONMENT)
    try:
        end = time.monotonic() + 10
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.02)
        yield process, HelperClient(tmp_path / "none", socket_path=path)
    finally:
        process.kill()
        process.wait()


def test_a_policy_is_applied_verified_and_rolled_back_by_a_process_with_one_right(
    client: HelperClient, policy: Policy
) -> None:
    done = client.ask(Request("apply", force=True), policy)
    assert done["changed"]
    assert "chain classify" in run("nft", "list", "ruleset")
    found = client.ask(Request("verify", force=True), policy)
    assert found["ok"], found
    assert found["notes"] == [], "the comparison works without further rights"
    client.ask(Request("rollback"))
    assert run("nft", "list", "ruleset") == ""


def test_a_trial_outlives_the_helper(client: HelperClient, policy: Policy) -> None:
    client.ask(Request("apply", confirm_within=1.5, force=True), policy)
    assert client.ask(Request("status"))["guard"]
    end = time.monotonic() + 8
    while run("nft", "list", "ruleset") and time.monotonic() < end:
        time.sleep(0.1)
    assert run("nft", "list", "ruleset") == ""


def test_the_listening_helper_has_one_capability_and_no_network(
    served: tuple[subprocess.Popen[bytes], HelperClient], policy: Policy
) -> None:
    process, client = served
    client.ask(Request("status"))
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":\t" in line
    )
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh"):
        assert int(status[name], 16) == NET_ADMIN, name
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert client.ask(Request("apply", force=True), policy)["changed"]
    assert process.poll() is None


def test_a_client_that_says_nothing_does_not_end_the_helper(
    served: tuple[subprocess.Popen[bytes], HelperClient], tmp_path: Path
) -> None:
    process, client = served
    for octets in (b"", b"\x00" * 1000, b"{}\n" * 1000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / "edge.sock"))
            connection.sendall(octets)
            connection.shutdown(socket.SHUT_WR)
            assert not json.loads(connection.makefile("rb").read())["ok"]
    assert client.ask(Request("status"))["held"] is None
    assert process.poll() is None


def test_without_privilege_nothing_is_read_and_the_words_say_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sekisho.edge.helper", "--state", str(tmp_path / "state")]
    done = subprocess.run(
        ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", *command],
        input=b'{"verb": "rollback"}\n',
        capture_output=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["kind"] == "NoPrivilege"
    assert "run as root" in answer["error"]
    assert not (tmp_path / "state").exists()


def test_given_away_rights_do_not_come_back(tmp_path: Path) -> None:
    script = """
import socket, subprocess, sys
from sekisho.edge.privileges import drop_privileges
drop_privileges()
def refused(what):
    try:
        what()
    except OSError:
        return True
print(refused(lambda: socket.socket(socket.AF_INET)), refused(lambda: socket.socket(socket.AF_INET6)),
      refused(lambda: socket.socket(socket.AF_PACKET)), socket.socket(socket.AF_UNIX).family.name,
      subprocess.run(["chown", "1", sys.argv[1]], stderr=-3).returncode,
      subprocess.run(["mount", "-t", "tmpfs", "x", "/mnt"], stderr=-3).returncode != 0,
      subprocess.run(["nft", "add", "table", "inet", "sekisho_edge"]).returncode)
"""
    file = tmp_path / "file"
    file.touch()
    done = subprocess.run([sys.executable, "-c", script, str(file)], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "True", "AF_UNIX", "1", "True", "0"], done.stderr
