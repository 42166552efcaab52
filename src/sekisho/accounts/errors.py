"""What this package raises. Each text can be shown to the operator or the person as it stands.

Exception
├── AccountsError
│   ├── AccountExists        the login, or an address that would be one, is taken
│   ├── UnknownAccount       no account of that name, or more than one
│   ├── BadLogin             a login or identity that cannot be one
│   ├── WeakPassword         a password that is too short, too long or too easy
│   ├── BadLabel             an app password without a usable name for its device
│   ├── TooManyAppPasswords  one more than an account may have
│   ├── WrongCode            a code of the second factor that does not fit
│   └── UnknownToken         a one-time token that was never issued, or no longer counts
├── HashingBusy              (hasher.py) more password checks wait than are allowed
└── sekisho.store.StoreError the database or the key file: damaged, full, not readable
"""

__all__ = [
    "AccountExists",
    "AccountsError",
    "BadLabel",
    "BadLogin",
    "TooManyAppPasswords",
    "UnknownAccount",
    "UnknownToken",
    "WeakPassword",
    "WrongCode",
]


class AccountsError(Exception):
    """The change was refused; nothing was changed. The message says why and what to do."""


class AccountExists(AccountsError):
    """The login is in use, as a login or as another account's identity."""


class UnknownAccount(AccountsError):
    """There is no such account, or the name fits several."""


class BadLogin(AccountsError):
    """The text is not an address that can be a login or an identity."""


class WeakPassword(AccountsError):
    """The password cannot be accepted.

    Fields:
        kind: why, to say it in another language: ``unfit`` (characters or length that cannot be sent), ``short``,
            ``login`` (it is the login) or ``uniform`` (one character over and over).
    """

    def __init__(self, words: str, kind: str) -> None:
        super().__init__(words)
        self.kind = kind


class BadLabel(AccountsError):
    """An app password needs a name of bounded length for its device."""


class TooManyAppPasswords(AccountsError):
    """The account has as many as one may have."""


class WrongCode(AccountsError):
    """The code is wrong, out of its time, or was used already."""


class UnknownToken(AccountsError):
    """The one-time token is wrong, was used, replaced, or has expired."""
