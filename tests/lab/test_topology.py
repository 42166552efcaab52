"""The lab's addresses are of the ranges that belong to nobody, and lead where they should."""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from pathlib import Path

import pytest

from sekisho.lab.errors import LabError
from sekisho.lab.namespaces import Namespaces
from sekisho.lab.rollout import PREFIXES
from sekisho.lab.scenario import ROLLOUTS, STRANGERS
from sekisho.lab.topology import CROWD, HOSTS, NODES, OWN_SPACE, REST_OF_OWN_SPACE, link_commands, zone

FREE = [
    ipaddress.ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "100.64.0.0/10", "2001:db8::/32")
]
SOURCE = Path(__file__).parent.parent.parent / "src/sekisho/lab"


def is_free(text: str) -> bool:
    network = ipaddress.ip_network(text)
    return any(network.version == free.version and network.subnet_of(free) for free in FREE)  # type: ignore[arg-type]


def test_every_address_is_of_a_range_for_documentation_or_sharing() -> None:
    addresses = [text for host in HOSTS for text in (host.four, host.six, *host.prefix)]
    networks = [text for pair in PREFIXES.values() for text in pair]
    for text in (*addresses, *networks, *CROWD, *OWN_SPACE, *REST_OF_OWN_SPACE, *STRANGERS[0], *STRANGERS[1]):
        assert is_free(text), text


def test_no_other_ipv4_address_stands_in_the_source() -> None:
    for path in SOURCE.glob("*.py"):
        for text in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", path.read_text()):
            assert is_free(text) or text in ("127.0.0.1", "127.0.0.0", "0.0.0.0"), f"{path.name}: {text}"


def test_interface_names_fit_the_kernel() -> None:
    assert all(len(host.interface) <= 15 for host in HOSTS)
    assert len({host.interface for host in HOSTS}) == len(HOSTS)


def test_subscribers_have_addresses_of_their_access_network() -> None:
    for host in HOSTS:
        if host.network in PREFIXES:
            four, six = (ipaddress.ip_network(text) for text in PREFIXES[host.network])
            assert ipaddress.ip_address(host.four) in four
            assert all(ipaddress.ip_network(text).subnet_of(six) for text in host.prefix)  # type: ignore[arg-type]


def test_links_are_made_between_namespaces_and_never_in_the_one_we_are_in() -> None:
    made, _, _ = link_commands(HOSTS[0], "sklab-x-aoi", "sklab-x-edge")
    assert made == ["link add home-aoi netns sklab-x-edge type veth peer name wan netns sklab-x-aoi"]


def test_the_zone_has_both_families_for_every_mail_server() -> None:
    assert zone().count(" MX 10 ") == 5
    assert zone().count(" AAAA ") == zone().count(" A ") == 6


@pytest.mark.parametrize("name", ["", "Lab", "a-b", "x" * 13, "a b", "a/../b", "ä"])
def test_a_lab_name_that_could_name_something_else_is_refused(name: str) -> None:
    with pytest.raises(LabError):
        Namespaces(name)


def test_every_node_has_a_namespace_name_of_its_own() -> None:
    assert len({Namespaces("lab").name(node) for node in NODES}) == len(NODES)


@pytest.mark.parametrize("name", ROLLOUTS)
def test_policies_are_such_as_the_edge_reads(name: str, tmp_path: Path) -> None:
    from sekisho.edge.load import load_policy

    today = date(2027, 2, 1)
    path = tmp_path / "policy.toml"
    path.write_text(ROLLOUTS[name].text(today), encoding="utf-8")
    policy = load_policy(path, today=today, force=name == "unannounced")
    assert {network.name for network in policy.networks} == set(PREFIXES)
    assert policy.phase_of("mobile", today) == {"off": "off", "first wave": "explain", "second wave": "enforce"}.get(
        name, "explain" if name == "unannounced" else "observe"
    )
