"""How many connections one address may hold, and which addresses are known to behave."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sekisho.smtp import Reply, replies

from .addresses import fold

__all__ = ["Acquaintances", "ConnectionCounter"]

CROWDED: Final = 0.9  # of all connections; beyond this an address may only hold a small share
SMALL_SHARE: Final = 0.1  # of the limit of one address, in a crowd
REMEMBERED: Final = 10_000

SERVER_FULL = Reply(421, "4.3.2", ("This server has too many connections now; please try again in a minute",))


class ConnectionCounter:
    """Connections now open, by address; one object for each mail process.

    Fields:
        total: open connections, refused ones included until they close.
    """

    __slots__ = ("_open", "_processes", "total")

    def __init__(self, processes: int = 1) -> None:
        """The limits given to `opened` are the service's; each of its *processes* holds its share of them."""
        self._processes = processes
        self._open: dict[str, int] = {}
        self.total = 0

    def opened(self, address: str, *, limit: int, total: int) -> Reply | None:
        """Count a connection from *address*, and return why it must be refused, or None.

        Call `closed` once for each call, whatever the answer.

        Args:
            limit: most connections of one address (IPv6: one /64).
            total: most connections of all. When nine tenths of them are taken, an address that already holds a tenth
                of its own limit gets no more: the last places are for those who have none yet.
        """
        own_limit = -(-limit // self._processes)
        total_limit = -(-total // self._processes)
        who = fold(address)
        own = self._open.get(who, 0)
        others = self.total
        self._open[who] = own + 1
        self.total = others + 1
        if own >= own_limit:
            return replies.TOO_MANY_CONNECTIONS
        if others >= total_limit:
            return SERVER_FULL
        if others >= total_limit * CROWDED and own >= max(1, int(own_limit * SMALL_SHARE)):
            return replies.TOO_MANY_CONNECTIONS
        return None

    def closed(self, address: str) -> None:
        """Count a connection out."""
        who = fold(address)
        own = self._open.get(who, 0)
        if own == 0:
            return
        self.total -= 1
        if own == 1:
            del self._open[who]
        else:
            self._open[who] = own - 1

    def held_by(self, address: str) -> int:
        """How many connections *address* holds."""
        return self._open.get(fold(address), 0)


class Acquaintances:
    """Addresses that spoke SMTP in turn lately: they need not be waited for before the greeting. Bounded, in memory."""

    __slots__ = ("_known", "_size")

    def __init__(self, size: int = REMEMBERED) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._size = size

    def knows(self, address: str) -> bool:
        """Whether *address* behaved when it was last seen."""
        return address in self._known

    def remember(self, address: str) -> None:
        """Note that *address* behaved. The one longest not noted gives way."""
        known = self._known
        known[address] = None
        known.move_to_end(address)
        if len(known) > self._size:
            known.popitem(last=False)

    def forget(self, address: str) -> None:
        """Note that *address* did not behave."""
        self._known.pop(address, None)
