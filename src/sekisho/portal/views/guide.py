"""The guide, search, and what every page shows of the operator: pages that need no login and know more after it."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sekisho.guide.search import MAX_QUERY, MOST
from sekisho.portal.guidebook import Guidebook
from sekisho.portal.logo import read_logo
from sekisho.portal.pages import frame_values, page
from sekisho.portal.parts import Parts
from sekisho.portal.words import LANGUAGES

__all__ = ["routes"]

HOME = "index.html"
SHAPES = ("", "{page}.html", "clients/{page}.html", "problems/{page}.html", "for/{page}.html", "revisions.xml")


def routes(parts: Parts) -> list[Route]:
    """Return the routes of these pages.

    Raises:
        GuideError: the guide lacks something that [guide] has to give.
    """
    book = Guidebook(parts.catalog, parts.card)
    logo = read_logo(parts.settings.portal.logo)

    async def show(request: Request) -> Response:
        language, path = request.state.language, request.state.path or HOME
        if not book.has(language, path):
            raise HTTPException(404)
        session = request.state.session
        if session is None:
            return book.fixed(language, path, frame_values(request)).answer(request, Vary="Cookie, Accept-Encoding")
        text = book.personal(language, path, session.account.login, frame_values(request))
        return Response(text, headers={"Cache-Control": "no-store"}, media_type="text/html; charset=utf-8")

    async def home(request: Request) -> Response:
        """Lead from the name that the static guide has for it."""
        return RedirectResponse(f"/{request.state.language}/", 308)

    async def search(request: Request) -> Response:
        query = " ".join(request.query_params.get("q", "").split())
        cut = MAX_QUERY if len(query) > MAX_QUERY else None
        hits = await book.search(request.state.language, query) if query else ()
        return page(request, "search.html", query=query[:MAX_QUERY], cut=cut, hits=hits, most=MOST)

    async def show_logo(request: Request) -> Response:
        if logo is None:
            raise HTTPException(404)
        return logo.answer(request)

    return [
        Route("/logo", show_logo),
        *(Route(f"/{language}/{HOME}", home) for language in LANGUAGES),
        *(Route(f"/{language}/search", search) for language in LANGUAGES),
        *(Route(f"/{language}/{shape}", show) for language in LANGUAGES for shape in SHAPES),
    ]
