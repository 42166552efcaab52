"""App passwords for single devices, and the second factor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sekisho.accounts import (
    Account,
    AccountsError,
    AppPassword,
    AppPasswords,
    BadLabel,
    Enrolment,
    FactorState,
    SecondFactors,
    TooManyAppPasswords,
)
from sekisho.guide.model import CAPABILITIES
from sekisho.guide.render.rows import CardView, card_views
from sekisho.portal import session
from sekisho.portal.access import Desk, qr_image
from sekisho.portal.errors import Redirect, Refusal
from sekisho.portal.forms import form
from sekisho.portal.pages import page
from sekisho.portal.parts import Parts
from sekisho.portal.words import word

__all__ = ["paths"]

View = Callable[[Request], Awaitable[Response]]


def paths(parts: Parts, desk: Desk) -> Iterator[tuple[str, View, list[str]]]:
    """Return path below ``account/``, view and methods of these pages."""
    views = _Views(parts, desk)
    yield "devices", views.devices, ["GET", "POST"]
    yield "devices/remove", views.remove, ["POST"]
    yield "factor", views.factor, ["GET"]
    yield "factor/begin", views.begin, ["POST"]
    yield "factor/confirm", views.confirm, ["GET", "POST"]
    yield "factor/off", views.switch_off, ["POST"]
    yield "factor/recovery", views.recovery, ["POST"]


def _owner(request: Request) -> Account:
    """Return whose pages these are; no cache keeps them. Raises as `session.require`."""
    request.state.private = True
    return session.require(request).account


class _Views:
    def __init__(self, parts: Parts, desk: Desk) -> None:
        self._parts = parts
        self._desk = desk
        self._begun: dict[int, str | None] = {}  # in which session each account's second factor was begun
        self._programs = {
            family.id: (family.names, f"clients/{family.versions[-1].id}.html")
            for family in parts.catalog.families
            if family.status == "current"
        }

    # App passwords

    async def devices(self, request: Request) -> Response:
        account = _owner(request)
        language = request.state.language
        wrong: dict[str, str] = {}
        label, program = "", ""
        if request.method == "POST":
            fields = await form(request)
            label, program = fields.get("label", ""), fields.get("program", "")
            made = await self._make(request, account, fields)
            if not isinstance(made, str):
                self._tell(request, "account.app_password_added", account, made[0].number)
                return self._shown_once(request, account, *made, program)
            field = "password" if made == "account.prove.wrong" else "label"
            wrong = {field: word(made, language)}
        listed = await self._parts.accounts.call(lambda store: AppPasswords(store).list(account.login))
        return page(
            request,
            "account/devices.html",
            status=422 if wrong else 200,
            account=account,
            listed=listed,
            wrong=wrong,
            label=label[:60],
            program=program,
            programs=[("", word("account.devices.no_program", language))]
            + [(name, names.say(language)) for name, (names, _) in self._programs.items()],
            done="removed" if request.query_params.get("done") == "removed" else None,
            moment=lambda epoch: self._parts.clock.moment(epoch, language),
        )

    async def _make(
        self, request: Request, account: Account, fields: Mapping[str, str]
    ) -> tuple[AppPassword, str] | str:
        """Make an app password, or return the key of the words that say why not.

        The password is asked for: whoever finds a browser open must not take away a way to send that stays open. The
        name is looked at first, for a code counts once.
        """
        try:
            label = AppPasswords.tidy(fields.get("label", ""))
            if not await self._proven(request, account, fields):
                return "account.prove.wrong"
            return await self._parts.accounts.call(lambda store: AppPasswords(store).add(account.login, label))
        except BadLabel:
            return "account.devices.bad_label"
        except TooManyAppPasswords:
            return "account.devices.too_many"

    def _shown_once(
        self, request: Request, account: Account, made: AppPassword, password: str, program: str
    ) -> Response:
        found = self._programs.get(program)
        return page(
            request,
            "account/device.html",
            made=made,
            password=password,
            cards=self._cards(request, account),
            program=found[0].say(request.state.language) if found else None,
            guide=found[1] if found else "clients.html",
        )

    def _cards(self, request: Request, account: Account) -> list[CardView]:
        card = self._parts.card
        ways = tuple(way for way in card.ways if CAPABILITIES[way.capability].tls != "none")
        language = request.state.language
        views = card_views(card, ways, language, card.for_person(account.login))
        this = word("account.device.this", language)
        return [replace(view, rows=(*view.rows[:-1], (view.rows[-1][0], this))) for view in views]

    async def remove(self, request: Request) -> Response:
        account = _owner(request)
        number = (await form(request)).get("number", "")
        if not (number.isascii() and number.isdecimal() and len(number) < 19):
            raise Refusal(400, "common.not_understood")
        try:
            await self._parts.accounts.call(lambda store: AppPasswords(store).remove(account.login, int(number)))
        except AccountsError:  # revoked a moment ago, perhaps in another window
            pass
        else:
            self._tell(request, "account.app_password_removed", account, int(number))
        return RedirectResponse(f"/{request.state.language}/account/devices?done=removed", 303)

    # The second factor

    async def factor(self, request: Request) -> Response:
        return await self._factor_page(request, _owner(request))

    async def _factor_page(self, request: Request, account: Account, wrong: str | None = None) -> Response:
        state: FactorState = await self._parts.accounts.call(lambda store: SecondFactors(store).state(account.login))
        return page(
            request,
            "account/factor.html",
            status=422 if wrong else 200,
            state=state,
            asked=wrong,
            wrong=word("account.prove.wrong", request.state.language) if wrong else None,
            moment=lambda epoch: self._parts.clock.moment(epoch, request.state.language),
        )

    async def _proven(self, request: Request, account: Account, fields: Mapping[str, str], suffix: str = "") -> bool:
        password, code = fields.get(f"password{suffix}", ""), fields.get(f"code{suffix}", "")
        return await self._desk.confirm(request.state.visitor, account, password, code)

    async def begin(self, request: Request) -> Response:
        """Make a secret. The password is asked for: whoever finds a browser open must not lock its owner out."""
        account = _owner(request)
        if not await self._proven(request, account, await form(request)):
            return await self._factor_page(request, account, "begin")
        issuer = self._issuer
        try:
            await self._parts.accounts.call(lambda store: SecondFactors(store).begin(account.login, issuer=issuer))
        except AccountsError as error:  # on already, from another window
            raise Redirect(f"/{request.state.language}/account/factor") from error
        self._begun[account.id] = session.token_of(request)
        raise Redirect(f"/{request.state.language}/account/factor/confirm")

    async def confirm(self, request: Request) -> Response:
        """Show the secret, and take its first code: in the session alone in which it was begun."""
        account = _owner(request)
        code = (await form(request)).get("code", "") if request.method == "POST" else None
        token = session.token_of(request) or ""
        if self._begun.get(account.id) != token:
            raise Redirect(f"/{request.state.language}/account/factor")
        issuer = self._issuer
        wrong = False
        if code is not None:
            recovery = await self._desk.confirm_factor(request.state.visitor, account, code, token)
            if recovery is not None:
                self._begun.pop(account.id, None)
                self._tell(request, "account.factor_on", account)
                return page(request, "account/recovery.html", codes=recovery, account=account, is_new=True)
            wrong = True
        begun: Enrolment | None = await self._parts.accounts.call(
            lambda store: SecondFactors(store).pending(account.login, issuer=issuer)
        )
        if begun is None:
            raise Redirect(f"/{request.state.language}/account/factor")
        return page(
            request,
            "account/confirm.html",
            status=422 if wrong else 200,
            account=account,
            secret=begun.secret,
            image=qr_image(begun.uri),
            wrong=word("account.factor.wrong", request.state.language) if wrong else None,
        )

    async def switch_off(self, request: Request) -> Response:
        account = _owner(request)
        if not await self._proven(request, account, await form(request), "-off"):
            return await self._factor_page(request, account, "off")
        if await self._parts.accounts.call(lambda store: SecondFactors(store).switch_off(account.login)):
            self._tell(request, "account.factor_off", account)
        return RedirectResponse(f"/{request.state.language}/account/?done=factor-off", 303)

    async def recovery(self, request: Request) -> Response:
        account = _owner(request)
        if not await self._proven(request, account, await form(request)):
            return await self._factor_page(request, account, "recovery")
        try:
            codes = await self._parts.accounts.call(
                lambda store: SecondFactors(store).renew_recovery_codes(account.login)
            )
        except AccountsError as error:  # off since, from another window
            raise Redirect(f"/{request.state.language}/account/factor") from error
        return page(request, "account/recovery.html", codes=codes, account=account, is_new=False)

    @property
    def _issuer(self) -> str:
        return self._parts.settings.hostname

    def _tell(self, request: Request, event: str, account: Account, app_password: int | None = None) -> None:
        self._parts.events.emit(
            event, client=request.state.visitor.address, account=account.login, by="portal", app_password=app_password
        )
