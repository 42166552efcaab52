"""Memory with a bound: the newest lines of each key, and what is known of each account and line.

Both forget the key that was heard of longest ago when they are full, so that no flood of new names or addresses makes
them grow.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

__all__ = ["Facts", "FactsShelf", "LineShelf", "Use"]

KEY_COST: Final = 400  # octets for a key with its list, about
LINE_COST: Final = 50  # octets for a line beside its own, about
SPARE: Final = 50  # lines of a key above its bound before they are cut away, so that this is not done for each
USES: Final = 12  # kept of one account or line
ACCOUNTS: Final = 3  # remembered of one line


class LineShelf:
    """Lines of the log by key; at most *octets* of them altogether and *lines* of each key."""

    __slots__ = ("_by_key", "_lines", "_octets", "_size")

    def __init__(self, octets: int, lines: int) -> None:
        self._octets = octets
        self._lines = lines
        self._size = 0
        self._by_key: OrderedDict[str, list[bytes]] = OrderedDict()

    def put(self, key: str, line: bytes) -> None:
        """Keep *line* under *key*, which is now the last to be forgotten."""
        by_key = self._by_key
        lines = by_key.get(key)
        if lines is None:
            lines = by_key[key] = []
            self._size += KEY_COST
        else:
            by_key.move_to_end(key)
        lines.append(line)
        self._size += len(line) + LINE_COST
        if len(lines) > self._lines + SPARE:
            self._size -= _cost(lines[: -self._lines])
            del lines[: -self._lines]
        while self._size > self._octets and by_key:
            _, oldest = by_key.popitem(last=False)
            self._size -= _cost(oldest) + KEY_COST

    def get(self, key: str) -> list[bytes]:
        """Return the newest lines of *key* in the order in which they came."""
        return self._by_key.get(key, [])[-self._lines :]

    def take(self, key: str) -> list[bytes]:
        """Return the lines of *key*, and forget it."""
        lines = self._by_key.pop(key, None)
        if lines is None:
            return []
        self._size -= _cost(lines) + KEY_COST
        return lines[-self._lines :]


def _cost(lines: list[bytes]) -> int:
    return sum(map(len, lines)) + LINE_COST * len(lines)


@dataclass(slots=True)
class Use:
    """How often something was seen, and when: UTC seconds since the epoch."""

    first: float
    last: float
    count: int = 0


class Facts:
    """What is known of one account or line.

    Fields:
        first, last: its first and its latest success (a login, or a message accepted after one); None without any.
        uses: by kind and detail, such as ``("agent", "Mozilla Thunderbird")``.
        partners: of a line the accounts that succeeded from it, of an account its lines; the latest is at the end.
    """

    __slots__ = ("first", "last", "partners", "uses")

    def __init__(self) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self.uses: dict[tuple[str, str], Use] | None = None
        self.partners: tuple[str, ...] = ()

    def succeeded(self, at: float, partner: str | None) -> None:
        """Note a success, together with the line or account *partner*."""
        if self.first is None or at < self.first:
            self.first = at
        if self.last is None or at > self.last:
            self.last = at
        if partner is not None and (not self.partners or self.partners[-1] != partner):
            others = tuple(each for each in self.partners if each != partner)
            self.partners = (*others[-(ACCOUNTS - 1) :], partner)

    def note(self, what: tuple[str, str], at: float) -> None:
        """Count one use; of too many different ones, the one seen longest ago is forgotten."""
        uses = self.uses
        if uses is None:
            uses = self.uses = {}
        use = uses.get(what)
        if use is None:
            if len(uses) >= USES:
                del uses[min(uses, key=lambda key: uses[key].last)]
            use = uses[what] = Use(at, at)
        use.count += 1
        if at > use.last:
            use.last = at
        elif at < use.first:
            use.first = at


class FactsShelf:
    """`Facts` by key, at most *keys* of them."""

    __slots__ = ("_by_key", "_keys")

    def __init__(self, keys: int) -> None:
        self._keys = keys
        self._by_key: OrderedDict[str, Facts] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def get(self, key: str) -> Facts | None:
        return self._by_key.get(key)

    def items(self) -> list[tuple[str, Facts]]:
        return list(self._by_key.items())

    def touch(self, key: str) -> Facts:
        """Return the facts of *key*, new ones where there are none; it is now the last to be forgotten."""
        facts = self._by_key.get(key)
        if facts is None:
            facts = self._by_key[key] = Facts()
            if len(self._by_key) > self._keys:
                self._by_key.popitem(last=False)
        else:
            self._by_key.move_to_end(key)
        return facts
