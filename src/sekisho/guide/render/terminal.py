"""A guide for the terminal and for mails: plain text, no color."""

from __future__ import annotations

import unicodedata

from sekisho.guide.card import Audience, Card
from sekisho.guide.choose import Choice
from sekisho.guide.compose import ComposedStep, Part, compose
from sekisho.guide.model import Catalog
from sekisho.guide.words import word

from .rows import card_views, notices

__all__ = ["render_text"]


def render_text(catalog: Catalog, card: Card, choice: Choice, language: str, *, person: Audience | None = None) -> str:
    """Return the guide for a version as lines of text.

    Raises:
        GuideError: a value or a word is missing.
    """
    version = choice.version
    lines = [version.names.say(language), "=" * width(version.names.say(language)), ""]
    for notice in notices(choice, card, language):
        lines += [f"! {notice}", ""]
    if choice.way is None:
        lines += _replacements(choice, language)
        return "\n".join(lines)
    for view in card_views(card, (choice.way,), language, person):
        if view.audience:
            lines.append(f"{view.audience}:")
        longest = max(width(name) for name, _ in view.rows)
        lines += [f"  {name}{' ' * (longest - width(name))}  {value}" for name, value in view.rows]
        lines.append("")
    family = catalog.family_of[version.id]
    for guide in choice.guides:
        composed = compose(family, version, guide, choice.way, card, language, person=person)
        lines += [composed.title, "-" * width(composed.title), ""]
        if composed.caution:
            lines += [f"! {composed.caution}", ""]
        number = 0
        for screen in composed.screens:
            if screen.title:
                lines.append(f"[{screen.title}{f' › {screen.tab}' if screen.tab else ''}]")
            for step in screen.steps:
                number += 1
                lines += _step(number, step, language)
            lines.append("")
        if any(step.unsure for screen in composed.screens for step in screen.steps):
            lines += [f"~ {word('step.unsure', language)}", ""]
    lines.append(word("guide.done", language))
    return "\n".join(lines)


def _replacements(choice: Choice, language: str) -> list[str]:
    if not choice.replace_by:
        return [word("guide.nowhere", language)]
    found = [f"  - {each.names.say(language)}  (sekisho guide show {each.id})" for each in choice.replace_by]
    return [word("guide.move", language), *found]


def _step(number: int, step: ComposedStep, language: str) -> list[str]:
    text = "".join(_part(part) for part in step.parts)
    marks = [
        step.group and word("step.group", language, group=step.group),
        step.optional and word("step.optional", language),
    ]
    mark = "".join(f" ({each})" for each in marks if each)
    head, _, block = text.partition("\n")
    lines = [f"{number:>3}. {head.rstrip()}{mark}{' ~' if step.unsure else ''}", *([block] if block else [])]
    if step.note:
        lines.append(f"     {step.note}")
    return lines


def _part(part: Part) -> str:
    if part.kind == "text":
        return part.text
    if part.kind == "label":
        return f"「{part.text}」" if not part.text.isascii() else f'"{part.text}"'
    if part.kind != "code":
        return " / ".join(f"{each.text} ({each.audience})" if each.audience else each.text for each in part.values)
    lines: list[str] = []
    for each in part.values:
        lines += [f"({each.audience})"] if each.audience else []
        lines += each.text.splitlines()
    return "".join(f"\n       {line}" for line in lines)


def width(text: str) -> int:
    """Columns of a terminal: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
