"""`init` writes what `check` finds well; each thing that can be wrong is found, with a remedy."""

from __future__ import annotations

import datetime
import os
import pwd
import re
import socket
from pathlib import Path

import pytest

from sekisho import kernel
from sekisho.supervise.certificate import examine, make_self_signed
from sekisho.supervise.check import KERNEL, Report, check
from sekisho.supervise.errors import StartError
from sekisho.supervise.init import Answers, configuration_text, dns_records, initialize
from sekisho.supervise.privileges import Identity
from sekisho.supervise.serve import read_settings
from sekisho.supervise.stores import open_accounts

from .conftest import Initialize

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
HOSTNAME = "mail.example.test"
UNPRIVILEGED = {f"listener__{kind}__addresses": '["127.0.0.1:0"]' for kind in ("submission", "submissions", "mx")}


def said(report: Report, grade: str) -> list[str]:
    return [f"{finding.subject}: {finding.text}" for finding in report.findings if finding.grade == grade]


def test_what_init_writes_has_no_error(initialized: Initialize, tmp_path: Path) -> None:
    initialized(**UNPRIVILEGED)
    report = check(tmp_path / "sekisho.toml", {}, before_start=True)
    assert said(report, "error") == []
    assert any("self-signed" in line for line in said(report, "warning"))
    assert any("no account yet" in line for line in said(report, "warning"))
    assert report.status == 1


@pytest.mark.parametrize("presence", sorted(KERNEL))
def test_whether_the_compiled_part_is_in_use_is_told_and_is_no_fault(
    presence: str, initialized: Initialize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initialized(**UNPRIVILEGED)
    monkeypatch.setattr(kernel, "presence", lambda: presence)
    assert f"kernel: {KERNEL[presence]}" in said(check(tmp_path / "sekisho.toml", {}, before_start=True), "ok")


def test_init_twice_changes_nothing(initialized: Initialize) -> None:
    first = initialized(**UNPRIVILEGED)
    before = {path: path.read_bytes() for path in first.made}
    assert initialized(**UNPRIVILEGED).made == ()
    assert {path: path.read_bytes() for path in first.made} == before


def test_every_mistake_in_the_file_is_told_at_once(initialized: Initialize, tmp_path: Path) -> None:
    initialized(**UNPRIVILEGED)
    config = tmp_path / "sekisho.toml"
    text = config.read_text()
    config.write_text(text.replace("#lifetime =", "lifetim =").replace("#workers = 0", 'workers = "many"'))
    report = check(config, {})
    assert report.status == 2
    problems = "\n".join(said(report, "error"))
    assert "queue.lifetim" in problems
    assert "lifetime" in problems
    assert "service.workers" in problems
    assert "sekisho.toml:" in problems


def test_a_busy_port_is_an_error_that_names_its_setting(initialized: Initialize, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        busy = f'["127.0.0.1:{other.getsockname()[1]}"]'
        initialized(**{**UNPRIVILEGED, "listener__mx__addresses": busy})
        report = check(tmp_path / "sekisho.toml", {}, before_start=True)
    assert any(line.startswith("ports: listener.mx.addresses: cannot listen") for line in said(report, "error"))


def test_settings_that_contradict_each_other_are_refused(initialized: Initialize, tmp_path: Path) -> None:
    initialized(**UNPRIVILEGED)
    config = tmp_path / "sekisho.toml"
    addition = '\n[[route]]\nname = "isp"\nhost = "smtp.example.net"\nusername = "a"\n'
    config.write_text(config.read_text().replace('#transport = "maildir"', 'transport = "lmtp"') + addition)
    with pytest.raises(StartError) as caught:
        read_settings(config, {})
    assert len(caught.value.problems) == 2
    assert "unix:/run/dovecot/lmtp" in str(caught.value)
    assert "only one of username and password" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hostname": '"mail .example.test"'}, "is not a full host name"),
        ({"hostname": '"メール.example.test"'}, "is not a full host name"),
        ({"local.domains": '["example.test", "@example.test"]'}, '"@example.test" is not a domain'),
        ({"local.domains": '["ex ample.test"]'}, '"ex ample.test" is not a domain'),
        ({"relay.networks": '["0.0.0.0/0"]'}, "lets strangers send through here"),
        ({"relay.networks": '["::/1"]'}, "lets strangers send through here"),
        ({"listener.submission.addresses": '["0.0.0.0:0"]', "local.domains": '["例え.test"]'}, None),
        ({"relay.networks": '["10.0.0.0/8", "2001:db8::/32"]'}, None),
    ],
)
def test_values_that_would_harm_are_refused(tmp_path: Path, changes: dict[str, str], words: str | None) -> None:
    config = tmp_path / "sekisho.toml"
    config.write_text(configuration_text(Answers(config, HOSTNAME, "example.test", "data", changes)))
    if words is None:
        read_settings(config, {})
    else:
        with pytest.raises(StartError, match=re.escape(words)):
            read_settings(config, {})


def test_no_listener_is_an_error(initialized: Initialize, tmp_path: Path) -> None:
    initialized(**{f"listener__{kind}__enabled": "false" for kind in ("submission", "submissions", "mx")})
    assert "ports: no listener is enabled" in said(check(tmp_path / "sekisho.toml", {}, before_start=True), "error")


