"""What every request passes before a view sees it, and every response on its way out.

Order: who asks; is the host one of ours; not too many from one address; is the request within bounds and not sent by
another site's page; whose session. Then the view; and on the way out the headers that keep browsers from doing anything
but show the page.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sekisho.policy.addresses import fold

from . import session
from .forms import MAX_FORM, Refusal, is_foreign
from .hosts import Hosts, host_of
from .parts import Parts, Unavailable
from .visitor import Visitor, look_at
from .words import LANGUAGES

__all__ = ["Gate", "RateLimit"]

MAX_URL = 2048  # octets of path and query
TELL_EVERY = 60.0  # seconds
TOLD = 1000  # addresses
MAX_HEAD = 16 * 1024  # octets of all header fields, cookies of the whole domain among them
METHODS = frozenset({"GET", "HEAD", "POST"})
LANGUAGE = "sekisho-language"

log = logging.getLogger(__name__)

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; form-action 'self'; "
        b"frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # not "no-referrer": browsers then send "Origin: null" with our own forms
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"permissions-policy",
        b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
)
HSTS = (b"strict-transport-security", b"max-age=31536000")


class RateLimit:
    """Requests of each address in the last minute, as buckets that fill again evenly. Bounded, in memory."""

    __slots__ = ("_buckets", "_size", "_told")

    def __init__(self, size: int = 20_000) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._told: OrderedDict[str, float] = OrderedDict()
        self._size = size

    def take(self, address: str, per_minute: int, now: float) -> float:
        """Count one request. Returns 0 when it is within the limit, else the seconds until the next one will be."""
        who = fold(address)
        left, since = self._buckets.pop(who, (float(per_minute), now))
        left = min(float(per_minute), left + max(0.0, now - since) * per_minute / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / per_minute
        self._buckets[who] = (left if wait else left - 1, now)
        if len(self._buckets) > self._size:
            self._buckets.popitem(last=False)
        return wait

    def is_news(self, address: str, now: float) -> bool:
        """Tell whether nobody was told within the last minute that *address* goes beyond its limit."""
        who = fold(address)
        if now - self._told.get(who, -TELL_EVERY) < TELL_EVERY:
            return False
        self._told[who] = now
        self._told.move_to_end(who)
        if len(self._told) > TOLD:
            self._told.popitem(last=False)
        return True


class Gate:
    """The middleware around the whole application."""

    def __init__(
        self, app: ASGIApp, parts: Parts, limit: RateLimit, on_error: Callable[[Request, Exception], Response]
    ) -> None:
        self._app = app
        self._parts = parts
        self._limit = limit
        self._on_error = on_error
        self._hosts = Hosts.of(parts)
        portal = parts.settings.portal
        ports = [each.port for each in portal.addresses if portal.speaks_tls(each)]
        self._https_port = (443 if 443 in ports else ports[0]) if ports else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        visitor = self._prepare(request)
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message["headers"], *HEADERS, *([HSTS] if visitor.https else [])]
            await send(message)

        try:
            answer = await self._before(request, visitor)
            if answer is None:
                await self._app(scope, receive, guarded)
                return
        except ClientDisconnect:  # in the middle of a form: nobody is left to be answered
            return
        except Exception as error:
            if not isinstance(error, Refusal):
                log.exception("a page failed: %s %.200r", scope["method"], scope["path"])
                self._parts.events.emit("portal.failed", error=type(error).__name__, path=scope["path"][:200])
            if begun:
                raise
            answer = self._worded(request, error)
        await answer(scope, receive, guarded)

    def _worded(self, request: Request, error: Exception) -> Response:
        try:
            return self._on_error(request, error)
        except Exception:  # the frame of all pages is broken: say so without it
            log.exception("the page for what went wrong failed as well")
            return PlainTextResponse("500\n", 500, headers={"Cache-Control": "no-store"})

    def _prepare(self, request: Request) -> Visitor:
        """Note on the request what every page may ask, error pages included."""
        scope, state = request.scope, request.state
        client = scope.get("client")
        tls = scope.get("scheme") == "https"
        state.visitor = look_at(client[0] if client else "", scope["headers"], tls=tls, around=self._parts.around)
        state.session, state.session_unknown, state.private = None, False, False
        state.language, state.path = _language(request)
        visitor: Visitor = state.visitor
        return visitor

    async def _before(self, request: Request, visitor: Visitor) -> Response | None:
        """Raise `Refusal` for what goes no further; return a response that replaces the view's, or None."""
        scope = request.scope
        _refuse_ambiguous(scope)
        if scope["path"] == "/health":
            return None
        elsewhere = self._hosts.judge(request.headers.get("host", ""), scope["path"])
        if elsewhere is not None:
            return elsewhere
        self._count(visitor)
        is_plain = not (visitor.https or visitor.proxied or visitor.secure)
        if is_plain and self._https_port is not None and not self._hosts.is_for_clients(scope["path"]):
            return _over_https(request, self._https_port)
        self._refuse_out_of_bounds(request)
        await self._find_session(request)
        return None

    def _count(self, visitor: Visitor) -> None:
        parts, now = self._parts, self._parts.now()
        wait = self._limit.take(visitor.address, parts.settings.portal.requests_per_minute, now)
        if wait:
            if self._limit.is_news(visitor.address, now):
                parts.events.emit("portal.limited", client=visitor.address)
            raise Refusal(429, "common.too_many", headers={"Retry-After": str(math.ceil(wait))})

    def _refuse_out_of_bounds(self, request: Request) -> None:
        scope = request.scope
        if scope["method"] not in METHODS:
            raise Refusal(405, "common.wrong_method", headers={"Allow": "GET, HEAD, POST"})
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL:
            raise Refusal(414, "common.too_long")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD:
            raise Refusal(431, "common.too_long")  # RFC 6585 §5
        if not scope["path"].isprintable():
            raise Refusal(404, "common.not_found")
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length[:12]) > MAX_FORM:
            raise Refusal(413, "common.too_long")
        is_form = scope["method"] == "POST" and not self._hosts.is_for_clients(scope["path"])
        if is_form and is_foreign(request.headers, self._hosts.pages):
            raise Refusal(403, "common.foreign")

    async def _find_session(self, request: Request) -> None:
        token = session.token_of(request)
        if token is None or request.url.path.startswith("/assets/"):
            return
        try:
            request.state.session = await self._parts.sessions.find(token)
        except Unavailable as error:
            log.warning("a login could not be looked up: %s", error)
            request.state.session_unknown = True


