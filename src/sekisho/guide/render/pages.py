"""The pages of the guide in one language, rendered one at a time: for a static site, and for the portal on request.

What stands around a page is the *frame*: a template that all others extend. The static one is `guide/base.html`; the
portal brings its own, which extends that one.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

import jinja2

from sekisho.guide.articles import Article, Section, articles, fill, write_out
from sekisho.guide.card import Audience, Card, Notice, Way
from sekisho.guide.choose import Choice, choose
from sekisho.guide.compose import ComposedGuide, compose
from sekisho.guide.confirm import confirmed, own_version
from sekisho.guide.errors import GuideError
from sekisho.guide.model import CAPABILITIES, Both, Catalog, Family, Outcome, Symptom, Version
from sekisho.guide.related import related, symptom_of
from sekisho.guide.table import Table
from sekisho.guide.words import word

from .rows import CardView, card_views, notices

__all__ = ["LANGUAGES", "TEMPLATES", "Entry", "Pages", "check_card", "environment", "revisions", "stylesheet"]

LANGUAGES = ("ja", "en")
KINDS = ("desktop", "mobile", "device", "app", "cli", "mta")
SYSTEMS = ("windows", "macos", "ios", "ipados", "android", "linux", "device", "web", "macos-classic")
FIRST = (  # on the first page, as far as they can send here
    *("outlook-m365", "outlook-new", "thunderbird-current", "apple-mail-ventura", "becky-current"),
    *("ios-18", "gmail-android", "outlook-mobile", "thunderbird-android-current"),
)
SHOWN_NOTICES = 4
_PARAMETER = re.compile(r"\{(operator\.[a-z0-9_]+)\}")

TEMPLATES: jinja2.BaseLoader = jinja2.PrefixLoader({"guide": jinja2.PackageLoader("sekisho.guide.render", "templates")})
"""The templates of the guide, as `guide/NAME`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log: a notice of the operator, or a change of the guide.

    Fields:
        programs: whose guides it changed; None when it belongs to no single guide, empty when to all of them.
    """

    date: datetime.date
    text: Both
    is_notice: bool
    number: int
    programs: tuple[str, ...] | None

    def concerns(self, program: str) -> bool:
        """Tell whether it stands in the log of the guide for *program*."""
        return self.programs is not None and (not self.programs or program in self.programs)


@dataclass(frozen=True, slots=True)
class _Page:
    template: str
    values: Callable[[Audience | None], Mapping[str, object]]


def stylesheet() -> str:
    """Return the style sheet of every page, static or not."""
    return resources.files(__package__).joinpath("templates").joinpath("style.css").read_text("utf-8")


def revisions(text: str | None = None, where: str = "revisions.toml") -> tuple[Notice, ...]:
    """Read the log of changes, newest first; the one that comes with the program by default. Raises GuideError."""
    if text is None:
        text = resources.files("sekisho.guide").joinpath("revisions.toml").read_text("utf-8")
    problems: list[str] = []
    found = []
    for each, data in zip(
        Table(where, document := tomllib.loads(text), problems).tables("revision"), document["revision"], strict=True
    ):
        date = data.get("date")
        if not isinstance(date, datetime.date):
            each.complain("date: is not a date")
            date = datetime.date.min
        programs = each.texts("programs")
        found.append(Notice(date, each.both("text"), () if programs == ("*",) else programs or None))
        each.finish("date")
    if [each.date for each in found] != sorted((each.date for each in found), reverse=True):
        problems.append(f"{where}, revision: the newest must come first")
    if not found:
        problems.append(f"{where}, revision: there is none")
    if problems:
        raise GuideError(problems)
    return tuple(found)


def check_card(card: Card) -> None:
    """Raise GuideError when a value is missing without which no page can be made."""
    missing = [f"[guide] {key}_ja, {key}_en: are missing" for key in ("name", "contact") if getattr(card, key) is None]
    if not card.ways:
        missing.append("[guide] offer: no way to send is open")
    if missing:
        raise GuideError(missing)


class Pages:
    """The pages in one language.

    Raises:
        GuideError: a value, a translation or a placeholder is missing. `render` raises it for what its page needs.
    """

    def __init__(
        self,
        catalog: Catalog,
        card: Card,
        language: str,
        *,
        log: tuple[Notice, ...] | None = None,
        templates: jinja2.Environment | None = None,
        frame: str = "guide/base.html",
    ) -> None:
        """Prepare the pages.

        Args:
            log: changes of the guide, newest first.
            templates: know *frame*, and the guide's own `TEMPLATES`; one of our own without.
            frame: template that stands around each page.
        """
        check_card(card)
        self._catalog = catalog
        self._card = card
        self._language = language
        self._log = _entries(card, log if log is not None else revisions())
        for name in {name for each in self._log for name in each.programs or ()}:
            if name not in {family.id for family in catalog.families}:
                raise GuideError([f"revisions.toml: there is no program {name}"])
        self._parameters = self._operator()
        self._environment = templates or environment()
        self._globals: Mapping[str, object] = {
            "card": card,
            "language": language,
            "other": "en" if language == "ja" else "ja",
            "updated": self._log[0].date.isoformat(),
            "word": lambda key, **values: word(key, language, **values),
            "text": lambda both: both.say(language),
            "frame": frame,
            "exits": [name for name in ("webmail", "vpn") if f"operator.{name}_url" in self._parameters],
        }
        self._pages: Mapping[str, _Page] = dict(self._every())

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the pages below the language, the feed included."""
        return tuple(self._pages)

    def render(self, path: str, /, *, person: Audience | None = None, **values: object) -> str:
        """Return one page.

        Args:
            person: whose values fill it in; those of each class of accounts without.
            values: what else the frame needs. Without `url`, links are relative, as a static site has them.

        Raises:
            KeyError: there is no such page.
        """
        page = self._pages[path]
        root = "../" * path.count("/")
        links = {
            "url": lambda target: f"{root}{target}",
            "switch": f"{root}../{self._globals['other']}/{path}",
            "style": f"{root}../style.css",
        }
        template = self._environment.get_template(f"guide/{page.template}")
        return template.render({**self._globals, **links, "path": path, **page.values(person), **values}) + "\n"

    def _operator(self) -> dict[str, str]:
        card = self._card
        assert card.name is not None
        assert card.contact is not None
        own = {"operator.name": card.name, "operator.contact": card.contact}
        found = {
            **card.parameters,
            **{name: both.say(self._language) for name, both in own.items()},
            "operator.smtp_host": card.hostname,
            "ports": self._ports(),
        }
        return {**found, "operator.access_network": "yes"} if card.access_network else found

    def _every(self) -> Iterator[tuple[str, _Page]]:
        """Yield path and page; what a page shows is found when it is asked for."""
        language, catalog = self._language, self._catalog
        symptoms = list(catalog.selfcheck.symptoms.values())

        def fixed(template: str, page: str, **values: object) -> _Page:
            return _Page(template, lambda person: {**values, "page": page})

        yield "index.html", _Page("index.html", self._home)
        for article in self._articles():
            yield article.path, _Page("article.html", lambda person, each=article: self._article(each, person))  # type: ignore[misc]
        yield "clients.html", fixed("clients.html", "clients", groups=self._by_kind())
        yield "systems.html", fixed("systems.html", "systems", groups=self._by_system())
        yield "problems.html", fixed("problems.html", "problems", symptoms=symptoms)
        for version in catalog.versions.values():
            page = _Page("client.html", lambda person, each=version: self._client(each, person))  # type: ignore[misc]
            yield f"clients/{version.id}.html", page
        for symptom in symptoms:
            page = _Page("problem.html", lambda person, each=symptom: self._problem(each))  # type: ignore[misc]
            yield f"problems/{symptom.id}.html", page
        yield from self._check()
        terms = sorted(catalog.terms, key=lambda each: each.reading if language == "ja" else each.term.en.lower())
        names = {each.id: each.term for each in terms}
        yield "glossary.html", fixed("glossary.html", "glossary", terms=terms, names=names)
        yield "confirmed.html", _Page("confirmed.html", lambda person: self._confirmed())
        yield "revisions.html", fixed("revisions.html", "revisions", log=self._log)
        if self._card.url:
            url = self._card.url.rstrip("/")
            yield "revisions.xml", fixed("revisions.xml", "revisions", log=self._log, feed=url)

    def _home(self, person: Audience | None) -> dict[str, object]:
        choices = [self._choice(version) for name in FIRST if (version := self._catalog.versions.get(name))]
        return {
            "cards": self._cards(person),
            "first": [each.version for each in choices if each.way],
            "kinds": KINDS,
            "notices": [each for each in self._log if each.is_notice or each is self._log[0]][:SHOWN_NOTICES],
            "ports": self._ports(),
            "more": [each for each in self._articles() if each.more],
            "audiences": [
                name
                for name in ("line", "member", "hosting", "elsewhere")
                if name != "line" or self._card.access_network
            ],
            "page": "home",
        }

    def _articles(self) -> list[Article]:
        return [each for each in articles() if each.requires is None or each.requires in self._parameters]

    def _article(self, article: Article, person: Audience | None) -> dict[str, object]:
        where = f"article {article.path}"

        def told(both: Both) -> str:
            return fill(both.say(self._language), self._parameters, where)

        def section(each: Section) -> dict[str, object]:
            text = write_out(each.text.say(self._language), self._parameters, f"{where}, section {each.id}")
            return {
                "id": each.id,
                "title": told(each.title),
                "blocks": text,
                "picture": each.picture,
                "card": each.card,
            }

        return {
            "title": told(article.title),
            "lead": told(article.lead),
            "sections": [section(each) for each in article.sections],
            "cards": self._cards(person),
            "ports": self._ports(),
            "page": "port25" if article.path == "port-25.html" else "",
        }

    def _safe_ways(self) -> tuple[Way, ...]:
        """Return the ways that everybody may be told of; those without TLS only where nothing else is open."""
        with_tls = tuple(way for way in self._card.ways if CAPABILITIES[way.capability].tls != "none")
        return with_tls or self._card.ways

    def _cards(self, person: Audience | None) -> list[CardView]:
        return card_views(self._card, self._safe_ways(), self._language, person)

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

    def _choice(self, version: Version) -> Choice:
        return choose(self._catalog, self._card, version)

    def _client(self, version: Version, person: Audience | None) -> dict[str, object]:
        family, choice = self._catalog.family_of[version.id], self._choice(version)
        errors = [each for each in family.errors if version.id in each.versions]
        capability = CAPABILITIES[choice.way.capability] if choice.way else None
        users = {each.user_name for each in ((person,) if person else self._card.audiences)}
        return {
            "version": version,
            "choice": choice,
            "security": word(f"security.{capability.tls}", self._language) if capability else None,
            "user_names": " / ".join(sorted(users)),
            "confirmed": confirmed(choice),
            "notices": notices(choice, self._card, self._language),
            "cards": card_views(self._card, (choice.way,), self._language, person) if choice.way else [],
            "guides": self._guides(family, choice, person),
            "errors": [
                (each, _error_text(each.text.say(self._language), self._card), symptom_of(each.situation))
                for each in errors
            ],
            "versions": [each for each in family.versions if each.id != version.id],
            "similar": related(self._catalog, version),
            "pages": [each for each in self._articles() if family.kind in each.kinds],
            "log": [each for each in self._log if each.concerns(family.id)],
            "page": "clients",
        }

    def _guides(self, family: Family, choice: Choice, person: Audience | None) -> list[ComposedGuide]:
        if choice.way is None:
            return []
        return [
            compose(family, choice.version, guide, choice.way, self._card, self._language, person=person)
            for guide in choice.guides
        ]

    def _confirmed(self) -> dict[str, object]:
        choices = [self._choice(version) for version in self._catalog.versions.values()]
        return {
            "sending": [(each, confirmed(each)) for each in choices if each.way],
            "gone": [each.version for each in choices if each.way is None],
            "version": own_version(),
            "page": "confirmed",
        }

    def _problem(self, symptom: Symptom) -> dict[str, object]:
        selfcheck = self._catalog.selfcheck
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
        return {"symptom": symptom, "causes": causes, "meanwhile": meanwhile, "page": "problems"}

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

    def _check(self) -> Iterator[tuple[str, _Page]]:
        selfcheck = self._catalog.selfcheck
        reached = self._reached()
        asked = [each for each in selfcheck.questions.values() if each.id in reached]
        outcomes = [each for each in selfcheck.outcomes.values() if each.id in reached]
        texts = {each.id: self._required(each.text, f"question {each.id}, text") for each in asked}
        ends = {each.id: self._required(each.text, f"outcome {each.id}, text") for each in selfcheck.outcomes.values()}

        def fixed(template: str, **values: object) -> _Page:
            return _Page(template, lambda person: {**values, "page": "check"})

        flows = [
            (flow, [each for each in asked if each.flow == flow.id], self._after(flow.start))
            for flow in selfcheck.flows.values()
        ]
        values = {"flows": flows, "texts": texts, "ends": ends, "outcomes": selfcheck.outcomes, "after": self._after}
        yield "check/index.html", fixed("check.html", **values)
        for question in asked:
            answers = [("yes", question.yes), ("no", question.no), ("unknown", question.unknown)]
            yield (
                f"check/{question.id}.html",
                fixed(
                    "question.html",
                    question=texts[question.id],
                    help=self._required(question.help, f"question {question.id}, help") if question.help else None,
                    answers=[(answer, self._after(name)) for answer, name in answers if name],
                ),
            )
        for outcome in outcomes:
            actions = list(self._actions(outcome))
            yield (
                f"check/{outcome.id}.html",
                fixed("outcome.html", outcome=outcome, result=ends[outcome.id], actions=actions),
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

    def _actions(self, outcome: Outcome) -> Iterator[tuple[str, str | None, bool]]:
        """Yield words of what a person can do next, where they lead, and whether that is one of our pages."""
        links: Mapping[str, tuple[str, str | None]] = {
            "open:guide_picker": (word("action.guide_picker", self._language), "clients.html"),
            "open:guide_picker:kind=device": (word("action.device", self._language), "clients.html#device"),
            "open:guide_picker:kind=app": (word("action.app", self._language), "clients.html#app"),
            "open:symptoms": (word("action.symptoms", self._language), "problems.html"),
            "show:other_provider_hint": (word("action.other_provider", self._language), None),
            "show:operator.contact": (self._parameters["operator.contact"], None),
        }
        pages = {"show:operator.webmail_url": "action.webmail", "show:operator.vpn_url": "action.vpn"}
        for action in outcome.actions:
            if action in pages:
                if address := self._parameters.get(action.removeprefix("show:")):
                    yield word(pages[action], self._language), address, False
            elif action.startswith("open:symptom:"):
                symptom = self._catalog.selfcheck.symptoms.get(action.rpartition(":")[2])
                if symptom is None:
                    raise GuideError([f'selfcheck.toml, outcome {outcome.id}, actions: nobody knows "{action}"'])
                yield symptom.text.say(self._language), f"problems/{symptom.id}.html", True
            elif action in links:
                yield *links[action], True
            else:
                raise GuideError([f'selfcheck.toml, outcome {outcome.id}, actions: nobody knows "{action}"'])


def environment() -> jinja2.Environment:
    """Return an environment with the templates of the guide alone."""
    return jinja2.Environment(
        loader=TEMPLATES,
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _entries(card: Card, log: tuple[Notice, ...]) -> tuple[Entry, ...]:
    """Join notices and changes, newest first; each keeps the number by which feeds know it."""
    found = [
        Entry(each.date, each.text, is_notice, len(entries) - number, each.programs)
        for is_notice, entries in ((True, card.notices), (False, log))
        for number, each in enumerate(entries, 1)
    ]
    return tuple(sorted(found, key=lambda each: each.date, reverse=True))


def _error_text(text: str, card: Card) -> str:
    """Fill in what a message of a client names; the recipient's server is anybody's."""
    values = {"smtp_host": card.hostname, "recipient_mx": "…", "email": card.audiences[0].example}
    values |= {"username": card.audiences[0].user_name, "port": "25", "account_name": "…"}
    return re.sub(r"\{([a-z_]+)\}", lambda found: values.get(found[1], "…"), text)
