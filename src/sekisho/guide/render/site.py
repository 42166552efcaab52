"""The guide as a site of plain files: what `sekisho guide build` writes for any web server."""

from __future__ import annotations

from sekisho.guide.card import Card, Notice
from sekisho.guide.model import Catalog
from sekisho.guide.words import word

from .pages import LANGUAGES, Pages, check_card, environment, revisions, stylesheet

__all__ = ["Site", "build_site"]

Site = dict[str, str]
"""Contents by path, relative to the directory that is written."""


def build_site(catalog: Catalog, card: Card, *, log: tuple[Notice, ...] | None = None) -> Site:
    """Render every page in both languages, in memory: when anything is missing, nothing is written.

    Raises:
        GuideError: a value, a translation or a placeholder is missing; each complaint names file and key.
    """
    check_card(card)
    log, templates = log if log is not None else revisions(), environment()
    site: Site = {}
    for language in LANGUAGES:
        pages = Pages(catalog, card, language, log=log, templates=templates)
        for path in pages.paths:
            site[f"{language}/{path}"] = pages.render(path)
    site["style.css"] = stylesheet()
    site["index.html"] = templates.get_template("guide/languages.html").render(card=card, word=word)
    return site
