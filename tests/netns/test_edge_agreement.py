"""Model and kernel agree: random policies, compiled and loaded into a real kernel; random packets, sent through it."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.edge.strategies import ENTRIES, TODAY, packets, policies

from sekisho.edge.compile import compile_policy, render
from sekisho.edge.model import Fate, Model, Packet
from sekisho.edge.policy import Policy

from .namespaces import inside
from .wire import edge

PACKETS = 40


def route(packet: Packet, verb: str) -> None:
    bits = 32 if packet.family == 4 else 128
    command = ["ip", f"-{packet.family}", "route", verb, f"{packet.source}/{bits}", "dev", packet.iif]
    subprocess.run(command, check=True, capture_output=True)


@given(data=st.data(), policy=policies(), seed=st.integers(0, 2**32 - 1))
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
def test_model_and_kernel_agree_about_any_packet_of_any_policy(data: st.DataObject, policy: Policy, seed: int) -> None:
    chance = random.Random(seed)
    model = Model(policy, TODAY)
    text = render(compile_policy(policy, TODAY))
    is_tracked = "type nat" in text
    with inside(), edge(ENTRIES) as router:
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
        for number in range(PACKETS):
            packet = replace(data.draw(packets(policy)), mark=0, unplaced=False)
            if packet.source == packet.destination or (is_tracked and packet.later_fragment):
                continue  # no such packet is forwarded; a lone later fragment waits for its first
            if packet.sport == 40000:
                packet = replace(packet, sport=chance.randrange(30000, 60000))
            if packet.route_back:
                route(packet, "replace")
            fate = router.fate(packet, seed.to_bytes(4) + number.to_bytes(4))
            if packet.route_back:
                route(packet, "delete")
            wanted = model.decide(packet).fate
            untold = wanted is Fate.EXPLAIN and packet.syn_ack and fate == "drop"  # no connection begins with SYN+ACK
            assert fate == wanted or untold, f"{wanted}, {fate}: {packet}\n{policy}\n{text}"
