"""Time-based one-time passwords (RFC 6238), as authenticator apps make them: SHA-1, six digits, thirty seconds. Pure.

Apps read further parameters from the QR code and several of them ignore what they read there, so these are the only
ones that work in all. SHA-1 is sound here: HMAC needs no collision resistance (RFC 6194 §3.3).
"""

from __future__ import annotations

import base64
import hmac
import re
import struct
import unicodedata
import urllib.parse
from typing import Final

__all__ = ["PERIOD", "SECRET_OCTETS", "code_at", "readable_secret", "setup_uri", "step_of", "typed_digits"]

PERIOD: Final = 30  # seconds; RFC 6238 §5.2 recommends this step
SECRET_OCTETS: Final = 20  # RFC 4226 §4 R6 recommends 160 bits

_DIGITS: Final = 6
_WINDOW: Final = 1  # steps before and after the present one: clocks that are up to half a minute wrong (RFC 6238 §5.2)
_CODE: Final = re.compile(r"[0-9]{6}")


def code_at(secret: bytes, step: int) -> str:
    """Return the code of one time step (RFC 4226 §5.3)."""
    digest = hmac.digest(secret, struct.pack(">Q", step), "sha1")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**_DIGITS:0{_DIGITS}d}"


def step_of(secret: bytes, code: str, now: float, *, after: int) -> int | None:
    """Return the time step that *code* belongs to; None when it is wrong, out of its time, or not later than *after*.

    The time this takes says nothing about which digits are right.

    Args:
        now: UTC epoch in seconds.
        after: the step of the last code that was taken (RFC 6238 §5.2: one that was accepted must not be again).
    """
    present = int(now) // PERIOD
    found = None
    for step in range(max(0, present - _WINDOW), present + _WINDOW + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), code.encode()) and step > after:
            found = step
    return found


def typed_digits(text: str) -> str | None:
    """Return the six digits that a person typed, in groups or in full-width forms perhaps; None when it is no code."""
    digits = "".join(unicodedata.normalize("NFKC", text[:64]).split())
    return digits if _CODE.fullmatch(digits) else None


def readable_secret(secret: bytes) -> str:
    """Return *secret* as it is typed into an app that cannot read the QR code."""
    text = base64.b32encode(secret).decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def setup_uri(secret: bytes, *, login: str, issuer: str) -> str:
    """Return what the QR code says: the Key URI that all authenticator apps read."""
    issuer = issuer.replace(":", " ")  # it separates the issuer from the account
    label = urllib.parse.quote(f"{issuer}:{login}", safe=":@")
    parameters = {
        "secret": base64.b32encode(secret).decode(),
        "issuer": issuer,
        "algorithm": "SHA1",
        "digits": str(_DIGITS),
        "period": str(PERIOD),
    }
    return f"otpauth://totp/{label}?{urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote)}"
