"""The guide in the portal: each page rendered when it is first asked for, and kept for all who have not logged in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from sekisho.guide.card import Card
from sekisho.guide.model import Both, Catalog
from sekisho.guide.render import LANGUAGES, Pages, revisions
from sekisho.guide.search import Extra, Hit, Index, make_index

from .compress import Fixed
from .pages import environment
from .words import words

__all__ = ["Guidebook"]

CACHE = "no-cache"  # kept, but asked for again: after login the same address shows more
TYPES = {"html": "text/html; charset=utf-8", "xml": "application/atom+xml; charset=utf-8"}
PERSONAL = ("visitor", "csrf")  # a page for everybody that asks for one of these fails
FLOW = "check/"  # the portal has pages of its own for these
OWN_PAGES = {  # what people call them, besides their titles
    "password": ("パスワード変更", "パスワードを変える", "パスワードを忘れた", "new password", "forgot password"),
    "devices": ("アプリ パスワード", "機器のパスワード", "app password", "device password"),
    "factor": ("二段階認証", "二要素認証", "認証アプリ", "確認コード", "two-factor", "2FA", "TOTP", "authenticator"),
    "token": ("パスワードの再設定", "ワンタイム", "reset password", "one-time code"),
}


class Guidebook:
    """The pages of one card. Bounded by the number of pages there are: nothing that a visitor sends makes one more."""

    def __init__(self, catalog: Catalog, card: Card) -> None:
        """Raises GuideError when the guide lacks something."""
        log = revisions()
        self._catalog = catalog
        self._card = card
        self._pages: Mapping[str, Pages] = {
            language: Pages(catalog, card, language, log=log, templates=environment(), frame="frame.html")
            for language in LANGUAGES
        }
        self._kept: dict[tuple[str, str], Fixed] = {}
        self._indexes: dict[str, Index] = {}
        self._indexing = asyncio.Lock()

    def paths(self, language: str) -> tuple[str, ...]:
        """Return the paths that `has` knows, below the language."""
        return tuple(path for path in self._pages[language].paths if not path.startswith(FLOW))

    def has(self, language: str, path: str) -> bool:
        """Tell whether there is such a page."""
        return path in self._pages[language].paths and not path.startswith(FLOW)

    def fixed(self, language: str, path: str, frame: Mapping[str, Any]) -> Fixed:
        """Return the page *path* for whoever has not logged in. *frame*: what the frame needs."""
        kept = self._kept.get((language, path))
        if kept is None:
            same = {name: value for name, value in frame.items() if name not in PERSONAL}
            octets = self._pages[language].render(path, **same).encode()
            kept = self._kept[language, path] = Fixed(octets, TYPES[path.rpartition(".")[2]], CACHE)
        return kept

    def personal(self, language: str, path: str, address: str, frame: Mapping[str, Any]) -> str:
        """Return the page *path* with the values of the person whose address is *address*."""
        return self._pages[language].render(path, person=self._card.for_person(address), **frame)

    async def search(self, language: str, query: str) -> tuple[Hit, ...]:
        """Return what fits *query* best."""
        index = self._indexes.get(language)
        if index is None:
            async with self._indexing:  # who asks meanwhile waits for this one and makes none of his own
                index = self._indexes.get(language)
                if index is None:  # a tenth of a second, in which others are served
                    index = await asyncio.to_thread(make_index, self._catalog, self._card, language, _own_pages())
                    self._indexes[language] = index
        return index.search(query)


def _own_pages() -> list[Extra]:
    def both(key: str) -> Both:
        return Both(words()[key]["ja"], words()[key]["en"])

    return [
        Extra(f"account/{name}", both(f"account.{name}.title"), both(f"account.{name}.search"), names)
        for name, names in OWN_PAGES.items()
    ]
