"""A running service, real mail and real failures, and an operator who sees them in the portal and acts on the queue."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import smtplib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.interop.certificates import Authority
from tests.interop.instance import Instance
from tests.interop.letter import Letter, Submission
from tests.interop.processes import free_port, run, wait_for
from tests.interop.wire import Wire, plain

PASSWORD = "correct horse battery"
EXPRESS = "Microsoft Outlook Express 6.00.2900.5931"


class Operator:
    """A service with a portal, and the browser of an operator in it."""

    def __init__(self, instance: Instance, submission: Submission, port: int) -> None:
        self.instance = instance
        self.submission = submission
        self.browser = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)

    def log_in(self) -> None:
        page = self.browser.get("/en/account/login?next=/en/operator/")
        fields = hidden(page.text) | {"username": "mika@home.test", "password": PASSWORD}
        answer = self.browser.post("/en/account/login", data=fields)
        assert answer.headers.get("location") == "/en/operator/", answer.text

    def page(self, path: str) -> str:
        answer = self.browser.get(f"/en/operator/{path}")
        assert answer.status_code == 200, answer.text
        return answer.text

    def shows(self, path: str, *words: str) -> str:
        """Return the page once it shows all of *words*: the portal follows the log, a second late."""

        def found() -> str:
            text = self.page(path)
            return text if all(each in text for each in words) else ""

        return wait_for(f"{words} on operator/{path}", found)

    def sends(self, recipient: str, **fields: str) -> None:
        """Send a letter with further header *fields* over STARTTLS."""
        own = self.submission
        letter = Letter(own.login, recipient).octets()
        extra = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in fields.items()).encode()
        with smtplib.SMTP(own.host, own.submission_port, timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(own.authority)))
            client.login(own.login, own.password)
            client.sendmail(own.login, [recipient], (extra + letter).replace(b"\n", b"\r\n"))


def hidden(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page))


@pytest.fixture(scope="module")
def operator(new_place: Callable[[str], Path], authority: Authority) -> Iterator[Operator]:
    port = free_port()
    changes: dict[str, object] = {
        "portal": {"addresses": [f"127.0.0.1:{port}"]},
        "guide": {"name_ja": "情報センター", "name_en": "Center", "contact_ja": "窓口", "contact_en": "help desk"},
        "dns": {"servers": [f"127.0.0.1:{free_port()}"], "timeout": "1s"},  # nobody there: mail elsewhere is deferred
    }
    pair = authority.issue("mail.home.test", "old.home.test", "127.0.0.1")
    instance = Instance(new_place("operator"), pair, authority.certificate, changes=changes)
    instance.initialize()
    submission = instance.add_account("rin@home.test", PASSWORD)
    instance.add_account("mika@home.test", PASSWORD)
    instance.did("account", "change", "mika@home.test", "--operator")
    instance.start()
    found = Operator(instance, submission, port)
    found.log_in()
    yield found
    found.browser.close()
    assert instance.stop() == 0
    assert "Traceback" not in instance.daemon.output()


def test_a_service_that_works_is_well_and_says_so_to_a_monitor(operator: Operator) -> None:
    page = operator.shows("", "Mail is being taken and kept", "All of them answer (2)")
    assert "Nothing waits" in page or "has been waiting" in page
    stranger = httpx.get(operator.browser.base_url.join("/health"), trust_env=False)
    assert (stranger.status_code, stranger.json()) == (200, {"status": "ok"})
    told = operator.browser.get("/en/operator/health.json").json()
    assert {each["name"] for each in told["checks"]} >= {"mail", "queue", "disk", "certificate", "log"}


def test_an_ordinary_account_does_not_get_in(operator: Operator) -> None:
    with httpx.Client(base_url=operator.browser.base_url, trust_env=False) as browser:
        fields = hidden(browser.get("/en/account/login").text) | {"username": "rin@home.test", "password": PASSWORD}
        assert browser.post("/en/account/login", data=fields).status_code == 303
        assert browser.get("/en/operator/").status_code == 403


def test_who_sends_with_an_old_program_and_to_an_old_name_is_named(operator: Operator) -> None:
    operator.sends("rin@home.test", X_Mailer=EXPRESS)
    assert operator.instance.wait_for_event(event="message.accepted", agent=EXPRESS)
    operator.shows("old/clients", "rin@home.test", EXPRESS, "/en/clients/oe-6.html")
    context = ssl.create_default_context(cafile=str(operator.submission.authority))
    with smtplib.SMTP("127.0.0.1", operator.submission.submission_port, timeout=20) as client:
        client._host = "old.home.test"  # type: ignore[attr-defined]  # the name it asks for by TLS
        client.starttls(context=context)
        client.login("rin@home.test", PASSWORD)
    operator.shows("old/names", "rin@home.test", "old.home.test")
    assert "rin@home.test" in operator.browser.get("/en/operator/old/names.csv").text


def test_failures_are_shown_with_their_reasons(operator: Operator) -> None:
    submission = operator.submission
    with Wire(submission.submissions_port, tls=submission.authority) as wire:
        wire.say("EHLO vm")
        assert wire.say(f"AUTH PLAIN {plain('rin@home.test', 'wrong')}").startswith("535")
    client = ["openssl", "s_client", "-connect", f"127.0.0.1:{submission.submissions_port}"]
    run([*client, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"])
    run([*client, "-verify_return_error"])
    with Wire(operator.instance.mx_port) as wire:
        wire.say("EHLO vm")
        wire.say("MAIL FROM:<rin@home.test>")
        assert wire.say("RCPT TO:<kei@elsewhere.test>").startswith("550")
    operator.shows(
        "failures", "wrong name or password", "TLS too old", "certificate not accepted", "relay without login"
    )
    only = operator.shows("failures?reason=tls.version", "UNSUPPORTED_PROTOCOL")
    assert "relay without login</td>" not in only
    operator.shows("old/port25", "127.0.0.1", "tried to send elsewhere", "rin@home.test")


def test_a_message_that_waits_is_held_released_and_deleted_from_its_page(operator: Operator) -> None:
    operator.sends("kei@elsewhere.test")
    waiting = operator.shows("queue", "elsewhere.test")
    queue_id = re.findall(r'name="m-([0-9A-Z]+)"', waiting)[-1]
    operator.instance.wait_for_event(event="delivery.deferred", queue_id=queue_id)
    page = operator.shows(f"queue/{queue_id}", "kei@elsewhere.test", "message.accepted", "delivery.deferred")
    for verb, then in (("hold", "release"), ("release", "hold"), ("delete", None)):
        chosen = hidden(page) | {f"m-{queue_id}": "1", "verb": verb}
        asked = operator.browser.post("/en/operator/queue/confirm", data=chosen)
        done = operator.browser.post("/en/operator/queue/change", data=hidden(asked.text))
        assert done.status_code == 303, done.text
        event = operator.instance.wait_for_event(queue_id=queue_id, by="mika@home.test")
        assert event["event"] in ("queue.held", "queue.released", "queue.deleted")
        page = operator.page(f"queue/{queue_id}")
        assert then is None or f'name="verb" value="{then}"' in page
    assert "elsewhere.test" not in operator.instance.did("queue", "list")


def test_with_the_mail_processes_gone_the_pages_say_so(operator: Operator) -> None:
    """They hang here: that is not what the supervisor would heal at once."""
    started = operator.instance.events(event="worker.started")
    mail = [int(str(each["pid"])) for each in started if int(str(each["number"])) >= 0]
    for pid in mail:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        wait_for("the monitor to hear it", lambda: operator.browser.get("/health").status_code == 503, seconds=20)
        assert "None answers" in operator.page("")
    finally:
        for pid in mail:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    wait_for("the monitor to hear it", lambda: operator.browser.get("/health").status_code == 200, seconds=20)
