"""Read the configuration file and the ``SEKISHO_…`` variables into a settings class; report every mistake at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin

from .convert import Unsuitable, convert, from_text, nearest, show
from .errors import ConfigError, ConfigErrors
from .locate import Path as Place
from .locate import locate
from .setting import REQUIRED, Row, is_settings, rows_of
from .values import Endpoint, Secret

T = TypeVar("T")

PREFIX: Final = "SEKISHO_"
NOT_SETTINGS: Final = frozenset({"SEKISHO_CONFIG"})
MAX_OCTETS: Final = 4 * 1024 * 1024  # of the file; a larger one is some other file named by mistake
_FILE_SUFFIX: Final = "_file"
_MISSING: Final = object()


def load(cls: type[T], path: Path, env: Mapping[str, str]) -> T:
    """Read *path* into settings class *cls*, overridden by the variables of *env*.

    ``SEKISHO_QUEUE_LIFETIME`` overrides ``lifetime`` of ``[queue]``, ``SEKISHO_LISTENER_MX_ENABLED`` that of
    ``[listener.mx]``; two underscores may stand for one. Relative paths, defaults included, start at the directory of
    *path*. A `Secret` named ``password`` may be given as ``password_file``, a file that holds it.

    Raises:
        ConfigErrors: with every mistake of the file and the environment.
    """
    text, document = _read(path)
    reader = _Reader(str(path), path.absolute().parent, locate(text), _paths(cls))
    reader.override(document, cls, env)
    settings = reader.table(cls, document, ())
    if reader.errors:
        raise ConfigErrors(sorted(reader.errors, key=lambda error: (error.line is None, error.line or 0)))
    assert isinstance(settings, cls)
    return settings


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
    except FileNotFoundError:
        raise _unreadable(path, "no such file", "Write one with `sekisho init`, or name yours with --config.") from None
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}", "Check its owner and mode.") from error
    if len(octets) > MAX_OCTETS:
        raise _unreadable(path, "is larger than 4 MiB", "Is this the right file?")
    try:
        text = octets.decode("utf-8-sig")
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, "is not UTF-8", "Save it as UTF-8.", line) from error
    except RecursionError as error:
        raise _unreadable(path, "is nested too deeply", "Is this the right file?") from error
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = re.search(r" \(at line (\d+), column \d+\)$", message)
        line = int(found[1]) if found else text.count("\n") + 1
        problem = re.sub(r" \(at .*\)$", "", message)
        raise _unreadable(
            path, f"not valid TOML: {problem}", "Correct this line; see https://toml.io.", line
        ) from error


def _unreadable(path: Path, problem: str, remedy: str, line: int | None = None) -> ConfigErrors:
    return ConfigErrors([ConfigError(str(path), "", problem, remedy, line)])


def _paths(cls: type, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Row]]:
    """Every setting below *cls* that a fixed key names: arrays of tables and named tables are left out."""
    for row in rows_of(cls):
        here = (*above, row.name)
        if is_settings(row.kind):
            yield from _paths(row.kind, here)
        elif _element(row.kind) is None:
            yield here, row


def _element(kind: Any) -> Any:
    """The settings class inside ``tuple[X, ...]`` or ``dict[str, X]``; None when there is none."""
    if get_origin(kind) in (tuple, dict):
        inner = get_args(kind)[0] if get_origin(kind) is tuple else get_args(kind)[1]
        return inner if is_settings(inner) else None
    return None


def key_text(place: Place) -> str:
    """Write a place as an operator would: ``route[2].host``, counting from 1."""
    text = ""
    for part in place:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(slots=True)
class _Reader:
    file: str
    base: Path
    lines: Mapping[Place, int]
    known: Any  # the paths of all settings, to tell where a misplaced key belongs
    errors: list[ConfigError] = field(default_factory=list)
    from_env: dict[Place, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = list(self.known)

    def report(self, place: Place, problem: str, remedy: str) -> None:
        variable = self.from_env.get(place)
        if variable is not None:
            self.errors.append(ConfigError("environment", variable, problem, remedy))
            return
        at = place
        while at and at not in self.lines:
            at = at[:-1]
        self.errors.append(ConfigError(self.file, key_text(place), problem, remedy, self.lines.get(at)))

    def override(self, document: dict[str, Any], cls: type, env: Mapping[str, str]) -> None:
        """Write the variables of *env* over *document*, and report those that name no setting."""
        rows: dict[str, tuple[tuple[str, ...], Row]] = {}
        for path, row in self.known:
            rows["_".join(path).upper()] = (path, row)
            if row.kind is Secret:
                rows["_".join(path).upper() + _FILE_SUFFIX.upper()] = ((*path[:-1], path[-1] + _FILE_SUFFIX), row)
        for variable in sorted(env):
            if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
                continue
            name = variable.removeprefix(PREFIX).replace("__", "_")
            if name in rows:
                self._override(document, variable, env[variable], *rows[name])
            else:
                meant = nearest(name.lower(), [known.lower() for known in rows])
                hint = f"Did you mean {PREFIX}{meant.upper()}?" if meant else "Unset it, or correct its name."
                self.errors.append(ConfigError("environment", variable, "no setting has this name", hint))

    def _override(self, document: dict[str, Any], variable: str, text: str, path: tuple[str, ...], row: Row) -> None:
        table = document
        for key in path[:-1]:
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                return  # reported where the file is read
            table = inner
        if row.kind is Secret:
            table.pop(row.name, None)
            table.pop(row.name + _FILE_SUFFIX, None)
        self.from_env[path] = variable
        if text == "" and row.optional:
            table.pop(path[-1], None)
        elif row.kind is Secret or row.kind is str:
            table[path[-1]] = text
        elif get_origin(row.kind) is tuple:
            value = from_text(text)
            table[path[-1]] = value if isinstance(value, list) else [part.strip() for part in text.split(",") if part]
        else:
            value = from_text(text)
            is_plain = isinstance(value, bool | int | float | str)
            table[path[-1]] = value if is_plain else text

    def table(self, cls: type, raw: Mapping[str, Any], place: Place, defaults: object = None) -> Any:
        """Build *cls* from *raw*; None when something in it is wrong (and reported)."""
        rows = {row.name: row for row in rows_of(cls)}
        before = len(self.errors)
        self._unknown(rows, raw, place)
        values = {}
        for row in rows.values():
            default = row.default if defaults is None else getattr(defaults, row.name)
            values[row.name] = self._setting(row, raw, (*place, row.name), default)
        if len(self.errors) > before:
            return None
        settings = cls(**values)
        problems = getattr(settings, "problems", None)
        if problems is not None:
            for key, problem, remedy in problems():
                self.report((*place, *key.split(".")) if key else place, problem, remedy)
        return settings

    def _unknown(self, rows: Mapping[str, Row], raw: Mapping[str, Any], place: Place) -> None:
        names = list(rows) + [row.name + _FILE_SUFFIX for row in rows.values() if row.kind is Secret]
        for key in raw:
            if key in names:
                continue
            meant = nearest(key, names)
            homes = [path for path, _ in self.known if path[-1] == key]
            if meant:
                remedy = f'Did you mean "{meant}"?'
            elif len(homes) == 1:
                section = ".".join(homes[0][:-1])
                remedy = (
                    f"It belongs in [{section}]." if section else "It belongs at the top, before the first section."
                )
            else:
                remedy = f"Known here: {', '.join(names)}."
            what = "section" if isinstance(raw[key], dict | list) and not place else "key"
            self.report((*place, key), f"unknown {what}", remedy)

    def _setting(self, row: Row, raw: Mapping[str, Any], place: Place, default: object) -> Any:
        if row.kind is Secret and row.name + _FILE_SUFFIX in raw:
            return self._secret_file(row, raw, place)
        value = raw.get(row.name, _MISSING)
        if is_settings(row.kind):
            return self._section(row, value, place, default)
        if value is _MISSING:
            if default is REQUIRED:
                if row.optional:
                    return None
                self.report(place, "required, but not set", row.prose)
                return None
            return self._based(default)
        if _element(row.kind) is not None:
            return self._sections(row, value, place)
        return self._plain(row, value, place)

    def _section(self, row: Row, value: object, place: Place, default: object) -> Any:
        if value is _MISSING:
            if row.optional and default in (None, REQUIRED):
                return None
            value = {}
        if not isinstance(value, dict):
            self.report(
                place, f"expected a section, found {show(value)}", f"Write [{key_text(place)}] on its own line."
            )
            return None
        return self.table(row.kind, value, place, default if isinstance(default, row.kind) else None)

    def _sections(self, row: Row, value: object, place: Place) -> Any:
        element = _element(row.kind)
        key = key_text(place)
        if get_origin(row.kind) is dict:
            if not isinstance(value, dict) or not all(isinstance(table, dict) for table in value.values()):
                self.report(place, f"expected named sections, found {show(value)}", f"Write [{key}.NAME].")
                return None
            return {name: self.table(element, table, (*place, name)) for name, table in value.items()}
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            self.report(place, f"expected sections, found {show(value)}", f"Write [[{key}]] above each of them.")
            return None
        return tuple(self.table(element, table, (*place, index)) for index, table in enumerate(value))

    def _plain(self, row: Row, value: object, place: Place) -> Any:
        if get_origin(row.kind) is tuple:
            if not isinstance(value, list):
                self.report(place, f"expected an array, found {show(value)}", "Write it in brackets: [one, two].")
                return None
            kind = get_args(row.kind)[0]
            converted: Any = tuple(
                self._converted(kind, element, (*place, index)) for index, element in enumerate(value)
            )
        else:
            converted = self._converted(row.kind, value, place)
        if converted is not None and row.check is not None:
            found = row.check(converted)
            if found is not None:
                self.report(place, *found)
        return converted

    def _converted(self, kind: Any, value: object, place: Place) -> Any:
        try:
            return convert(kind, value, self.base)
        except Unsuitable as error:
            if place[:-1] in self.from_env:  # an element of an array given by a variable
                place = place[:-1]
            self.report(place, error.problem, error.remedy)
            return None

    def _secret_file(self, row: Row, raw: Mapping[str, Any], place: Place) -> Secret | None:
        file_place = (*place[:-1], row.name + _FILE_SUFFIX)
        if row.name in raw:
            self.report(file_place, f"given besides {row.name}", "Keep one of the two.")
            return None
        name = self._converted(Path, raw[row.name + _FILE_SUFFIX], file_place)
        if name is None:
            return None
        try:
            text = name.read_bytes()[:65536].decode()
        except OSError as error:
            self.report(file_place, f"{name} cannot be read: {error.strerror}", "Check its path, owner and mode.")
        except UnicodeDecodeError:
            self.report(file_place, f"{name} is not UTF-8 text", "It should hold the secret on one line.")
        else:
            secret = text.removesuffix("\n").removesuffix("\r")
            if secret:
                return Secret(secret)
            self.report(file_place, f"{name} is empty", "It should hold the secret on one line.")
        return None

    def _based(self, default: object) -> object:
        """A default, its relative paths made absolute as if the file had said so."""
        if isinstance(default, Path):
            return self.base / default
        if isinstance(default, Endpoint) and default.path is not None:
            return Endpoint("", 0, str(self.base / default.path))
        if isinstance(default, tuple):
            return tuple(self._based(element) for element in default)
        return default
