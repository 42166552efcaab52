"""An account sends under its own addresses and under no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.accounts import Account
from sekisho.message import Header
from sekisho.policy import check_envelope, check_from
from sekisho.smtp import AddressError, Mailbox, Reply

RIN = Account(id=1, login="rin@example.jp", identities=("info@example.jp", "@rin.example"))
OFFICE = Account(id=2, login="office@example.jp", identities=("@office.example",), smarthost=True)


def from_field(account: Account, text: str, *, null_reverse_path: bool = False) -> Reply | None:
    header = Header.parse(text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    return check_from(account, header, null_reverse_path=null_reverse_path)


@pytest.mark.parametrize(
    "reverse_path",
    ["rin@example.jp", "RIN@Example.JP", "rin+shop@example.jp", "info@example.jp", "any.thing@rin.example"],
)
def test_own_addresses_pass(reverse_path: str) -> None:
    assert check_envelope(RIN, Mailbox.parse(reverse_path)) is None
    assert from_field(RIN, f"From: Rin <{reverse_path}>") is None


@pytest.mark.parametrize(
    "reverse_path",
    ["aoi@example.jp", "rin@example.com", "rin@sub.example.jp", "rinn@example.jp", "x@sub.rin.example", "postmaster"],
)
def test_all_others_are_refused_with_words(reverse_path: str) -> None:
    refusal = check_envelope(RIN, Mailbox.parse(reverse_path))
    assert refusal is not None
    assert (refusal.code, refusal.status) == (550, "5.7.1")
    assert reverse_path in refusal.text
    assert "rin@example.jp, info@example.jp, any address at rin.example" in refusal.text


@given(local_part=st.text(min_size=1, max_size=20), domain=st.sampled_from(["example.jp", "rin.example", "x.example"]))
def test_whatever_the_address_the_reply_is_ascii_and_agrees_with_ownership(local_part: str, domain: str) -> None:
    try:
        mailbox = Mailbox.parse(f"{local_part}@{domain}", utf8=True)
    except AddressError:
        return
    refusal = check_envelope(RIN, mailbox)
    assert (refusal is None) == RIN.owns(mailbox)
    assert refusal is None or refusal.wire.isascii()


def test_only_some_of_many_addresses_are_listed() -> None:
    many = Account(id=3, login="a@example.jp", identities=tuple(f"a{n}@example.jp" for n in range(50)))
    refusal = check_envelope(many, Mailbox.parse("b@example.jp"))
    assert refusal is not None
    assert refusal.text.endswith("a3@example.jp and 46 more")


@pytest.mark.parametrize(
    ("header", "status", "words"),
    [
        ("Subject: x", "5.6.0", "no From field"),
        ("From: rin@example.jp\nFrom: rin@example.jp", "5.6.0", "more than one From"),
        ("From: rin@example.jp\nfrom: aoi@example.jp", "5.6.0", "more than one From"),
        ("From: nobody:;", "5.6.0", "names no address"),
        ("From: rin@", "5.6.0", "cannot be read"),
        ("From:", "5.6.0", "From field"),
        ("From: aoi@example.jp", "5.7.1", "aoi@example.jp"),
        ("From: rin@example.jp, aoi@example.jp", "5.7.1", "aoi@example.jp"),
        ('From: "rin@example.jp" <aoi@example.jp>', "5.7.1", "aoi@example.jp"),
        ("From: aoi@example.jp (rin@example.jp)", "5.7.1", "aoi@example.jp"),
        ("From: group: rin@example.jp, aoi@example.jp;", "5.7.1", "aoi@example.jp"),
        ("From: Rin\n <aoi@example.jp>", "5.7.1", "aoi@example.jp"),
    ],
)
def test_from_that_is_not_exactly_the_accounts_is_refused(header: str, status: str, words: str) -> None:
    """RFC 5322 §3.6.2."""
    refusal = from_field(RIN, header)
    assert refusal is not None
    assert (refusal.code, refusal.status) == (550, status)
    assert words in refusal.text


def test_several_own_addresses_in_from_pass() -> None:
    assert from_field(RIN, "From: Rin <rin@example.jp>, info@example.jp") is None


def test_the_null_reverse_path_is_for_smarthosts() -> None:
    """RFC 5321 §4.5.5."""
    refusal = check_envelope(RIN, None)
    assert refusal is not None
    assert (refusal.code, refusal.status) == (550, "5.7.1")
    assert check_envelope(OFFICE, None) is None


@pytest.mark.parametrize(
    ("author", "passes"),
    [
        ("MAILER-DAEMON@office.example", True),
        ("Mailer-Daemon@gate.office.example", True),
        ("postmaster@office.example", True),
        ("MAILER-DAEMON@notoffice.example", False),
        ("MAILER-DAEMON@example.jp", False),  # owns one address there, not the domain
        ("root@gate.office.example", False),
        ("anyone@office.example", True),
    ],
)
def test_a_smarthosts_bounce_may_come_from_its_mailer_daemon(author: str, passes: bool) -> None:
    refusal = from_field(OFFICE, f"From: {author} (Mail Delivery System)", null_reverse_path=True)
    assert (refusal is None) == passes


def test_the_mailer_daemon_of_a_host_is_no_author_of_ordinary_mail() -> None:
    assert from_field(OFFICE, "From: MAILER-DAEMON@gate.office.example") is not None
    assert from_field(RIN, "From: MAILER-DAEMON@gate.rin.example", null_reverse_path=True) is not None
