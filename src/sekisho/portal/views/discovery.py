"""What mail programs and other mail servers fetch by themselves: the documents of `sekisho.autoconfig`, over HTTP.

Each has the octets that `sekisho autoconfig write` makes, wherever the request says nothing that makes a difference. No
answer depends on whether an account exists: addresses are looked at for their domain alone.
"""

from __future__ import annotations

from starlette.routing import Route

from sekisho.portal.parts import Parts

__all__ = ["routes"]


def routes(parts: Parts) -> list[Route]:
    """Return the routes of the documents."""
    return []
