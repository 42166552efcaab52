"""What mail programs and other mail servers fetch by themselves: the documents of `sekisho.autoconfig`, over HTTP.

Each has the octets that `sekisho autoconfig write` makes, wherever the request says nothing that makes a difference. No
answer depends on whether an account exists: addresses are looked at for their domain alone, and a profile for somebody
is made for every address of ours that anybody names.
"""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sekisho.autoconfig.autodiscover import JSON_PATH, XML_PATH, Answer, answer_json, answer_xml, settings_xml
from sekisho.autoconfig.clientconfig import CONTENT_TYPE as CONFIG_TYPE
from sekisho.autoconfig.clientconfig import PATHS as CONFIG_PATHS
from sekisho.autoconfig.clientconfig import client_config
from sekisho.autoconfig.errors import AutoconfigError, SigningError
from sekisho.autoconfig.pacc import CONTENT_TYPE as PACC_TYPE
from sekisho.autoconfig.pacc import PATH as PACC_PATH
from sekisho.autoconfig.pacc import pacc
from sekisho.autoconfig.profile import CONTENT_TYPE as PROFILE_TYPE
from sekisho.autoconfig.profile import PATH as PROFILE_PATH
from sekisho.autoconfig.profile import QR_PATH, profile, profile_url, qr_svg, sign
from sekisho.autoconfig.provider import Provider
from sekisho.autoconfig.records import STS_PATH, sts_policy
from sekisho.portal.errors import Refusal
from sekisho.portal.forms import read_bounded
from sekisho.portal.hosts import LABELS, host_of
from sekisho.portal.parts import Parts
from sekisho.smtp import Mailbox

__all__ = ["routes"]

PUBLIC = "public, max-age=3600"
NOT_KEPT = "no-store"
ADDRESS = ("emailaddress", "address")  # the first is Thunderbird's own

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


def routes(parts: Parts) -> list[Route]:
    """Return the routes of the documents."""
    view = _Documents(parts)
    return [
        *(Route(f"/{path}", view.client_config) for path in CONFIG_PATHS),
        _in_any_case(XML_PATH, view.autodiscover, ["GET", "POST"]),
        _in_any_case(JSON_PATH, view.autodiscover_json, ["GET"]),
        _in_any_case(f"{JSON_PATH}/v1.0/{{address}}", view.autodiscover_json, ["GET"]),
        Route(f"/{PROFILE_PATH}", view.profile),
        Route(f"/{QR_PATH}", view.qr),
        Route(f"/{PACC_PATH}", view.pacc),
        Route(f"/{STS_PATH}", view.sts_policy),
    ]


def _in_any_case(path: str, handler: Handler, methods: list[str]) -> Route:
    """Return a route for Outlook, which writes ``/AutoDiscover/AutoDiscover.xml`` and every other way."""
    route = Route(f"/{path}", handler, methods=methods)
    route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
    return route


class _Documents:
    """The documents of one configuration."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._profiles: dict[str, bytes] = {}  # signed, by domain: a signature costs a millisecond

    @property
    def _provider(self) -> Provider:
        return self._parts.provider

    async def client_config(self, request: Request) -> Response:
        """Thunderbird's ``clientConfig``, on ``autoconfig.DOMAIN`` and below ``/.well-known`` of DOMAIN."""
        return _document(CONFIG_TYPE, lambda: client_config(self._provider, self._domain(request)))

    async def autodiscover(self, request: Request) -> Response:
        """Autodiscover version 1: settings for everybody by GET, for one address by POST."""
        if request.method != "POST":
            return _document("text/xml; charset=utf-8", lambda: settings_xml(self._provider, None))
        octets = await read_bounded(request)
        now = datetime.datetime.fromtimestamp(self._parts.now(), datetime.UTC)
        return _answered(_or_refusal(lambda: answer_xml(self._provider, octets, now)))

    async def autodiscover_json(self, request: Request) -> Response:
        """Autodiscover version 2: leads to version 1."""
        query = {name.lower(): value for name, value in request.query_params.items()}
        address = request.path_params.get("address") or query.get("email")
        if address is None:
            anybody = _or_refusal(lambda: f"postmaster@{self._domain(request)}")
            return _answered(answer_json(self._provider, anybody, "AutodiscoverV1"), PUBLIC)
        return _answered(answer_json(self._provider, address, query.get("protocol", "")))

    async def profile(self, request: Request) -> Response:
        """Apple's configuration profile, signed; for one person when an address is given."""
        mailbox = self._mailbox(request)
        domain = mailbox.domain if mailbox is not None else self._domain(request)
        octets = self._profiles.get(domain) if mailbox is None else None
        if octets is None:
            octets = await asyncio.to_thread(self._signed, domain, mailbox)
            if mailbox is None:
                self._profiles[domain] = octets
        return Response(
            octets,
            headers={
                "Cache-Control": PUBLIC if mailbox is None else NOT_KEPT,
                "Content-Disposition": 'attachment; filename="mail.mobileconfig"',
            },
            media_type=PROFILE_TYPE,
        )

    def _signed(self, domain: str, mailbox: Mailbox | None) -> bytes:
        plain = _or_refusal(lambda: profile(self._provider, domain, mailbox))
        if self._parts.signer is None:
            return plain
        try:
            return sign(plain, *self._parts.signer)
        except SigningError:  # a key of a kind that devices do not know: an unsigned profile works, with a warning
            return plain

    async def qr(self, request: Request) -> Response:
        """The QR code that leads a telephone to its profile."""
        return _document("image/svg+xml", lambda: qr_svg(profile_url(self._domain(request))))

    async def pacc(self, request: Request) -> Response:
        """The PACC document; its octets are those whose digest stands in DNS."""
        return _document(PACC_TYPE, lambda: pacc(self._provider))

    async def sts_policy(self, request: Request) -> Response:
        """The MTA-STS policy (RFC 8461 §3.2)."""
        return _document("text/plain", lambda: sts_policy(self._provider))

    def _mailbox(self, request: Request) -> Mailbox | None:
        address = next((text for name in ADDRESS if (text := request.query_params.get(name))), None)
        return _or_refusal(lambda: self._provider.mailbox(address)) if address is not None else None

    def _domain(self, request: Request) -> str:
        """Return the domain that is asked about: that of the address, else of the host's name, else the main one."""
        mailbox = self._mailbox(request)
        if mailbox is not None:
            return mailbox.domain
        host = host_of(request.headers.get("host", "")) or ""
        label, _, domain = host.partition(".")
        for name in (host, domain if label in LABELS else ""):
            if name in self._provider.domains:
                return name
        return self._provider.domain()


def _document(content_type: str, make: Callable[[], bytes]) -> Response:
    return Response(_or_refusal(make), headers={"Cache-Control": PUBLIC, "Content-Type": content_type})


def _answered(answer: Answer, cache: str = NOT_KEPT) -> Response:
    return Response(answer.octets, answer.status, {"Cache-Control": cache, "Content-Type": answer.content_type})


def _or_refusal(make: Callable[[], T]) -> T:
    try:
        return make()
    except AutoconfigError as error:  # its words are the operator's, who sees them in `sekisho check` and `dns show`
        raise Refusal(404, "common.no_document") from error
