"""What this package raises. Each text can be shown to the operator or the person as it stands.

Exception
├── AccountsError
│   ├── AccountExists        the login, or an address that would be one, is taken
│   ├── UnknownAccount       no account of that name, or more than one
│   ├── BadLogin             a login or identity that cannot be one
│   ├── WeakPassword         a password that is too short, too long or too easy
│   ├── WrongCode            a code of the second factor that does not fit
│   └── UnknownToken         a one-time token that was never issued, or no longer counts
├── HashingBusy              (hasher.py) more password checks wait than are allowed
└── sekisho.store.StoreError the database or the key file: damaged, full, not readable
"""

__all__ = ["AccountExists", "AccountsError", "BadLogin", "UnknownAccount", "UnknownToken", "WeakPassword", "WrongCode"]


class AccountsError(Exception):
    """The change was refused; nothing was changed. The message says why and what to do."""


class AccountExists(AccountsError):
    """The login is in use, as a login or as another account's identity."""


class UnknownAccount(AccountsError):
    """There is no such account, or the name fits several."""


class BadLogin(AccountsError):
    """The text is not an address that can be a login or an identity."""


class WeakPassword(AccountsError):
    """The password cannot be accepted."""


class WrongCode(AccountsError):
    """The code is wrong, out of its time, or was used already."""


class UnknownToken(AccountsError):
    """The one-time token is wrong, was used, replaced, or has expired."""
