"""An account as the rest of the program sees it: no verifier, no password, only who it is and what it may send as."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sekisho.smtp import AddressError, Mailbox

from .errors import BadLogin

__all__ = ["TAG_SEPARATOR", "Account", "AccountDetails", "Renewal", "identity_key", "login_key", "name_key"]

TAG_SEPARATOR = "+"  # rin+shop@example.jp is delivered to rin@example.jp (RFC 5233 §1)


class Renewal(StrEnum):
    """Why an account needs a new password, whatever the present one is."""

    NOT_NEEDED = ""
    VERIFIERS = "verifiers"  # not both argon2id and SCRAM-SHA-256: taken over in part, or without a password so far
    ASKED = "asked"  # by an operator


@dataclass(frozen=True, slots=True)
class Account:
    """One account.

    Fields:
        id: never given to another account, not even after deletion.
        login: canonical, e.g. ``rin@example.jp``.
        identities: further addresses it may send as; ``@example.jp`` means every address of that domain.
        suspension: the operator's reason; "" when there is none or the account is not suspended.
        messages_per_hour, recipients_per_hour: limits of its own; None leaves them to the policy.
        language: ``ja`` or ``en``; None leaves it to the service.
        operator: may open the operator's pages of the portal.
        second_factor: logs in to the portal with a code as well, and sends with app passwords only.
        renewal: why a new password is needed. It never refuses a password that is right.
        app_passwords: numbers of those that open it, as of when it was found.
        password_marks: one for each verifier, telling nothing about it. An account found later shares none of them when
            its password was set anew meanwhile; renewing an outdated verifier leaves the others.
    """

    id: int
    login: str
    identities: tuple[str, ...] = ()
    suspended: bool = False
    smarthost: bool = False
    messages_per_hour: int | None = None
    recipients_per_hour: int | None = None
    language: str | None = None
    suspension: str = ""
    operator: bool = False
    second_factor: bool = False
    renewal: Renewal = Renewal.NOT_NEEDED
    app_passwords: frozenset[int] = field(default=frozenset(), repr=False, compare=False)
    password_marks: frozenset[bytes] = field(default=frozenset(), repr=False, compare=False)
    _owned: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_owned", frozenset((self.login, *self.identities)))

    def has_password_of(self, earlier: Account, app_password: int | None = None) -> bool:
        """Tell whether what opened a session when *earlier* was found still opens one.

        Args:
            app_password: number of the one that opened it; None for the account's password, which no longer opens any
                once there is a second factor.
        """
        if app_password is not None:
            return app_password in self.app_passwords
        if self.second_factor:
            return False
        return not earlier.password_marks or not earlier.password_marks.isdisjoint(self.password_marks)

    def owns(self, mailbox: Mailbox) -> bool:
        """Tell whether the account may send as *mailbox*: its login, an identity, or either with a ``+tag``."""
        key = mailbox.key
        if key in self._owned:
            return True
        local_part, at, domain = key.rpartition("@")
        if at + domain in self._owned:
            return True
        base, separator, _ = local_part.partition(TAG_SEPARATOR)
        return bool(separator) and f"{base}@{domain}" in self._owned


@dataclass(frozen=True, slots=True)
class AccountDetails:
    """An account as ``sekisho account show`` prints it.

    Fields:
        mechanisms: names of the verifiers it has (``argon2id`` serves PLAIN and LOGIN).
        created, changed: UTC epoch in seconds.
        last_login: the same, up to ten minutes late; None when it never logged in.
    """

    account: Account
    mechanisms: tuple[str, ...]
    created: float
    changed: float
    last_login: float | None


def name_key(name: str) -> str:
    """Return the text by which a claimed user name is looked up. Never raises: any text is a name that nobody has."""
    if not name.isascii():
        name = name.encode(errors="replace").decode()  # a command line can hold octets that are no UTF-8
    name = name.strip()  # telephones add a space when they complete an address
    if "@" in name:
        try:
            return Mailbox.parse(name, utf8=True).key
        except AddressError:
            pass
    return name.casefold()


def login_key(login: str, default_domain: str | None) -> str:
    """Return the canonical form of a new login.

    Raises:
        BadLogin: it is not an address, or has a tag.
    """
    login = login.strip()
    if login and "@" not in login:
        if default_domain is None:
            raise BadLogin(f"{login!r} has no domain: give the whole address, such as {login}@example.jp")
        login = f"{login}@{default_domain}"
    return _address_key(login)


def identity_key(identity: str) -> str:
    """Return the canonical form of a new identity: an address, or ``@domain``.

    Raises:
        BadLogin: it is neither, or has a tag.
    """
    identity = identity.strip()
    if identity.startswith("@"):
        return "@" + _address_key(f"postmaster{identity}").rpartition("@")[2]
    return _address_key(identity)


def _address_key(address: str) -> str:
    try:
        mailbox = Mailbox.parse(address, utf8=True)
    except AddressError as error:
        raise BadLogin(f"{address!r} is not an address: {error.problem}") from error
    if not mailbox.domain:
        raise BadLogin(f"{address!r} has no domain: give the whole address, such as {address}@example.jp")
    if TAG_SEPARATOR in mailbox.local_part:
        # Whoever owns the address before the tag owns it with every tag: it cannot be somebody else's.
        base = mailbox.local_part.partition(TAG_SEPARATOR)[0]
        raise BadLogin(
            f"{address!r} has a tag after {TAG_SEPARATOR!r}: give {base}@{mailbox.domain}, which includes it"
        )
    return mailbox.key
