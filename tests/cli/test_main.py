"""The command line: words, exit statuses, JSON; never a traceback for a person."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sekisho
from sekisho.cli.main import INTERNAL, explain, main
from sekisho.cli.output import generate_password, printable
from sekisho.supervise.init import Answers, initialize

SOURCE = Path(sekisho.__file__).parent.parent
Run = Callable[..., int]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    own = {"service.user": '"root"'} if os.geteuid() == 0 else {}
    path = tmp_path / "sekisho.toml"
    initialize(Answers(path, "mail.example.test", "example.test", "data", own), None)
    return path


@pytest.fixture
def run(config: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*words: str, text: str = "") -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return main([*words, "--config", str(config)])

    return run


def test_help_is_there_at_once() -> None:
    """It must not load a mail server: 0.2 s on a quiet machine, here with room for a busy one."""
    command = [
        sys.executable,
        "-c",
        "import sys; from sekisho.cli.main import build_parser; build_parser(); "
        "print([name for name in ('asyncio', 'ssl', 'sqlite3', 'cryptography') if name in sys.modules])",
    ]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(SOURCE)}, check=True)
    assert time.monotonic() - started < 2.0
    assert done.stdout.strip() == "[]"


def test_an_account_is_added_listed_changed_and_deleted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("account", "add", "rin", text="correct horse battery\n") == 0
    assert run("account", "identity", "add", "rin@example.test", "sales@example.test") == 0
    assert run("account", "suspend", "rin@example.test", "--reason", "worm") == 0
    capsys.readouterr()
    assert run("account", "list", "--json") == 0
    (account,) = json.loads(capsys.readouterr().out)
    assert account["login"] == "rin@example.test"
    assert account["identities"] == ["sales@example.test"]
    assert (account["suspended"], account["suspension"]) == (True, "worm")
    assert run("account", "resume", "rin@example.test") == 0
    assert run("account", "change", "rin@example.test", "--messages-per-hour", "5") == 0
    capsys.readouterr()
    assert run("account", "show", "rin@example.test", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["suspended"], shown["messages_per_hour"]) == (False, 5)
    assert "argon2id" in shown["verifiers"]
    assert run("account", "delete", "rin@example.test") == 0
    assert run("account", "show", "rin@example.test") == 1


def test_a_limit_is_a_number_none_or_that_of_the_policy(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def shown() -> object:
        capsys.readouterr()
        run("account", "show", "rin", "--json")
        return json.loads(capsys.readouterr().out)["messages_per_hour"]

    run("account", "add", "rin", text="correct horse battery\n")
    assert shown() is None
    for given, kept in (("0", 0), ("7", 7), ("default", None)):
        assert run("account", "change", "rin", "--messages-per-hour", given) == 0
        assert shown() == kept
    for wrong in ("-3", "many", "\N{SUPERSCRIPT TWO}"):
        with pytest.raises(SystemExit, match="2"):
            run("account", "change", "rin", f"--messages-per-hour={wrong}")
    assert shown() is None


def test_a_change_of_nothing_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("account", "add", "rin", text="correct horse battery\n")
    assert run("account", "change", "rin") == 1
    assert "nothing to change" in capsys.readouterr().err


def test_columns_stay_aligned_when_a_name_is_japanese(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for login in ("日本@example.test", "abcd@example.test"):
        run("account", "add", login, text="correct horse battery\n")
    capsys.readouterr()
    assert run("account", "list") == 0
    _, ascii_line, wide_line = capsys.readouterr().out.splitlines()
    assert len(ascii_line) == len(wide_line) + 2


def test_a_generated_password_is_printed_once_and_hard_to_guess(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("account", "add", "aoi", "--generate") == 0
    password = capsys.readouterr().out.strip().rpartition(" ")[2]
    assert len(password) == 24
    assert generate_password() != generate_password()


def test_without_a_terminal_and_without_input_nothing_is_added(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("account", "add", "rin") == 1
    assert "no password came on standard input" in capsys.readouterr().err


def test_an_unknown_account_is_said_in_one_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("account", "passwd", "nobody@example.test", text="x\n") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nobody@example.test" in error


def test_the_card_names_ports_and_login(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("account", "add", "rin", "--language", "en", text="correct horse battery\n")
    capsys.readouterr()
    assert run("account", "card", "rin@example.test") == 0
    card = capsys.readouterr().out
    assert "465" in card
    assert "587" in card
    assert "rin@example.test" in card


def test_an_empty_queue_is_listed_counted_and_changed_without_a_service(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("queue", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run("queue", "stats", "--json") == 0
    assert json.loads(capsys.readouterr().out)["messages"] == 0
    assert run("queue", "delete", "--all") == 0
    assert "0 of 0 messages deleted" in capsys.readouterr().out


def test_what_is_no_queue_id_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("queue", "hold", "not-an-id") == 1
    assert "is not a queue id" in capsys.readouterr().err


def test_queue_verbs_want_ids_or_all_but_not_both(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("queue", "hold") == 1
    assert run("queue", "hold", "--all", "0NT0S3R081") == 1
    assert "--all" in capsys.readouterr().err


def test_a_trace_of_nothing_says_so(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trace", "rin@example.test") == 1
    assert "nothing about rin@example.test" in capsys.readouterr().err


def test_secrets_are_hidden_when_the_configuration_is_shown(
    run: Run, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with config.open("a") as file:
        file.write(
            '\n[[route]]\nname = "isp"\nhost = "smtp.example.net"\nusername = "me"\npassword = "hunter2hunter2"\n'
        )
    assert run("config", "show") == 0
    shown = capsys.readouterr().out
    assert json.loads(shown)["route"][0]["host"] == "smtp.example.net"
    assert "hunter2" not in shown


def test_a_missing_configuration_names_the_file_and_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--config", str(tmp_path / "none.toml")]) == 1
    error = capsys.readouterr().err
    assert "none.toml" in error
    assert "sekisho init" in error
    assert "Traceback" not in error


def test_check_reports_errors_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "--config", str(tmp_path / "none.toml")]) == 2
    assert json.loads(capsys.readouterr().out)["findings"][0]["grade"] == "error"


def test_under_systemd_a_mistake_of_ours_is_in_the_journal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PrivateTmp hides what the service leaves in /tmp, and a stop removes it."""
    monkeypatch.setenv("JOURNAL_STREAM", "9:4711")
    assert explain(ZeroDivisionError("division by zero"), debug=False) == INTERNAL
    error = capsys.readouterr().err
    assert error.count("ZeroDivisionError: division by zero") == 1
    assert "shown above" in error


def test_a_mistake_of_ours_is_one_line_and_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert explain(ZeroDivisionError("division by zero"), debug=False) == INTERNAL
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "Traceback" not in error
    kept = Path(error.rpartition(" ")[2])
    try:
        assert "ZeroDivisionError" in kept.read_text()
        assert kept.stat().st_mode & 0o077 == 0
    finally:
        kept.unlink()


def test_text_from_the_network_cannot_move_the_cursor() -> None:
    assert printable("550 no\x1b[2Jway\r\n") == "550 no\\x1b[2Jway\\x0d\\x0a"


def test_init_says_what_to_publish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user = ["--user", "root"] if os.geteuid() == 0 else []
    words = ["init", "--directory", str(tmp_path), "--hostname", "mail.example.jp", "--domain", "example.jp"]
    assert main([*words, "--account", "rin@example.jp", "--generate", *user]) == 0
    printed = capsys.readouterr().out
    assert "_submissions._tcp.example.jp." in printed
    assert "account rin@example.jp made, password: " in printed
    assert (tmp_path / "sekisho.toml").exists()
