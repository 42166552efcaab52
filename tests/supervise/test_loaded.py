"""What a mail process carries: every module loaded before the fork costs memory for as long as the service runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.delivery import RouteSettings, asks_names
from sekisho.supervise import privileges, serve
from sekisho.supervise.aside import lines_from
from sekisho.supervise.errors import PrivilegeError

from .conftest import Initialize

OWN = {  # of packages that do not carry mail, what the mail server has a use for
    "autoconfig": {"settings"},
    "guide": {"settings"},
    "cli": {"main", "output", "serve"},
    "portal": set[str](),
    "edge": set[str](),
    "lab": set[str](),
}

HEAVY = {  # of the standard library and others: large, and without use to a mail process
    *("cryptography", "dns", "segno", "jinja2", "starlette", "uvicorn", "h11", "idna"),
    *("csv", "difflib", "email", "html", "http", "importlib.metadata", "multiprocessing", "plistlib", "uuid"),
    *("unittest", "urllib.request", "xml", "zoneinfo"),
}

LISTS = "import json, sys; before = set(sys.modules)\n{what}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
SERVE = "from sekisho.cli.main import build_parser; build_parser(['serve']); import sekisho.supervise.serve"


def loaded_by(what: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", LISTS.format(what=what)], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def test_a_mail_process_carries_nothing_it_has_no_use_for() -> None:
    """Load it in the function that needs it, or in the process that does. Settings stand in a module of their own."""
    loaded = loaded_by(SERVE)
    assert "sekisho.server.session" in loaded, "this is not the mail server"
    for module in loaded:
        assert not any(module == heavy or module.startswith(f"{heavy}.") for heavy in HEAVY), f"{module} is loaded"
        if module.count(".") > 1 and module.split(".")[1] in OWN:
            _, package, name, *_ = module.split(".")
            assert name in OWN[package], f"{module} is loaded"


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([], True),
        ([("192.0.2.1", ())], False),
        ([("2001:db8::1", ())], False),
        ([("smtp.example.net", ())], True),
        ([("192.0.2.1", ("example.jp",))], True),  # what it does not take goes by MX
        ([("smtp.example.net", ("example.jp",)), ("192.0.2.1", ())], True),
    ],
)
def test_what_asks_dns_is_shared_by_the_workers_where_mail_goes_by_name(
    routes: list[tuple[str, tuple[str, ...]]], expected: bool
) -> None:
    assert asks_names(RouteSettings(name=host, host=host, senders=senders) for host, senders in routes) is expected
    share = (
        "from types import SimpleNamespace as Some\n"
        "from sekisho.accounts import AccountsSettings\n"
        "from sekisho.delivery import RouteSettings\n"
        "import sekisho.supervise.serve as it\n"
        f"routes = [RouteSettings(name=host, host=host, senders=senders) for host, senders in {routes!r}]\n"
        "it._load_what_workers_share(Some(route=routes, accounts=AccountsSettings()))"
    )
    assert ("sekisho.net.dns_servers" in loaded_by(share)) is expected


def test_it_is_loaded_before_rights_are_given_up(
    initialized: Initialize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service user may not be able to read the interpreter's modules: one below a home directory, for example."""
    initialized()
    order: list[str] = []

    def drop(_: object) -> None:
        order.append("given up")
        raise PrivilegeError("enough seen")

    monkeypatch.setattr(serve, "_load_what_workers_share", lambda _: order.append("loaded"))
    monkeypatch.setattr(serve, "_bind", lambda *_: ([], None))
    monkeypatch.setattr(privileges, "harden", lambda: None)
    monkeypatch.setattr(privileges, "drop", drop)
    with pytest.raises(PrivilegeError):
        serve.serve(tmp_path / "sekisho.toml", {}, print)
    assert order == ["loaded", "given up"]


def test_work_done_aside_leaves_its_lines_and_nothing_loaded(tmp_path: Path) -> None:
    def work() -> list[str]:
        (tmp_path / "here").touch()
        sys.modules["loaded_aside"] = sys
        return ["first", "日本語"]

    assert lines_from("work", work) == ["first", "日本語"]
    assert (tmp_path / "here").exists()
    assert "loaded_aside" not in sys.modules
    assert lines_from("nothing", list) == []


def test_work_that_fails_aside_is_told_in_one_line() -> None:
    """The child tells it, so a process of its own is needed to hear it."""
    code = (
        "from sekisho.supervise.aside import lines_from\n"
        "def examine(): raise ValueError('no such thing')\n"
        "print(lines_from('looking at it', examine))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
    assert ran.stderr == "looking at it failed: ValueError: no such thing\n"
