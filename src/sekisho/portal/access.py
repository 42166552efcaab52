"""Who a person is, proven by password and code; and from where a password may be changed.

A wrong password, a name that nobody has, and a right password with a code that is missing, wrong or used are one
answer, after the same work and the same delay, from the limits that the mail server counts in. So the form asks for all
three at once: a page that asks for the code next would say that the password was right.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from sekisho.accounts import (
    Account,
    AccountsError,
    HashingPool,
    OneTimeTokens,
    PageLogin,
    Refused,
    SecondFactors,
    UnknownToken,
)
from sekisho.accounts import (
    Refusal as NotAccepted,
)

from .errors import Refusal
from .tries import Wrong
from .visitor import Place, Visitor

if TYPE_CHECKING:
    from .parts import Parts

__all__ = ["Desk", "may_set_password", "qr_image"]

PAGES_AT_ONCE = 16  # passwords of forms that may wait to be checked


class Desk:
    """Checks what people give to prove who they are."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._pool = HashingPool(1, PAGES_AT_ONCE)

    async def admit(self, visitor: Visitor, name: str, password: str, code: str) -> Account | None:
        """Return the account that this opens; None when it opens none.

        Raises:
            Refusal: the account is suspended (told to the owner of password and code alone), too many tries, or too
                many people at once.
            Unavailable: accounts or limits cannot be read.
        """
        accounts = self._parts.accounts
        login = await accounts.call(lambda store: PageLogin.of(store, self._pool, name, password, code))

        async def check() -> Account | Wrong:
            answer = await login.check()
            if isinstance(answer, Refused):
                if answer.kind is NotAccepted.BUSY:
                    raise Refusal(503, "account.busy", headers={"Retry-After": "5"})
                return Wrong(answer.detail)
            account = answer.account
            if account.second_factor:
                if not code.strip():
                    return Wrong("code missing")
                if not await accounts.call(lambda store: SecondFactors(store).check(account.id, code)):
                    return Wrong("wrong code")
            return account

        found: Account | None = await self._parts.tries.attempt(visitor, login.name, check, digest=login.digest)
        if found is not None and found.suspended:
            raise Refusal(403, "account.suspended")
        return found

    async def confirm(self, visitor: Visitor, account: Account, password: str, code: str) -> bool:
        """Tell whether whoever is logged in as *account* proves once more to be its owner. Raises as `admit`."""
        found = await self.admit(visitor, account.login, password, code)
        return found is not None and found.id == account.id

    async def redeem(self, visitor: Visitor, token: str, password: str) -> Account | None:
        """Set a password by a one-time token; return whose it was, None when the token counts for nothing.

        Raises:
            WeakPassword: the token is right, and still counts.
            Refusal: too many tries.
            Unavailable: accounts or limits cannot be read.
        """

        async def check() -> Account | Wrong:
            try:
                return await self._parts.accounts.call(lambda store: OneTimeTokens(store).use(token, password))
            except UnknownToken:
                return Wrong("unknown token")

        # counted for the line alone: tries from elsewhere must not shut out whoever has a right one
        return await self._parts.tries.attempt(visitor, f"one-time token {visitor.address}", check, step="token")

    async def confirm_factor(
        self, visitor: Visitor, account: Account, code: str, session: str
    ) -> tuple[str, ...] | None:
        """Switch the second factor on by its first code; return the recovery codes, None when the code is wrong.

        Raises as `redeem`.
        """

        async def check() -> tuple[str, ...] | Wrong:
            try:
                return await self._parts.accounts.call(
                    lambda store: SecondFactors(store).confirm(account.login, code, but=session)
                )
            except AccountsError:
                return Wrong("wrong code")

        return await self._parts.tries.attempt(visitor, account.login, check, step="second-factor")


def may_set_password(parts: Parts, visitor: Visitor) -> bool:
    """Tell whether a password may be changed from where the visitor is: campus or VPN, or anywhere without either."""
    around = parts.around
    if not (around.campus or around.vpn):
        return True
    return visitor.place in (Place.CAMPUS, Place.VPN)


def qr_image(text: str) -> str:
    """Return *text* as a QR code, as the address of an image that a page shows without fetching anything."""
    import segno  # only these pages draw one

    drawn = io.BytesIO()
    segno.make_qr(text, error="m").save(drawn, kind="svg", scale=4, border=2, light="#fff", xmldecl=False)
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode()}"
