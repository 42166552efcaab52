"""Search over the guide: programs, problems, terms and pages, for words as people type or paste them.

Japanese is cut into pairs of characters, with hiragana and katakana, full and half width made one; Latin words and
numbers are taken whole, without case. Nothing is written or fetched: an index is made from the facts once, and then
asked.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .articles import Article, articles
from .card import Card
from .model import Both, Catalog, Family, Symptom, Term, Version
from .related import symptom_of
from .words import word

__all__ = ["MAX_QUERY", "Extra", "Hit", "Index", "Piece", "make_index", "tokens"]

MAX_QUERY = 200  # characters; what comes after is not looked at
MAX_TOKENS = 60
MOST = 20
SNIPPET = 90  # characters

_KATAKANA = {each: each - 0x60 for each in range(0x30A1, 0x30F7)}  # to hiragana
_RUN = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*|[\u3041-\u309f\u30fc\u3005\u3400-\u9fff]+")
_LONG_VOWEL = re.compile(r"(?<=[\u3041-\u309f\u30fc]{2})\u30fc(?![\u3041-\u309f])")  # サーバー, サーバ
_STOP = frozenset(
    {
        *("a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "how", "i", "if", "in"),
        *("is", "it", "my", "of", "on", "or", "the", "to", "when", "with", "you", "your"),
    }
)
_DEFINITION = re.compile(
    r"とは.*$|って(?:何|なに|なん).*$|の意味.*$|^\s*what (?:is|are|does)\b|\bmeaning\b|\bmeans?\b\s*\??$", re.I
)
_MARKS = re.compile(r"\[([^\]]+)\]\([^)]*\)|\{[^}]*\}|^(?:- |1\. )", re.M)
_SPOKEN = {  # names as Japanese say them, and what the guide calls things that people call otherwise
    "サンダーバード": "thunderbird",
    "アウトルック": "outlook",
    "アイフォン": "iphone",
    "アイフォーン": "iphone",
    "アイパッド": "ipad",
    "アンドロイド": "android",
    "マック": "mac",
    "ウィンドウズ": "windows",
    "ジーメール": "gmail",
    "ベッキー": "becky",
    "ユードラ": "eudora",
    "シルフィード": "sylpheed",
    "プリンタ": "複合機",
    "コピー機": "複合機",
    "スキャナ": "複合機",
    "スマホ": "スマートフォン",
    "ウェブメール": "webメール",
    "ワードプレス": "wordpress",
}
NAMES = {  # of pages, besides titles
    "vpn.html": ("VPN",),
    "webmail.html": ("Webメール", "web mail", "webmail"),
    "history.html": ("25番ポートの歴史", "歴史", "history"),
}
_BRACES = re.compile(r"\{[a-z_.]+\}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a snippet; *found* tells whether it is one of the words looked for."""

    text: str
    found: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """One result: *kind* is "client", "problem", "term" or "page"; *path* is below the language."""

    kind: str
    path: str
    title: str
    snippet: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Extra:
    """A page beside the guide that search finds, too: *names* are what people call it, besides its title."""

    path: str
    title: Both
    text: Both
    names: tuple[str, ...]


@dataclass(slots=True)
class _Document:
    kind: str
    path: str
    title: str
    text: str
    liking: float
    weights: Counter[str] = field(default_factory=Counter)
    names: set[str] = field(default_factory=set)

    def call(self, *names: str | None, weight: float = 6.0) -> None:
        """Let these be names of it: who asks for one of them alone is led here first."""
        for name in filter(None, names):
            self.names.add(_only(name))
            self.add(name, weight)

    def add(self, text: str | None, weight: float) -> None:
        """Let the words of *text* lead here."""
        for token, count in Counter(tokens(text or "")).items():
            self.weights[token] += weight * min(count, 3)  # type: ignore[assignment]  # weights are fractions


def fold(text: str) -> str:
    """Make one what differs only in width, case or kind of kana."""
    return _LONG_VOWEL.sub("", unicodedata.normalize("NFKC", text).casefold().translate(_KATAKANA))


def tokens(text: str) -> Iterator[str]:
    """Yield what is looked up for *text*."""
    for run in _RUN.findall(fold(text)):
        if not run[0].isascii():
            yield from (run[at : at + 2] for at in range(len(run) - 1)) if len(run) > 1 else (run,)
            continue
        if run in _STOP:
            continue
        yield _stem(run)
        if not run[0].isdigit() and (parts := re.split(r"[._-]", run))[1:]:
            yield from (_stem(each) for each in parts if each not in _STOP)


def _only(text: str) -> str:
    """Return what is left of *text* without spaces and marks: two that differ in nothing else are the same name."""
    return "".join(_RUN.findall(fold(text)))


