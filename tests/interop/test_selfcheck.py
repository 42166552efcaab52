"""Real failures of real clients at a real service, and what its self-check tells the line that they came from.

Each failure comes from a loopback address of its own, so that each is a line of its own; the page is asked for from
there.
"""

from __future__ import annotations

import http.client
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.certificates import Authority
from tests.interop.fixtures import NewPlace
from tests.interop.instance import Instance
from tests.interop.letter import Letter, Submission
from tests.interop.processes import free_port, run
from tests.interop.programs import need
from tests.interop.zone import Dns

LIMIT = 64 * 1024
RIN = "rin@home.test"


class Provider:
    """The service with its portal."""

    def __init__(self, instance: Instance, portal: int, submission: Submission) -> None:
        self.instance = instance
        self.portal = portal
        self.submission = submission

    def get(self, path: str, address: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.portal, timeout=20, source_address=(address, 0))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, text
            return text
        finally:
            connection.close()

    def findings(self, address: str) -> dict[str, str]:
        """Return tone by kind, in the order of the page."""
        return {kind: tone for tone, kind in re.findall(r'class="finding (\w+)" id="([a-z0-9-]+)"', self.page(address))}

    def page(self, address: str) -> str:
        return self.get("/en/check/line", address)

    def first(self, address: str, wanted: str) -> tuple[str, str]:
        """Return kind and tone of the first finding, once the log has told the portal of what happened."""
        end = time.monotonic() + 10
        while True:
            found = self.findings(address)
            if wanted in found or time.monotonic() > end:
                return next(iter(found.items()))
            time.sleep(0.1)


@pytest.fixture(scope="module")
def provider(new_place: NewPlace, authority: Authority, dns: Dns) -> Iterator[Provider]:
    portal = free_port()
    changes = {
        "portal": {"addresses": [f"127.0.0.1:{portal}"]},
        "listener": {"submission": {"max_message_size": LIMIT}, "submissions": {"max_message_size": LIMIT}},
        "dns": {"servers": [f"127.0.0.1:{dns.port}"]},
        "policy": {"auth_failures_per_address": 3},
    }
    instance = Instance(new_place("selfcheck"), authority.issue("mail.home.test", "127.0.0.1"), authority.certificate)
    instance.write(changes)
    instance.initialize()
    submission = instance.add_account(RIN, "correct horse battery")
    instance.start()
    made = Provider(instance, portal, submission)
    try:
        _wait_for_port(portal)
        yield made
    finally:
        instance.stop()


