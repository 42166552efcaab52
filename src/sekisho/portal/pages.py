"""Pages: one function from a template and its values to a response, the same for every view.

Templates are Jinja2, escape by themselves and refuse undefined names. What each of them may use without being given it
is listed at `page`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib import resources

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from sekisho.guide import Both

from . import forms, session
from .words import LANGUAGES, word

__all__ = ["asset", "asset_url", "environment", "page"]

PRIVATE = "no-store"
PUBLIC = "public, max-age=300"
ASSET_TYPES = {
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "webp": "image/webp",
    "woff2": "font/woff2",
    "ico": "image/x-icon",
    "txt": "text/plain; charset=utf-8",
}


def page(
    request: Request,
    template: str,
    /,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> Response:
    """Return a page of `templates/`, filled in with *values*.

    Every template also has:
        word(key, **values)   the text in the page's language
        text(both)            a text of the facts or of the operator in that language
        language, other       ``ja`` or ``en``, and the other one
        url(path)             address of a page in that language: ``url("clients.html")`` → ``/ja/clients.html``
        switch                address that shows this page in the other language, and remembers it
        asset(name)           address of a file in `assets/`
        csrf()                the hidden field that every form with method="post" needs
        card                  the settings card
        settings              the settings of the portal
        visitor               who asks (`visitor.Visitor`)
        session               the login (`accounts.WebSession`), or None
        path                  this page's path below the language

    A page without login may be kept by caches for five minutes; everything else by nobody.
    """
    response = Response(
        environment().get_template(template).render(_context(request), **values),
        status,
        dict(headers or {}),
        "text/html; charset=utf-8",
    )
    session.remember_form(request, response)
    is_public = (
        status == 200
        and request.method in ("GET", "HEAD")
        and request.state.session is None
        and session.token_of(request) is None
        and "set-cookie" not in response.headers
        and not request.state.private
    )
    response.headers.setdefault("Cache-Control", PUBLIC if is_public else PRIVATE)
    response.headers.setdefault("Content-Language", request.state.language)
    response.headers.setdefault("Vary", "Cookie")
    return response


def _context(request: Request) -> dict[str, object]:
    parts, language, state = request.app.state.parts, request.state.language, request.state

    def csrf() -> Markup:
        return Markup('<input type="hidden" name="{}" value="{}">').format(forms.FIELD, session.form_token(request))

    other = next(each for each in LANGUAGES if each != language)
    return {
        "word": lambda key, **values: word(key, language, **values),
        "text": lambda both: _say(both, language),
        "language": language,
        "other": other,
        "url": lambda path: f"/{language}/{path.lstrip('/')}",
        "switch": f"/language/{other}/{state.path}",
        "asset": asset_url,
        "csrf": csrf,
        "card": parts.card,
        "settings": parts.settings.portal,
        "visitor": state.visitor,
        "session": state.session,
        "path": state.path,
    }


def _say(both: Both, language: str) -> str:
    return both.say(language)


@functools.cache
def environment() -> jinja2.Environment:
    """Return the environment of all templates; each is compiled once."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("sekisho.portal", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@functools.cache
def _assets() -> Mapping[str, tuple[str, bytes, str]]:
    """Return every file of `assets/`: media type, octets, digest."""
    found = {}
    for file in resources.files(__package__).joinpath("assets").iterdir():
        kind = ASSET_TYPES.get(file.name.rpartition(".")[2])
        if kind is not None and file.is_file():
            octets = file.read_bytes()
            found[file.name] = kind, octets, hashlib.sha256(octets).hexdigest()[:16]
    return found


def asset(name: str) -> tuple[str, bytes, str] | None:
    """Return media type, octets and digest of a file in `assets/`; None when there is no such file."""
    return _assets().get(name)


def asset_url(name: str) -> str:
    """Return the address of a file in `assets/`; it changes with the contents, so that caches may keep it forever.

    Raises:
        KeyError: there is no such file: a mistake of ours.
    """
    return f"/assets/{_assets()[name][2]}/{name}"
