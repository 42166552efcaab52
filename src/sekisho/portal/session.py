"""The login of a browser: its cookie, the tokens of its forms, and what a page may ask of it.

The cookie holds a token of 256 random bits and nothing else; what it stands for is in the accounts database. Before a
login a form is bound to a cookie with a signed nonce (double submit); after it, to the session's token itself, so that
neither works in another browser.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import urllib.parse
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from .errors import Redirect, Refusal

if TYPE_CHECKING:
    from .parts import Parts
    from .stores import WebSession

__all__ = ["form_token", "is_form_token", "login", "logout", "own_path", "remember_form", "require", "token_of"]

SESSION = "sekisho"
FORM = "sekisho-form"
MAX_TOKEN = 128  # characters


def _name(request: Request, name: str) -> str:
    """Return the cookie's name: over HTTPS the browser itself guards it against other hosts and plain HTTP."""
    return f"__Host-{name}" if request.state.visitor.https else name


def _cookie(request: Request, name: str) -> str | None:
    value = request.cookies.get(_name(request, name))
    return value if value and value.isascii() and len(value) <= MAX_TOKEN else None


def _set(request: Request, response: Response, name: str, value: str) -> None:
    response.set_cookie(
        _name(request, name), value, path="/", secure=request.state.visitor.https, httponly=True, samesite="lax"
    )


def _delete(request: Request, response: Response, name: str) -> None:
    response.delete_cookie(
        _name(request, name), path="/", secure=request.state.visitor.https, httponly=True, samesite="lax"
    )


def token_of(request: Request) -> str | None:
    """Return the session token that the browser sent, whatever it is worth."""
    return _cookie(request, SESSION)


async def login(request: Request, response: Response, account_id: int, *, second_factor: bool = False) -> None:
    """Open a session for an account that has just proved who it is; *response* carries the cookie.

    A session that the browser had is closed: a token never survives a change of rights.

    Raises:
        Unavailable
    """
    parts: Parts = request.app.state.parts
    if (former := token_of(request)) is not None:
        await parts.sessions.close(former)
    token = await parts.sessions.open(account_id, client=request.state.visitor.address, second_factor=second_factor)
    _set(request, response, SESSION, token)
    _delete(request, response, FORM)
    opened = await parts.sessions.find(token)
    account = opened.account.login if opened is not None else None
    parts.events.emit("portal.login", client=request.state.visitor.address, account=account, factors=1 + second_factor)


async def logout(request: Request, response: Response) -> None:
    """Close the browser's session, if it has one.

    Raises:
        Unavailable
    """
    parts: Parts = request.app.state.parts
    if (token := token_of(request)) is not None:
        await parts.sessions.close(token)
    _delete(request, response, SESSION)


def require(request: Request) -> WebSession:
    """Return the session of a page that is for its owner alone.

    Raises:
        Redirect: to the login, which leads back here.
        Refusal: the connection is not safe for a login, or nobody can tell now whose session it is.
    """
    found: WebSession | None = request.state.session
    if found is not None:
        return found
    if request.state.session_unknown:
        raise Refusal(503, "common.accounts_away", headers={"Retry-After": "60"})
    if not request.state.visitor.secure:
        raise Refusal(403, "common.insecure")
    back = request.url.path if request.method in ("GET", "HEAD") else ""
    query = f"?{urllib.parse.urlencode({'next': back})}" if back else ""
    raise Redirect(f"/{request.state.language}/account/login{query}")


def own_path(text: str, fallback: str) -> str:
    """Return *text* where it is a path of this portal, to be led back to after a login; else *fallback*."""
    is_path = text.startswith(("/ja/", "/en/")) and len(text) <= 500 and text.isascii() and text.isprintable()
    return text if is_path and "\\" not in text and "//" not in text else fallback


# Tokens of forms


def form_token(request: Request) -> str:
    """Return the token for the forms of a page; where it needs the signed cookie, `remember_form` sets that.

    A page that has one is this browser's alone, and no cache may keep it.
    """
    request.state.private = True
    bound = token_of(request) if request.state.session is not None else None
    if bound is not None:
        return _mac(request, "session", bound)
    return _mac(request, "nonce", _nonce(request))


def is_form_token(request: Request, given: str) -> bool:
    """Tell whether *given* is what `form_token` gave this browser."""
    bound = token_of(request) if request.state.session is not None else None
    if bound is not None:
        return hmac.compare_digest(given.encode(), _mac(request, "session", bound).encode())
    nonce = _signed_nonce(request)
    return nonce is not None and hmac.compare_digest(given.encode(), _mac(request, "nonce", nonce).encode())


def remember_form(request: Request, response: Response) -> None:
    """Set the cookie that a form on the page is bound to, unless the browser has it already."""
    nonce: str | None = getattr(request.state, "new_nonce", None)
    if nonce is not None:
        _set(request, response, FORM, f"{nonce}.{_mac(request, 'cookie', nonce)}")


def _nonce(request: Request) -> str:
    known = _signed_nonce(request) or getattr(request.state, "new_nonce", None)
    if known is None:
        known = request.state.new_nonce = secrets.token_urlsafe(16)
    return known


def _signed_nonce(request: Request) -> str | None:
    nonce, _, mac = (_cookie(request, FORM) or "").partition(".")
    return nonce if nonce and hmac.compare_digest(mac, _mac(request, "cookie", nonce)) else None


def _mac(request: Request, purpose: str, value: str) -> str:
    secret: bytes = request.app.state.parts.secret
    return hmac.new(secret, f"{purpose}\0{value}".encode(), hashlib.sha256).hexdigest()[:40]
