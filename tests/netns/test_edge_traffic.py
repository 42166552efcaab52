"""Packets through the compiled rules: nothing leaks while rules change, and what is caught is counted and sampled."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from sekisho.edge.compile import compile_policy
from sekisho.edge.counters import counted, documents
from sekisho.edge.model import Packet
from sekisho.edge.nflog import NflogReader, Sample, SampleError
from sekisho.edge.nft import Nft
from sekisho.edge.nftables import Backend, Candidate
from sekisho.edge.policy import AccessNetwork, Exemption, Phase, Policy, ServerGroup
from sekisho.edge.prefix import Prefix
from sekisho.edge.render import render

from .packets import LINE, Street, arrived, rendered, street

ROOT = Path(__file__).parents[2]
TODAY = date(2027, 2, 1)
RELOADS = 25
FLOOD = """
import sys, itertools
from ipaddress import ip_address
from sekisho.edge.model import Packet
from tests.netns.packets import Wire, rendered

wire = Wire({"l": sys.argv[1]})
pairs = [("198.51.100.7", "203.0.113.5"), ("2001:db8:100:700::7", "2001:db8:ffff::25")]
exempt = [("198.51.100.9", "203.0.113.5"), ("2001:db8:100:900::9", "2001:db8:ffff::25")]
frames = [rendered(Packet(iif="l", source=ip_address(a), destination=ip_address(b), sport=port), number)
          for number, rows in ((1, pairs), (2, exempt)) for a, b in rows for port in range(40000, 40040)]
print("ready", flush=True)
for sent in itertools.count(1):
    wire.send("l", frames[sent % len(frames)])
    if sent % 1000 == 0:
        print(sent, flush=True)
