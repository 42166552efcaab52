"""Octets that are the same for everybody, kept in memory as they are sent: plain, compressed, with their tag.

Only such octets are compressed. A page that has a secret of its reader and something the reader was made to send would
tell the one by the length of both (BREACH), and is sent as it is.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["Fixed"]

WORTH_IT = 1000  # octets


@dataclass(frozen=True)
class Fixed:
    """One answer: octets and their media type, with what browsers may do with it."""

    octets: bytes
    media_type: str
    cache: str

    @cached_property
    def tag(self) -> str:
        """What stands in ETag: the same octets have the same one."""
        return f'"{hashlib.sha256(self.octets).hexdigest()[:20]}"'

    @cached_property
    def packed(self) -> bytes | None:
        """The octets compressed, without time or name; None where that saves nothing."""
        if len(self.octets) < WORTH_IT or not self.media_type.startswith(("text/", "image/svg", "application/atom")):
            return None
        return gzip.compress(self.octets, 9, mtime=0)

    def answer(self, request: Request, **more: str) -> Response:
        """Return the response to *request*: 304 when the browser has it already."""
        headers = {"ETag": self.tag, "Cache-Control": self.cache, "Vary": "Accept-Encoding", **more}
        if self.tag in (
            each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")
        ):
            return Response(status_code=304, headers=headers)
        packed = self.packed if _takes_gzip(request.headers.get("accept-encoding", "")) else None
        if packed is not None:
            headers["Content-Encoding"] = "gzip"
        return Response(self.octets if packed is None else packed, headers=headers, media_type=self.media_type)


def _takes_gzip(accepted: str) -> bool:
    """Read Accept-Encoding (RFC 9110 §12.5.3) as far as gzip goes."""
    for each in accepted.lower().split(","):
        name, _, weight = each.strip().partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
