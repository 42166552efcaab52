"""The settings reference (Markdown) and a commented example file (TOML), both written from the declarations alone."""

from __future__ import annotations

import enum
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from .convert import choices_of
from .setting import REQUIRED, Row, is_settings, rows_of, section_prose
from .values import Duration, Endpoint, Network, Secret, Size, render_duration, render_size

_WORDS: Final[dict[Any, str]] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    Secret: "secret (or `{name}_file`, a file that holds it)",
    Duration: "duration",
    Size: "size",
    Endpoint: "address:port or unix:path",
    Network: "network",
}


def reference(cls: type) -> str:
    """Describe every setting below *cls*: key, type, default, whether a reload takes it, prose."""
    return "\n".join(_section(cls, "", "")).rstrip() + "\n"


def example(cls: type) -> str:
    """Write a configuration file with every setting of *cls* and its prose, commented out unless required."""
    return "\n".join(_example(cls, "", "")).strip() + "\n"


def to_toml(kind: Any, value: object) -> str:
    """Write *value* as TOML, durations and sizes in their readable form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind is Duration and isinstance(value, int | float):
        return json.dumps(render_duration(value))
    if kind is Size and isinstance(value, int):
        return json.dumps(render_size(value)) if render_size(value) != str(value) else str(value)
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        inner = get_args(kind)[0] if get_args(kind) else str
        return "[" + ", ".join(to_toml(inner, element) for element in value) + "]"
    return json.dumps(str(value), ensure_ascii=False)


def _type_words(row: Row) -> str:
    kind = row.kind
    many = get_origin(kind) is tuple
    if many:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, enum.StrEnum)):
        words = " or ".join(f"`{choice}`" for choice in choices_of(kind))
    elif kind in _WORDS:
        words = _WORDS[kind].format(name=row.name)
    else:
        words = " or ".join(_WORDS[member] for member in get_args(kind))
    return f"array of: {words}" if many else words


def _default_words(row: Row, value: object) -> str:
    if value is REQUIRED and not row.optional:
        return "required"
    if value is REQUIRED or value is None:
        return "none"
    return f"`{to_toml(row.kind, value)}`"


def _header_of(row: Row, above: str) -> tuple[str, type] | None:
    """The TOML header and class of a row that is a section; None for a plain setting."""
    name = f"{above}.{row.name}" if above else row.name
    if is_settings(row.kind):
        return f"[{name}]", row.kind
    origin = get_origin(row.kind)
    if origin is tuple and is_settings(get_args(row.kind)[0]):
        return f"[[{name}]]", get_args(row.kind)[0]
    if origin is dict:
        return f"[{name}.NAME]", get_args(row.kind)[1]
    return None


def _value_of(row: Row, defaults: object) -> object:
    return row.default if defaults is None else getattr(defaults, row.name)


def _section(cls: type, header: str, above: str, defaults: object = None) -> Iterator[str]:
    rows = rows_of(cls)
    plain = [row for row in rows if _header_of(row, above) is None]
    if plain:
        yield f"## `{header}`" if header else "## At the top of the file"
        yield from ("", section_prose(cls), "")
    for row in plain:
        taken = "reload" if row.reload else "restart"
        yield f"### `{row.name}`"
        default = _default_words(row, _value_of(row, defaults))
        yield f"{_type_words(row).capitalize()}; default: {default}; takes: {taken}."
        yield from ("", row.prose, "")
        if row.example is not None:
            yield from (f"Example: `{row.name} = {to_toml(row.kind, row.example)}`", "")
    for row in rows:
        inner = _header_of(row, above)
        if inner is not None:
            value = _value_of(row, defaults)
            own = value if isinstance(value, inner[1]) else None
            yield from _section(inner[1], inner[0], inner[0].strip("[]"), own)


def _example(cls: type, header: str, above: str, defaults: object = None) -> Iterator[str]:
    rows = rows_of(cls)
    plain = [row for row in rows if _header_of(row, above) is None]
    is_named = header.startswith("[[") or "NAME" in header
    if plain:
        yield from ("", *_comment(section_prose(cls)))
        if header:
            yield f"#{header}" if is_named else header
        yield ""
    for row in plain:
        yield from _comment(row.prose)
        value = _value_of(row, defaults)
        is_required = value is REQUIRED and not row.optional and not is_named
        shown = row.example if row.example is not None else "" if value is REQUIRED or value is None else value
        kind = str if shown == "" else row.kind
        yield f"{'' if is_required else '#'}{row.name} = {to_toml(kind, shown)}"
        yield ""
    for row in rows:
        inner = _header_of(row, above)
        if inner is not None:
            value = _value_of(row, defaults)
            own = value if isinstance(value, inner[1]) else None
            yield from _example(inner[1], inner[0], inner[0].strip("[]"), own)


def _comment(prose: str) -> Iterator[str]:
    for paragraph in prose.split("\n\n"):
        yield from textwrap.wrap(" ".join(paragraph.split()), 100, initial_indent="# ", subsequent_indent="# ")
