"""Who may send: accounts, their identities, what their passwords are checked against, and the check itself."""

from sekisho.sasl import Challenge

from .account import Account, AccountDetails, Renewal
from .authenticate import Accepted, Answer, Authenticator, Exchange, Refusal, Refused
from .errors import AccountExists, AccountsError, BadLogin, UnknownAccount, WeakPassword
from .passwords import generate_password
from .settings import AccountsSettings
from .store import UNCHANGED, AccountStore
from .websessions import WebSession, WebSessions

__all__ = [
    "UNCHANGED",
    "Accepted",
    "Account",
    "AccountDetails",
    "AccountExists",
    "AccountStore",
    "AccountsError",
    "AccountsSettings",
    "Answer",
    "Authenticator",
    "BadLogin",
    "Challenge",
    "Exchange",
    "Refusal",
    "Refused",
    "Renewal",
    "UnknownAccount",
    "WeakPassword",
    "WebSession",
    "WebSessions",
    "generate_password",
]
