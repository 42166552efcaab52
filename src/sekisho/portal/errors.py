"""What ends a request without its page: each becomes an answer in `app`, in the reader's words.

Exception
├── Refusal       not done, and why, and what to do
├── Redirect      the answer is on another page
└── Unavailable   a store cannot be read now
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Redirect", "Refusal", "Unavailable"]


class Refusal(Exception):
    """A request that is not done, with words for the person: the error page says ``KEY.title`` and ``KEY.text``.

    Fields:
        status: of HTTP.
        key: of the words, filled in with *values*.
        headers: further ones for the response.
    """

    def __init__(
        self,
        status: int,
        key: str,
        values: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {key}")
        self.status = status
        self.key = key
        self.values = dict(values or {})
        self.headers = dict(headers or {})


class Redirect(Exception):
    """The answer is at another address of the portal, to be fetched with GET."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


class Unavailable(Exception):
    """A store cannot be read now. A page says what it therefore cannot know; never why, which is for the log.

    Fields:
        what: ``accounts``, ``log`` or ``service``.
    """

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(f"{what}: {detail}")
        self.what = what
        self.detail = detail
