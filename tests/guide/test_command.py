"""`sekisho guide`, as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sekisho.cli.main import main

CONFIG = """
hostname = "mail.example.jp"
language = "en"
[local]
domains = ["example.jp"]
"""
GUIDE = """
[guide]
name_ja = "情報センター"
name_en = "Information Center"
contact_ja = "内線1234"
contact_en = "extension 1234"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sekisho.toml"
    path.write_text(CONFIG, "utf-8")
    return path


def test_list_shows_the_way_of_each_program(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide", "list", "outlook", "20", "--config", str(config)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "starttls_587" in lines["outlook-2010"]
    assert "move to outlook-m365" in lines["outlook-2003"]
    assert "thunderbird-current" not in lines


def test_list_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide", "list", "Spark", "--json", "--language", "ja", "--config", str(config)]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found == {"client": "spark", "name": found["name"], "way": "tls_465", "port": 465, "move_to": []}


def test_show_prints_a_guide_with_a_persons_own_values(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["guide", "show", "postfix", "--language", "ja", "--capability", "tls_465"]
    assert main([*command, "--address", "rin@example.jp", "--config", str(config)]) == 0
    text = capsys.readouterr().out
    assert "relayhost = [mail.example.jp]:465" in text
    assert "[mail.example.jp]:465 rin@example.jp:(あなたのパスワード)" in text
    assert "587" not in text


def test_show_takes_the_name_of_the_program_for_its_newest_version(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["guide", "show", "thunderbird", "--config", str(config)]) == 0
    assert 'In "Port", type 587' in capsys.readouterr().out


def test_show_of_an_unknown_program_names_near_ones(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide", "show", "becky-2", "--config", str(config)]) == 1
    assert "perhaps becky-2.05, becky-2.30" in capsys.readouterr().err


def test_build_needs_the_operators_name_and_says_so(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["guide", "build", str(tmp_path / "site"), "--config", str(config)]) == 1
    assert "[guide] name_ja, name_en: are missing" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_build_writes_the_site(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(CONFIG + GUIDE, "utf-8")
    assert main(["guide", "build", str(tmp_path / "site"), "--config", str(config)]) == 0
    assert "0 removed" in capsys.readouterr().out
    assert "mail.example.jp" in (tmp_path / "site" / "ja" / "clients" / "becky-2.30.html").read_text("utf-8")
