"""How many wrong passwords are borne, from where and for whom.

A try is taken from the limits *before* the password is looked at and given back when it was right, so that a thousand
guesses at the same moment, on all processes, get no further than a thousand in a row. Names are counted as claimed,
whether an account has them or not: limits, delays and words tell nothing about who exists.

Where an account has logged in from an address lately, the two of them have a limit of their own in place of the two
others: neither an attack on the account from elsewhere nor a neighbor behind the same address shuts its owner out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sekisho.smtp import Reply
from sekisho.store.ledger import Ledger

from .addresses import fold
from .settings import PolicySettings

__all__ = ["AuthGuard", "SessionFailures"]

FROM_ADDRESS: Final = "auth-address"
TO_NAME: Final = "auth-name"
OWNERS: Final = "auth-owner"
FROM_OWNER: Final = "auth-owner-failures"
REPEATED: Final = "auth-repeated"

MAX_NAME: Final = 256
MAX_UNDECIDED: Final = 1024
UNDECIDED_FOR: Final = 30.0  # seconds; an exchange that is older was given up by its client
FREE_MECHANISMS: Final = 2  # Thunderbird, smtplib, swaks and Exim try a refused password with two or three mechanisms


class SessionFailures:
    """What failed so far in one session: a client's further tries with the same password are the same mistake."""

    __slots__ = ("_digests", "_free", "_mechanisms", "_name")

    def __init__(self) -> None:
        self._name: str | None = None
        self._digests: set[bytes] = set()
        self._mechanisms: set[str] = set()
        self._free = FREE_MECHANISMS

    def is_repeat(self, name: str, mechanism: str, digest: bytes | None) -> bool:
        """Note one failure; tell whether it repeats an earlier one of this session.

        It does when the name is the same and so is the password. A mechanism that does not show the password is
        believed to carry the same one when it is used for the first time, twice in a session.
        """
        if name != self._name:
            self._name = name
            self._digests = {digest} if digest is not None else set()
            self._mechanisms = {mechanism}
            return False
        if digest is not None and digest in self._digests:
            return True
        is_new_mechanism = mechanism not in self._mechanisms
        comparable = digest is not None and bool(self._digests)
        self._mechanisms.add(mechanism)
        if digest is not None and len(self._digests) < 64:
            self._digests.add(digest)
        if comparable or not is_new_mechanism or self._free == 0:
            return False
        self._free -= 1
        return True


@dataclass(slots=True)
class _Undecided:
    """Tries of one name from one network that are taken from the limits and not yet settled, in this process."""

    ordinary: int = 0
    owners: int = 0
    since: float = 0.0


