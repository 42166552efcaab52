"""Forms as they come back: read within bounds, and only when this portal's own page sent them.

Three independent signs must agree: the browser's word on where the request comes from (Sec-Fetch-Site, Origin), where
it gives one; and a token in the form that belongs to the login, or before a login to a signed cookie of the browser.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

from starlette.requests import Request

from . import session
from .errors import Redirect, Refusal

__all__ = ["FIELD", "MAX_FIELDS", "MAX_FORM", "Redirect", "Refusal", "form", "is_foreign", "read_bounded"]

MAX_FORM = 64 * 1024  # octets
MAX_FIELDS = 64
FIELD = "form_token"
URLENCODED = "application/x-www-form-urlencoded"


async def form(request: Request) -> Mapping[str, str]:
    """Return the fields of a POST; of a field that stands twice the last one.

    Raises:
        Refusal: it is too long, no form, from another site, or its token is missing or stale.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != URLENCODED:
        raise Refusal(415, "common.no_form")
    body = await read_bounded(request)
    try:
        fields = dict(
            urllib.parse.parse_qsl(
                body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
            )
        )
    except ValueError as error:  # UnicodeDecodeError is one
        raise Refusal(400, "common.no_form") from error
    if any("\0" in text for pair in fields.items() for text in pair):
        raise Refusal(400, "common.no_form")
    if not session.is_form_token(request, fields.pop(FIELD, "")):
        raise Refusal(403, "common.stale")
    return fields


async def read_bounded(request: Request) -> bytes:
    """Return the body of a request.

    Raises:
        Refusal: it is longer than `MAX_FORM`, whatever it said of itself.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM:
            raise Refusal(413, "common.too_long")
    return bytes(body)


def is_foreign(headers: Mapping[str, str], names: frozenset[str]) -> bool:
    """Tell whether a POST comes from a page of another site, by the browser's own word.

    Args:
        headers: of the request, names in lower case.
        names: hosts under which this portal's pages are reached.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False  # a browser that sends neither is held by the token alone
    try:
        host = urllib.parse.urlsplit(origin).hostname
    except ValueError:
        return True
    return host is None or host not in names
