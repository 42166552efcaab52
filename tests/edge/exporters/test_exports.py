"""Exports: golden files, the traps of each language, and the real programs where they are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path

import pytest
from tests.edge.golden_files import golden

from sekisho.edge.exporters import EXPORTERS, Export, ExportError, Session, export, export_exabgp
from sekisho.edge.exporters.flowspec import routes
from sekisho.edge.load import load_policy
from sekisho.edge.policy import Exemption, Policy
from sekisho.edge.prefix import Prefix

DAY = date(2027, 4, 1)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(Path(__file__).parents[1] / "example.toml", today=date(2026, 12, 1))


@pytest.fixture(scope="module")
def files(policy: Policy) -> dict[str, str]:
    """All files of all exporters on the day of the block."""
    return {name: text for one in EXPORTERS.values() for name, text in one(policy, DAY).files.items()}


def run(*command: str, given: str = "", env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            pytest.skip(f"{program} is not installed")


def own_network(*words: str) -> tuple[str, ...]:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("no network namespace can be made here")
    return ("unshare", "-rn", *words)


@pytest.mark.parametrize("name", sorted(EXPORTERS))
def test_the_files_are_the_golden_ones(policy: Policy, name: str) -> None:
    made = export(name, policy, DAY)
    for file, text in made.files.items():
        golden(f"exports/{file}", text)
    assert all(limit.endswith(".") for limit in made.limits)


@pytest.mark.parametrize("name", sorted(EXPORTERS))
def test_each_limit_is_told_in_the_documentation(policy: Policy, name: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "edge-exports.md").read_text(encoding="utf-8")
    words = " ".join(page.split())
    for limit in export(name, policy, date(2027, 2, 1)).limits:
        if not re.search(r"\d+ routes", limit):
            assert limit in words, limit


@pytest.mark.parametrize(("file", "ending"), [("sekisho-ios.cfg", "any any"), ("sekisho-iosxr.cfg", "any any")])
def test_every_access_list_ends_with_a_permit_for_all_else(files: dict[str, str], file: str, ending: str) -> None:
    lists = re.split(r"^(?=(?:ip|ipv4|ipv6) access-list )", files[file], flags=re.MULTILINE)[1:]
    assert len(lists) == 6
    for one in lists:
        entries = [line for line in one.splitlines() if re.match(r" (\d+ )?(permit|deny) ", line)]
        family = "ipv6" if one.startswith("ipv6") else ("ip" if one.startswith("ip ") else "ipv4")
        assert entries[-1].endswith(f"permit {family} {ending}")
        assert all(re.search(r" tcp .* eq 25( icmp-off)?$", entry) for entry in entries[:-1])


def test_ios_uses_subnet_masks_within_groups_and_no_group_in_ipv6_lists(files: dict[str, str]) -> None:
    text = files["sekisho-ios.cfg"]
    assert " 198.51.100.0 255.255.255.128" in text
    assert " host 198.51.100.25" in text
    for one in re.split(r"^ipv6 access-list ", text, flags=re.MULTILINE)[1:]:
        assert "object-group" not in re.split(r"^(?:object-group|interface|!)", one, flags=re.MULTILINE)[0]


def test_a_new_policy_gets_lists_with_new_names(policy: Policy) -> None:
    first, second = (export("ios", policy, day).files["sekisho-ios.cfg"] for day in (date(2026, 12, 1), DAY))
    names = [set(re.findall(r"access-list (?:extended )?(\S+)", text)) for text in (first, second)]
    assert not names[0] & names[1]


def test_junos_matches_the_destination_port_alone_and_accepts_all_else(files: dict[str, str]) -> None:
    text = files["sekisho-junos.conf"]
    assert not re.search(r"^\s*(port|source-port|next-header) ", text, re.MULTILINE)
    assert text.count("{") == text.count("}")
    assert "except" not in text
    filters = text.split("replace: filter ")[1:]
    assert len(filters) == 6
    for one in filters:
        terms = one.split(" term ")[1:]
        assert re.sub(r"\s+", " ", terms[-1]).startswith("all-else { then accept; }")
        assert all(term.count("destination-port 25;") == 1 for term in terms[:-1])
        protocol = "payload-protocol tcp;" if "-v6 {" in one.splitlines()[0] else " protocol tcp;"
        assert all(term.count(protocol) == 1 for term in terms[:-1])


def test_junos_filters_use_prefix_lists_that_are_there_and_of_one_family(files: dict[str, str]) -> None:
    text = files["sekisho-junos.conf"]
    lists = dict(re.findall(r"replace: prefix-list (\S+) \{\n(.*?)\}", text, re.DOTALL))
    for name in re.findall(r"-prefix-list \{\s+(\S+);", text):
        prefixes = [line.strip() for line in lists[name].splitlines() if line.strip()]
        assert prefixes
        assert all((":" in prefix) == ("-v6-" in name) for prefix in prefixes)


def test_vyos_chains_return_by_default_and_permit_by_returning(files: dict[str, str]) -> None:
    """`accept` would skip every later rule of the operator's own filter."""
    text = files["sekisho-vyos.txt"]
    chains = set(re.findall(r"set firewall (ipv[46] name \S+) ", text))
    assert len(chains) == 6
    assert all(f"set firewall {chain} default-action 'return'" in text for chain in chains)
    assert "'accept'" not in text
    assert set(re.findall(r"^(\w+) firewall", text, re.MULTILINE)) == {"set", "delete"}


