"""The application: routes, what happens to every request before and after them, and the pages for what goes wrong."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from . import pages
from .forms import Redirect, Refusal
from .gate import Gate, RateLimit
from .parts import Parts, Unavailable
from .session import own_path
from .views import account, check, discovery, guide, operator
from .words import LANGUAGES

__all__ = ["make_app"]

YEAR = 365 * 86400
LANGUAGE = "sekisho-language"

log = logging.getLogger(__name__)


def make_app(parts: Parts, *, limit: RateLimit | None = None) -> Starlette:
    """Return the application for *parts*.

    Args:
        limit: counts of requests, to outlive a reload; new ones without.
    """
    areas = (guide, check, account, operator, discovery)
    app = Starlette(
        routes=[
            Route("/", _start),
            *(Route(f"/{language}", _start) for language in LANGUAGES),
            Route("/account/{page}", _account),
            Route("/language/{language}/{path:path}", _switch),
            Route("/assets/{digest}/{name}", _asset),
            Route("/robots.txt", _robots),
            *(route for area in areas for route in area.routes(parts)),
        ],
        middleware=[Middleware(Gate, parts=parts, limit=limit or RateLimit(), on_error=_explain)],
        exception_handlers={
            Refusal: _handled,
            Redirect: _handled,
            Unavailable: _handled,
            HTTPException: _handled,
        },
    )
    app.router.redirect_slashes = False
    app.state.parts = parts
    return app


async def _start(request: Request) -> Response:
    """Lead to the front page in the reader's language."""
    response = RedirectResponse(f"/{request.state.language}/", 302)
    response.headers["Vary"] = "Accept-Language, Cookie"
    response.headers["Cache-Control"] = "no-store"
    return response


async def _account(request: Request) -> Response:
    """Lead to a page of the account in the reader's language: addresses in letters and on paper name none."""
    start = f"/{request.state.language}/account/"
    response = RedirectResponse(own_path(f"{start}{request.path_params['page']}", start), 302)
    response.headers["Vary"] = "Accept-Language, Cookie"
    response.headers["Cache-Control"] = "no-store"
    return response


async def _switch(request: Request) -> Response:
    """Show a page in another language, and begin with that language the next time."""
    language = request.path_params["language"]
    if language not in LANGUAGES:
        raise HTTPException(404)
    query = f"?{request.url.query}" if request.url.query else ""
    path = own_path(f"/{language}/{request.path_params['path']}", f"/{language}/")
    response = RedirectResponse(f"{path}{query}", 303)
    response.set_cookie(
        LANGUAGE, language, max_age=YEAR, path="/", secure=request.state.visitor.https, httponly=True, samesite="lax"
    )
    response.headers["Cache-Control"] = "no-store"
    return response


async def _asset(request: Request) -> Response:
    found = pages.asset(request.path_params["name"], request.path_params["digest"])
    if found is None:
        raise HTTPException(404)
    return found.answer(request)


async def _robots(request: Request) -> Response:
    lines = ["User-agent: *", *(f"Disallow: /{each}/{area}/" for each in LANGUAGES for area in ("account", "operator"))]
    return Response("".join(f"{line}\n" for line in [*lines, "Disallow: /c/"]), media_type="text/plain")


async def _handled(request: Request, error: Exception) -> Response:
    return _explain(request, error)


_EXPECTED = {404: "common.not_found", 405: "common.wrong_method"}


def _explain(request: Request, error: Exception) -> Response:
    """Return the page for *error*: what is the case and what to do, and nothing of our insides."""
    match error:
        case Redirect():
            return RedirectResponse(error.url, 303, headers={"Cache-Control": "no-store"})
        case Refusal():
            refusal = error
        case Unavailable():
            log.warning("a page could not be given: %s", error)
            refusal = Refusal(503, f"common.{error.what}_away", headers={"Retry-After": "60"})
        case HTTPException():
            refusal = Refusal(
                error.status_code, _EXPECTED.get(error.status_code, "common.not_understood"), headers=error.headers
            )
        case _:
            refusal = Refusal(500, "common.our_mistake")
    request.state.private = True
    return pages.page(
        request,
        "refusal.html",
        status=refusal.status,
        headers=refusal.headers,
        key=refusal.key,
        values=refusal.values,
        status_code=refusal.status,
    )
