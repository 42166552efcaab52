"""Reading the configuration: every mistake at once, each with its place and its remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.config import (
    ConfigErrors,
    Duration,
    Endpoint,
    Network,
    Secret,
    Size,
    at_least,
    between,
    load,
    setting,
)


class Color(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """A port."""

    enabled: bool = setting(True, "Open it.")
    addresses: tuple[Endpoint, ...] = setting((), "Where.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """All ports."""

    first: Port
    second: Port = setting(Port(enabled=False), "Another.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A way."""

    host: str = setting(prose="Its host.")
    password: Secret | None = setting(None, "Its password.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pond:
    """A pond."""

    lifetime: Duration = setting(Duration(5.0), "How long.", check=at_least(1))
    limit: Size = setting(Size(10), "How big.")
    depth: int = setting(3, "How deep.", check=between(1, 9))
    ratio: float = setting(0.5, "How much.")
    color: Color = setting(Color.RED, "Which color.")
    mode: Literal["slow", "fast"] = setting("slow", "How fast.")
    place: Path = setting(Path("pond"), "Where.")
    networks: tuple[Network, ...] = setting((), "Whose.")
    minimum: int = setting(1, "At least.")
    maximum: int = setting(2, "At most.")

    def problems(self) -> Iterable[tuple[str, str, str]]:
        if self.minimum > self.maximum:
            yield "minimum", "is more than maximum", "Lower it."


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    """Everything."""

    hostname: str = setting(prose="The host's name.")
    pond: Pond
    port: Ports
    way: tuple[Way, ...] = setting((), "Ways.")
    named: dict[str, Way] = setting({}, "Named ways.")


def read(directory: Path, text: str, env: Mapping[str, str] | None = None) -> Root:
    path = directory / "sekisho.toml"
    path.write_text(text)
    return load(Root, path, env or {})


def mistakes(directory: Path, text: str, env: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        read(directory, text, env)
    return str(caught.value).replace(f"{directory}/", "").splitlines()


def test_every_type_is_read(tmp_path: Path) -> None:
    root = read(
        tmp_path,
        """
        hostname = "mail.example.jp"
        pond = { lifetime = "1h30m", limit = "25MiB", depth = 4, ratio = 1, color = "green", mode = "fast",
                 place = "/pond", networks = ["192.0.2.0/24"] }
        [port.first]
        addresses = ["127.0.0.1:587", "[::1]:587", "unix:run/socket"]
        [[way]]
        host = "a"
        password = "secret"
        [[way]]
        host = "b"
        [named.north]
        host = "n"
        """.replace("\n                 ", " "),
    )
    assert root.pond.lifetime == Duration(5400)
    assert root.pond.limit == 25 * 1024 * 1024
    assert root.pond.color is Color.GREEN
    assert root.pond.mode == "fast"
    assert root.pond.place == Path("/pond")
    assert root.pond.networks == (IPv4Network("192.0.2.0/24"),)
    assert root.port.first.addresses[1] == Endpoint("::1", 587)
    assert root.port.first.addresses[2] == Endpoint("", 0, f"{tmp_path}/run/socket")
    assert [way.host for way in root.way] == ["a", "b"]
    assert root.way[0].password == Secret("secret")
    assert root.named["north"].host == "n"


def test_what_is_not_given_is_the_default_and_paths_start_at_the_file(tmp_path: Path) -> None:
    root = read(tmp_path, 'hostname = "h"')
    assert root.pond.place == tmp_path / "pond"
    assert root.port.first.enabled
    assert not root.port.second.enabled
    assert root.way == ()


def test_a_section_given_in_part_keeps_the_defaults_its_field_declares(tmp_path: Path) -> None:
    assert not read(tmp_path, 'hostname = "h"\n[port.second]\naddresses = [":1"]').port.second.enabled


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """hostnam = "h"
[pond]
lifetime = "soon"
limit = "much"
depth = 10
ratio = "half"
color = "gren"
mode = 1
place = ""
networks = ["192.0.2.1/24", "x"]
[port.first]
enabled = "yes"
addresses = "127.0.0.1:25"
[prot]
[[way]]
hots = "a"
"""
    told = mistakes(tmp_path, text)
    assert [line.split(": ")[0] + " " + line.split(": ")[1] for line in told if ":" in line] == [
        "sekisho.toml:1 hostnam",
        "sekisho.toml:3 pond.lifetime",
        "sekisho.toml:4 pond.limit",
        "sekisho.toml:5 pond.depth",
        "sekisho.toml:6 pond.ratio",
        "sekisho.toml:7 pond.color",
        "sekisho.toml:8 pond.mode",
        "sekisho.toml:9 pond.place",
        "sekisho.toml:10 pond.networks[1]",
        "sekisho.toml:10 pond.networks[2]",
        "sekisho.toml:12 port.first.enabled",
        "sekisho.toml:13 port.first.addresses",
        "sekisho.toml:14 prot",
        "sekisho.toml:15 way[1].host",
        "sekisho.toml:16 way[1].hots",
        "sekisho.toml hostname",
    ]
    assert told[0] == 'sekisho.toml:1: hostnam: unknown key. Did you mean "hostname"?'
    assert 'Did you mean "green"?' in told[5]
    assert "names a host inside a network" in told[8]
    assert told[12] == 'sekisho.toml:14: prot: unknown section. Did you mean "port"?'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hostname = 3", "1: hostname: expected text, found 3. Write it in quotes"),
        ("hostname = true", "1: hostname: expected text, found true"),
        ('hostname = "h"\npond = 3', "2: pond: expected a section, found 3. Write [pond]"),
        ('hostname = "h"\nway = 3', "2: way: expected sections, found 3. Write [[way]]"),
        ('hostname = "h"\nnamed = [1]', "2: named: expected named sections, found an array"),
        ('hostname = "h"\n[pond]\ndepth = true', "3: pond.depth: expected a whole number, found true"),
        ('hostname = "h"\n[pond]\nratio = nan', "3: pond.ratio: expected a number, found nan"),
        ('hostname = "h"\n[pond]\nlifetime = -1', "3: pond.lifetime: a duration cannot be negative"),
        ('hostname = "h"\n[pond]\nlifetime = 0', "3: pond.lifetime: 0 is too small. Use 1 or more."),
        ('hostname = "h"\n[pond]\nlimit = 1.5', "3: pond.limit: expected a size, found 1.5"),
        ('hostname = "h"\n[pond]\nminimum = 5', "3: pond.minimum: is more than maximum. Lower it."),
        ('hostname = "h"\nlifetime = 5', "2: lifetime: unknown key. It belongs in [pond]."),
        ('hostname = "h"\n[pond]\nhostname = "x"', "3: pond.hostname: unknown key. It belongs at the top"),
        ('hostname = "h"\n[pond]\nqqqqq = 1', "3: pond.qqqqq: unknown key. Known here: lifetime, limit"),
        ('hostname = "h"\nhostname = "i"', "2: not valid TOML: Cannot overwrite a value"),
        ('hostname = "h"\n[pond', "2: not valid TOML"),
    ],
)
def test_each_mistake_has_its_line_its_problem_and_its_remedy(tmp_path: Path, text: str, expected: str) -> None:
    assert mistakes(tmp_path, text)[0].startswith(f"sekisho.toml:{expected}")


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="no such file"):
        load(Root, tmp_path / "none.toml", {})
    with pytest.raises(ConfigErrors, match="cannot be read: Is a directory"):
        load(Root, tmp_path, {})
    (tmp_path / "latin.toml").write_bytes(b'hostname = "h"\n# \xe9')
    with pytest.raises(ConfigErrors, match=r"latin\.toml:2: is not UTF-8"):
        load(Root, tmp_path / "latin.toml", {})


