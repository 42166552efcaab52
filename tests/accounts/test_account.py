"""What an account owns, and how names are spelled for comparison."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.accounts import Account, BadLogin
from sekisho.accounts.account import identity_key, login_key, name_key
from sekisho.smtp import Mailbox

RIN = Account(1, "rin@example.jp", ("info@example.jp", "@rin.example"))


@pytest.mark.parametrize(
    ("address", "owned"),
    [
        ("rin@example.jp", True),
        ("RIN@Example.JP", True),
        ("rin+shop@example.jp", True),
        ("info@example.jp", True),
        ("info+a+b@example.jp", True),
        ("anybody@rin.example", True),
        ("anybody@sub.rin.example", False),
        ("ren@example.jp", False),
        ("rin@example.com", False),
        ("+rin@example.jp", False),
        ("rin@rin.example.evil", False),
    ],
)
def test_an_account_owns_its_login_its_identities_and_their_tags(address: str, owned: bool) -> None:
    assert RIN.owns(Mailbox.parse(address)) is owned


def test_international_domains_are_the_same_in_both_spellings() -> None:
    account = Account(1, identity_key("rin@関所.example"), (identity_key("@桜.example"),))
    assert account.owns(Mailbox.parse("rin@xn--8ous75i.example"))
    assert account.owns(Mailbox.parse("a@桜.EXAMPLE", utf8=True))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (" Rin@Example.JP ", "rin@example.jp"),
        ("RIN", "rin"),
        ("", ""),
        ("a@b@c", "a@b@c"),
        ("@x", "@x"),
        ("a b@c", "a b@c"),
    ],
)
def test_any_claimed_name_has_a_key(name: str, key: str) -> None:
    assert name_key(name) == key


@given(st.text(st.characters(), max_size=30) | st.text("a@.+ ü\udc80\0", max_size=12))
def test_no_claimed_name_raises_and_its_key_can_be_stored(name: str) -> None:
    assert isinstance(name_key(name).encode(), bytes)


@given(st.text("aB@.+ ü\udc80\0[]1", max_size=12))
def test_what_is_taken_as_a_login_is_owned_by_it_and_the_rest_is_refused_with_words(login: str) -> None:
    try:
        key = login_key(login, None)
    except BadLogin:
        return
    assert Account(1, key).owns(Mailbox.parse(login.strip(), utf8=True))


@pytest.mark.parametrize(
    "login",
    [
        "",
        "rin",
        "rin@",
        "@example.jp",
        "rin@ex ample.jp",
        "rin@@example.jp",
        "rin+x@example.jp",
        "postmaster",
        "a\nb@c.jp",
    ],
)
def test_what_is_no_address_is_no_login_and_the_text_says_why(login: str) -> None:
    with pytest.raises(BadLogin) as caught:
        login_key(login, None)
    assert repr(login.strip()) in str(caught.value)


def test_a_bare_login_gets_the_default_domain() -> None:
    assert login_key("Rin", "example.jp") == "rin@example.jp"


@pytest.mark.parametrize("identity", ["@", "@exa mple", "rin+a@example.jp", "nonsense"])
def test_what_is_neither_address_nor_domain_is_no_identity(identity: str) -> None:
    with pytest.raises(BadLogin):
        identity_key(identity)
