"""guide pages."""

from __future__ import annotations

from starlette.routing import Route

from sekisho.portal.parts import Parts

__all__ = ["routes"]


def routes(parts: Parts) -> list[Route]:
    """Return the routes of these pages."""
    return []
