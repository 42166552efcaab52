"""The guide as a site of plain pages: what `sekisho guide build` writes for any web server."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

import jinja2

from sekisho.guide.card import Card, Way
from sekisho.guide.choose import Choice, choose
from sekisho.guide.compose import ComposedGuide, compose
from sekisho.guide.errors import GuideError
from sekisho.guide.model import CAPABILITIES, Both, Catalog, Family, Outcome, Symptom, Version
from sekisho.guide.table import Table
from sekisho.guide.words import word

from .rows import CardView, card_views, notices

__all__ = ["LANGUAGES", "Revision", "Site", "build_site", "revisions"]

LANGUAGES = ("ja", "en")
KINDS = ("desktop", "mobile", "device", "app", "cli", "mta")
SYSTEMS = ("windows", "macos", "ios", "ipados", "android", "linux", "device", "web", "macos-classic")
_PARAMETER = re.compile(r"\{(operator\.[a-z0-9_]+)\}")

Site = dict[str, str]
"""Contents by path, relative to the directory that is written."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One entry of the log of changes."""

    date: datetime.date
    text: Both


def revisions(text: str, where: str = "revisions.toml") -> tuple[Revision, ...]:
    """Read the log of changes, newest first. Raises GuideError."""
    problems: list[str] = []
    found = []
    for each, data in zip(
        Table(where, document := tomllib.loads(text), problems).tables("revision"), document["revision"], strict=True
    ):
        date = data.get("date")
        if not isinstance(date, datetime.date):
            each.complain("date: is not a date")
            date = datetime.date.min
        found.append(Revision(date, each.both("text")))
        each.finish("date")
    if [each.date for each in found] != sorted((each.date for each in found), reverse=True):
        problems.append(f"{where}, revision: the newest must come first")
    if not found:
        problems.append(f"{where}, revision: there is none")
    if problems:
        raise GuideError(problems)
    return tuple(found)


