"""What the check says of the portal: whoever opens it, by which name, over what."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.config import Endpoint
from sekisho.supervise import portal_check
from sekisho.supervise.check import check
from sekisho.supervise.portal_settings import PortalSettings
from sekisho.supervise.serve import portal_addresses

from .conftest import Initialize

SPEAKER = {
    "guide__name_ja": '"情報センター"',
    "guide__name_en": '"Center"',
    "guide__contact_ja": '"窓口"',
    "guide__contact_en": '"desk"',
}
PROXIES = '["127.0.0.1/32"]'


def told(initialized: Initialize, **changes: str) -> dict[str, str]:
    """Return grade and words of each finding, by its subject; settings without a mistake add to *changes*."""
    written = initialized(**{**SPEAKER, **changes})
    findings = [*portal_check.portal(written.settings, written.where), *portal_check.files(written.settings)]
    return {f"{each.grade} {each.subject}": each.text for each in findings}


def test_without_an_address_it_is_off(initialized: Initialize) -> None:
    assert told(initialized) == {"ok portal": "is off: portal.addresses names none"}


def test_behind_a_web_server_all_is_well(initialized: Initialize) -> None:
    found = told(initialized, portal__addresses='["127.0.0.1:8080"]', portal__trusted_proxies=PROXIES)
    assert found == {"ok portal": "opens on 127.0.0.1:8080"}


def test_pages_that_speak_for_nobody_are_told(initialized: Initialize) -> None:
    nobody = {"portal__addresses": '["127.0.0.1:8080"]', "portal__trusted_proxies": PROXIES}
    written = initialized(**nobody)
    texts = [each.text for each in portal_check.portal(written.settings, written.where)]
    assert any("headed mail.example.test" in text for text in texts)
    assert any("the postmaster's address" in text for text in texts)


@pytest.mark.parametrize(
    ("changes", "subject", "words"),
    [
        ({"portal__addresses": '["127.0.0.1:8080"]'}, "warning portal.trusted_proxies", "only this machine"),
        ({"portal__addresses": '["192.0.2.1:80"]'}, "warning portal.addresses", "nobody can log in"),
        (
            {"portal__addresses": '["192.0.2.1:443"]', "portal__names": '["help.example.test"]'},
            "error portal",
            "not for help.example.test",
        ),
        ({"portal__addresses": '["192.0.2.1:443"]'}, "warning portal", "autoconfig.example.test"),
        (
            {"portal__addresses": '["127.0.0.1:8080"]', "portal__trusted_proxies": PROXIES, "portal__logo": '"/no"'},
            "warning portal.logo",
            "cannot read /no",
        ),
        (
            {"portal__addresses": '["127.0.0.1:8080"]', "portal__trusted_proxies": PROXIES, "portal__edge": '"/no"'},
            "warning portal.edge",
            "knows nothing of the gate",
        ),
        (
            {
                "portal__addresses": '["127.0.0.1:8080"]',
                "listener__submission__enabled": "false",
                "listener__submissions__enabled": "false",
            },
            "error portal",
            "does not start",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_setting(
    initialized: Initialize, changes: dict[str, str], subject: str, words: str
) -> None:
    assert words in told(initialized, **changes)[subject]


def test_pages_that_do_not_work_do_not_keep_mail_from_starting(initialized: Initialize, tmp_path: Path) -> None:
    listeners = {f"listener__{kind}__addresses": '["127.0.0.1:0"]' for kind in ("submission", "submissions", "mx")}
    wrong = {"portal__addresses": '["127.0.0.1:0"]', "portal__tls": '"on"', "portal__names": '["help.example.test"]'}
    initialized(**listeners, **wrong)
    assert check(tmp_path / "sekisho.toml", {}, before_start=True).status == 1


def test_a_busy_port_of_the_portal_is_found_before_the_start(initialized: Initialize, tmp_path: Path) -> None:
    listeners = {f"listener__{kind}__addresses": '["127.0.0.1:0"]' for kind in ("submission", "submissions", "mx")}
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        initialized(**listeners, portal__addresses=f'["127.0.0.1:{port}"]')
        report = check(tmp_path / "sekisho.toml", {}, before_start=True)
    texts = [each.text for each in report.findings if each.subject == "ports"]
    assert any(f"portal.addresses: cannot listen on 127.0.0.1:{port}" in text for text in texts)


@pytest.mark.parametrize(
    ("tls", "address", "speaks"),
    [
        ("auto", ":443", True),
        ("auto", "192.0.2.1:8443", True),
        ("auto", "[2001:db8::1]:443", True),
        ("auto", ":80", False),
        ("auto", "127.0.0.1:8443", False),
        ("auto", "[::1]:8443", False),
        ("auto", "localhost:8443", False),
        ("on", "127.0.0.1:8443", True),
        ("off", ":443", False),
    ],
)
def test_where_tls_is_spoken(tls: str, address: str, speaks: bool) -> None:
    settings = PortalSettings(tls=tls)  # type: ignore[arg-type]
    assert settings.speaks_tls(Endpoint.parse(address)) is speaks


def test_every_address_means_both_families_with_one_socket_each(initialized: Initialize) -> None:
    wanted = portal_addresses(initialized(portal__addresses='[":443", "127.0.0.1:8080"]').settings)
    assert [(each.kind, str(each.endpoint), each.optional) for each in wanted] == [
        ("https", "0.0.0.0:443", False),
        ("https", "[::]:443", True),
        ("http", "127.0.0.1:8080", False),
    ]
    assert all(each.single for each in wanted)


def test_init_puts_the_portal_behind_a_web_server(tmp_path: Path) -> None:
    user = ["--user", "root"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "sekisho", "init", "--directory", str(tmp_path), "--no-account", *user]
    subprocess.run([*command, "--hostname", "mail.example.jp", "--domain", "example.jp"], check=True, stdout=-1)
    text = (tmp_path / "sekisho.toml").read_text()
    assert '\naddresses = ["127.0.0.1:8080"]\n' in text
    assert '\ntrusted_proxies = ["127.0.0.1/32", "::1/128"]\n' in text
    assert 'on its own ":443"' in text.replace("\n# ", " ")
