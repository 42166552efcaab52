"""`sekisho autoconfig` and `sekisho dns show`, over a configuration as `sekisho init` writes it."""

from __future__ import annotations

import json
import plistlib
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.cli.main import main
from sekisho.supervise.init import Answers, initialize

Made = Callable[..., Path]
EVERYTHING = {"incoming.imap": '"imap.example.jp"', "autoconfig.name": '"Example"'}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    def made(changes: dict[str, str]) -> Path:
        path = tmp_path / "sekisho.toml"
        initialize(Answers(path, "mail.example.jp", "example.jp", "data", changes), None)
        return path

    return made


def test_all_documents_are_written_where_clients_ask(made: Made, tmp_path: Path) -> None:
    config = made(EVERYTHING)
    assert main(["autoconfig", "write", str(tmp_path / "web"), "--config", str(config)]) == 0
    root = tmp_path / "web" / "example.jp"
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == [
        ".well-known/autoconfig/mail/config-v1.1.xml",
        ".well-known/mta-sts.txt",
        ".well-known/user-agent-configuration.json",
        "autodiscover/autodiscover.json",
        "autodiscover/autodiscover.xml",
        "mail/config-v1.1.xml",
        "profile/mail.mobileconfig",
        "profile/mail.svg",
    ]
    assert (root / "mail/config-v1.1.xml").stat().st_mode & 0o777 == 0o644
    assert (root / "profile/mail.mobileconfig").read_bytes()[:1] == b"\x30"  # DER, not the bare list


def test_one_document_is_shown_to_the_octet(made: Made, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    config = made(EVERYTHING)
    shown = {}
    for kind in ("apple", "pacc", "pacc-digest", "thunderbird", "outlook", "outlook-json", "mta-sts", "qr"):
        assert main(["autoconfig", "show", kind, "--config", str(config)]) == 0
        shown[kind] = capfdbinary.readouterr().out
    assert plistlib.loads(shown["apple"])["PayloadOrganization"] == "Example"
    assert shown["pacc"].endswith(b"}}}")
    assert shown["pacc-digest"].startswith(b"v=UAAC1; a=sha256; d=")
    assert b"<hostname>imap.example.jp</hostname>" in shown["thunderbird"]
    assert main(["autoconfig", "show", "outlook", "--address", "rin@example.jp", "--config", str(config)]) == 0
    assert b"<LoginName>rin@example.jp</LoginName>" in capfdbinary.readouterr().out


def test_the_records_are_shown_in_three_forms(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    config = made(EVERYTHING)
    assert main(["dns", "show", "--config", str(config)]) == 0
    assert "https://mta-sts.example.jp/.well-known/mta-sts.txt" in capsys.readouterr().out
    assert main(["dns", "show", "--zone", "--config", str(config)]) == 0
    assert "SRV    0 1 465 mail.example.jp." in capsys.readouterr().out
    assert main(["dns", "show", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["mta_sts_policy"].startswith("version: STSv1")


@pytest.mark.parametrize(
    ("changes", "words", "said"),
    [
        ({}, ["autoconfig", "show", "thunderbird"], "set incoming.imap or incoming.pop3"),
        (EVERYTHING, ["autoconfig", "show", "apple", "--domain", "example.net"], '"example.net" is not one of'),
        (EVERYTHING, ["autoconfig", "show", "apple", "--address", "rin\x1b"], "is no mail address"),
        (EVERYTHING, ["autoconfig", "show", "apple", "--address", "a@b.jp", "--domain", "b.jp"], "not both"),
        ({**EVERYTHING, "local.domains": "[]", "accounts.default_domain": '""'}, ["dns", "show"], "no domain is set"),
        (EVERYTHING | {"incoming.imap": '"IMAP example"'}, ["dns", "show"], "not a full host name"),
        (EVERYTHING | {"tls.certificate": '"nowhere.pem"'}, ["autoconfig", "write", "web"], "or give --unsigned"),
    ],
)
def test_what_is_wrong_is_said(
    made: Made,
    changes: dict[str, str],
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "IMAP" in changes.get("incoming.imap", ""):
        (tmp_path / "sekisho.toml").write_text('hostname = "mail.example.jp"\n[incoming]\nimap = "IMAP example"\n')
    elif "tls.certificate" in changes:
        made(EVERYTHING)
        (tmp_path / "tls" / "certificate.pem").unlink()
    else:
        made(changes)
    assert main([*words, "--config", "sekisho.toml"]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "\x1b" not in error
    assert not (tmp_path / "web").exists()
