"""The quarantine set against the kernel: real packets of a held line, of its neighbors, and towards own servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from sekisho.edge.feed import SightingSender
from sekisho.edge.model import Packet
from sekisho.edge.nftables import Backend
from sekisho.edge.policy import AccessNetwork, Exemption, Policy, Quarantine, QuarantineAction, ServerGroup
from sekisho.edge.prefix import Prefix
from sekisho.edge.quarantine import Quarantine as QuarantineSet
from sekisho.edge.sightings import Kind, Sighting

from .namespaces import run
from .packets import ACK, LINE, SYN, Street, arrived, rendered, street
from .rules import candidate

TODAY = date(2026, 12, 1)
LIMIT = Quarantine(action=QuarantineAction.LIMIT, connections_per_second=1, packets_per_second=10)
GARDEN = replace(LIMIT, action=QuarantineAction.GARDEN, garden_port=8025, reachable=(ip_network("203.0.113.80/32"),))
BURST = 5
MAIL = {4: "192.0.2.25", 6: "2001:db8:0:25::25"}
FOREIGN = {4: "203.0.113.5", 6: "2001:db8:ffff::25"}
HELD = {4: "198.51.100.7", 6: "2001:db8:100:700::7"}
NEIGHBOR = {4: "198.51.100.8", 6: "2001:db8:100:800::7"}
POLICY = """
version = 1
name = "test"
[quarantine]
action = "limit"
after = "0s"
[servers.mail]
prefixes = ["192.0.2.25"]
[networks.home]
interfaces = ["ppp0"]
prefixes = ["198.51.100.0/24", "2001:db8:100::/40"]
phase = "observe"
"""
ROOT = Path(__file__).parents[2]
LINES = ("198.51.100.7", "2001:db8:100:700::/56")


def policy(told: Quarantine = LIMIT) -> Policy:
    home = AccessNetwork(
        name="home",
        product="Home",
        interfaces=(LINE,),
        prefixes=(ip_network("198.51.100.0/24"), ip_network("2001:db8:100::/40")),
    )
    shared = AccessNetwork(
        name="shared",
        product="Shared",
        interfaces=(LINE,),
        prefixes=(ip_network("100.64.0.0/20"),),
        shared_ports=16,
        psid_offset=4,
    )
    servers = (ServerGroup(name="mail", prefixes=(ip_network("192.0.2.25/32"), ip_network("2001:db8:0:25::/64"))),)
    exempt = (Exemption(Prefix.parse("198.51.100.17"), "o", "r"),)
    return Policy(name="test", servers=servers, networks=(home, shared), exemptions=exempt, quarantine=told)


@pytest.fixture
def place() -> Iterator[Street]:
    with street() as made:
        yield made


def held(place: Street, directory: Path, *lines: str, told: Quarantine = LIMIT) -> QuarantineSet:
    found = QuarantineSet(Backend(directory / "state"))
    change(place, found, *lines, told=told)
    return found


def change(place: Street, found: QuarantineSet, *lines: str, release: tuple[str, ...] = (), told: Quarantine) -> None:
    with place.router.inside():
        done = found.change(
            policy(told), TODAY, add=[(line, 600.0) for line in lines], release=release, by="operator", who="rin"
        )
    assert done.refused == ()


class Probe:
    """Sends packets, and says how many of them came out at the other side."""

    def __init__(self, place: Street) -> None:
        self._place = place
        self._number = 0

    def passed(
        self,
        source: str,
        destination: str,
        dport: int,
        *,
        count: int = 1,
        flags: int | None = SYN,
        protocol: str = "tcp",
        sport: int = 40000,
    ) -> int:
        to = ip_address(destination)
        numbers = range(self._number + 1, self._number + count + 1)
        self._number += count
        self._place.wire.heard()
        for number in numbers:
            one = Packet(
                iif=LINE, source=ip_address(source), destination=to, dport=dport, sport=sport, protocol=protocol
            )
            self._place.wire.send("l", rendered(one, number, flags=flags))
        time.sleep(0.15)
        return len({n for _, n, where in arrived(self._place.wire.heard()) if n in numbers and where == to})


@pytest.mark.parametrize("family", [4, 6])
def test_a_limited_line_opens_few_connections_and_its_neighbor_as_many_as_it_likes(
    place: Street, tmp_path: Path, family: int
) -> None:
    found = held(place, tmp_path, *LINES)
    send = Probe(place).passed
    assert send(HELD[family], FOREIGN[family], 443, count=40) == BURST
    assert send(NEIGHBOR[family], FOREIGN[family], 443, count=40) == 40
    assert send(HELD[family], FOREIGN[family], 443, count=40, flags=ACK) == 40, "what it has goes on"
    assert send(HELD[family], FOREIGN[family], 5004, count=80, protocol="udp") == 10 * BURST
    assert send(NEIGHBOR[family], FOREIGN[family], 5004, count=80, protocol="udp") == 80
    for port in (25, 110, 143, 465, 587, 993, 995, 443):
        assert send(HELD[family], MAIL[family], port, count=12) == 12, port
    change(place, found, release=LINES, told=LIMIT)
    assert send(HELD[family], FOREIGN[family], 443, count=40) == 40
    assert place.router.run("nft", "list", "tables") == "", "the table goes with its last line"


@pytest.mark.parametrize("family", [4, 6])
def test_a_line_in_the_garden_reaches_mail_dns_portal_and_nothing_else(
    place: Street, tmp_path: Path, family: int
) -> None:
    found = held(place, tmp_path, *LINES, told=GARDEN)
    send = Probe(place).passed
    for port in (25, 80, 443):
        assert send(HELD[family], FOREIGN[family], port) == 0, port
        assert send(NEIGHBOR[family], FOREIGN[family], port) == 1, port
    assert send(HELD[family], FOREIGN[family], 443, flags=ACK) == 0
    assert send(HELD[family], FOREIGN[family], 80, flags=SYN | 0x01) == 0, "what cannot be redirected is no way out"
    assert send(HELD[family], FOREIGN[family], 5004, protocol="udp") == 0
    assert send(HELD[family], FOREIGN[family], 53, protocol="udp") == 1
    assert send(HELD[family], FOREIGN[family], 53) == 1
    assert send(HELD[family], FOREIGN[family], 53, count=80, protocol="udp") <= 10 * BURST, "no tunnel"
    for port in (25, 80, 110, 143, 465, 587, 993, 995):
        assert send(HELD[family], MAIL[family], port) == 1, port
    if family == 4:
        assert send(HELD[4], "203.0.113.80", 443) == 1, "the portal"
    change(place, found, release=LINES, told=GARDEN)
    assert send(HELD[family], FOREIGN[family], 443) == 1
    assert send(HELD[family], FOREIGN[family], 80, sport=40001) == 1


@pytest.mark.parametrize("family", [4, 6])
def test_port_80_of_a_line_in_the_garden_is_answered_by_this_router(place: Street, tmp_path: Path, family: int) -> None:
    held(place, tmp_path, *LINES, told=GARDEN)
    place.wire.heard()
    server = ip_address(FOREIGN[family])
    one = Packet(iif=LINE, source=ip_address(HELD[family]), destination=server, dport=80)
    place.wire.send("l", rendered(one, 7))
    time.sleep(0.3)
    size, at = (20, 12) if family == 4 else (40, 8)
    answers = [p for p in place.wire.heard() if p[at : at + len(server.packed)] == server.packed]
    assert answers, "the router answers in the name of the server"
    head = answers[0][size:]
    sport, dport, flags = int.from_bytes(head[:2]), head[2:4], head[13]
    assert (sport, int.from_bytes(dport)) == (80, 40000)
    assert flags & 0x04, "nobody listens at the garden's port here: a reset"


def test_of_lines_behind_one_address_only_the_held_one_is_limited(place: Street, tmp_path: Path) -> None:
    held(place, tmp_path, "100.64.0.9:4112-4127")
    send = Probe(place).passed
    first = send("100.64.0.9", FOREIGN[4], 443, count=20, sport=4112)
    assert first + send("100.64.0.9", FOREIGN[4], 443, count=20, sport=0x2013) <= BURST + 1, "all of its blocks are one"
    assert send("100.64.0.9", FOREIGN[4], 443, count=20, sport=4128) == 20
    assert send("100.64.0.10", FOREIGN[4], 443, count=20, sport=4112) == 20


def test_a_change_leaves_other_tables_and_the_gates_knowledge_of_its_own_alone(place: Street, tmp_path: Path) -> None:
    with place.router.inside():
        backend = Backend(tmp_path / "state")
        place.router.run("nft", "add", "table", "inet", "theirs")
        backend.apply(candidate("198.51.100.0/25"), who="rin", confirm_within=None)
    found = held(place, tmp_path, *LINES)
    with place.router.inside():
        assert not backend.status().changed_since
        assert found.listed().agrees
        assert [row.line for row in found.listed().held] == list(LINES)
        assert backend.verify().foreign == ()
        assert found.clear(who="rin", reason="test")
        assert not found.clear(who="rin", reason="test")
        assert backend.verify().ok
    assert "theirs" in place.router.run("nft", "list", "tables")


def test_the_kernel_forgets_a_line_by_itself_and_what_a_kill_left_is_put_right(place: Street, tmp_path: Path) -> None:
    found = held(place, tmp_path, LINES[1])
    with place.router.inside():
        found.change(policy(), TODAY, add=[("198.51.100.7", 1.0)], by="watch", who="watch")
        time.sleep(1.3)
        assert "198.51.100.7" not in place.router.run("nft", "list", "set", "inet", "sekisho_quarantine", "lines4")
        assert [row.line for row in found.listed().held] == [LINES[1]]
        found.change(policy(), TODAY, by="watch", who="watch")
        history = [row["what"] for row in Backend(tmp_path / "state").state.history()]
        assert history[:3] == ["edge.released", "edge.quarantined", "edge.quarantined"]
        file = tmp_path / "state" / "quarantine.json"  # as after a kill between the file and the kernel
        row = json.loads(file.read_text())
        row["held"].append({**row["held"][0], "line": "198.51.100.9"})
        file.write_text(json.dumps(row))
        assert not found.listed().agrees
        found.change(policy(), TODAY, by="watch", who="watch")
        assert found.listed().agrees
    assert "198.51.100.9" in place.router.run("nft", "list", "set", "inet", "sekisho_quarantine", "lines4")


def test_a_thousand_lines_are_held_in_one_transaction(place: Street, tmp_path: Path) -> None:
    found = QuarantineSet(Backend(tmp_path / "state"))
    lines = [f"2001:db8:1{n >> 8:02x}:{n & 255:02x}00::/56" for n in range(1000)]
    with place.router.inside():
        began = time.monotonic()
        done = found.change(policy(), TODAY, add=[(line, 600.0) for line in lines], by="watch", who="watch")
        assert len(done.added) == 1000
        assert time.monotonic() - began < 10
        more = found.change(policy(), TODAY, add=[("198.51.100.7", 60.0)], by="watch", who="watch")
    assert "most_lines" in more.refused[0][1]


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.2)
    return holds()


@pytest.mark.usefixtures("alone")
def test_commands_hold_what_the_watcher_proposes_and_a_rollback_ends_it_all(tmp_path: Path) -> None:
    state, file = tmp_path / "edge", tmp_path / "policy.toml"
    file.write_text(POLICY)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}

    def command(*words: str) -> list[str]:
        return [sys.executable, "-m", "sekisho", "edge", *words, "--state", str(state), "--policy", str(file)]

    def sekisho(*words: str, status: int = 0) -> str:
        done = subprocess.run(command(*words), env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    def lines() -> list[str]:
        return [row["line"] for row in json.loads(sekisho("quarantine", "list", "--json"))["held"]]

    sekisho("apply", "--force")
    running = [
        subprocess.Popen(command(*words), env=environment, stdout=subprocess.DEVNULL)
        for words in (("watch",), ("quarantine", "follow", "--every", "1s"))
    ]
    try:
        assert eventually((tmp_path / "explainer" / "watcher.sock").exists)
        sender = SightingSender(tmp_path / "explainer" / "watcher.sock")
        for number in range(100):
            where = ip_address(f"203.0.113.{number}")
            sender.send(Sighting("2001:db8:100:700::/56", "home", where, time.time(), kind=Kind.EXPLAINED))
            time.sleep(0.01)  # the socket's queue is short, and a full one loses sightings
        sender.close()
        assert eventually(lambda: lines() == ["2001:db8:100:700::/56"])
    finally:
        for process in running:
            process.terminate()
        assert [process.wait(10) for process in running] == [0, 0]
    assert "added 198.51.100.7" in sekisho("quarantine", "add", "198.51.100.7", "--for", "5m")
    assert "no access network" in sekisho("quarantine", "add", "192.0.2.25", status=1)
    assert "released 198.51.100.7" in sekisho("quarantine", "release", "198.51.100.7")
    assert "spared" in sekisho("quarantine", "list")
    assert run("nft", "list", "tables").count("sekisho") == 3
    sekisho("rollback")
    assert run("nft", "list", "tables") == ""
    assert lines() == []
