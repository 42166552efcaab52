"""From composed guides to what people read: text for the terminal, a site for a web server."""

from __future__ import annotations

from .site import Site, build_site
from .terminal import render_text

__all__ = ["Site", "build_site", "render_text"]