"""


def policy(phase: Phase, *exempt: str, before: bool = False) -> Policy:
    """The policy of the street; with another network *before* it, chains and maps get other names."""
    first = AccessNetwork(
        name="first",
        product="First",
        interfaces=("eth9",),
        prefixes=(ip_network("203.0.113.128/25"), ip_network("2001:db8:900::/40")),
        phase=phase,
    )
    return Policy(
        name="street",
        servers=(ServerGroup(name="mail", prefixes=(ip_network("192.0.2.25/32"),)),),
        networks=(
            *((first,) if before else ()),
            AccessNetwork(
                name="home",
                product="Home",
                interfaces=(LINE,),
                prefixes=(ip_network("198.51.100.0/24"), ip_network("2001:db8:100::/40")),
                phase=phase,
                allowed=("mail",),
            ),
            AccessNetwork(
                name="shared",
                product="Shared",
                interfaces=(LINE,),
                prefixes=(ip_network("100.64.0.0/20"),),
                phase=phase,
                shared_ports=1024,
            ),
        ),
        exemptions=tuple(Exemption(Prefix.parse(text), "owner", "reason") for text in exempt),
    )


def candidate(phase: Phase, *exempt: str, before: bool = False) -> Candidate:
    made = policy(phase, *exempt, before=before)
    return Candidate(render(compile_policy(made, TODAY)), made.name, 1, TODAY.isoformat())


@pytest.fixture
def place() -> Iterator[Street]:
    with street() as made:
        yield made


def packet(source: str, destination: str = "203.0.113.5", sport: int = 40000, dport: int = 25) -> Packet:
    return Packet(iif=LINE, source=ip_address(source), destination=ip_address(destination), sport=sport, dport=dport)


def pause() -> None:
    time.sleep(0.2)


def test_not_one_packet_leaks_while_rules_are_replaced_under_fire(place: Street, tmp_path: Path) -> None:
    """A continuous sender, exempt and not, both families; the exempt ones show that packets do arrive."""
    often = ["198.51.100.9", "2001:db8:100:900::/56"]
    with place.router.inside():
        backend = Backend(tmp_path / "state")
        backend.apply(candidate(Phase.ENFORCE, *often), who="rin", confirm_within=None)
    place.watch()
    mac = place.router.run("ip", "-o", "link", "show", LINE).split("link/ether ")[1].split()[0]
    sender = subprocess.Popen(
        ["ip", "netns", "exec", place.far.name, sys.executable, "-c", FLOOD, mac],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert sender.stdout is not None
        assert sender.stdout.readline() == "ready\n"
        began = time.monotonic()
        for number in range(RELOADS):
            others = [f"198.51.100.{100 + n}" for n in range(number % 7)]
            with place.router.inside():
                made = candidate(Phase.ENFORCE, *often, *others, before=number % 3 == 0)
                backend.apply(made, who="rin", confirm_within=None)
                assert backend.verify(made).ok
        seconds = time.monotonic() - began
    finally:
        sender.kill()
        output, _ = sender.communicate()
    sent = int(output.split()[-1])
    pause()
    through = place.witnessed()
    assert sent / seconds > 1000, f"only {sent} packets in {seconds:.1f} s: this showed nothing"
    assert through[1] == 0, f"{through[1]} of {sent // 2} packets leaked"
    assert through[2] > sent / 4, "the exempt line was cut off as well"


def test_attempts_are_told_apart_from_repeated_packets_and_lines_from_addresses(place: Street, tmp_path: Path) -> None:
    with place.router.inside():
        Backend(tmp_path / "state").apply(candidate(Phase.OBSERVE), who="rin", confirm_within=None)
    for sport, times in ((40000, 7), (40001, 3)):  # a Linux client gives up after 7 SYNs
        for _ in range(times):
            place.wire.send("l", rendered(packet("198.51.100.7", sport=sport), 1))
    for host in range(5):
        place.wire.send("l", rendered(packet(f"2001:db8:100:7{host:02x}::1", "2001:db8:ffff::25"), 2))
    place.wire.send("l", rendered(packet("100.64.0.9", sport=1024), 3))
    place.wire.send("l", rendered(packet("100.64.0.9", sport=2047), 4))
    place.wire.send("l", rendered(packet("100.64.0.9", sport=2048), 5))
    pause()
    with place.router.inside():
        found = {(one.line, str(one.destination)): one for one in counted(documents(Nft()), policy(Phase.OBSERVE))}
    seven = found["198.51.100.7", "203.0.113.5"]
    assert (seven.network, seven.packets, seven.attempts) == ("home", 10, 2)
    folded = found["2001:db8:100:700::/56", "2001:db8:ffff::25"]
    assert (folded.packets, folded.attempts) == (5, 5)
    assert {line: one.attempts for (line, _), one in found.items() if line.startswith("100.64")} == {
        "100.64.0.9:1024-2047": 2,
        "100.64.0.9:2048-3071": 1,
    }
    assert {token for _, token, _ in arrived(place.wire.heard())} >= {1, 2, 3, 4, 5}, "observing must not block"


def test_other_ports_answers_and_allowed_servers_pass_a_closed_gate(place: Street, tmp_path: Path) -> None:
    with place.router.inside():
        Backend(tmp_path / "state").apply(candidate(Phase.ENFORCE), who="rin", confirm_within=None)
    for number, port in enumerate((110, 143, 465, 587, 993, 995), 1):
        place.wire.send("l", rendered(packet("198.51.100.7", dport=port), number))
        place.wire.send("l", rendered(packet("2001:db8:100::7", "2001:db8:ffff::25", dport=port), number))
    place.wire.send("l", rendered(packet("198.51.100.7", "192.0.2.25"), 10))
    place.wire.send("l", rendered(packet("198.51.100.7", sport=25, dport=40000), 11))
    place.wire.send("u", rendered(packet("203.0.113.5", "198.51.100.7"), 12))
    place.wire.send("l", rendered(packet("198.51.100.7"), 20))
    place.wire.send("l", rendered(packet("203.0.113.77"), 21))  # forged
    for flags in (0x02, 0xC2, 0x0A, 0x22, 0x00, 0x03):
        place.wire.send("l", rendered(packet("198.51.100.7"), 22, flags=flags))
    pause()
    numbers = {(family, number) for family, number, _ in arrived(place.wire.heard())}
    assert {(4, n) for n in (*range(1, 7), 10, 11, 12)} <= numbers
    assert {(6, n) for n in range(1, 7)} <= numbers
    assert not {number for _, number in numbers} & {20, 21, 22}


def test_samples_come_by_nflog_with_their_network_and_one_reader_has_them(place: Street, tmp_path: Path) -> None:
    with place.router.inside():
        Backend(tmp_path / "state").apply(candidate(Phase.ENFORCE), who="rin", confirm_within=None)
        reader = NflogReader(525)
        with reader:
            with pytest.raises(SampleError, match="only once"):
                NflogReader(525)
            for number in range(60):
                place.wire.send("l", rendered(packet("198.51.100.7", sport=40000 + number), 1))
            found: list[Sample] = []
            end = time.monotonic() + 3
            while len(found) < 20 and time.monotonic() < end:
                found += reader.read(0.5)
    assert 20 <= len(found) < 60, "samples are limited each second"
    assert {sample.prefix for sample in found} == {"sekisho:home"}
    assert (str(found[0].source), found[0].destination_port) == ("198.51.100.7", 25)
    assert [sample.sequence for sample in found] == list(range(found[0].sequence, found[0].sequence + len(found)))
    assert reader.lost == 0
    assert abs(found[0].at - time.time()) < 60


def test_a_reader_that_is_too_slow_knows_how_many_it_missed(place: Street) -> None:
    with place.router.inside():
        rules = (
            "table inet t { chain c { type filter hook prerouting priority 0; policy accept;\n"
            'iifname "ppp0" tcp dport 25 log prefix "all" group 77 snaplen 96 queue-threshold 1\n}\n}\n'
        )
        Nft()(["-f", "-"], rules)
        with NflogReader(77, buffer_octets=20_000) as reader:
            first = rendered(packet("198.51.100.7"), 1)
            for _ in range(3000):
                place.wire.send("l", first)
            time.sleep(0.3)
            found = reader.read(0.5)
            place.wire.send("l", first)
            time.sleep(0.3)
            found += reader.read(1.0)
    assert 0 < len(found) < 3001
    assert len(found) + reader.lost == 3001
