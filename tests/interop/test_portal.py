"""The portal as `sekisho serve` runs it: alone with TLS, behind a web server, through reload, death and drain."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.interop.certificates import Authority
from tests.interop.fixtures import PASSWORD
from tests.interop.instance import Instance
from tests.interop.processes import free_port, wait_for
from tests.interop.wire import Wire

PORTAL = -3  # number of its process in the event log
NAMES = ("mail.home.test", "autoconfig.home.test", "127.0.0.1")


class Portal:
    """A running service with a portal."""

    def __init__(self, instance: Instance, authority: Authority, port: int, *, tls: bool) -> None:
        self.instance = instance
        self.port = port
        context: ssl.SSLContext | bool = False
        if tls:
            context = ssl.create_default_context(cafile=str(authority.certificate))
        self.browser = httpx.Client(
            base_url=f"http{'s' if tls else ''}://127.0.0.1:{port}", verify=context, trust_env=False, timeout=10
        )

    def get(self, path: str, host: str = "mail.home.test", **headers: str) -> httpx.Response:
        fields = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.browser.get(path, headers=fields)

    def pids(self) -> list[int]:
        """Every process that the portal has had, the present one last."""
        return [int(str(each["pid"])) for each in self.instance.events(event="worker.started", number=PORTAL)]

    def is_well(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.get("/health").status_code == 200
        return False


@pytest.fixture
def start(new_place: Callable[[str], Path], authority: Authority) -> Iterator[Callable[..., Portal]]:
    """Return a function that starts a service whose portal has the given settings."""
    running: list[Portal] = []

    def begin(*, tls: bool, changes: dict[str, object] | None = None, **portal: object) -> Portal:
        port = free_port()
        own = {"addresses": [f"127.0.0.1:{port}"], "tls": "on" if tls else "off", **portal}
        settings: dict[str, object] = {"portal": own, "incoming": {"imap": "imap.home.test"}, **(changes or {})}
        pair = authority.issue(*NAMES)
        instance = Instance(new_place("portal"), pair, authority.certificate, changes=settings)
        instance.initialize()
        instance.start()
        found = Portal(instance, authority, port, tls=tls)
        running.append(found)
        wait_for("the portal to answer", found.is_well)
        return found

    yield begin
    for each in running:
        each.browser.close()
        if each.instance.daemon.is_running():
            assert each.instance.stop() == 0
        output = each.instance.daemon.output()
        assert "Traceback" not in output, output


def test_alone_with_tls_it_serves_pages_and_automatic_configuration(start: Callable[..., Portal]) -> None:
    portal = start(tls=True)
    front = portal.get("/", accept_language="en")
    assert (front.status_code, front.headers["location"]) == (302, "/en/")
    assert front.headers["strict-transport-security"]
    assert "server" not in front.headers
    page = portal.get("/en/")
    assert page.status_code == 200
    assert portal.instance.hostname in page.text
    config = portal.get("/mail/config-v1.1.xml", host="autoconfig.home.test")
    assert config.content == portal.instance.cli("autoconfig", "show", "thunderbird").stdout
    assert portal.get("/en/", host="evil.example").status_code == 421
    login = portal.get("/en/account/")
    assert login.status_code in (200, 303)


def test_a_browser_that_speaks_plain_http_to_tls_is_turned_away_and_others_are_served(
    start: Callable[..., Portal],
) -> None:
    portal = start(tls=True)
    with socket.create_connection(("127.0.0.1", portal.port)) as plain:
        plain.settimeout(10)
        plain.sendall(b"GET / HTTP/1.1\r\nHost: mail.home.test\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"200 OK" not in plain.recv(4096)
    assert portal.is_well()


def test_behind_a_web_server_the_visitor_is_who_that_server_says(start: Callable[..., Portal]) -> None:
    portal = start(tls=False, trusted_proxies=["127.0.0.0/8"], requests_per_minute=10)
    told = {"x_forwarded_for": "203.0.113.9", "x_forwarded_proto": "https"}
    assert "strict-transport-security" in portal.get("/en/", **told).headers
    assert "strict-transport-security" not in portal.get("/en/").headers
    statuses = [portal.get("/en/x", **told).status_code for _ in range(12)]
    assert statuses.count(429) >= 2
    other = {**told, "x_forwarded_for": "203.0.113.10"}
    assert portal.get("/en/x", **other).status_code == 404, "each visitor has a limit of his own"
    forged = {**told, "x_forwarded_for": "198.51.100.1, 203.0.113.9"}
    assert portal.get("/en/x", **forged).status_code == 429, "what he wrote himself does not free him of it"
    event = portal.instance.wait_for_event(event="portal.limited")
    assert event["client"] == "203.0.113.9"


def test_on_this_machine_without_a_trusted_proxy_a_forged_header_opens_nothing(start: Callable[..., Portal]) -> None:
    portal = start(tls=False)
    direct = portal.get("/en/account/login", host="localhost")
    forged = portal.get("/en/account/login", host="localhost", x_forwarded_for="127.0.0.1", x_forwarded_proto="https")
    assert direct.status_code == 200
    assert "password" in direct.text
    assert 'type="password"' not in forged.text


def test_a_reload_brings_new_words_and_a_new_certificate(start: Callable[..., Portal], authority: Authority) -> None:
    portal = start(tls=True)
    instance = portal.instance
    before = ssl.get_server_certificate(("127.0.0.1", portal.port))
    (pid,) = portal.pids()
    assert "Example Center" not in portal.get("/en/").text
    pair = authority.issue(*NAMES)
    told = {"name_ja": "例示センター", "name_en": "Example Center", "contact_ja": "窓口", "contact_en": "desk"}
    instance.write({"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}, "guide": told})
    instance.reload()
    wait_for("the new name", lambda: "Example Center" in portal.get("/en/").text)
    assert ssl.get_server_certificate(("127.0.0.1", portal.port)) != before
    assert portal.pids() == [pid], "by the same process"


def test_a_reload_with_mistakes_keeps_the_old_pages(start: Callable[..., Portal]) -> None:
    portal = start(tls=False)
    portal.instance.write({"portal": {"logoo": "x"}})
    portal.instance.reload()
    wait_for("the refusal", lambda: "nothing was reloaded" in portal.instance.daemon.output())
    assert portal.is_well()


def test_a_portal_that_is_killed_comes_back_while_mail_goes_on(start: Callable[..., Portal]) -> None:
    portal = start(tls=False)
    instance = portal.instance
    server = instance.add_account("rin@home.test", PASSWORD)
    form = portal.get("/en/account/login", host="localhost")
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', form.text)
    assert token is not None
    with Wire(server.submission_port).login(server) as wire:
        wire.say("MAIL FROM:<rin@home.test>")
        os.kill(portal.pids()[-1], signal.SIGKILL)
        assert wire.say("RCPT TO:<rin@home.test>").startswith("250 ")
        wire.say("DATA")
        assert wire.say("From: rin@home.test\r\nSubject: meanwhile\r\n\r\nstill here\r\n.").startswith("250 2.0.0 ")
        wait_for("the portal to be replaced", lambda: len(portal.pids()) == 2)
        wait_for("the portal to answer", portal.is_well)
        assert wire.say("NOOP").startswith("250 ")
    fields = {"form_token": token[1], "username": "rin@home.test", "password": "wrong"}
    answer = portal.browser.post("/en/account/login", data=fields, headers={"host": "localhost"})
    assert "Please send that once more" not in answer.text, "a form that was open meanwhile still counts"
    assert "login" in answer.text
    assert len(instance.events(event="worker.died", number=PORTAL)) >= 1


def test_stopping_the_service_ends_the_portal_within_its_time(start: Callable[..., Portal]) -> None:
    portal = start(tls=False)
    with socket.create_connection(("127.0.0.1", portal.port)) as half:
        half.sendall(b"POST /en/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nhalf")
        begun = time.monotonic()
        assert portal.instance.stop() == 0
        assert time.monotonic() - begun < 8
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", portal.port))


def test_a_port_that_is_taken_is_told_with_its_setting_and_nothing_starts(
    new_place: Callable[[str], Path], authority: Authority
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        changes = {"portal": {"addresses": [f"127.0.0.1:{port}"]}}
        instance = Instance(new_place("taken"), authority.issue(*NAMES), authority.certificate, changes=changes)
        instance.initialize()
        done = instance.cli("serve")
    assert done.returncode == 1
    assert f"portal.addresses: cannot listen on 127.0.0.1:{port}" in done.stderr.decode()


def test_mail_processes_do_not_carry_the_web_server(start: Callable[..., Portal]) -> None:
    portal = start(tls=False)
    (pid,) = portal.pids()
    mail = [each for each in portal.instance.workers() if each != pid]
    assert len(mail) == 2
    for name in ("httptools", "markupsafe"):  # parts of the portal's libraries that are mapped as files
        assert not any(name in Path(f"/proc/{each}/maps").read_text() for each in mail)
    assert "_speedups" in Path(f"/proc/{pid}/maps").read_text(), "the portal itself has MarkupSafe's"


def test_the_portal_has_the_rights_of_a_mail_process(start: Callable[..., Portal]) -> None:
    portal = start(tls=False)
    (pid,) = portal.pids()
    mail = next(each for each in portal.instance.workers() if each != pid)

    def rights(process: int) -> list[str]:
        wanted = ("Uid:", "Gid:", "Groups:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Umask:")
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return [line for line in lines if line.startswith(wanted)]

    assert rights(pid) == rights(mail)
    limits = [Path(f"/proc/{each}/limits").read_text() for each in (pid, mail)]
    assert limits[0] == limits[1]


def test_under_load_pages_give_way_to_mail_and_mail_does_not_interrupt_itself(start: Callable[..., Portal]) -> None:
    portal = start(tls=False)
    (pid,) = portal.pids()
    mail = [each for each in portal.instance.workers() if each != pid]
    assert os.getpriority(os.PRIO_PROCESS, pid) > max(os.getpriority(os.PRIO_PROCESS, each) for each in mail)
    assert {os.sched_getscheduler(each) for each in (pid, *mail)} == {os.SCHED_BATCH}
