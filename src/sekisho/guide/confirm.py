"""How it is known that a version can send as its guide says: what the test suite plays, and with what.

`tests/interop/test_guides_play.py` acts out every version on the wire, in every way that is chosen for it here;
`tests/interop/test_clients.py` sends with the programs themselves; which, is a list here, held to it by a test.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from .choose import Choice

__all__ = ["REAL", "confirmed", "own_version"]

REAL = {  # version in the facts: driver of the program in tests/interop/clients.py
    "msmtp-1.8": "msmtp",
    "mutt-1.5.20": "mutt",
    "thunderbird-current": "Thunderbird",
}


def confirmed(choice: Choice) -> str | None:
    """Return "program" or "wire"; None when the version cannot send here."""
    if choice.way is None:
        return None
    return "program" if choice.version.id in REAL and choice.way.capability in ("starttls_587", "tls_465") else "wire"


def own_version() -> str:
    """Return the version of Sekisho; empty when it runs from a source tree."""
    try:
        return version("sekisho")
    except PackageNotFoundError:
        return ""
