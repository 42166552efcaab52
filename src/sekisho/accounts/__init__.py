"""Who may send: accounts, their identities, what their passwords are checked against, and the check itself."""

from sekisho.sasl import Challenge

from .account import Account, AccountDetails, Renewal
from .app_passwords import AppPassword, AppPasswords
from .authenticate import Accepted, Answer, Authenticator, Exchange, Refusal, Refused
from .errors import (
    AccountExists,
    AccountsError,
    BadLabel,
    BadLogin,
    TooManyAppPasswords,
    UnknownAccount,
    UnknownToken,
    WeakPassword,
    WrongCode,
)
from .hasher import HashingPool
from .page_login import PageLogin
from .passwords import generate_password
from .second_factor import Enrolment, FactorState, SecondFactors
from .settings import AccountsSettings
from .store import UNCHANGED, AccountStore
from .tokens import OneTimeTokens
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
    "AppPassword",
    "AppPasswords",
    "Authenticator",
    "BadLabel",
    "BadLogin",
    "Challenge",
    "Enrolment",
    "Exchange",
    "FactorState",
    "HashingPool",
    "OneTimeTokens",
    "PageLogin",
    "Refusal",
    "Refused",
    "Renewal",
    "SecondFactors",
    "TooManyAppPasswords",
    "UnknownAccount",
    "UnknownToken",
    "WeakPassword",
    "WebSession",
    "WebSessions",
    "WrongCode",
    "generate_password",
]