def test_variables_override_the_file(tmp_path: Path) -> None:
    env = {
        "SEKISHO_HOSTNAME": "env.example.jp",
        "SEKISHO_POND_LIFETIME": "2m",
        "SEKISHO_POND__DEPTH": "7",
        "SEKISHO_PORT_FIRST_ENABLED": "false",
        "SEKISHO_PORT_SECOND_ADDRESSES": "127.0.0.1:25, [::1]:25",
        "SEKISHO_CONFIG": "/elsewhere",
        "HOME": "/root",
    }
    root = read(tmp_path, 'hostname = "h"\n[pond]\nlifetime = 5', env)
    assert (root.hostname, root.pond.lifetime, root.pond.depth) == ("env.example.jp", Duration(120), 7)
    assert not root.port.first.enabled
    assert root.port.second.addresses == (Endpoint("127.0.0.1", 25), Endpoint("::1", 25))


def test_a_hostname_of_digits_in_a_variable_stays_text(tmp_path: Path) -> None:
    assert read(tmp_path, "", {"SEKISHO_HOSTNAME": "25"}).hostname == "25"


def test_mistakes_in_variables_name_the_variable(tmp_path: Path) -> None:
    env = {"SEKISHO_POND_DEPHT": "3", "SEKISHO_POND_DEPTH": "deep", "SEKISHO_PORT_FIRST_ADDRESSES": "x:1,nowhere"}
    assert mistakes(tmp_path, 'hostname = "h"', env) == [
        "environment: SEKISHO_POND_DEPHT: no setting has this name. Did you mean SEKISHO_POND_DEPTH?",
        'environment: SEKISHO_POND_DEPTH: expected a whole number, found "deep". '
        "Write a number without quotes, such as 10.",
        'environment: SEKISHO_PORT_FIRST_ADDRESSES: expected an address with a port, or a socket, found "nowhere". '
        'Write "127.0.0.1:587", "[::1]:587", "mail.example.jp:587" or "unix:/run/name".',
    ]


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hush\n")
    root = read(tmp_path, 'hostname = "h"\n[[way]]\nhost = "a"\npassword_file = "password"')
    assert root.way[0].password is not None
    assert root.way[0].password.reveal() == "hush"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('password_file = "missing"', "cannot be read: No such file"),
        ('password_file = "empty"', "is empty"),
        ('password_file = "empty"\npassword = "x"', "given besides password"),
        ("password_file = 3", "expected a path"),
        ("password = 12345", "expected text."),
    ],
)
def test_a_secret_that_cannot_be_had_is_told_without_telling_it(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "empty").write_text("")
    told = mistakes(tmp_path, f'hostname = "h"\n[[way]]\nhost = "a"\n{line}')
    assert len(told) == 1
    assert problem in told[0]
    assert "12345" not in told[0]


@given(text=st.text(max_size=60))
def test_no_text_raises_anything_but_config_errors(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode(errors="replace"))
    with pytest.raises(ConfigErrors):
        load(Root, path, {})
