"""A real session: ExaBGP announces the export, GoBGP takes every route of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest

from sekisho.edge.exporters import export
from sekisho.edge.exporters.flowspec import routes
from sekisho.edge.load import load_policy

DAY = date(2027, 4, 1)
GOBGPD = """
[global.config]
as = 64496
router-id = "192.0.2.1"
local-address-list = ["192.0.2.1"]
[[neighbors]]
[neighbors.config]
neighbor-address = "192.0.2.2"
peer-as = 64496
[neighbors.transport.config]
passive-mode = true
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-flowspec"
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv6-flowspec"
"""
SCRIPT = """
ip link set lo up; ip addr add 192.0.2.1/32 dev lo; ip addr add 192.0.2.2/32 dev lo
gobgpd -f gobgpd.toml --api-hosts 127.0.0.1:50051 > gobgpd.log 2>&1 & gobgp=$!
exabgp sekisho-exabgp.conf > exabgp.log 2>&1 & exabgp=$!
trap 'kill $gobgp $exabgp' EXIT
n=0
while [ $n -lt 100 ]; do
    { gobgp global rib -a ipv4-flowspec; gobgp global rib -a ipv6-flowspec; } > rib 2>&1 || true
    [ "$(grep -c '^\\*>' rib)" -ge "$1" ] && break
    n=$((n + 1)); sleep 0.1
done
cat rib
"""


def test_gobgp_takes_every_route_that_exabgp_announces(tmp_path: Path) -> None:
    for program in ("exabgp", "gobgpd", "gobgp", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("no network namespace can be made here")
    policy = load_policy(Path(__file__).parents[1] / "example.toml", today=date(2026, 12, 1))
    made = routes(policy, DAY)
    (tmp_path / "gobgpd.toml").write_text(GOBGPD, encoding="ascii")
    (tmp_path / "sekisho-exabgp.conf").write_text(
        export("exabgp", policy, DAY).files["sekisho-exabgp.conf"], encoding="ascii"
    )
    settings = ("exabgp_daemon_drop=false", "exabgp_daemon_user=root", "exabgp_api_cli=false")
    done = subprocess.run(
        ["unshare", "-rn", "env", *settings, "sh", "-c", SCRIPT, "sh", str(len(made))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    table = re.findall(r"^\*> .*$", done.stdout, re.MULTILINE)
    logs = "".join(path.read_text(errors="replace")[-1500:] for path in tmp_path.glob("*.log"))
    assert len(table) == len(made), done.stdout + done.stderr + logs
    assert sum("discard" in route for route in table) == sum(not route.accepts for route in made)
    assert all("[protocol: ==tcp][destination-port: ==25]" in route for route in table)
