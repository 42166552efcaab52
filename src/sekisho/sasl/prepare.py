"""Names and passwords as they are compared: SASLprep (RFC 4013), bounds, no control characters.

RFC 8265 (PRECIS) replaced SASLprep, but RFC 5802, RFC 4616 and every client in the field still use it, and a SCRAM
proof can only be checked against what the client itself prepared.
"""

import stringprep
import unicodedata

__all__ = ["MAX_OCTETS", "PreparationError", "prepare", "read_text"]

MAX_OCTETS = 1024  # of one name or password; RFC 4616 §2 allows no more than 255 code points in practice


class PreparationError(ValueError):
    """The text may not be a name or a password; the message says why, without repeating the text."""


_PROHIBITED = (  # RFC 4013 §2.3
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepare(text: str) -> str:
    """Return *text* as RFC 4013 compares it. Idempotent.

    Unassigned code points pass (the query form of RFC 3454 §7): the tables stop at Unicode 3.2, and newer letters are
    in people's passwords.

    Raises:
        PreparationError: empty, longer than `MAX_OCTETS` in UTF-8, or with characters that cannot be typed or seen.
    """
    if not (text.isascii() and text.isprintable()):
        text = _prepare_unicode(text)
    if not text:
        raise PreparationError("is empty")
    if len(text) > MAX_OCTETS or len(text.encode()) > MAX_OCTETS:
        raise PreparationError(f"is longer than {MAX_OCTETS} octets")
    return text


def _prepare_unicode(text: str) -> str:
    if len(text) > MAX_OCTETS:
        raise PreparationError(f"is longer than {MAX_OCTETS} octets")
    mapped = "".join(
        " " if stringprep.in_table_c12(letter) else letter for letter in text if not stringprep.in_table_b1(letter)
    )
    text = unicodedata.normalize("NFKC", mapped)
    for letter in text:
        if any(prohibited(letter) for prohibited in _PROHIBITED):
            raise PreparationError("has a control character or another character that is not allowed")
    if any(map(stringprep.in_table_d1, text)) and (  # RFC 3454 §6
        any(map(stringprep.in_table_d2, text))
        or not stringprep.in_table_d1(text[0])
        or not stringprep.in_table_d1(text[-1])
    ):
        raise PreparationError("mixes right-to-left and left-to-right writing")
    return text


def read_text(octets: bytes) -> str:
    """Return the prepared text of UTF-8 *octets* from the peer.

    Raises:
        PreparationError: not UTF-8, or not acceptable to `prepare`.
    """
    if len(octets) > MAX_OCTETS:
        raise PreparationError(f"is longer than {MAX_OCTETS} octets")
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise PreparationError("is not UTF-8") from None
    return prepare(text)
