"""One's own account: logging in, its state, a new password, a one-time token from the counter; devices stand apart."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sekisho.accounts import AccountDetails, AccountStore, AppPasswords, SecondFactors, WeakPassword
from sekisho.portal import session
from sekisho.portal.access import Desk, may_set_password
from sekisho.portal.errors import Redirect, Refusal, Unavailable
from sekisho.portal.forms import form
from sekisho.portal.pages import page
from sekisho.portal.parts import Parts
from sekisho.portal.words import LANGUAGES, word

from . import devices

__all__ = ["routes"]

RECENT = 5  # logins that the overview shows
DONE = frozenset({"password", "token", "signed-out", "everywhere", "factor-off", "removed"})


def routes(parts: Parts) -> list[Route]:
    """Return the routes of these pages."""
    desk = Desk(parts)
    views = _Views(parts, desk)
    return [
        Route(f"/{language}/account/{path}", view, methods=methods)
        for language in LANGUAGES
        for path, view, methods in (
            ("", views.overview, ["GET"]),
            ("login", views.login, ["GET", "POST"]),
            ("logout", views.logout, ["POST"]),
            ("logout-everywhere", views.logout_everywhere, ["POST"]),
            ("password", views.password, ["GET", "POST"]),
            ("token", views.token, ["GET", "POST"]),
            *devices.paths(parts, desk),
        )
    ]


def secure(request: Request) -> None:
    """Let nobody type a password into a page that others can read, and let no cache keep the page.

    Raises:
        Refusal
    """
    request.state.private = True
    if not request.state.visitor.secure:
        raise Refusal(403, "common.insecure")


def done(request: Request) -> str | None:
    """Return what the page before this one has done, where it is one of ours that says so."""
    said = request.query_params.get("done")
    return said if said in DONE else None


class _Views:
    def __init__(self, parts: Parts, desk: Desk) -> None:
        self._parts = parts
        self._desk = desk

    # In and out

    async def login(self, request: Request) -> Response:
        secure(request)
        home = f"/{request.state.language}/account/"
        if request.method == "POST":
            fields = await form(request)
            onward = session.own_path(fields.get("next", ""), home)
            name = fields.get("username", "")
            account = await self._desk.admit(
                request.state.visitor, name, fields.get("password", ""), fields.get("code", "")
            )
            if account is not None:
                response = RedirectResponse(onward, 303)
                await session.login(request, response, account.id, second_factor=account.second_factor)
                return response
            return self._login_page(request, onward, name[:320], wrong=True)
        onward = session.own_path(request.query_params.get("next", ""), home)
        if request.state.session is not None:
            raise Redirect(onward)
        return self._login_page(request, onward, "", wrong=False)

    def _login_page(self, request: Request, onward: str, name: str, *, wrong: bool) -> Response:
        return page(
            request,
            "account/login.html",
            status=403 if wrong else 200,
            onward=onward,
            name=name,
            wrong=wrong,
            done=done(request),
        )

    async def logout(self, request: Request) -> Response:
        await form(request)
        response = RedirectResponse(f"/{request.state.language}/account/login?done=signed-out", 303)
        await session.logout(request, response)
        return response

    async def logout_everywhere(self, request: Request) -> Response:
        account = session.require(request).account
        await form(request)
        await self._parts.sessions.close_all(account.id, None)
        response = RedirectResponse(f"/{request.state.language}/account/login?done=everywhere", 303)
        await session.logout(request, response)
        return response

    # What there is

    async def overview(self, request: Request) -> Response:
        secure(request)
        account = session.require(request).account

        def read(store: AccountStore) -> tuple[AccountDetails, float | None, int]:
            details = store.show(account.login)
            return (
                details,
                SecondFactors(store).state(account.login).since,
                len(AppPasswords(store).list(account.login)),
            )

        details, factor_since, app_passwords = await self._parts.accounts.call(read)
        return page(
            request,
            "account/overview.html",
            details=details,
            account=details.account,
            factor_since=factor_since,
            app_passwords=app_passwords,
            sent=self._sent(details),
            limits=self._limits(details),
            recent=self._recent(details, request.state.language),
            may_set_password=may_set_password(self._parts, request.state.visitor),
            moment=lambda epoch: self._parts.clock.moment(epoch, request.state.language),
            done=done(request),
        )

    def _sent(self, details: AccountDetails) -> tuple[int, int] | None:
        try:
            return self._parts.tries.sent(details.account)
        except Unavailable:
            return None

    def _limits(self, details: AccountDetails) -> tuple[int, int]:
        policy, account = self._parts.settings.policy, details.account
        messages, recipients = account.messages_per_hour, account.recipients_per_hour
        return (
            policy.messages_per_hour if messages is None else messages,
            policy.recipients_per_hour if recipients is None else recipients,
        )

    def _recent(self, details: AccountDetails, language: str) -> list[tuple[str, str]]:
        entries = [
            each for each in self._parts.recall.of_account(details.account.login) if each.event == "auth.accepted"
        ]
        return [
            (self._parts.clock.moment(each.time, language), str(each.fields.get("client", "")))
            for each in reversed(entries[-RECENT:])
        ]

    # A new password

    async def password(self, request: Request) -> Response:
        visitor, language = request.state.visitor, request.state.language
        if not may_set_password(self._parts, visitor):
            request.state.private = True
            return page(request, "account/elsewhere.html", status=403)
        secure(request)
        account = session.require(request).account
        token = session.token_of(request)
        wrong: Mapping[str, str] = {}
        if request.method == "POST":
            fields = await form(request)
            new = fields.get("new", "")
            wrong = self._mismatch(fields, language)
            if not wrong and not await self._desk.confirm(
                visitor, account, fields.get("password", ""), fields.get("code", "")
            ):
                wrong = {"password": word("account.prove.wrong", language)}
            if not wrong:
                try:
                    await self._parts.accounts.call(lambda store: store.set_password(account.login, new, but=token))
                except WeakPassword as weak:
                    wrong = {"new": self._weak(weak, language)}
                else:
                    self._tell_password(request, account.login, "portal")
                    return RedirectResponse(f"/{language}/account/?done=password", 303)
        return page(
            request,
            "account/password.html",
            status=422 if wrong else 200,
            account=account,
            wrong=wrong,
            minimum=self._parts.settings.accounts.minimum_password_length,
        )

    async def token(self, request: Request) -> Response:
        secure(request)
        language = request.state.language
        wrong: Mapping[str, str] = {}
        given = ""
        if request.method == "POST":
            fields = await form(request)
            given = fields.get("token", "")
            wrong = self._mismatch(fields, language)
            if not wrong:
                try:
                    account = await self._desk.redeem(request.state.visitor, given, fields.get("new", ""))
                except WeakPassword as weak:
                    wrong = {"new": self._weak(weak, language)}
                else:
                    if account is not None:
                        self._tell_password(request, account.login, "token")
                        return RedirectResponse(f"/{language}/account/login?done=token", 303)
                    wrong = {"token": word("account.token.wrong", language)}
        return page(
            request,
            "account/token.html",
            status=422 if wrong else 200,
            wrong=wrong,
            given=given[:64],
            minimum=self._parts.settings.accounts.minimum_password_length,
        )

    @staticmethod
    def _mismatch(fields: Mapping[str, str], language: str) -> dict[str, str]:
        if fields.get("new", "") == fields.get("again", ""):
            return {}
        return {"again": word("account.password.differ", language)}

    def _weak(self, weak: WeakPassword, language: str) -> str:
        minimum = self._parts.settings.accounts.minimum_password_length
        return word(f"account.weak.{weak.kind}", language, minimum=minimum)

    def _tell_password(self, request: Request, login: str, by: str) -> None:
        self._parts.events.emit("account.password_set", client=request.state.visitor.address, account=login, by=by)
