"""From composed guides to what people read: text for the terminal, pages one by one, a site for a web server."""

from __future__ import annotations

from .pages import LANGUAGES, TEMPLATES, Pages, revisions, stylesheet
from .site import Site, build_site
from .terminal import render_text

__all__ = ["LANGUAGES", "TEMPLATES", "Pages", "Site", "build_site", "render_text", "revisions", "stylesheet"]
