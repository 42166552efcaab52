"""App passwords and the second factor with a running service: its portal, its commands, and real mail clients."""

from __future__ import annotations

import base64
import re
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.interop.certificates import Authority
from tests.interop.clients import python_smtplib, swaks
from tests.interop.instance import Instance
from tests.interop.letter import Letter, Submission
from tests.interop.processes import free_port

from sekisho.accounts.totp import PERIOD, code_at

PASSWORD = "correct horse battery"
GENERATED = re.compile(r"(?:[a-km-np-z2-9]{4}-){3}[a-km-np-z2-9]{4}")


@pytest.fixture(scope="module")
def service(new_place: Callable[[str], Path], authority: Authority) -> Iterator[tuple[Instance, Submission, int]]:
    port = free_port()
    guide = {"name_ja": "情報センター", "name_en": "Center", "contact_ja": "窓口", "contact_en": "help desk"}
    changes = {"portal": {"addresses": [f"127.0.0.1:{port}"]}, "guide": guide}
    instance = Instance(
        new_place("app-passwords"),
        authority.issue("mail.home.test", "127.0.0.1"),
        authority.certificate,
        changes=changes,
    )
    instance.initialize()
    submission = instance.add_account("rin@home.test", PASSWORD)
    instance.start()
    yield instance, submission, port
    assert instance.stop() == 0
    assert "Traceback" not in instance.daemon.output()


def log_in(submission: Submission, *, implicit_tls: bool, mechanism: str = "plain") -> tuple[int, str]:
    """Return what the service says to a login."""
    trust = ssl.create_default_context(cafile=str(submission.authority))
    client: smtplib.SMTP
    if implicit_tls:
        client = smtplib.SMTP_SSL(submission.host, submission.submissions_port, timeout=20, context=trust)
    else:
        client = smtplib.SMTP(submission.host, submission.submission_port, timeout=20)
        client.starttls(context=trust)
    with client:
        client.ehlo()
        client.user, client.password = submission.login, submission.password
        try:
            code, text = client.auth(mechanism, getattr(client, f"auth_{mechanism}"))
        except smtplib.SMTPAuthenticationError as error:
            code, text = error.smtp_code, error.smtp_error  # type: ignore[assignment]  # octets, whatever it is declared
        return code, text.decode()


def app_password(instance: Instance, label: str) -> str:
    found = GENERATED.search(instance.did("account", "app-password", "add", "rin@home.test", label))
    assert found
    return found[0]


@pytest.mark.parametrize("implicit_tls", [False, True])
@pytest.mark.parametrize("client", [swaks, python_smtplib])
def test_a_client_sends_with_an_app_password(
    service: tuple[Instance, Submission, int],
    scratch: Path,
    client: Callable[[Submission, Letter, Path, bool, str | None], None],
    implicit_tls: bool,
) -> None:
    instance, submission, _ = service
    own = replace(submission, password=app_password(instance, f"{client.__name__} {implicit_tls}"))
    letter = Letter("rin@home.test", "rin@home.test", f"{client.__name__} {implicit_tls}")
    client(own, letter, scratch, implicit_tls, "PLAIN")
    event = instance.wait_for_event(event="auth.accepted")
    assert isinstance(event["app_password"], int)


def test_one_that_is_revoked_is_refused_at_the_next_login_and_ends_open_sessions_within_a_second(
    service: tuple[Instance, Submission, int],
) -> None:
    instance, submission, _ = service
    own = replace(submission, password=app_password(instance, "lost telephone"))
    trust = ssl.create_default_context(cafile=str(submission.authority))
    with smtplib.SMTP_SSL(own.host, own.submissions_port, timeout=20, context=trust) as client:
        client.login(own.login, own.password)
        assert client.mail("rin@home.test")[0] == 250
        client.rset()
        number = instance.did("account", "app-password", "list", "rin@home.test").splitlines()[1].split()[0]
        instance.did("account", "app-password", "remove", "rin@home.test", number)
        assert log_in(own, implicit_tls=True)[0] == 535
        time.sleep(1.1)
        assert client.mail("rin@home.test")[0] == 421


def test_with_the_second_factor_switched_on_in_the_portal_the_password_itself_sends_no_more(
    service: tuple[Instance, Submission, int],
) -> None:
    instance, submission, port = service
    own = replace(submission, password=app_password(instance, "laptop"))
    assert log_in(submission, implicit_tls=True)[0] == 235
    secret = _switch_on(instance, port)
    wrong = replace(submission, password="not the password")
    for implicit_tls in (False, True):
        for mechanism in ("plain", "login"):
            refused = log_in(submission, implicit_tls=implicit_tls, mechanism=mechanism)
            assert refused[0] == 535
            assert refused == log_in(wrong, implicit_tls=implicit_tls, mechanism=mechanism)
        assert log_in(own, implicit_tls=implicit_tls)[0] == 235
    assert instance.wait_for_event(event="auth.refused", reason="app-password-required")["account"] == "rin@home.test"
    assert secret not in (instance.data / "accounts.sqlite").read_bytes()
    assert "on since" in instance.did("account", "totp", "status", "rin@home.test")
    instance.did("account", "totp", "off", "rin@home.test")
    assert log_in(submission, implicit_tls=True)[0] == 235


def _switch_on(instance: Instance, port: int) -> bytes:
    """Set the second factor up as a person does."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Host": instance.hostname}) as browser:

        def send(path: str, form_at: str, **fields: str) -> httpx.Response:
            page = browser.get(f"/en/account/{form_at}")
            token = re.search(r'name="form_token" value="([^"]+)"', page.text)
            assert token, page.text
            return browser.post(f"/en/account/{path}", data={"form_token": token[1], **fields})

        assert send("login", "login", username="rin", password=PASSWORD).status_code == 303
        assert send("factor/begin", "factor", password=PASSWORD).status_code == 303
        shown = re.search(r"((?:[A-Z2-7]{4} ){7}[A-Z2-7]{4})", browser.get("/en/account/factor/confirm").text)
        assert shown
        secret = base64.b32decode(shown[1].replace(" ", ""))
        answer = send("factor/confirm", "factor/confirm", code=code_at(secret, int(time.time()) // PERIOD))
        assert answer.status_code == 200
        assert len(GENERATED.findall(answer.text)) == 10
    return secret