def test_two_listeners_on_one_port_are_an_error_that_blames_no_other_process(
    initialized: Initialize, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = {
        "listener__submission__addresses": f'["127.0.0.1:{port}"]',
        "listener__mx__addresses": f'["0.0.0.0:{port}"]',
    }
    initialized(**(UNPRIVILEGED | both))
    (problem,) = said(check(tmp_path / "sekisho.toml", {}, before_start=True), "error")
    assert "listener.mx.addresses" in problem
    assert "is taken by another listener" in problem


def test_a_postmaster_without_an_account_is_a_warning(initialized: Initialize, tmp_path: Path) -> None:
    written = initialized(**UNPRIVILEGED, local__postmaster='"rin@example.test"')
    for login, warned in (("aoi@example.test", True), ("rin@example.test", False)):
        with open_accounts(written.settings, written.where) as store:
            store.add(login, "correct horse battery")
        warnings = said(check(tmp_path / "sekisho.toml", {}, before_start=True), "warning")
        assert any(line.startswith("local.postmaster: there is no account rin") for line in warnings) is warned


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_self_signed(certificate, key, [HOSTNAME, "*.example.jp"], NOW)
    return certificate, key


@pytest.mark.parametrize(
    ("days", "grade", "words"),
    [
        (0, "ok", "valid until"),
        (350, "warning", "expires on 2027-11-24, in 15 days"),
        (400, "error", "expired on 2027-11-24"),
        (-3, "error", "not valid before"),
    ],
)
def test_the_dates_of_a_certificate(pair: tuple[Path, Path], days: int, grade: str, words: str) -> None:
    findings = examine(*pair, HOSTNAME, NOW + datetime.timedelta(days=days))
    assert any(finding.grade == grade and words in finding.text for finding in findings)


@pytest.mark.parametrize(
    ("hostname", "covered"),
    [
        (HOSTNAME, True),
        ("smtp.example.jp", True),
        ("a.smtp.example.jp", False),
        ("example.jp", False),
        ("other.example.test", False),
    ],
)
def test_the_names_of_a_certificate(pair: tuple[Path, Path], hostname: str, covered: bool) -> None:
    """RFC 9525 §6.3: a wildcard stands for one whole label."""
    findings = examine(*pair, hostname, NOW)
    assert ("error" in {finding.grade for finding in findings}) is not covered


def test_a_key_of_another_certificate_is_found(pair: tuple[Path, Path], tmp_path: Path) -> None:
    make_self_signed(tmp_path / "other.pem", tmp_path / "other-key.pem", [HOSTNAME], NOW)
    (finding,) = examine(pair[0], tmp_path / "other-key.pem", HOSTNAME, NOW)
    assert finding.text == "the private key does not belong to the certificate"


def test_every_name_that_clients_are_told_is_looked_for(pair: tuple[Path, Path]) -> None:
    findings = examine(*pair, HOSTNAME, NOW, ["smtp.example.jp", "other.example.net"])
    (wrong,) = [finding.text for finding in findings if finding.grade == "error"]
    assert "not for other.example.net" in wrong


def test_a_key_that_everybody_can_read_is_an_error(pair: tuple[Path, Path]) -> None:
    pair[1].chmod(0o644)
    assert any("read by every user" in finding.text for finding in examine(*pair, HOSTNAME, NOW))


def test_missing_files_are_both_named(tmp_path: Path) -> None:
    findings = examine(tmp_path / "a.pem", tmp_path / "b.pem", HOSTNAME, NOW)
    assert [finding.subject for finding in findings] == ["tls.certificate", "tls.key"]
    assert all(finding.remedy for finding in findings)


def test_the_records_to_publish_name_host_and_domain(initialized: Initialize) -> None:
    """RFC 8314 §5.1: submissions comes before submission."""
    records = dns_records(initialized().settings)
    assert "0 1 465 mail.example.test." in records
    assert "10 1 587 mail.example.test." in records
    assert "10 mail.example.test." in records
    assert "v=spf1" in records
    assert "imap" not in records


def test_no_domain_no_records_to_publish(initialized: Initialize) -> None:
    assert dns_records(initialized(local__domains="[]", accounts__default_domain='""').settings) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_the_service_user_can_read_what_init_writes_but_not_change_it(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    identity = Identity("nobody", nobody.pw_uid, nobody.pw_gid)
    written = initialize(Answers(tmp_path / "sekisho.toml", HOSTNAME, "example.test", "data", {}), identity)
    for path in (*written.made, written.where.key.parent):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (0, nobody.pw_gid)
        assert found.st_mode & 0o040
        assert not found.st_mode & 0o022
    assert not written.where.key.stat().st_mode & 0o007


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads what another user cannot")
def test_what_the_service_user_cannot_read_or_write_is_told(initialized: Initialize, tmp_path: Path) -> None:
    for directory in [tmp_path, *tmp_path.parents][:3]:
        directory.chmod(directory.stat().st_mode | 0o011)
    initialized(**UNPRIVILEGED, service__user='"nobody"')
    config, password = tmp_path / "sekisho.toml", tmp_path / "isp-password"
    password.write_text("hunter2hunter2")
    password.chmod(0o600)
    with config.open("a") as file:
        file.write('\n[[route]]\nname = "isp"\nhost = "smtp.example.net"\nusername = "a"\n')
        file.write('password_file = "isp-password"\n')
    config.chmod(0o644)
    report = check(config, {}, before_start=True)
    assert any("cannot be written by the service user" in line for line in said(report, "error"))
    assert any("isp-password" in line and "at a reload" in line for line in said(report, "warning"))
    config.chmod(0o600)
    warnings = said(check(config, {}, before_start=True), "warning")
    assert any(line.startswith("configuration: the service user cannot read") for line in warnings)