def _said(query: str) -> str:
    """Put into *query* what the guide calls the things it speaks of."""
    folded = fold(query)
    for spoken, other in _SPOKEN.items():
        folded = folded.replace(fold(spoken), f" {other} ")
    return folded


def _stem(run: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if run.isalpha() and run.endswith(ending) and len(run) - len(ending) >= 4:
            return run.removesuffix(ending)
    return run


class Index:
    """An index in one language. Asking it takes a few milliseconds and changes nothing."""

    def __init__(self, documents: Iterable[_Document]) -> None:
        self._documents = list(documents)
        postings: defaultdict[str, dict[int, float]] = defaultdict(dict)
        for number, document in enumerate(self._documents):
            for token, weight in document.weights.items():
                postings[token][number] = weight
        self._postings: Mapping[str, Mapping[int, float]] = dict(postings)
        self._vocabulary = sorted(token for token in postings if token[0].isascii())
        total = len(self._documents)
        self._rarity = {token: math.log(1 + total / len(found)) for token, found in postings.items()}

    def search(self, query: str, most: int = MOST) -> tuple[Hit, ...]:
        """Return what fits *query* best, best first; of a longer one only `MAX_QUERY` characters count."""
        query = query[:MAX_QUERY]
        asks_for_meaning = _DEFINITION.search(query) is not None
        query = _DEFINITION.sub(" ", query)
        query = _said(query)
        name, asked = _only(query), list(dict.fromkeys(tokens(query)))[:MAX_TOKENS]
        if not asked:
            return ()
        scores: defaultdict[int, float] = defaultdict(float)
        matched: defaultdict[int, float] = defaultdict(float)
        importance = 0.0
        for token in asked:
            found, rarity = self._look_up(token)
            importance += rarity
            for number, weight in found.items():
                scores[number] += rarity * weight / (weight + 2)
                matched[number] += rarity
        ranked = sorted(
            (
                (-score * (matched[number] / importance) ** 1.5 * self._liking(number, name, asks_for_meaning), number)
                for number, score in scores.items()
                if matched[number] >= importance * 0.3
            )
        )
        return tuple(self._hit(self._documents[number], asked) for _, number in ranked[:most])

    def _look_up(self, token: str) -> tuple[Mapping[int, float], float]:
        """Return documents with *token*, and its rarity; words that begin with a Latin one count as half of it."""
        found = dict(self._postings.get(token, {}))
        rarity = self._rarity.get(token, math.log(1 + len(self._documents)))
        if token[0].isascii() and len(token) >= 3 and not token.isdigit():
            at = bisect_left(self._vocabulary, token)
            while at < len(self._vocabulary) and self._vocabulary[at].startswith(token):
                for number, weight in self._postings[self._vocabulary[at]].items():
                    found[number] = max(found.get(number, 0.0), weight / 2)
                at += 1
        return found, rarity

    def _liking(self, number: int, name: str, asks_for_meaning: bool) -> float:
        document = self._documents[number]
        by_name = 1.6 if name in document.names else 1.0
        return document.liking * by_name * (2.5 if asks_for_meaning and document.kind == "term" else 1.0)

    def _hit(self, document: _Document, asked: list[str]) -> Hit:
        return Hit(document.kind, document.path, document.title, _snippet(document.text, asked))


def make_index(catalog: Catalog, card: Card, language: str, more: Iterable[Extra] = ()) -> Index:
    """Make the index of the guide with the operator's *card*, and of the pages *more*."""
    documents = [_of_client(catalog.family_of[each.id], each, language) for each in catalog.versions.values()]
    documents += [_of_problem(catalog, each, language) for each in catalog.selfcheck.symptoms.values()]
    documents += [_of_term(each, language) for each in catalog.terms]
    present = {*card.parameters, *(["operator.access_network"] if card.access_network else [])}
    documents += [
        _of_article(each, card, language) for each in articles() if each.requires is None or each.requires in present
    ]
    documents.append(_of_check(catalog, card, language))
    for each in more:
        documents.append(_document("page", each.path, each.title, each.text.say(language), language, 1.05))
        documents[-1].call(*each.names)
    return Index(documents)


def _document(kind: str, path: str, title: Both, text: str, language: str, liking: float = 1.0) -> _Document:
    made = _Document(kind, path, title.say(language), text, liking)
    made.call(title.ja, weight=6.0 if title.ja == made.title else 4.0)
    if title.en != title.ja:
        made.call(title.en, weight=6.0 if title.en == made.title else 4.0)
    made.add(text, 1.0)
    return made


def _of_client(family: Family, version: Version, language: str) -> _Document:
    errors = [each for each in family.errors if version.id in each.versions]
    systems = " / ".join(word(f"platform.{each}", language) for each in version.platforms)
    titles = [guide.title.say(language) for guide in family.guides if version.id in guide.versions]
    text = f"{systems}. {'. '.join(titles)}"
    current = [each.id for each in family.versions if each.status == "current"]
    is_newest = version.id == _stands_for(family)
    liking = 1.15 if is_newest else 1.08 if version.id in current else 1.0
    made = _document("client", f"clients/{version.id}.html", version.names, text, language, liking)
    made.add(version.id, 4.0)
    if is_newest:
        made.call(family.names.ja, family.names.en, family.id, weight=2.0)
    for each in {family.names.ja, family.names.en, family.id, family.vendor, *version.platforms}:
        made.add(each, 3.0)
    made.add(word(f"kind.{family.kind}", language), 3.0)
    for error in errors:
        made.add(error.code, 2.0)
        made.add(_BRACES.sub(" ", error.text.say(language)), 0.5)
    return made


def _stands_for(family: Family) -> str:
    """Return the version meant by the family's name alone: the newest of those that bear it, else of all.

    Plug-ins and libraries are no versions of one another; the one for most people stands first.
    """
    current = [each for each in family.versions if each.status == "current"] or [*family.versions]
    named = [each for each in current if _only(family.id.partition("-")[0]) in _only(each.names.en)]
    return (named or current)[0 if family.kind == "app" else -1].id


def _of_problem(catalog: Catalog, symptom: Symptom, language: str) -> _Document:
    causes = [catalog.selfcheck.causes[each] for each in symptom.causes]
    text = " ".join(_BRACES.sub("", each.text.say(language)) for each in causes)
    made = _document("problem", f"problems/{symptom.id}.html", symptom.text, text, language, 1.2)
    for code in symptom.codes:
        made.add(code, 8.0)
    for each in causes:
        made.add(_BRACES.sub(" ", f"{each.check.say(language)} {each.remedy.say(language)}"), 0.5)
    for family in catalog.families:
        for error in family.errors:
            if symptom_of(error.situation) == symptom.id:
                made.add(error.code, 6.0)
                for message in {error.text.ja, error.text.en}:
                    made.add(_BRACES.sub(" ", message), 1.5)
    return made


def _of_term(term: Term, language: str) -> _Document:
    made = _document("term", f"glossary.html#{term.id}", term.term, term.definition.say(language), language, 0.9)
    made.call(term.reading, term.abbreviation, *term.aliases)
    made.add(term.reference, 2.0)
    return made


def _of_article(article: Article, card: Card, language: str) -> _Document:
    name = card.name.say(language) if card.name else ""

    def plain(text: str) -> str:
        return _MARKS.sub(lambda found: found[1] or "", text.replace("{operator.name}", name)).strip()

    title = Both(*(plain(each) for each in (article.title.ja, article.title.en)))
    text = " ".join([plain(article.lead.say(language)), *(plain(each.text.say(language)) for each in article.sections)])
    made = _document("page", article.path, title, " ".join(text.split()), language, 1.05)
    for each in article.sections:
        made.add(plain(each.title.say(language)), 3.0)
    made.call(*NAMES.get(article.path, ()))
    if article.path == "clients/other.html":
        made.call(word("home.not_listed", language), word("search.not_listed", language))
    return made


def _of_check(catalog: Catalog, card: Card, language: str) -> _Document:
    title = Both(word("entry.title", "ja"), word("entry.title", "en"))
    made = _document("page", "check/index.html", title, word("entry.text", language), language, 1.05)
    made.add(word("check.title", language), 4.0)
    return made


def _snippet(text: str, asked: list[str]) -> tuple[Piece, ...]:
    """Return the part of *text* around the first words that were asked for, cut into pieces."""
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_KATAKANA)
    if len(folded) != len(text):  # a character became several: no position can be trusted
        return (Piece(text[:SNIPPET] + ("…" if len(text) > SNIPPET else ""), False),)
    spans = sorted(
        (at.start(), at.end()) for token in asked if len(token) > 1 for at in re.finditer(re.escape(token), folded)
    )
    start = max(0, spans[0][0] - SNIPPET // 3) if spans else 0
    end = min(len(text), start + SNIPPET)
    pieces, position = [Piece("…", False)] if start else [], start
    for first, last in spans:
        first, last = max(first, position), min(last, end)
        if first >= last:
            continue
        if first > position:
            pieces.append(Piece(text[position:first], False))
        if pieces and pieces[-1].found and first == position:
            pieces[-1] = Piece(pieces[-1].text + text[first:last], True)
        else:
            pieces.append(Piece(text[first:last], True))
        position = last
    if position < end:
        pieces.append(Piece(text[position:end] + ("…" if end < len(text) else ""), False))
    return tuple(pieces)
