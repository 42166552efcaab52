"""A guide as data: steps with the words that the client shows and the operator's values, for any renderer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .card import Audience, Card, Way
from .errors import GuideError
from .model import CAPABILITIES, Both, ClientGuide, Family, Step, Version
from .words import word

__all__ = ["ComposedGuide", "ComposedStep", "Part", "Screen", "Value", "compose"]

_BRACES = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Value:
    """What to type or choose, for one class of accounts; *audience* is None when it is the same for all."""

    audience: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a sentence.

    Fields:
        kind: "text", "label" (words on the screen), "value", or "code" (a line or command).
        other: the label in the other language, for those whose program speaks that; empty when it is the same.
    """

    kind: str
    text: str = ""
    other: str = ""
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class ComposedStep:
    """One action, as a sentence in parts."""

    parts: tuple[Part, ...]
    group: str | None
    note: str | None
    unsure: bool
    optional: bool


@dataclass(frozen=True, slots=True)
class Screen:
    """Steps on one screen of the client; without a title they are done elsewhere."""

    title: str | None
    tab: str | None
    steps: tuple[ComposedStep, ...]


@dataclass(frozen=True, slots=True)
class ComposedGuide:
    """The whole guide; *unsure* when some of its words were never compared with the program."""

    title: str
    caution: str | None
    unsure: bool
    screens: tuple[Screen, ...]


def compose(
    family: Family,
    version: Version,
    guide: ClientGuide,
    way: Way,
    card: Card,
    language: str,
    *,
    person: Audience | None = None,
) -> ComposedGuide:
    """Fill *guide* in for *version*.

    Args:
        person: whose guide it is; without, every class of accounts gets its values.

    Raises:
        GuideError: a value or a word is missing; the text names file and key.
    """
    composer = _Composer(family, version, guide, way, card, language, (person,) if person else card.audiences)
    return ComposedGuide(
        title=guide.title.say(language),
        caution=guide.caution.say(language) if guide.caution else None,
        unsure=guide.readiness != "ready" if language == "ja" else not all(each.sure["en"] for each in guide.steps),
        screens=composer.screens(),
    )