def _wait_for_port(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, "the portal does not listen"
            time.sleep(0.1)
        else:
            return


def client(provider: Provider, address: str, *, tls: bool = True) -> smtplib.SMTP:
    smtp = smtplib.SMTP("127.0.0.1", provider.submission.submission_port, timeout=20, source_address=(address, 0))
    if tls:
        smtp.starttls(context=ssl.create_default_context(cafile=str(provider.submission.authority)))
    smtp.ehlo("vm")
    return smtp


def test_a_wrong_password(provider: Provider, scratch: Path) -> None:
    """And, S-X6 aside: nobody can tell from the page whether the account exists."""
    pages = []
    for address, login in (("127.0.0.11", RIN), ("127.0.0.12", "nobody@home.test")):
        command = [need("swaks"), "--server", "127.0.0.1", "--port", str(provider.submission.submission_port), "--tls"]
        command += ["--local-interface", f"{address}:0", "--auth", "PLAIN", "--auth-user", login, "--helo", "vm"]
        command += ["--auth-password", "wrong", "--from", RIN, "--to", RIN]
        assert run(command).returncode != 0
        assert provider.first(address, "wrong-password") == ("wrong-password", "certain")
        pages.append(_timeless(provider.page(address)).replace(address, "ADDRESS"))
    assert pages[0] == pages[1]
    assert RIN not in pages[0]


def _timeless(page: str) -> str:
    return re.sub(r"[A-Z][a-z]{2} \d{1,2}, \d\d:\d\d [A-Z]+", "TIME", page)


def test_a_user_name_of_another_provider(provider: Provider) -> None:
    with client(provider, "127.0.0.13") as smtp, pytest.raises(smtplib.SMTPAuthenticationError):
        smtp.login("rin@elsewhere.test", "wrong")
    assert provider.first("127.0.0.13", "user-name-form") == ("user-name-form", "certain")


def test_too_many_wrong_passwords(provider: Provider) -> None:
    for number in range(5):
        with client(provider, "127.0.0.14") as smtp, pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login("ken@home.test", f"wrong {number}")
    assert provider.first("127.0.0.14", "throttled") == ("throttled", "certain")


def test_a_password_before_tls(provider: Provider) -> None:
    with client(provider, "127.0.0.15", tls=False) as smtp:
        assert smtp.docmd("AUTH", "PLAIN AHJpbgB4")[0] in (530, 538)
    assert provider.first("127.0.0.15", "cleartext") == ("cleartext", "certain")


def test_no_login(provider: Provider) -> None:
    with client(provider, "127.0.0.16") as smtp:
        assert smtp.mail(RIN)[0] == 530
    assert provider.first("127.0.0.16", "no-auth") == ("no-auth", "certain")


def test_a_mechanism_that_is_not_offered(provider: Provider) -> None:
    with client(provider, "127.0.0.17") as smtp:
        assert smtp.docmd("AUTH", "NTLM")[0] == 504
    assert provider.first("127.0.0.17", "mechanism") == ("mechanism", "certain")


@pytest.mark.parametrize(("address", "starttls"), [("127.0.0.18", True), ("127.0.0.19", False)])
def test_a_program_that_knows_old_tls_only(provider: Provider, address: str, starttls: bool) -> None:
    port = provider.submission.submission_port if starttls else provider.submission.submissions_port
    command = [need("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-bind", f"{address}:0", "-tls1"]
    command += ["-cipher", "DEFAULT@SECLEVEL=0", *(["-starttls", "smtp"] if starttls else [])]
    assert run(command).returncode != 0
    assert provider.first(address, "tls-too-old") == ("tls-too-old", "certain")


def test_a_program_that_does_not_trust_the_certificate(provider: Provider) -> None:
    smtp = client(provider, "127.0.0.20", tls=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        smtp.starttls(context=ssl.create_default_context())
    smtp.close()
    assert provider.first("127.0.0.20", "certificate") == ("certificate", "certain")


def test_a_sender_that_is_not_the_accounts(provider: Provider) -> None:
    with client(provider, "127.0.0.21") as smtp:
        smtp.login(RIN, provider.submission.password)
        assert smtp.mail("somebody@home.test")[0] == 550
    assert provider.first("127.0.0.21", "sender") == ("sender", "certain")
    assert "somebody" not in provider.page("127.0.0.21")


def test_a_message_that_is_too_big(provider: Provider) -> None:
    with client(provider, "127.0.0.22") as smtp:
        smtp.login(RIN, provider.submission.password)
        with pytest.raises(smtplib.SMTPResponseException) as caught:
            smtp.sendmail(RIN, [RIN], Letter(RIN, RIN, text="x" * 60 + "\n" * 2 * LIMIT).wire())
    assert caught.value.smtp_code == 552
    assert provider.first("127.0.0.22", "too-big") == ("too-big", "certain")


def test_a_recipient_that_does_not_exist(provider: Provider) -> None:
    with client(provider, "127.0.0.23") as smtp:
        smtp.login(RIN, provider.submission.password)
        smtp.mail(RIN)
        assert smtp.rcpt("nobody@home.test")[0] == 550
    assert provider.first("127.0.0.23", "recipient") == ("recipient", "certain")


def test_a_program_that_still_goes_to_port_25(provider: Provider) -> None:
    """S-17."""
    with smtplib.SMTP("127.0.0.1", provider.instance.mx_port, timeout=20, source_address=("127.0.0.24", 0)) as smtp:
        smtp.ehlo("vm")
        smtp.mail(RIN)
        assert smtp.rcpt("friend@elsewhere.test")[0] == 550
    assert provider.first("127.0.0.24", "still-port-25") == ("still-port-25", "certain")


def test_tls_where_the_clear_is_spoken_and_the_reverse(provider: Provider) -> None:
    with socket.create_connection(
        ("127.0.0.1", provider.submission.submissions_port), timeout=20, source_address=("127.0.0.25", 0)
    ) as plain:
        plain.sendall(b"EHLO vm\r\n")
        plain.recv(1000)
    assert provider.first("127.0.0.25", "wrong-security") == ("wrong-security", "certain")


def test_a_letter_that_was_sent_and_then_a_failure_make_a_story(provider: Provider) -> None:
    """S-113."""
    with client(provider, "127.0.0.26") as smtp:
        smtp.login(RIN, provider.submission.password)
        smtp.sendmail(RIN, [RIN], Letter(RIN, RIN).wire())
    assert provider.first("127.0.0.26", "all-well") == ("all-well", "good")
    time.sleep(0.01)
    with client(provider, "127.0.0.26") as smtp, pytest.raises(smtplib.SMTPAuthenticationError):
        smtp.login(RIN, "wrong")
    assert provider.first("127.0.0.26", "wrong-password") == ("wrong-password", "certain")
    page = provider.page("127.0.0.26")
    assert "sending worked" in page
    assert "failed for the first time" in page


def test_who_has_done_nothing_is_told_that_nothing_came(provider: Provider) -> None:
    assert next(iter(provider.findings("127.0.0.99"))) == "port-25-elsewhere"
