"""Queue ids: short, sortable by arrival, never used twice, readable over the telephone.

A queue id is one number in Crockford's base 32 (no I, L, O, U). The number is ``message number << 8 | spool number``;
the message number counts on from the seconds since 2024 times 1024, so that a spool that was deleted and made anew
cannot hand out an id again. The rows of a message are found from its id by arithmetic, without an index over text.
"""

from functools import lru_cache
from typing import NewType

__all__ = ["EPOCH", "MAX_SPOOLS", "QueueId", "decode", "encode", "number_at"]

QueueId = NewType("QueueId", str)

EPOCH = 1_704_067_200  # 2024-01-01 00:00 UTC
MAX_SPOOLS = 256
_PER_SECOND_BITS = 10
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)} | {"O": 0, "I": 1, "L": 1}
_LENGTH = 10  # 50 bits: 42 of message number (until the year 2160), 8 of spool number


def number_at(now: float) -> int:
    """Return the lowest message number of the second *now* (UTC epoch)."""
    return max(int(now) - EPOCH, 0) << _PER_SECOND_BITS


def encode(number: int, spool: int) -> QueueId:
    """Return the queue id of message *number* in *spool*."""
    value = number << 8 | spool
    return QueueId(_upper_digits(value >> 20) + _PAIRS[value >> 10 & 1023] + _PAIRS[value & 1023])


@lru_cache(maxsize=64)
def _upper_digits(value: int) -> str:
    """Four thousand messages of a spool share them."""
    return _PAIRS[value >> 20] + _PAIRS[value >> 10 & 1023] + _PAIRS[value & 1023]


def decode(text: str) -> tuple[int, int] | None:
    """Return (message number, spool number) of a queue id as a person may type it; None when it is none."""
    digits = text.strip().upper()
    if len(digits) != _LENGTH:
        return None
    value = 0
    for digit in digits:
        if digit not in _VALUES:
            return None
        value = value << 5 | _VALUES[digit]
    return value >> 8, value & 255