def _refuse_ambiguous(scope: Scope) -> None:
    """Refuse a request whose end a proxy in front may see elsewhere, and what follows it (RFC 9112 §6.1)."""
    names = {name for name, _ in scope["headers"]}
    if b"transfer-encoding" in names and (b"content-length" in names or scope["http_version"] == "1.0"):
        raise Refusal(400, "common.not_understood", headers={"Connection": "close"})


def _over_https(request: Request, port: int) -> Response:
    """Lead from plain HTTP to the same page over TLS."""
    host = host_of(request.headers.get("host", "")) or ""
    host = f"[{host}]" if ":" in host else host
    where = host if port == 443 else f"{host}:{port}"
    return RedirectResponse(str(request.url.replace(scheme="https", netloc=where)), 308)


def _language(request: Request) -> tuple[str, str]:
    """Return the language of the page asked for, and its path below that language."""
    first, _, rest = request.scope["path"].lstrip("/").partition("/")
    if first in LANGUAGES:
        return first, rest
    cookie = request.cookies.get(LANGUAGE)
    if cookie in LANGUAGES:
        return cookie, ""
    return preferred(request.headers.get("accept-language", "")), ""


def preferred(header: str) -> str:
    """Return the language that Accept-Language (RFC 9110 §12.5.4) likes best of ours; Japanese when it names none."""
    best, weight = "ja", 0.0
    for element in header[:1000].split(","):
        tag, _, parameters = element.partition(";")
        language = tag.strip().lower().partition("-")[0]
        quality = parameters.strip().removeprefix("q=")
        try:
            liking = float(quality) if parameters else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and weight < liking <= 1:
            best, weight = language, liking
    if weight == 0.0 and header.strip() not in ("", "*"):
        return "en"  # a reader of neither will more likely know English
    return best
