"""Mistakes of operators and of clients: told in words, with the key or the command, and never with a traceback."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from tests.interop.certificates import Authority
from tests.interop.instance import Instance
from tests.interop.letter import Submission
from tests.interop.wire import Wire


@pytest.fixture
def fresh(new_place: Callable[[str], Path], authority: Authority) -> Instance:
    """An installation that is not running."""
    pair = authority.issue("mail.home.test", "127.0.0.1")
    instance = Instance(new_place("fresh"), pair, authority.certificate)
    instance.initialize()
    return instance


# Root may read every file, whatever its mode, unless it has lost this capability.
WITHOUT = "-dac_override,-dac_read_search"
AS_ANYBODY = ("setpriv", f"--bounding-set={WITHOUT}", f"--inh-caps={WITHOUT}") if os.geteuid() == 0 else ()


def told(done: CompletedProcess[bytes], *words: str, status: int = 1) -> str:
    """Check that a command ended with *status* and said *words*; return what it said."""
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == status, said
    for word in words:
        assert word in said, said
    assert "Traceback" not in said
    assert "internal error" not in said
    return said


# ---------------------------------------------------------------- configuration


def test_every_mistake_in_the_file_is_told_at_once_with_its_line_and_the_nearest_key(fresh: Instance) -> None:
    fresh.config.write_text(
        'hostnam = "mail.home.test"\n'
        "[listener.submission]\n"
        'max_recipients = "many"\n'
        "[queue]\n"
        'lifetime = "five days"\n'
        'lifetim = "5d"\n'
    )
    said = told(fresh.cli("serve"), 'Did you mean "hostname"?', 'Did you mean "lifetime"?')
    for place in (":1: hostnam", ":3: listener.submission.max_recipients", ":5: queue.lifetime", ":6: queue.lifetim"):
        assert f"{fresh.config}{place}" in said
    assert "90s" in said  # how a duration is written


def test_a_file_that_is_no_toml_is_told_with_its_line(fresh: Instance) -> None:
    fresh.config.write_text('hostname = "mail.home.test"\n[queue\n')
    told(fresh.cli("serve"), f"{fresh.config}:2", "TOML")


def test_a_missing_file_is_told_with_the_way_to_make_one(fresh: Instance) -> None:
    fresh.config.unlink()
    told(fresh.cli("serve"), str(fresh.config), "sekisho init")
    told(fresh.cli("queue", "list"), str(fresh.config))


def test_settings_that_contradict_each_other_are_told(fresh: Instance) -> None:
    fresh.write({"local": {"transport": "lmtp"}})
    told(fresh.cli("serve"), "local.lmtp")


def test_a_mistake_in_the_environment_is_told_by_its_name(fresh: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEKISHO_QUEUE_LIFETIME", "soon")
    told(fresh.cli("serve"), "SEKISHO_QUEUE_LIFETIME", "soon")


# ------------------------------------------------------------ ports and certificates


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield int(taken.getsockname()[1])


def test_a_busy_port_is_told_with_its_setting(fresh: Instance, busy_port: int) -> None:
    fresh.write({"listener": {"submission": {"addresses": [f"127.0.0.1:{busy_port}"]}}})
    told(fresh.cli("serve"), f"127.0.0.1:{busy_port}", "listener.submission.addresses", "held by")


def test_an_address_of_another_machine_is_told_with_its_setting(fresh: Instance) -> None:
    fresh.write({"listener": {"mx": {"addresses": ["192.0.2.1:25"]}}})
    told(fresh.cli("serve"), "192.0.2.1:25", "listener.mx.addresses")


def test_a_second_start_of_the_same_service_is_refused(fresh: Instance) -> None:
    fresh.start()
    try:
        told(fresh.cli("serve"), "listener.mx.addresses", "held by")
    finally:
        assert fresh.stop() == 0


def test_a_second_service_over_the_same_queue_is_refused(fresh: Instance, authority: Authority) -> None:
    """Two processes must never deliver from one spool."""
    fresh.start()
    try:
        twin = Instance(fresh.directory, authority.issue("mail.home.test"), authority.certificate)
        twin.config = fresh.directory / "twin.toml"
        twin.write()
        told(twin.cli("serve"), str(fresh.data / "queue"))
    finally:
        assert fresh.stop() == 0


def test_a_missing_key_is_told_with_its_setting(fresh: Instance) -> None:
    fresh.write({"tls": {"key": str(fresh.directory / "no.key")}})
    told(fresh.cli("serve"), "tls.key", "no.key")


def test_an_unreadable_key_is_told_with_its_setting_and_the_remedy(fresh: Instance) -> None:
    key = fresh.directory / "closed.key"
    key.touch(mode=0)
    fresh.write({"tls": {"key": str(key)}})
    told(fresh.cli("serve", wrapper=AS_ANYBODY), "tls.key", "closed.key", "Permission denied", "chmod")


def test_a_key_that_is_no_key_is_told(fresh: Instance) -> None:
    key = fresh.directory / "odd.key"
    key.write_text("-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n")
    fresh.write({"tls": {"key": str(key)}})
    told(fresh.cli("serve"), "tls.key", "odd.key", "PEM")


def test_a_key_of_another_certificate_is_told(fresh: Instance, authority: Authority) -> None:
    fresh.write({"tls": {"key": str(authority.issue("other.home.test").key)}})
    told(fresh.cli("serve"), "tls.key", "does not belong to the certificate")


def test_an_expired_certificate_is_told_by_check_and_at_the_start(fresh: Instance, authority: Authority) -> None:
    pair = authority.issue("mail.home.test", "127.0.0.1", expired=True)
    fresh.write({"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}})
    told(fresh.cli("check", "--before-start"), "tls.certificate", "expired", status=2)
    fresh.start()
    assert fresh.stop() == 0
    assert "sekisho: tls.certificate: the certificate expired on " in fresh.daemon.output()


def test_a_certificate_for_another_name_is_told_by_check(fresh: Instance, authority: Authority) -> None:
    pair = authority.issue("mail.elsewhere.test")
    fresh.write({"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}})
    done = fresh.cli("check", "--before-start")
    assert done.returncode in (1, 2)
    told(done, "mail.home.test", status=done.returncode)


def test_a_reload_with_mistakes_keeps_the_old_configuration_and_says_so(fresh: Instance) -> None:
    fresh.start()
    try:
        good = fresh.config.read_text()
        fresh.config.write_text(good + "\n[nonsense]\nx = 1\n")
        fresh.reload()
        fresh.wait_for_event(event="service.reloaded", ok=False)
        with Wire(fresh.submission_port) as wire:
            assert wire.greeting.startswith("220 ")
        assert "nonsense" in fresh.daemon.output()
        fresh.config.write_text(good)
        fresh.reload()
        fresh.wait_for_event(event="service.reloaded", ok=True)
    finally:
        assert fresh.stop() == 0
        assert "Traceback" not in fresh.daemon.output()


# ------------------------------------------------------------------------ commands


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (["account", "show", "nobody@home.test"], "nobody@home.test", 1),
        (["account", "passwd", "nobody@home.test"], "nobody@home.test", 1),
        (["account", "suspend", "nobody@home.test"], "nobody@home.test", 1),
        (["account", "delete", "nobody@home.test"], "nobody@home.test", 1),
        (["account", "add", "not an address"], "not an address", 1),
        (["account", "identity", "add", "nobody@home.test", "@home.test"], "nobody@home.test", 1),
        (["queue", "show", "NOSUCHID"], "NOSUCHID", 1),
        (["queue", "delete", "../../etc/passwd"], "../../etc/passwd", 1),
        (["queue", "release"], "--all", 1),
        (["queue", "frobnicate"], "frobnicate", 2),
        (["frobnicate"], "frobnicate", 2),
        (["trace", "no such thing"], "no such thing", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_that_cannot_be_done_says_why(words: list[str], said: str, status: int, sekisho: Instance) -> None:
    told(sekisho.cli(*words, text="a long enough password\n"), said, status=status)


def test_a_short_password_and_a_second_account_of_the_same_name_are_refused(fresh: Instance) -> None:
    told(fresh.cli("account", "add", "rin@home.test", text="short\n"), "8")
    told(fresh.cli("account", "add", "rin@home.test", text="\n"), "password")
    told(fresh.cli("account", "add", "rin@home.test", text="long enough by far\n"), "rin@home.test", status=0)
    told(fresh.cli("account", "add", "rin@home.test", text="long enough by far\n"), "already")


# ---------------------------------------------------------------------------- SMTP


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("FROBNICATE", "500 5.5.1 "),
        ("", "500 5.5."),
        ("MAIL rin@home.test", "501 5.5.4 "),
        ("MAIL FROM:rin@home.test>", "501 5."),
        ("MAIL FROM:<rin@@home.test>", "501 5."),
        ("MAIL FROM:<rin@home.test> SIZE=many", "501 5.5.4 "),
        ("MAIL FROM:<rin@home.test> BODY=9BIT", "555 5.5.4 "),
        ("MAIL FROM:<rin@home.test> MAGIC=1", "555 5.5.4 "),
        ("MAIL FROM:<" + "x" * 65 + "@home.test>", "5"),
        ("MAIL FROM:<凛@home.test>", "5"),
        ("RCPT TO:<box-x@next.test>", "503 5.5.1 "),
        ("DATA", "503 5.5.1 "),
        ("BDAT 0 LAST", "503 5.5.1 "),
        ("EHLO", "501 5.5.4 "),
        ("HELO", "501 5.5.4 "),
        ("STARTTLS now", "50"),
        ("NOOP " + "x" * 3000, "500 5.5.2 "),
        ("VRFY rin", "252 "),
        ("EXPN list", "502 5.5.1 "),
        ("MAIL FROM:<rin@home.test>\0", "50"),
    ],
)
def test_a_wrong_command_gets_its_code_and_the_session_goes_on(line: str, start: str, submission: Submission) -> None:
    with Wire(submission.submission_port).login(submission) as wire:
        reply = wire.say(line)
        assert reply.startswith(start), reply
        assert wire.say("MAIL FROM:<rin@home.test>").startswith("250 ")


@pytest.mark.parametrize(
    "recipient",
    ["nobody", "two words@next.test", "a@b@next.test", "@next.test", "box-x@", "box-x@next..test", "x" * 300],
)
def test_a_bad_recipient_address_is_refused_and_the_others_stay(recipient: str, submission: Submission) -> None:
    with Wire(submission.submission_port).login(submission) as wire:
        wire.say("MAIL FROM:<rin@home.test>")
        reply = wire.say(f"RCPT TO:<{recipient}>")
        assert reply[:2] in ("50", "55"), reply
        assert reply[4:6] == "5.", reply
        assert wire.say("RCPT TO:<aoi@home.test>").startswith("250 ")


def test_endless_nonsense_ends_the_session(submission: Submission) -> None:
    with Wire(submission.submission_port) as wire:
        for _ in range(100):
            reply = wire.say("FROBNICATE")
            if reply.startswith("421 "):
                break
        assert reply.startswith("421 4.7.0 ")
        assert wire.is_closed()


def test_a_line_without_end_is_cut_off(submission: Submission) -> None:
    with Wire(submission.submission_port) as wire:
        try:
            for _ in range(64):
                wire.send("x" * 65536)
        except OSError:
            return  # closed while we were sending
        assert wire.reply()[:3] in ("500", "421")