class AuthGuard:
    """Limits on failed AUTH. For each try: `reserve`, verify, then one of `succeeded`, `failed`, `undecided`."""

    def __init__(
        self, ledger: Ledger, settings: PolicySettings, *, canonical: Callable[[str], str] = str.casefold
    ) -> None:
        """*canonical* names the account that a claimed login means, so that its aliases share one count; it must answer
        as fast for names that nobody has."""
        self._ledger = ledger
        self._canonical = canonical
        self._undecided: dict[tuple[str, str], _Undecided] = {}
        self.reload(settings)

    def reload(self, settings: PolicySettings) -> None:
        """Use *settings* from now on."""
        self.settings = settings
        self._window = float(settings.auth_window)
        self._memory = float(settings.auth_memory)
        minutes = max(1, round(self._window / 60))
        self.refusal = Reply(  # RFC 4954 §6: 454 4.7.0, a failure that passes
            454,
            "4.7.0",
            (f"Too many failed logins; check the saved password in your mail program, then wait {minutes} minutes",),
        )

    def reserve(self, address: str, name: str, now: float) -> bool:
        """Take one try from the limits. False: answer with `refusal`, verify nothing; see also `is_undecided`."""
        settings, ledger, window = self.settings, self._ledger, self._window
        network, claimed = fold(address), self._normal(name)
        if self._is_owners(network, claimed, now):
            if not ledger.reserve(
                FROM_OWNER, f"{network} {claimed}", 1, settings.auth_failures_per_address, window, now
            ):
                return False
            self._open(network, claimed, now).owners += 1
            return True
        if not ledger.reserve(FROM_ADDRESS, network, 1, settings.auth_failures_per_address, window, now):
            return False
        if not ledger.reserve(TO_NAME, claimed, 1, settings.auth_failures_per_account, window, now):
            ledger.refund(FROM_ADDRESS, network, 1, window, now)
            return False
        self._open(network, claimed, now).ordinary += 1
        return True

    def is_undecided(self, address: str, name: str, now: float) -> bool:
        """Tell whether other tries from *address* or for *name* are being verified right now.

        When they are, a refused `reserve` may pass in a moment: a whole office that logs in at nine is not an attack.
        """
        network, claimed = fold(address), self._normal(name)
        return any(
            (network == one or claimed == other) and now - tries.since < UNDECIDED_FOR
            for (one, other), tries in self._undecided.items()
        )

    def succeeded(self, address: str, name: str, now: float) -> None:
        """The password was right: give the try back, and know *address* as one that the owner of *name* uses."""
        network, claimed = fold(address), self._normal(name)
        self._give_back(network, claimed, now, was_owners=self._settle(network, claimed))
        pair = f"{network} {claimed}"
        if self._ledger.peek(OWNERS, pair, self._memory, now) < 1:
            self._ledger.add(OWNERS, pair, 1, self._memory, now)

    def undecided(self, address: str, name: str, now: float) -> None:
        """Nothing was verified (cancelled, malformed, busy): give the try back."""
        network, claimed = fold(address), self._normal(name)
        self._give_back(network, claimed, now, was_owners=self._settle(network, claimed))

    def failed(
        self,
        address: str,
        name: str,
        now: float,
        failures: SessionFailures,
        *,
        mechanism: str,
        digest: bytes | None = None,
    ) -> float:
        """The password was wrong: return how many seconds to wait before saying so.

        A password that the same address has tried for the same name within the window counts once: a telephone that
        keeps its old password shuts out neither its owner nor the household.

        Args:
            digest: keyed digest of the password where the mechanism shows it.
        """
        ledger, window, settings = self._ledger, self._window, self.settings
        network, claimed = fold(address), self._normal(name)
        was_owners = self._settle(network, claimed)
        is_repeat = failures.is_repeat(claimed, mechanism, digest)
        if digest is not None:
            tried = f"{network} {claimed} {digest.hex()}"
            is_repeat = ledger.add(REPEATED, tried, 1, window, now) > 1.5 or is_repeat
        if is_repeat:
            self._give_back(network, claimed, now, was_owners=was_owners)
        if was_owners:
            count = ledger.peek(FROM_OWNER, f"{network} {claimed}", window, now)
        else:
            count = ledger.peek(FROM_ADDRESS, network, window, now)
        exponent = min(30, max(0, int(count + 0.5) - 1))
        return float(min(settings.auth_max_delay, settings.auth_delay * 2**exponent))

    def _open(self, network: str, claimed: str, now: float) -> _Undecided:
        undecided = self._undecided
        tries = undecided.get((network, claimed))
        if tries is None:
            if len(undecided) >= MAX_UNDECIDED:
                del undecided[next(iter(undecided))]  # its tries stay counted
            tries = undecided[network, claimed] = _Undecided()
        tries.since = now
        return tries

    def _settle(self, network: str, claimed: str) -> bool:
        """Close one open try; tell whether it was taken from the owner's own limit. Unknown ones are taken for that."""
        tries = self._undecided.get((network, claimed))
        if tries is None:
            return True
        was_owners = tries.ordinary == 0
        if was_owners:
            tries.owners -= 1
        else:
            tries.ordinary -= 1
        if tries.ordinary + tries.owners <= 0:
            del self._undecided[network, claimed]
        return was_owners

    def _give_back(self, network: str, claimed: str, now: float, *, was_owners: bool) -> None:
        ledger, window = self._ledger, self._window
        if was_owners:
            ledger.refund(FROM_OWNER, f"{network} {claimed}", 1, window, now)
        else:
            ledger.refund(FROM_ADDRESS, network, 1, window, now)
            ledger.refund(TO_NAME, claimed, 1, window, now)

    def _is_owners(self, network: str, claimed: str, now: float) -> bool:
        return self._ledger.peek(OWNERS, f"{network} {claimed}", self._memory, now) > 0

    def _normal(self, name: str) -> str:
        """One text for the spellings of one name."""
        folded = unicodedata.normalize("NFKC", name[:MAX_NAME]).strip().casefold()
        return self._canonical(folded)
