"""The routing table: first the account, then the sender, then the recipient, then the default, then MX."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.config import Endpoint
from sekisho.delivery.route import DestinationKind, Router
from sekisho.delivery.settings import LocalSettings, LocalTransport, RouteSettings, TlsMode
from sekisho.smtp import Mailbox

LOCAL = LocalSettings(domains=("example.jp", "Kansai.Example.JP."), maildir=Path("/mail"))
ROUTES = (
    RouteSettings(name="by-account", host="a.invalid", accounts=("Rin@example.jp",)),
    RouteSettings(name="by-sender", host="s.invalid", senders=("office.example",)),
    RouteSettings(name="below", host="b.invalid", recipients=(".partner.example",)),
    RouteSettings(name="exact", host="e.invalid", recipients=("partner.example", "mx.deep.partner.example")),
    RouteSettings(name="nearer", host="n.invalid", recipients=(".deep.partner.example",)),
)
DEFAULT = RouteSettings(name="default", host="d.invalid")


@pytest.mark.parametrize(
    ("account", "sender", "recipient", "expected"),
    [
        ("rin@example.jp", "rin@example.jp", "a@elsewhere.example", "by-account"),
        ("RIN@example.jp", None, "a@partner.example", "by-account"),
        ("rin@example.jp", "x@office.example", "a@elsewhere.example", "by-account"),
        (None, "x@office.example", "a@partner.example", "by-sender"),
        (None, "x@sub.office.example", "a@elsewhere.example", "elsewhere.example"),
        (None, None, "a@partner.example", "exact"),
        (None, None, "a@x.partner.example", "below"),
        (None, None, "a@x.deep.partner.example", "nearer"),
        (None, None, "a@mx.deep.partner.example", "exact"),
        (None, None, "a@deep.partner.example", "below"),
        (None, None, "a@notpartner.example", "notpartner.example"),
        ("rin@example.jp", "x@office.example", "a@example.jp", "maildir"),
        (None, None, "a@kansai.example.jp", "maildir"),
        (None, None, "a@sub.example.jp", "sub.example.jp"),
        (None, None, "postmaster", "maildir"),
    ],
)
def test_the_most_specific_route_wins(account: str | None, sender: str | None, recipient: str, expected: str) -> None:
    router = Router(ROUTES, LOCAL)
    reverse_path = Mailbox.parse(sender) if sender is not None else None
    assert router.destination(account, reverse_path, Mailbox.parse(recipient)).name == expected


def test_a_route_that_names_nobody_takes_the_rest() -> None:
    router = Router((*ROUTES, DEFAULT), LOCAL)
    assert router.destination(None, None, Mailbox.parse("a@elsewhere.example")).name == "default"
    assert router.destination(None, None, Mailbox.parse("a@partner.example")).name == "exact"


def test_a_star_is_any_domain() -> None:
    star = RouteSettings(name="star", host="x.invalid", recipients=("*",))
    assert Router((star,), LOCAL).destination(None, None, Mailbox.parse("a@x.example")).name == "star"


def test_a_destination_is_one_object_however_often_it_is_asked_for() -> None:
    """Connections and back-off are shared through it."""
    router = Router((), LOCAL, mx_tls=TlsMode.REQUIRED, mx_port=2525)
    one = router.destination(None, None, Mailbox.parse("a@x.example"))
    assert router.destination("other", None, Mailbox.parse("b@X.example")) is one
    assert (one.kind, one.host, one.port) == (DestinationKind.MX, "x.example", 2525)
    assert one.security.is_required


def test_the_table_of_destinations_is_bounded() -> None:
    router = Router((), LOCAL, kept=3)
    for number in range(10):
        router.destination(None, None, Mailbox.parse(f"a@d{number}.example"))
    assert len(router._mx) <= 3


@pytest.mark.parametrize(
    ("local", "kind"),
    [
        (LocalSettings(domains=("x.jp",), maildir=Path("/mail")), DestinationKind.MAILDIR),
        (
            LocalSettings(domains=("x.jp",), transport=LocalTransport.LMTP, lmtp=Endpoint("", 0, "/run/lmtp")),
            DestinationKind.LMTP,
        ),
        (LocalSettings(domains=("x.jp",)), DestinationKind.NONE),
        (LocalSettings(domains=("x.jp",), transport=LocalTransport.LMTP), DestinationKind.NONE),
    ],
)
def test_local_domains_go_to_the_local_transport(local: LocalSettings, kind: DestinationKind) -> None:
    destination = Router((), local).destination(None, None, Mailbox.parse("a@x.jp"))
    assert destination.kind is kind
    assert destination.is_local