def build_site(catalog: Catalog, card: Card, *, log: tuple[Revision, ...] | None = None) -> Site:
    """Render every page in both languages, in memory: when anything is missing, nothing is written.

    Raises:
        GuideError: a value, a translation or a placeholder is missing; each complaint names file and key.
    """
    missing = [f"[guide] {key}_ja, {key}_en: are missing" for key in ("name", "contact") if getattr(card, key) is None]
    if not card.ways:
        missing.append("[guide] offer: no way to send is open")
    if missing:
        raise GuideError(missing)
    if log is None:
        log = revisions(resources.files("sekisho.guide").joinpath("revisions.toml").read_text("utf-8"))
    site: Site = {}
    for language in LANGUAGES:
        for path, text in _Pages(catalog, card, language, log).every():
            site[f"{language}/{path}"] = text
    files = resources.files(__package__).joinpath("templates")
    site["style.css"] = files.joinpath("style.css").read_text("utf-8")
    site["index.html"] = _environment().get_template("languages.html").render(card=card, word=word)
    return site


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("sekisho.guide.render", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class _Pages:
    """The pages in one language."""

    def __init__(self, catalog: Catalog, card: Card, language: str, log: tuple[Revision, ...]) -> None:
        self._catalog = catalog
        self._card = card
        self._language = language
        self._log = log
        self._parameters = self._operator()
        self._environment = _environment()
        self._environment.globals.update(
            card=card,
            language=language,
            other="en" if language == "ja" else "ja",
            updated=log[0].date.isoformat(),
            word=lambda key, **values: word(key, language, **values),
            text=lambda both: both.say(language),
        )
        self._templates: dict[str, jinja2.Template] = {}

    def _operator(self) -> dict[str, str]:
        card = self._card
        assert card.name is not None
        assert card.contact is not None
        own = {"operator.name": card.name, "operator.contact": card.contact}
        return {
            **card.parameters,
            **{name: both.say(self._language) for name, both in own.items()},
            "operator.smtp_host": card.hostname,
        }

    def every(self) -> Iterator[tuple[str, str]]:
        """Yield path and contents of every page."""
        symptoms = list(self._catalog.selfcheck.symptoms.values())
        yield (
            "index.html",
            self._render("index.html", "index.html", cards=self._cards(), ports=self._ports(), page="home"),
        )
        yield "clients.html", self._render("clients.html", "clients.html", groups=self._by_kind(), page="clients")
        yield "systems.html", self._render("systems.html", "systems.html", groups=self._by_system(), page="systems")
        yield "problems.html", self._render("problems.html", "problems.html", symptoms=symptoms, page="problems")
        yield from (self._client(version) for version in self._catalog.versions.values())
        yield from (self._problem(symptom) for symptom in symptoms)
        yield from self._check()
        terms = sorted(
            self._catalog.terms, key=lambda each: each.reading if self._language == "ja" else each.term.en.lower()
        )
        names = {each.id: each.term for each in terms}
        yield "glossary.html", self._render("glossary.html", "glossary.html", terms=terms, names=names, page="glossary")
        yield "revisions.html", self._render("revisions.html", "revisions.html", log=self._log, page="revisions")
        if self._card.url:
            url = self._card.url.rstrip("/")
            yield "revisions.xml", self._render("revisions.xml", "revisions.xml", log=self._log, url=url)

    def _render(self, template: str, path: str, **values: object) -> str:
        loaded = self._templates.get(template)
        if loaded is None:
            loaded = self._templates[template] = self._environment.get_template(template)
        return loaded.render(path=path, root="../" * path.count("/"), **values) + "\n"

    def _safe_ways(self) -> tuple[Way, ...]:
        """Return the ways that everybody may be told of; those without TLS only where nothing else is open."""
        with_tls = tuple(way for way in self._card.ways if CAPABILITIES[way.capability].tls != "none")
        return with_tls or self._card.ways

    def _cards(self) -> list[CardView]:
        return card_views(self._card, self._safe_ways(), self._language)

    def _ports(self) -> str:
        ports = [word("way.port", self._language, port=way.port) for way in self._safe_ways()]
        return word("way.or", self._language).join(ports)

    def _by_kind(self) -> list[tuple[str, list[Family], list[Family]]]:
        groups = []
        for kind in KINDS:
            families = [each for each in self._catalog.families if each.kind == kind]
            current = [each for each in families if each.status == "current"]
            groups.append((kind, current, [each for each in families if each.status != "current"]))
        return groups

    def _by_system(self) -> list[tuple[str, list[Version]]]:
        versions = self._catalog.versions.values()
        groups = [(system, [each for each in versions if system in each.platforms]) for system in SYSTEMS]
        return [(system, sorted(found, key=lambda each: each.status != "current")) for system, found in groups if found]

    def _client(self, version: Version) -> tuple[str, str]:
        family = self._catalog.family_of[version.id]
        choice = choose(self._catalog, self._card, version)
        path = f"clients/{version.id}.html"
        errors = [each for each in family.errors if version.id in each.versions]
        return path, self._render(
            "client.html",
            path,
            version=version,
            choice=choice,
            notices=notices(choice, self._card, self._language),
            cards=card_views(self._card, (choice.way,), self._language) if choice.way else [],
            guides=self._guides(family, choice),
            errors=[(each, _error_text(each.text.say(self._language), self._card)) for each in errors],
            related=[each for each in family.versions if each.id != version.id],
            page="clients",
        )

    def _guides(self, family: Family, choice: Choice) -> list[ComposedGuide]:
        if choice.way is None:
            return []
        return [
            compose(family, choice.version, guide, choice.way, self._card, self._language) for guide in choice.guides
        ]

    def _problem(self, symptom: Symptom) -> tuple[str, str]:
        selfcheck = self._catalog.selfcheck
        path = f"problems/{symptom.id}.html"
        causes = []
        for name in symptom.causes:
            cause = selfcheck.causes[name]
            texts = [self._operator_text(each, f"cause {name}") for each in (cause.text, cause.check, cause.remedy)]
            if None not in texts:  # a cause that speaks of what this operator does not have is none here
                causes.append(texts)
        meanwhile = [
            (each, self._parameters.get(each.requires))
            for each in selfcheck.alternatives
            if each.requires in self._parameters
        ]
        return path, self._render(
            "problem.html", path, symptom=symptom, causes=causes, meanwhile=meanwhile, page="problems"
        )

    def _operator_text(self, both: Both, where: str) -> str | None:
        """Fill in facts about the operator; None when one is not set, which only some are allowed to be."""
        text = both.say(self._language)
        for name in _PARAMETER.findall(text):
            if name not in self._parameters:
                if name not in self._catalog.selfcheck.parameters:
                    raise GuideError([f"selfcheck.toml, {where}: nothing fills in {{{name}}}"])
                return None
        return _PARAMETER.sub(lambda found: self._parameters[found[1]], text)

    def _required(self, both: Both, where: str) -> str:
        text = self._operator_text(both, where)
        if text is None:
            raise GuideError([f"selfcheck.toml, {where}: uses a parameter that [guide] does not set"])
        return text

    def _check(self) -> Iterator[tuple[str, str]]:
        selfcheck = self._catalog.selfcheck
        reached = self._reached()
        asked = [each for each in selfcheck.questions.values() if each.id in reached]
        outcomes = [each for each in selfcheck.outcomes.values() if each.id in reached]
        texts = {each.id: self._required(each.text, f"question {each.id}, text") for each in asked}
        ends = {each.id: self._required(each.text, f"outcome {each.id}, text") for each in selfcheck.outcomes.values()}
        yield (
            "check/index.html",
            self._render(
                "check.html",
                "check/index.html",
                flows=[
                    (flow, [each for each in asked if each.flow == flow.id], self._after(flow.start))
                    for flow in selfcheck.flows.values()
                ],
                texts=texts,
                ends=ends,
                outcomes=selfcheck.outcomes,
                after=self._after,
                page="check",
            ),
        )
        for question in asked:
            answers = [("yes", question.yes), ("no", question.no), ("unknown", question.unknown)]
            yield (
                f"check/{question.id}.html",
                self._render(
                    "question.html",
                    f"check/{question.id}.html",
                    question=texts[question.id],
                    help=self._required(question.help, f"question {question.id}, help") if question.help else None,
                    answers=[(answer, self._after(name)) for answer, name in answers if name],
                    page="check",
                ),
            )
        for outcome in outcomes:
            yield (
                f"check/{outcome.id}.html",
                self._render(
                    "outcome.html",
                    f"check/{outcome.id}.html",
                    outcome=outcome,
                    result=ends[outcome.id],
                    actions=list(self._actions(outcome)),
                    page="check",
                ),
            )

    def _reached(self) -> set[str]:
        """Return the questions and outcomes that a reader can come to with this operator."""
        selfcheck = self._catalog.selfcheck
        reached: set[str] = set()
        waiting = [flow.start for flow in selfcheck.flows.values()]
        while waiting:
            name = self._after(waiting.pop())
            if name not in reached and (question := selfcheck.questions.get(name)):
                waiting += [each for each in (question.yes, question.no, question.unknown) if each]
            reached.add(name)
        return reached

    def _is_skipped(self, name: str) -> bool:
        question = self._catalog.selfcheck.questions.get(name)
        return question is not None and bool(question.skip_unless) and not self._card.access_network

    def _after(self, name: str) -> str:
        """Return the question or outcome that *name* leads to here."""
        while self._is_skipped(name):
            name = self._catalog.selfcheck.questions[name].skip_to or name
        return name

    def _actions(self, outcome: Outcome) -> Iterator[tuple[str, str | None]]:
        """Yield words and link of what a person can do next."""
        links: Mapping[str, tuple[str, str | None]] = {
            "open:guide_picker": (word("action.guide_picker", self._language), "../clients.html"),
            "open:guide_picker:kind=device": (word("action.device", self._language), "../clients.html#device"),
            "open:guide_picker:kind=app": (word("action.app", self._language), "../clients.html#app"),
            "open:symptoms": (word("action.symptoms", self._language), "../problems.html"),
            "show:other_provider_hint": (word("action.other_provider", self._language), None),
            "show:operator.contact": (self._parameters["operator.contact"], None),
        }
        pages = {"show:operator.webmail_url": "action.webmail", "show:operator.vpn_url": "action.vpn"}
        for action in outcome.actions:
            if action in pages:
                if url := self._parameters.get(action.removeprefix("show:")):
                    yield word(pages[action], self._language), url
            elif action.startswith("open:symptom:"):
                symptom = self._catalog.selfcheck.symptoms.get(action.rpartition(":")[2])
                if symptom is None:
                    raise GuideError([f'selfcheck.toml, outcome {outcome.id}, actions: nobody knows "{action}"'])
                yield symptom.text.say(self._language), f"../problems/{symptom.id}.html"
            elif action in links:
                yield links[action]
            else:
                raise GuideError([f'selfcheck.toml, outcome {outcome.id}, actions: nobody knows "{action}"'])


def _error_text(text: str, card: Card) -> str:
    """Fill in what a message of a client names; the recipient's server is anybody's."""
    values = {"smtp_host": card.hostname, "recipient_mx": "…", "email": card.audiences[0].example}
    values |= {"username": card.audiences[0].user_name, "port": "25", "account_name": "…"}
    return re.sub(r"\{([a-z_]+)\}", lambda found: values.get(found[1], "…"), text)