def test_the_names_of_sets_and_chains_fit(files: dict[str, str]) -> None:
    assert max(map(len, re.findall(r"^create (\S+)", files["sekisho.ipset"], re.MULTILINE))) <= 31
    chains = re.findall(r"^:(\S+)", files["sekisho.iptables"], re.MULTILINE)
    assert max(map(len, chains)) <= 28
    assert all(chain.startswith("SEKISHO") for chain in chains)
    assert " -A " not in files["sekisho.iptables"].replace("\n-A SEKISHO", "")


def test_ipset_and_iptables_take_the_files(files: dict[str, str], tmp_path: Path) -> None:
    needs("unshare", "ipset", "iptables-restore", "ip6tables-restore")
    for name in ("sekisho.ipset", "sekisho.iptables", "sekisho.ip6tables"):
        (tmp_path / name).write_text(files[name], encoding="ascii")
    script = (
        f"set -e; cd {tmp_path}; ipset restore < sekisho.ipset; ipset restore < sekisho.ipset; "
        "for n in 1 2; do iptables-restore --noflush < sekisho.iptables; "
        "ip6tables-restore --noflush < sekisho.ip6tables; done; "
        "iptables-save -t filter; ip6tables-save -t filter; ipset list -n"
    )
    said = run(*own_network("sh", "-c", script), env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
    assert said.count("icmp-admin-prohibited") == 1
    assert said.count("icmp6-adm-prohibited") == 1
    assert said.count("-A SEKISHO -i ppp+ ") == 2


@pytest.mark.parametrize("day", ["2027-02-01", "2027-04-01"])
def test_exabgp_takes_the_configuration(policy: Policy, tmp_path: Path, day: str) -> None:
    needs("exabgp")
    path = tmp_path / "sekisho.conf"
    path.write_text(export("exabgp", policy, date.fromisoformat(day)).files["sekisho-exabgp.conf"], encoding="ascii")
    env = {"exabgp_log_destination": "stderr", "exabgp_daemon_user": "root" if os.geteuid() == 0 else "nobody"}
    said = run(shutil.which("exabgp") or "exabgp", "--test", str(path), env=env)
    assert "error" not in said.lower()


def test_exabgp_refuses_a_file_with_a_mistake(policy: Policy, tmp_path: Path) -> None:
    """Shows that the test above can fail."""
    needs("exabgp")
    path = tmp_path / "sekisho.conf"
    text = export("exabgp", policy, DAY).files["sekisho-exabgp.conf"]
    path.write_text(text.replace("destination-port =25", "destination-port =banana", 1), encoding="ascii")
    done = subprocess.run(["exabgp", "--test", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0


def test_the_exabgp_session_is_the_operators(policy: Policy) -> None:
    session = Session(local_address=ip_address("2001:db8::2"), peer_address=ip_address("2001:db8::1"), peer_as=64500)
    text = export_exabgp(policy, DAY, session).files["sekisho-exabgp.conf"]
    assert text.startswith("neighbor 2001:db8::1 {")
    assert "peer-as 64500;" in text


def test_what_may_pass_comes_before_what_is_discarded(policy: Policy) -> None:
    """RFC 8955 §5.1."""
    made = routes(policy, DAY)
    assert [route.order for route in made if route.source.family == 4] == sorted(
        route.order for route in made if route.source.family == 4
    )
    for before, after in pairwise(route for route in made if route.source.family == 4):
        assert not (after.accepts and not before.accepts and before.source.covers(after.source))
    assert any(route.accepts and route.destination is None for route in made)


def test_flow_routes_for_many_exemptions_are_refused(policy: Policy) -> None:
    network = replace(policy.networks[0], prefixes=(ip_network("10.0.0.0/8"),))
    rows = tuple(Exemption(Prefix(4, (10 << 24) + 2 * n, 32), "owner", "reason") for n in range(6000))
    with pytest.raises(ExportError, match="handful"):
        export("exabgp", replace(policy, networks=(network,), exemptions=rows), DAY)


def test_gobgp_takes_every_command(policy: Policy, tmp_path: Path) -> None:
    """A real gobgpd in a network namespace: all routes are in its table, and gone again."""
    needs("unshare", "gobgpd", "gobgp")
    made: Export = export("gobgp", policy, DAY)
    for name, text in made.files.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    (tmp_path / "gobgpd.toml").write_text('[global.config]\nas = 64496\nrouter-id = "192.0.2.2"\nport = -1\n')
    script = f"""
        set -e; cd {tmp_path}; ip link set lo up
        gobgpd -f gobgpd.toml --api-hosts 127.0.0.1:50051 > gobgpd.log 2>&1 & pid=$!
        trap 'kill $pid' EXIT
        for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30
        do gobgp global > state 2>&1 && grep -q 64496 state && break; sleep 0.1; done
        sh sekisho-gobgp-add.sh
        gobgp global rib -a ipv4-flowspec > rib; gobgp global rib -a ipv6-flowspec >> rib
        sh sekisho-gobgp-del.sh
        echo left:; gobgp global rib -a ipv4-flowspec; gobgp global rib -a ipv6-flowspec
    """
    said = run(*own_network("sh", "-c", script))
    table = (tmp_path / "rib").read_text()
    count = len(routes(policy, DAY))
    assert len(re.findall(r"\[source: ?|\[destination: ?", table)) >= count, table
    assert len(re.findall(r"^\*>", table, re.MULTILINE)) == count, table
    assert "*>" not in said.partition("left:")[2]
