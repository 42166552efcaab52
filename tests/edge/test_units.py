"""The units that are shipped: systemd understands them, the program understands their commands, none is left open."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.cli.edge import STATE
from sekisho.cli.main import build_parser
from sekisho.edge.client import DIRECTORY, SOCKET

PACKAGING = Path(__file__).parents[2] / "packaging"
UNITS = sorted((PACKAGING / "systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
RIGHTS = {"CAP_NET_ADMIN", "CAP_SETPCAP"}
MORE_RIGHTS = {
    "sekisho-edge-watch": {"CAP_CHOWN", "CAP_DAC_OVERRIDE"},
    "sekisho-edge-explainer": {"CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_DAC_OVERRIDE"},
}


def read(path: Path) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=True)  # no key twice
    parser.optionxform = str  # type: ignore[assignment]  # as configparser's own documentation has it
    parser.read(path)
    return parser["Service"]


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize("path", SERVICES, ids=names(SERVICES))
def test_every_service_is_closed_but_for_what_it_needs(path: Path) -> None:
    service = read(path)
    assert service["ProtectSystem"] == "strict"
    for key in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "ProtectKernelModules", "RestrictSUIDSGID"):
        assert service[key] == "yes"
    assert service["SystemCallFilter"] == "@system-service"
    assert service["ReadWritePaths"].startswith(str(DIRECTORY.parent))
    assert set(service["CapabilityBoundingSet"].split()) <= RIGHTS | MORE_RIGHTS.get(path.stem, set())


@pytest.mark.parametrize("path", SERVICES, ids=names(SERVICES))
def test_the_program_knows_the_commands_of_the_units(path: Path) -> None:
    command = read(path)["ExecStart"].split()
    if command[0] == "/usr/bin/sekisho":
        assert callable(build_parser().parse_args(command[1:]).run)
    else:
        assert command[1:] == ["-P", "-m", "sekisho.edge.helper", "--socket"]


def test_paths_are_those_of_the_program() -> None:
    assert STATE == DIRECTORY
    assert f"ListenStream={SOCKET}\n" in (PACKAGING / "systemd" / "sekisho-edge.socket").read_text()
    made = [line.split()[1] for line in (PACKAGING / "tmpfiles.d" / "sekisho-edge.conf").read_text().splitlines()[2:]]
    assert {str(DIRECTORY), str(DIRECTORY / "versions"), str(DIRECTORY.parent / "explainer"), str(SOCKET.parent)} <= {
        *made
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here (Debian package systemd)")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for path in UNITS:
        text = path.read_text().replace("/usr/bin/sekisho ", f"{sys.executable} -m sekisho ")
        (tmp_path / path.name).write_text(text.replace("/opt/sekisho/bin/python", sys.executable))
    command = [
        "systemd-analyze",
        "verify",
        "--man=no",
        "--recursive-errors=no",
        *(str(tmp_path / p.name) for p in UNITS),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert not [line for line in done.stderr.splitlines() if "sekisho-edge" in line], done.stderr
    assert done.returncode == 0, done.stderr
