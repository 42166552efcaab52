"""The peers of a test run, each started when the first test asks for it and stopped at the end."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .certificates import Authority
from .dovecot import Dovecot
from .instance import Instance
from .letter import Submission
from .postfix import Postfix, next_hop_settings, smarthost_client_settings
from .processes import free_port
from .zone import Dns

__all__ = [
    "PASSWORD",
    "authority",
    "box",
    "cram_submission",
    "dns",
    "dovecot",
    "mx_port",
    "new_place",
    "next_hop",
    "other",
    "scratch",
    "sekisho",
    "smarthost_client",
    "smarthost_submission",
    "submission",
]

PASSWORD = "correct horse battery"

RECORDS = """\
next MX 10 mx.next
mx.next A 127.0.0.1
home MX 10 mail.home
mail.home A 127.0.0.1
aonly A 127.0.0.1
nullmx MX 0 .
dead MX 5 dead.next
dead MX 10 mx.next
dead.next A 127.0.0.9
six MX 10 six.next
six.next AAAA ::1
alias CNAME next
nohost MX 10 nowhere.next
looped MX 10 mail.home
"""

# Way of logging in → domain of which nothing is in DNS: only a route leads there.
WAYS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "best", "implicit")
ROUTED = {way: f"{way.lower()}.routed.test" for way in WAYS}

FOUND_BY_DNS = ("next.test", "aonly.test", "dead.test", "six.test", "alias.test")
NEXT_HOP_DOMAINS = ", ".join((*FOUND_BY_DNS, *ROUTED.values(), "wrong.routed.test", "clear.routed.test"))

NewPlace = Callable[[str], Path]


@pytest.fixture(scope="session")
def new_place() -> Iterator[NewPlace]:
    """Make directories that the users of the daemons may enter, with paths short enough for sockets."""
    base = Path(tempfile.mkdtemp(prefix="sekisho-test-"))
    base.chmod(0o755)
    count = itertools.count()

    def make(name: str) -> Path:
        place = base / f"{name}{next(count)}"
        place.mkdir()
        return place

    yield make
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def scratch(new_place: NewPlace) -> Path:
    """A directory for one test."""
    return new_place("scratch")


@pytest.fixture(scope="session")
def box() -> Callable[[], str]:
    """Make names for mailboxes at the next hop that nobody else uses."""
    count = itertools.count()
    return lambda: str(next(count))


@pytest.fixture(scope="session")
def authority(new_place: NewPlace) -> Authority:
    return Authority(new_place("ca"))


@pytest.fixture(scope="session")
def mx_port() -> int:
    """Port 25 of the main instance: peers send there."""
    return free_port()


@pytest.fixture(scope="session")
def dns(new_place: NewPlace) -> Iterator[Dns]:
    server = Dns(new_place("dns"), RECORDS)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def next_hop(new_place: NewPlace, authority: Authority, mx_port: int, dovecot: Dovecot) -> Iterator[Postfix]:
    """The MX of everybody else, and the smarthost of those who have one."""
    place = new_place("next")
    pair = authority.issue("mx.next.test", "127.0.0.1")
    settings = next_hop_settings(place, NEXT_HOP_DOMAINS, pair, outward=mx_port, auth=dovecot.auth_socket)
    postfix = Postfix(place, "mx.next.test", settings)
    postfix.start()
    yield postfix
    postfix.stop()


@pytest.fixture(scope="session")
def sekisho(new_place: NewPlace, authority: Authority, dns: Dns, next_hop: Postfix, mx_port: int) -> Iterator[Instance]:
    """The main instance: home.test is local, everything else goes where DNS says, which is the next hop."""
    pair = authority.issue("mail.home.test", "localhost", "127.0.0.1")
    changes = {
        "dns": {"servers": [f"127.0.0.1:{dns.port}"], "timeout": "3s"},
        "delivery": {"mx_port": next_hop.port, "first_retry": "2s", "connect_timeout": "3s"},
        "route": routes(next_hop),
    }
    instance = Instance(new_place("main"), pair, authority.certificate, mx_port=mx_port, changes=changes)
    instance.initialize()
    for login in ("rin@home.test", "aoi@home.test", "routed@home.test"):
        instance.add_account(login, PASSWORD)
    instance.add_account("relay@home.test", PASSWORD, "--smarthost", "--identity", "@home.test")
    instance.start()
    yield instance
    assert instance.stop() == 0
    assert "Traceback" not in instance.daemon.output()


def routes(smarthost: Postfix) -> list[dict[str, object]]:
    """Return routes through *smarthost*: one for each way to log in, one by account, and two that cannot work."""
    common: dict[str, object] = {"host": "127.0.0.1", "port": smarthost.submission_port, "tls": "required"}
    common |= {"username": "rin@mail.test", "password": PASSWORD}
    found = [
        {**common, "name": way.lower(), "recipients": [domain], "mechanisms": [way]}
        for way, domain in ROUTED.items()
        if way.isupper()
    ]
    found.append({**common, "name": "best", "recipients": [ROUTED["best"]]})
    implicit = {"name": "implicit", "recipients": [ROUTED["implicit"]], "tls": "implicit"}
    found.append({**common, **implicit, "port": smarthost.submissions_port})
    found.append({**common, "name": "account", "accounts": ["routed@home.test"]})
    found.append({**common, "name": "wrong", "recipients": ["wrong.routed.test"], "password": "not the password"})
    # the certificate has no such name
    found.append({**common, "name": "unproven", "recipients": ["clear.routed.test"], "host": "localhost"})
    return found


def _submission(instance: Instance, authority: Authority, login: str) -> Submission:
    return Submission(instance.submission_port, instance.submissions_port, authority.certificate, login, PASSWORD)


@pytest.fixture(scope="session")
def submission(sekisho: Instance, authority: Authority) -> Submission:
    """How Rin submits."""
    return _submission(sekisho, authority, "rin@home.test")


@pytest.fixture(scope="session")
def smarthost_submission(sekisho: Instance, authority: Authority) -> Submission:
    """How somebody's own mail server submits."""
    return _submission(sekisho, authority, "relay@home.test")


