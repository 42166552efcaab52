"""Pages: one function from a template and its values to a response, the same for every view.

Templates are Jinja2, escape by themselves and refuse undefined names. What each of them may use without being given it
is listed at `page`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from sekisho.guide.model import Both
from sekisho.guide.render import TEMPLATES, stylesheet

from . import forms, session
from .compress import Fixed
from .words import LANGUAGES, word

__all__ = ["asset", "asset_url", "environment", "frame_values", "page"]

PRIVATE = "no-store"
PUBLIC = "public, max-age=300"
FOREVER = f"public, max-age={365 * 86400}, immutable"
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

    Templates extend `frame.html`, and find in `macros.html` what pages are made of. Each also has:
        word(key, **values)   the text in the page's language
        text(both)            a text of the facts or of the operator in that language
        language, other       ``ja`` or ``en``, and the other one
        url(path)             address of a page in that language: ``url("clients.html")`` → ``/ja/clients.html``
        switch                address that shows this page in the other language, and remembers it
        asset(name)           address of a file in `assets/`, or of ``style.css``
        csrf()                the hidden field that every form with method="post" needs
        card                  the settings card
        settings              the settings of the portal
        visitor               who asks (`visitor.Visitor`)
        session               the login (`accounts.WebSession`), or None
        path                  this page's path below the language
        zone                  what the time zone of all times is called; a template that shows some without it sets
                              has_times, and the foot of the page names it
        can_report            there is a page on which a person can write to the operator

    A page without login may be kept by caches for five minutes; everything else by nobody.
    """
    response = Response(
        environment().get_template(template).render(frame_values(request), **values),
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


def frame_values(request: Request) -> dict[str, object]:
    """Return what every template has, as listed at `page`."""
    parts, language, state = request.app.state.parts, request.state.language, request.state

    def csrf() -> Markup:
        return Markup('<input type="hidden" name="{}" value="{}">').format(forms.FIELD, session.form_token(request))

    other = next(each for each in LANGUAGES if each != language)
    return {
        "word": lambda key, **values: word(key, language, **values),
        "text": lambda both: _say(both, language),
        "language": language,
        "other": other,
        "url": lambda path: f"/{language}/{_without_index(path.lstrip('/'))}",
        "switch": f"/language/{other}/{state.path}",
        "asset": asset_url,
        "style": asset_url("style.css"),
        "csrf": csrf,
        "card": parts.card,
        "settings": parts.settings.portal,
        "visitor": state.visitor,
        "session": state.session,
        "path": state.path,
        "zone": parts.clock.named(language),
        "can_report": any(getattr(each, "path", "").endswith("/check/report") for each in request.app.routes),
    }


def _without_index(path: str) -> str:
    """Return the address of a page that a static site calls index.html, with its place on the page."""
    page, hash_mark, place = path.partition("#")
    if page == "index.html" or page.endswith("/index.html"):
        page = page.removesuffix("index.html")
    return f"{page}{hash_mark}{place}"


def _say(both: Both, language: str) -> str:
    return both.say(language)


@functools.cache
def environment() -> jinja2.Environment:
    """Return the environment of all templates; each is compiled once."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("sekisho.portal", "templates"), TEMPLATES]),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@functools.cache
def _assets() -> Mapping[str, Fixed]:
    """Return the style sheet that the guide has too, and every file of `assets/`."""
    found = {"style.css": Fixed(stylesheet().encode(), ASSET_TYPES["css"], FOREVER)}
    for file in resources.files(__package__).joinpath("assets").iterdir():
        kind = ASSET_TYPES.get(file.name.rpartition(".")[2])
        if kind is not None and file.is_file():
            found[file.name] = Fixed(file.read_bytes(), kind, FOREVER)
    return found


def asset(name: str, digest: str) -> Fixed | None:
    """Return an asset as it is sent; None when there is no such file, or no longer this one."""
    found = _assets().get(name)
    return found if found is not None and _digest(found) == digest else None


def asset_url(name: str) -> str:
    """Return the address of an asset; it changes with the contents, so that caches may keep it forever.

    Raises:
        KeyError: there is no such file: a mistake of ours.
    """
    return f"/assets/{_digest(_assets()[name])}/{name}"


def _digest(asset: Fixed) -> str:
    return asset.tag.strip('"')
