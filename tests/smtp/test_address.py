"""Tests of `sekisho.smtp.address`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.smtp import AddressError, Mailbox, is_domain, to_a_labels


@pytest.mark.parametrize(
    ("text", "local_part", "domain"),
    [
        ("rin@example.jp", "rin", "example.jp"),
        ("Rin.Sato+shop@Mail.Example.JP", "Rin.Sato+shop", "mail.example.jp"),
        ("rin@localhost", "rin", "localhost"),
        ('"rin sato"@example.jp', "rin sato", "example.jp"),
        ('"a\\"b\\\\c"@example.jp', 'a"b\\c', "example.jp"),
        ('"a@b"@example.jp', "a@b", "example.jp"),
        ('""@example.jp', "", "example.jp"),
        ("rin@[192.0.2.1]", "rin", "[192.0.2.1]"),
        ("rin@[ipv6:2001:DB8:0:0::1]", "rin", "[IPv6:2001:db8::1]"),
        ("rin@mail_1.example.jp", "rin", "mail_1.example.jp"),
        ("Postmaster", "postmaster", ""),
        ("l" * 242 + "@example.jp", "l" * 242, "example.jp"),
    ],
)
def test_a_mailbox_is_a_local_part_and_a_lower_case_domain(text: str, local_part: str, domain: str) -> None:
    """RFC 5321 §4.1.2, §4.1.3, §4.5.1."""
    assert Mailbox.parse(text) == Mailbox(local_part, domain)


@pytest.mark.parametrize("text", ["a..b@docomo.example", "a.@ezweb.example", ".a@example.jp", "a...@example.jp"])
def test_addresses_of_japanese_carriers_keep_their_dots(text: str) -> None:
    """RFC 5321 §4.1.2 forbids them; millions of phones had them."""
    assert str(Mailbox.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "rin",
        "rin@",
        "@example.jp",
        "rin@@example.jp",
        "rin@example.jp.",
        "rin@.example.jp",
        "rin@example..jp",
        "rin@-example.jp",
        "rin@example-.jp",
        "rin@" + "a" * 64 + ".jp",
        "rin sato@example.jp",
        "rin@example.jp ",
        " rin@example.jp",
        "rin@exam ple.jp",
        "<rin@example.jp>",
        "rin@example.jp,aoi@example.jp",
        '"rin@example.jp',
        '"rin"sato@example.jp',
        '"rin"',
        '"ri\tn"@example.jp',
        "rin\r\n@example.jp",
        "rin@example.jp\n",
        "rin@[192.0.2.256]",
        "rin@[192.0.2.1",
        "rin@[IPv6:fe80::1%eth0]",
        "rin@[tag:content]",
        "l" * 250 + "@example.jp",
        "凛@example.jp",
        "rin@例え.jp",
    ],
)
def test_what_is_no_ascii_mailbox_is_refused_with_words(text: str) -> None:
    """RFC 5321 §4.1.2, §4.5.3.1."""
    with pytest.raises(AddressError) as caught:
        Mailbox.parse(text)
    assert caught.value.problem


def test_utf8_mailboxes_need_to_be_asked_for() -> None:
    """RFC 6531 §3.3."""
    mailbox = Mailbox.parse("凛@例え.JP", utf8=True)
    assert mailbox == Mailbox("凛", "例え.jp")
    assert not mailbox.is_ascii
    assert Mailbox.parse("rin@example.jp", utf8=True).is_ascii


@pytest.mark.parametrize("domain", ["例え。jp", "例え．jp", "xn--r8jz45g.jp"])
def test_spellings_of_one_international_domain_compare_alike(domain: str) -> None:
    """RFC 5890 §2.3.2.1: the A-label is what compares."""
    assert Mailbox.parse(f"rin@{domain}", utf8=True).key == "rin@xn--r8jz45g.jp"


@pytest.mark.parametrize(
    "text",
    ["凛@exa mple.jp", "凛\u200b@example.jp", "凛\u2028@example.jp", "凛\x85@example.jp", "rin@℀.jp", "\ufffd@a.jp"],
)
def test_invisible_and_disguised_characters_are_no_address(text: str) -> None:
    with pytest.raises(AddressError):
        Mailbox.parse(text, utf8=True)


def test_mailboxes_that_differ_in_case_have_one_key() -> None:
    assert Mailbox.parse("Rin@Example.jp").key == Mailbox.parse("rin@example.JP").key
    assert Mailbox.parse("Rin@example.jp") != Mailbox.parse("rin@example.jp")


def test_a_quoted_and_a_plain_spelling_are_the_same_mailbox() -> None:
    """RFC 5321 §4.1.2: quotes are no part of the name."""
    assert Mailbox.parse('"rin"@example.jp') == Mailbox.parse("rin@example.jp")


LOCAL_PARTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
UTF8_LOCAL_PARTS = st.text(st.sampled_from("abz.+'\" \\@<>凛é漢字"), max_size=20)
DOMAINS = st.sampled_from(
    ["example.jp", "a.b.c", "[192.0.2.1]", "[IPv6:2001:db8::1]", "例え.jp", "xn--r8jz45g.jp", "x"]
)


@settings(max_examples=150)
@given(local_part=LOCAL_PARTS | UTF8_LOCAL_PARTS, domain=DOMAINS)
def test_parsing_what_was_rendered_gives_the_mailbox_back(local_part: str, domain: str) -> None:
    mailbox = Mailbox(local_part, domain)
    assert Mailbox.parse(str(mailbox), utf8=True) == mailbox


@settings(max_examples=200)
@given(text=st.text(max_size=40) | st.text(st.sampled_from('a@."\\[]<>:1凛 '), max_size=20))
def test_any_text_is_a_mailbox_or_an_address_error_and_stays_what_it_is(text: str) -> None:
    try:
        mailbox = Mailbox.parse(text, utf8=True)
    except AddressError:
        return
    assert Mailbox.parse(str(mailbox), utf8=True) == mailbox


def test_a_domain_is_labels_between_dots() -> None:
    """RFC 5321 §4.1.2."""
    assert is_domain("example.jp")
    assert is_domain("localhost")
    assert not is_domain("example.jp.")
    assert not is_domain("exa mple.jp")
    assert not is_domain(".".join(["a" * 63] * 5))


def test_labels_without_an_ascii_form_come_back_as_they_are() -> None:
    assert to_a_labels("例え.jp") == "xn--r8jz45g.jp"
    assert to_a_labels("例え" * 40 + ".jp") == "例え" * 40 + ".jp"
