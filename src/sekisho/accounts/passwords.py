"""Rules for new passwords, and secrets made for people."""

from __future__ import annotations

import secrets
import unicodedata

from sekisho.sasl import PreparationError, prepare

from .errors import WeakPassword

__all__ = ["accept_password", "canonical", "generate_password"]

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # no l, o, 0, 1: they are read for one another
_ALPHABET = frozenset(_LETTERS)
_GROUPS = 4
_GROUP_LENGTH = 4


def generate_password() -> str:
    """Return a new password of 19 ASCII characters (80 bits), in groups that can be read out and typed on a telephone.

    Old clients and printers take no more than 20 characters.
    """
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


def canonical(typed: str) -> str | None:
    """Return the letters of a secret that `generate_password` made, however it was typed; None when it cannot be one.

    Telephones begin with a capital, people leave the hyphens away or put spaces, and a Japanese keyboard may be set to
    full-width letters.
    """
    if len(typed) > 4 * _GROUPS * _GROUP_LENGTH:
        return None
    text = typed if typed.isascii() else unicodedata.normalize("NFKC", typed)
    letters = "".join(text.replace("-", " ").split()).casefold()
    return letters if len(letters) == _GROUPS * _GROUP_LENGTH and set(letters) <= _ALPHABET else None


def accept_password(password: str, *, login: str, minimum_length: int) -> str:
    """Return *password* prepared for hashing.

    Raises:
        WeakPassword: too short or long, with characters that cannot be typed, the login itself, or one character over
            and over.
    """
    try:
        prepared = prepare(password)
    except PreparationError as error:
        raise WeakPassword(f"The password {error}. Choose another one.", "unfit") from error
    if len(prepared) < minimum_length:
        raise WeakPassword(f"The password is shorter than {minimum_length} characters. Choose a longer one.", "short")
    if prepared.casefold() in (login.casefold(), login.casefold().rpartition("@")[0]):
        raise WeakPassword("The password is the same as the login. Choose another one.", "login")
    if len(set(prepared)) == 1:
        raise WeakPassword("The password is one character over and over. Choose another one.", "uniform")
    return prepared
