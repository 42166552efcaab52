"""`sekisho account token|app-password|totp|renewal`, and how the states show."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_main import Run, config, run

from sekisho.accounts import AccountStore, AppPasswords, OneTimeTokens, SecondFactors
from sekisho.accounts.totp import PERIOD, code_at

__all__ = ["config", "run"]

GENERATED = re.compile(r"([a-km-np-z2-9]{4}-){3}[a-km-np-z2-9]{4}")
LOGIN = "rin@example.test"


@pytest.fixture
def rin(run: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """An account, and a function that runs a command and returns what it says: text, or what its JSON means."""
    run("account", "add", "rin", text="correct horse battery\n")
    capsys.readouterr()

    def said(*words: str, status: int = 0, text: str = "") -> Any:
        assert run("account", *words, text=text) == status
        heard = capsys.readouterr()
        if status:
            return heard.err
        return json.loads(heard.out) if "--json" in words else heard.out

    return said


def store_of(tmp_path: Path) -> AccountStore:
    (path,) = tmp_path.rglob("accounts.sqlite")
    return AccountStore.open(path)


def events(tmp_path: Path) -> list[dict[str, Any]]:
    lines = [line for path in tmp_path.rglob("events-*.jsonl") for line in path.read_text().splitlines()]
    return [event for event in map(json.loads, lines) if event["event"].startswith("account.")]


def test_a_token_is_printed_once_and_sets_a_password(rin: Callable[..., Any], tmp_path: Path) -> None:
    told = rin("token", "rin", "--hours", "2", "--json")
    assert told["login"] == LOGIN
    store = store_of(tmp_path)
    assert OneTimeTokens(store).use(told["token"], "another good password").login == LOGIN
    store.close()
    words = rin("token", "rin")
    assert GENERATED.search(words)
    assert "Hand it over to nobody but the person." in words
    assert [(event["event"], event["account"], event["by"]) for event in events(tmp_path)] == [
        ("account.token_issued", LOGIN, "operator")
    ] * 2
    assert told["token"] not in "".join(map(str, events(tmp_path)))


@pytest.mark.parametrize("hours", ["0", "-1", "337", "1.5", "day", "9" * 5000])
def test_a_token_lasts_an_hour_to_a_fortnight(rin: Callable[..., Any], hours: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        rin("token", "rin", f"--hours={hours}")


def test_a_token_for_a_suspended_account_says_that_it_stays_so(rin: Callable[..., Any]) -> None:
    rin("suspend", "rin")
    assert "stays so" in rin("token", "rin")


def test_app_passwords_are_made_listed_and_removed(rin: Callable[..., Any], tmp_path: Path) -> None:
    assert rin("app-password", "list", "rin", "--json") == []
    words = rin("app-password", "add", "rin", "telephone")
    assert GENERATED.search(words)
    (listed,) = rin("app-password", "list", "rin", "--json")
    assert (listed["label"], listed["last_used"]) == ("telephone", None)
    assert "telephone" in rin("app-password", "list", "rin")
    assert rin("show", "rin", "--json")["app_passwords"] == 1
    number = str(listed["number"])
    assert "opens nothing any more" in rin("app-password", "remove", "rin", number)
    assert "has no app password" in rin("app-password", "remove", "rin", number, status=1)
    assert "Name the device" in rin("app-password", "add", "rin", " ", status=1)
    store = store_of(tmp_path)
    assert AppPasswords(store).list("rin") == ()
    store.close()
    assert [event["event"] for event in events(tmp_path)] == [
        "account.app_password_added",
        "account.app_password_removed",
    ]


def test_a_second_factor_is_shown_and_switched_off(rin: Callable[..., Any], tmp_path: Path) -> None:
    assert rin("totp", "status", "rin", "--json") == {
        "login": LOGIN,
        "on": False,
        "since": None,
        "recovery_codes": 0,
    }
    assert "was off already" in rin("totp", "off", "rin")
    assert events(tmp_path) == []
    store = store_of(tmp_path)
    factors = SecondFactors(store)
    secret = base64.b32decode(factors.begin("rin", issuer="mail").secret.replace(" ", ""))
    factors.confirm("rin", code_at(secret, int(time.time()) // PERIOD))
    store.close()
    assert "10 recovery codes left" in rin("totp", "status", "rin")
    assert "second factor" in rin("list")
    assert rin("show", "rin", "--json")["second_factor"] is True
    assert "is off" in rin("totp", "off", "rin")
    assert "off" in rin("totp", "status", "rin")
    assert [event["event"] for event in events(tmp_path)] == ["account.factor_off"]


def test_who_needs_a_new_password_is_listed(rin: Callable[..., Any], tmp_path: Path) -> None:
    assert rin("list", "--needing-renewal", "--json") == []
    assert "works until then" in rin("renewal", "ask", "rin")
    assert "needs renewal" in rin("list")
    (listed,) = rin("list", "--needing-renewal", "--json")
    assert (listed["login"], listed["renewal"]) == (LOGIN, "asked")
    assert "needs no new password" in rin("renewal", "cancel", "rin")
    assert rin("show", "rin", "--json")["renewal"] is None
    rin("renewal", "ask", "rin")
    rin("passwd", "rin", text="another good password\n")
    assert rin("show", "rin", "--json")["renewal"] is None
    assert [event["event"] for event in events(tmp_path)] == ["account.renewal_asked"] * 2 + ["account.password_set"]


def test_incomplete_verifiers_are_told_apart_from_a_request(rin: Callable[..., Any], tmp_path: Path) -> None:
    store = store_of(tmp_path)
    store.add("old@example.test", None)
    store.close()
    assert rin("show", "old", "--json")["renewal"] == "verifiers"
    assert "incomplete" in rin("renewal", "cancel", "old")


def test_an_account_becomes_an_operator_and_no_longer_is_one(rin: Callable[..., Any]) -> None:
    assert rin("show", "rin", "--json")["operator"] is False
    rin("change", "rin", "--operator")
    assert rin("show", "rin", "--json")["operator"] is True
    assert "operator" in rin("list")
    rin("change", "rin", "--no-operator")
    assert rin("show", "rin", "--json")["operator"] is False


def test_an_unknown_account_is_said(rin: Callable[..., Any]) -> None:
    for words in (
        ("token", "ghost"),
        ("app-password", "list", "ghost"),
        ("totp", "off", "ghost"),
        ("renewal", "ask", "ghost"),
    ):
        assert "ghost" in rin(*words, status=1)
