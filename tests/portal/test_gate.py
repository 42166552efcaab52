"""What strangers do to a connection: it costs them the answer, and nobody else anything."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.portal.conftest import HOST, MakeParts, said

from sekisho.portal.app import make_app
from sekisho.portal.parts import Parts

LENGTH, CHUNKED = (b"content-length", b"5"), (b"transfer-encoding", b"chunked")
FORM = (b"content-type", b"application/x-www-form-urlencoded")


def asked(
    parts: Parts,
    path: str,
    *headers: tuple[bytes, bytes],
    method: str = "POST",
    version: str = "1.1",
    then: tuple[dict[str, Any], ...] = ({"type": "http.disconnect"},),
) -> list[dict[str, Any]]:
    """Return what the application sends to a request whose body arrives as *then*."""
    sent: list[dict[str, Any]] = []
    arriving = list(then)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": version,
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", HOST.encode()), *headers],
        "client": ("198.51.100.7", 4711),
        "server": (HOST, 443),
    }

    async def receive() -> dict[str, Any]:
        return arriving.pop(0) if arriving else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(make_app(parts)(scope, receive, send))
    return sent


@pytest.mark.parametrize("path", ["/ja/account/login", "/autodiscover/autodiscover.xml"])
def test_a_visitor_who_leaves_in_the_middle_of_a_form_is_no_mistake_of_ours(
    make_parts: MakeParts, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    parts = make_parts()
    part = {"type": "http.request", "body": b"us", "more_body": True}
    with caplog.at_level(logging.INFO):
        assert asked(parts, path, FORM, (b"content-length", b"50"), then=(part, {"type": "http.disconnect"})) == []
    assert not caplog.records
    assert said(parts, "portal.failed") == []


@pytest.mark.parametrize("path", ["/ja/account/login", "/ja/", "/health"])
@pytest.mark.parametrize(
    ("version", "headers"), [("1.1", (LENGTH, CHUNKED)), ("1.1", (CHUNKED, LENGTH)), ("1.0", (CHUNKED,))]
)
def test_a_request_of_which_nobody_can_say_where_it_ends_ends_the_connection(
    make_parts: MakeParts, path: str, version: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    """A proxy that counts octets and a portal that reads chunks would take two requests for one, or one for two."""
    start = asked(make_parts(), path, FORM, *headers, version=version)[0]
    assert start["status"] == 400
    assert dict(start["headers"])[b"connection"] == b"close"


def test_chunks_alone_are_read(make_parts: MakeParts) -> None:
    then = ({"type": "http.request", "body": b"a=b", "more_body": False},)
    assert asked(make_parts(), "/ja/account/login", FORM, CHUNKED, then=then)[0]["status"] == 403, "no token"
