"""Reading one TOML table of the facts, with every complaint naming file and key."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final, TypeVar

from .model import Both

__all__ = ["MEMORY_SOURCE", "PLACEHOLDERS", "Table"]

PLACEHOLDERS: Final = frozenset(
    {
        *("smtp_host", "port", "username", "password", "security", "auth", "email", "account_name"),
        *("mobileconfig_url", "recipient_mx"),
    }
)
MEMORY_SOURCE: Final = "from memory, unverified"

_CONFIDENCE: Final = frozenset({"seed", "documented", "memory"})
_SEED = re.compile(r"\d{3}_[0-9a-f]{16}\.txt")
_HOST = re.compile(r"\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:jp|com|net|org|edu|uk|de)\b", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\{([A-Za-z_.]*)\}")

T = TypeVar("T")


class Table:
    """One table; what is wrong goes into *problems*, and a harmless value comes back so that reading goes on."""

    def __init__(self, where: str, data: object, problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        self._data: dict[str, Any] = data if isinstance(data, dict) else {}
        self._known: set[str] = set()
        if not isinstance(data, dict):
            self.complain("is not a table")

    def complain(self, problem: str) -> None:
        self.problems.append(f"{self.where}: {problem}")

    def has(self, key: str) -> bool:
        return key in self._data

    def finish(self, *ignored: str) -> None:
        """Complain of keys that nobody asked for; *ignored* are for the people who care for the facts."""
        for key in self._data.keys() - self._known - set(ignored):
            self.complain(f"{key}: unknown key")

    def _take(self, key: str, kind: type[T], default: T, optional: bool) -> T | None:
        self._known.add(key)
        if key not in self._data:
            if optional:
                return None
            self.complain(f"{key}: is missing")
            return default
        value = self._data[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.complain(f"{key}: is not of type {kind.__name__}")
            return default
        return value

    def text(self, key: str) -> str:
        value = self._take(key, str, "", False) or ""
        if not value and key in self._data:
            self.complain(f"{key}: is empty")
        return value

    def optional_text(self, key: str) -> str | None:
        return self._take(key, str, "", True)

    def number(self, key: str) -> int | None:
        return self._take(key, int, 0, True)

    def flag(self, key: str) -> bool:
        return bool(self._take(key, bool, False, True))

    def one_of(self, key: str, allowed: Collection[str]) -> str:
        value = self.text(key)
        if value and value not in allowed:
            self.complain(f'{key}: "{value}" is none of {", ".join(sorted(allowed))}')
        return value

    def texts(self, key: str, allowed: Collection[str] | None = None, *, optional: bool = True) -> tuple[str, ...]:
        values = self._take(key, list, [], optional) or []
        for value in values:
            if not isinstance(value, str) or (allowed is not None and value not in allowed):
                self.complain(f"{key}: {value!r} is not allowed")
        return tuple(map(str, values))

    def both(self, key: str) -> Both:
        """Return a text that has to be there in both languages."""
        return self._both(key, self._take(key, dict, {}, False) or {})

    def optional_both(self, key: str) -> Both | None:
        value = self._take(key, dict, {}, True)
        return None if value is None else self._both(key, value)

    def _both(self, key: str, value: dict[str, Any]) -> Both:
        if key not in self._data:
            return Both("", "")
        for language in ("ja", "en"):
            if not isinstance(value.get(language), str) or not value[language].strip():
                self.complain(f"{key}.{language}: is missing")
        for other in value.keys() - {"ja", "en"}:
            self.complain(f"{key}.{other}: unknown key")
        return Both(str(value.get("ja", "")), str(value.get("en", "")))

    def table(self, key: str) -> Table:
        return Table(f"{self.where}, {key}", self._take(key, dict, {}, False), self.problems)

    def tables(self, key: str) -> Iterator[Table]:
        """Yield the tables of an array; each is known by its id, else by its number."""
        for number, data in enumerate(self._take(key, list, [], True) or [], 1):
            name = data.get("id", number) if isinstance(data, dict) else number
            yield Table(f"{self.where}, {key} {name}", data, self.problems)

    def paths(self, key: str) -> tuple[Both, ...]:
        """Return an array of texts in both languages: menu, submenu, entry."""
        found = []
        for number, data in enumerate(self._take(key, list, [], True) or [], 1):
            entry = Table(f"{self.where}, {key} {number}", {"text": data}, self.problems)
            found.append(entry.both("text"))
        return tuple(found)

    def source(self) -> bool:
        """Check confidence and source; return whether the fact is more than remembered."""
        self._known |= {"confidence", "source"}
        return self._one_source("", self._data.get("confidence"), self._data.get("source"))

    def source_of(self, what: str) -> dict[str, bool]:
        """The same for the wording, which has a confidence in each language."""
        self._known |= {f"{what}_confidence", f"{what}_source"}
        sure, source = (self._data.get(f"{what}_{word}") for word in ("confidence", "source"))
        if not (isinstance(sure, dict) and isinstance(source, dict) and sure.keys() == source.keys() == {"ja", "en"}):
            self.complain(f"{what}_confidence and {what}_source: need ja and en")
            return {"ja": False, "en": False}
        return {each: self._one_source(f"{what}_", sure[each], source[each]) for each in ("ja", "en")}

    def _one_source(self, prefix: str, confidence: object, source: object) -> bool:
        if confidence not in _CONFIDENCE:
            self.complain(f"{prefix}confidence: {confidence!r} is none of {', '.join(sorted(_CONFIDENCE))}")
        elif not isinstance(source, str) or not source:
            self.complain(f"{prefix}source: is missing")
        elif (confidence == "memory") != (source == MEMORY_SOURCE):
            self.complain(f'{prefix}source: "{source}" does not go with the confidence "{confidence}"')
        elif confidence == "seed" and not all(_SEED.fullmatch(part.strip()) for part in source.split(";")):
            self.complain(f'{prefix}source: "{source}" is not the name of a source page')
        return confidence != "memory"

    def check_words(self, key: str, *texts: str) -> None:
        """Complain of placeholders that nothing fills in, and of host names, which are the operator's."""
        for text in texts:
            for name in _PLACEHOLDER.findall(text):
                if name not in PLACEHOLDERS:
                    self.complain(f"{key}: unknown placeholder {{{name}}}")
            if found := _HOST.search(text):
                self.complain(f"{key}: names the host {found[0]}; hosts come from the operator's settings")