@pytest.fixture(scope="session")
def smarthost_client(new_place: NewPlace, smarthost_submission: Submission) -> Iterator[Postfix]:
    """A mail server in an office that sends everything through us."""
    place = new_place("office")
    server = smarthost_submission
    settings = smarthost_client_settings(
        place, server.submission_port, server.login, server.password, server.authority, "mail.home.test"
    )
    postfix = Postfix(place, "office.home.test", settings)
    postfix.start()
    yield postfix
    postfix.stop()


@pytest.fixture(scope="session")
def dovecot(new_place: NewPlace, authority: Authority) -> Iterator[Dovecot]:
    users = {"rin@mail.test": PASSWORD, "aoi@mail.test": PASSWORD}
    server = Dovecot(new_place("dovecot"), users, authority.issue("pop.mail.test", "127.0.0.1"), authority.certificate)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def other(
    new_place: NewPlace, authority: Authority, dns: Dns, next_hop: Postfix, dovecot: Dovecot
) -> Iterator[Instance]:
    """An instance with what is not the default: mailboxes in Dovecot, CRAM-MD5, small messages only, a relay."""
    pair = authority.issue("mail.mail.test", "localhost", "127.0.0.1")
    changes = {
        "service": {"workers": 1},
        "accounts": {"cram_md5": True},
        "local": {"transport": "lmtp", "lmtp": f"127.0.0.1:{dovecot.lmtp_port}"},
        "listener": {kind: {"max_message_size": "1MiB"} for kind in ("submission", "submissions", "mx")},
        "relay": {"networks": ["127.0.0.64/32"]},
        "dns": {"servers": [f"127.0.0.1:{dns.port}"], "timeout": "3s"},
        "delivery": {"mx_port": next_hop.port},
    }
    instance = Instance(new_place("other"), pair, authority.certificate, domain="mail.test", changes=changes)
    instance.initialize()
    for login in ("rin@mail.test", "aoi@mail.test"):
        instance.add_account(login, PASSWORD, "--cram-md5")
    instance.start()
    yield instance
    assert instance.stop() == 0
    assert "Traceback" not in instance.daemon.output()


@pytest.fixture(scope="session")
def cram_submission(other: Instance, authority: Authority) -> Submission:
    """How Rin submits where CRAM-MD5 is offered."""
    return _submission(other, authority, "rin@mail.test")