class _Composer:
    def __init__(
        self,
        family: Family,
        version: Version,
        guide: ClientGuide,
        way: Way,
        card: Card,
        language: str,
        audiences: Sequence[Audience],
    ) -> None:
        self._guide = guide
        self._way = way
        self._language = language
        self._audiences = audiences
        capability = CAPABILITIES[way.capability]
        self._choices: dict[str, Both | None] = {
            "security": family.choices.get((version.id, "security", capability.security)),
            "auth": family.choices.get((version.id, "auth", capability.auth)),
        }
        self._values = {each: self._values_for(card, each) for each in audiences}

    def _values_for(self, card: Card, audience: Audience) -> Mapping[str, str | None]:
        language = self._language
        return {
            "smtp_host": audience.host,
            "port": str(self._way.port),
            "username": audience.user_name,
            "email": audience.example,
            "password": word("value.password", language),
            "account_name": word("value.account_name", language),
            "mobileconfig_url": card.profile_url,
            **{name: both.say(language) if both else None for name, both in self._choices.items()},
        }

    def screens(self) -> tuple[Screen, ...]:
        screens: list[tuple[str | None, str | None, list[ComposedStep]]] = []
        for number, step in self._steps():
            title, tab = (
                self._fill(each.say(self._language), number)[0].text if each else None
                for each in (step.screen, step.tab)
            )
            if not screens or screens[-1][:2] != (title, tab):
                screens.append((title, tab, []))
            screens[-1][2].append(self._step(step, number))
        return tuple(Screen(title, tab, tuple(steps)) for title, tab, steps in screens)

    def _steps(self) -> list[tuple[int, Step]]:
        """Return the steps of this way with their numbers in the facts; lines of one file become one step."""
        found: list[tuple[int, Step]] = []
        for number, step in enumerate(self._guide.steps, 1):
            if step.capabilities and self._way.capability not in step.capabilities:
                continue
            before = found[-1][1] if found else None
            if before and step.kind == before.kind == "add_line" and _place(step) == _place(before) and not step.note:
                sure = {language: step.sure[language] and before.sure[language] for language in before.sure}
                found[-1] = found[-1][0], replace(before, value=f"{before.value}\n{step.value}", sure=sure)
            else:
                found.append((number, step))
        return found

    def _step(self, step: Step, number: int) -> ComposedStep:
        template, pieces = self._sentence(step, number)
        parts = []
        for text, name in _split(word(template, self._language, **{name: f"{{{name}}}" for name in pieces})):
            if text:
                parts.append(Part("text", text))
            if name:
                parts += pieces[name]
        return ComposedStep(
            parts=tuple(parts),
            group=self._plain(step.group, number),
            note=self._plain(step.note, number),
            unsure=not step.sure[self._language],
            optional=step.optional,
        )

    def _sentence(self, step: Step, number: int) -> tuple[str, dict[str, list[Part]]]:
        """Return the key of the sentence, and what goes into its places."""
        pieces: dict[str, list[Part]] = {}
        if step.kind == "open_menu":
            pieces["path"] = self._path(step, number)
            return "step.open_menu", pieces
        if step.label:
            pieces["label"] = [self._label(step.label, number)]
        if step.option:
            pieces["value"] = [self._label(step.option, number)]
        elif step.value is not None:
            choice = self._choices.get(step.value.strip("{}"))
            pieces["value"] = [self._label(choice, number) if choice else self._value(step.value, number)]
        if step.kind == "choose" and "value" in pieces:
            is_same = step.label and step.value in (step.label.say(self._language), None) and not step.option
            return ("step.choose" if is_same else "step.choose_value"), pieces
        if step.kind == "add_line":
            pieces["file"] = [Part("label", step.file or "")]
            pieces["value"] = [self._value(step.value or "", number, "code")]
            if step.section is None:
                return "step.add_line", pieces
            pieces["section"] = [Part("label", step.section)]
            return "step.add_line_section", pieces
        if step.kind == "run_command":
            return "step.run_command", {"command": [self._value(step.command or "", number, "code")]}
        if step.kind == "click_button" and "value" in pieces:
            return "step.click_button_at", pieces
        return f"step.{step.kind}", pieces

    def _path(self, step: Step, number: int) -> list[Part]:
        parts: list[Part] = []
        for each in step.path:
            parts += [Part("text", " → ")] if parts else []
            parts.append(self._label(each, number))
        return parts

    def _label(self, both: Both, number: int) -> Part:
        text = both.say(self._language)
        other = both.ja if self._language == "en" and both.ja != both.en else ""
        return Part("label", self._joined(text, number), self._joined(other, number))

    def _plain(self, both: Both | None, number: int) -> str | None:
        return self._joined(both.say(self._language), number) if both else None

    def _joined(self, text: str, number: int) -> str:
        return " / ".join(each.text for each in self._fill(text, number))

    def _value(self, text: str, number: int, kind: str = "value") -> Part:
        return Part(kind, values=self._fill(text, number))

    def _fill(self, text: str, number: int) -> tuple[Value, ...]:
        """Fill in the placeholders for every class of accounts; one value when all get the same."""
        texts = {each: self._filled(text, each, number) for each in self._audiences}
        if len(set(texts.values())) == 1:
            return (Value(None, next(iter(texts.values()))),)
        return tuple(
            Value(each.name.say(self._language) if each.name else None, filled) for each, filled in texts.items()
        )

    def _filled(self, text: str, audience: Audience, number: int) -> str:
        return _BRACES.sub(lambda found: self._get(found[1], audience, number), text)

    def _get(self, name: str, audience: Audience, number: int) -> str:
        value = self._values[audience].get(name)
        if value is None:
            raise GuideError([f"{self._guide.where}, step {number}: nothing fills in {{{name}}}"])
        return value


def _place(step: Step) -> tuple[str | None, str | None, bool]:
    return step.file, step.section, step.optional


def _split(text: str) -> list[tuple[str, str]]:
    """Cut "In {label}, type {value}" into pairs of text and the name behind it, which is empty at the end."""
    found, position = [], 0
    for match in _BRACES.finditer(text):
        found.append((text[position : match.start()], match[1]))
        position = match.end()
    return [*found, (text[position:], "")]
