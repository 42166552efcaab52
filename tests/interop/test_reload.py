"""SIGHUP and SIGTERM while somebody is in the middle of a message."""

from __future__ import annotations

import os
import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.certificates import Authority
from tests.interop.fixtures import PASSWORD
from tests.interop.instance import Instance
from tests.interop.processes import wait_for
from tests.interop.wire import Wire, plain


@pytest.fixture
def running(new_place: Callable[[str], Path], authority: Authority) -> Iterator[Instance]:
    pair = authority.issue("mail.home.test", "127.0.0.1")
    instance = Instance(new_place("reload"), pair, authority.certificate)
    instance.initialize()
    instance.start()
    yield instance
    assert instance.stop() == 0
    assert "Traceback" not in instance.daemon.output()


def certificate_served(instance: Instance) -> str:
    return ssl.get_server_certificate(("127.0.0.1", instance.submissions_port))


def test_a_reload_brings_the_new_certificate_and_domains_and_drops_nobody(
    running: Instance, authority: Authority
) -> None:
    server = running.add_account("rin@home.test", PASSWORD)
    running.did("account", "add", "rin@added.test", text=PASSWORD + "\n")
    old = certificate_served(running)
    with Wire(server.submission_port).login(server) as wire:
        wire.say("MAIL FROM:<rin@home.test>")
        wire.say("RCPT TO:<rin@home.test>")
        wire.say("DATA")
        wire.send("From: rin@home.test\r\nSubject: before\r\n")

        pair = authority.issue("renewed.home.test", "mail.home.test", "127.0.0.1")
        running.write(
            {
                "tls": {"certificate": str(pair.certificate), "key": str(pair.key)},
                "local": {"domains": ["home.test", "added.test"]},
            }
        )
        running.reload()
        wait_for("the new certificate", lambda: certificate_served(running) != old)

        wire.send("\r\nand after\r\n.\r\n")
        assert wire.reply().startswith("250 2.0.0 ")
        assert wire.say("NOOP").startswith("250 ")
    assert ssl.PEM_cert_to_DER_cert(certificate_served(running)) == ssl.PEM_cert_to_DER_cert(
        pair.certificate.read_text()
    )
    with Wire(server.submission_port).login(server) as wire:
        content = b"From: rin@home.test\r\nSubject: to the new domain\r\n\r\nhello\r\n"
        assert wire.deliver("rin@home.test", ["rin@added.test"], content).startswith("250 ")
    running.mailbox("rin@added.test").wait()


def test_account_changes_count_without_a_reload(running: Instance) -> None:
    server = running.add_account("rin@home.test", PASSWORD)
    with Wire(server.submission_port).login(server):
        pass
    running.did("account", "suspend", "rin@home.test")
    with Wire(server.submission_port, source="127.0.4.1").secured(server) as wire:
        assert wire.say(f"AUTH PLAIN {plain(server.login, PASSWORD)}")[:3] in ("535", "525")
    running.did("account", "resume", "rin@home.test")
    running.did("account", "passwd", "rin@home.test", text="another long password\n")
    with Wire(server.submission_port, source="127.0.4.1").secured(server) as wire:
        assert wire.say(f"AUTH PLAIN {plain(server.login, PASSWORD)}").startswith("535 ")
        assert wire.say(f"AUTH PLAIN {plain(server.login, 'another long password')}").startswith("235 ")


def test_a_stop_lets_the_message_under_way_finish(running: Instance) -> None:
    server = running.add_account("rin@home.test", PASSWORD)
    with Wire(server.submission_port).login(server) as wire, Wire(running.mx_port) as idle:
        wire.say("MAIL FROM:<rin@home.test>")
        wire.say("RCPT TO:<rin@home.test>")
        wire.say("DATA")
        wire.send("From: rin@home.test\r\nSubject: last\r\n\r\n")
        os.kill(running.supervisor, signal.SIGTERM)
        assert idle.reply().startswith("421 4.3.2 ")
        wire.send("hello\r\n.\r\n")
        assert wire.reply().startswith("250 2.0.0 ")
        assert wire.reply().startswith("421 4.3.2 ")
    assert running.daemon.wait(seconds=20) == 0
    running.start()  # what was accepted at the last moment is there
    running.mailbox("rin@home.test").wait()
