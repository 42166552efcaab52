"""How a package declares its settings: a frozen dataclass whose fields carry default, prose and rules.

Every field is made with `setting`; a field whose type is itself a settings class may go without, for that class's
docstring speaks for it. `rows_of` reads a declaration back, for loading and for the reference alike.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints, overload

__all__ = ["REQUIRED", "Check", "Row", "at_least", "between", "is_settings", "rows_of", "section_prose", "setting"]

T = TypeVar("T")
Check = Callable[[Any], tuple[str, str] | None]
"""Looks at one value: None, or what is wrong with it (without a full stop) and what to do (with one)."""


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()
_KEY: Final = "sekisho.config"


@dataclass(frozen=True, slots=True)
class _Notes:
    prose: str
    reload: bool
    example: object
    check: Check | None


@dataclass(frozen=True, slots=True)
class Row:
    """One declared setting.

    Fields:
        kind: the annotation, without ``| None``.
        default: `REQUIRED` when the key must be given.
        reload: takes effect on SIGHUP; otherwise after a restart.
        example: a TOML value to show where the default tells nothing; None without.
    """

    name: str
    kind: Any
    optional: bool
    default: object
    prose: str
    reload: bool
    example: object
    check: Check | None


@overload
def setting(
    default: T, prose: str, *, reload: bool = False, example: object = None, check: Check | None = None
) -> T: ...
@overload
def setting(*, prose: str, reload: bool = False, example: object = None, check: Check | None = None) -> Any: ...
def setting(
    default: object = REQUIRED,
    prose: str = "",
    *,
    reload: bool = False,
    example: object = None,
    check: Check | None = None,
) -> Any:
    """Declare one field of a settings class.

    Args:
        default: omitted, the key is required.
        prose: one or two sentences for the reference: what it does, its unit, where the default comes from.
        reload: the running service takes a new value on SIGHUP.
        example: TOML value shown by the reference and by ``sekisho init``.
        check: called with each value read; see `at_least` and `between`.
    """
    if not prose.strip():
        raise TypeError("a setting needs prose")
    metadata = {_KEY: _Notes(" ".join(prose.split()), reload, example, check)}
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    if type(default).__hash__ is None:
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def at_least(low: float) -> Check:
    """Refuse numbers below *low*."""

    def check(value: Any) -> tuple[str, str] | None:
        return None if value >= low else (f"{value:g} is too small", f"Use {low:g} or more.")

    return check


def between(low: float, high: float) -> Check:
    """Refuse numbers outside *low* to *high*, both allowed."""

    def check(value: Any) -> tuple[str, str] | None:
        return None if low <= value <= high else (f"{value:g} is out of range", f"Use {low:g} to {high:g}.")

    return check


def is_settings(kind: object) -> bool:
    """Tell whether *kind* is a settings class, and so a TOML table."""
    return inspect.isclass(kind) and dataclasses.is_dataclass(kind) and _has_settings(kind)


@functools.cache
def _has_settings(cls: type) -> bool:
    fields = dataclasses.fields(cls)
    if any(_KEY in field.metadata for field in fields):
        return True
    hints = get_type_hints(cls)
    return bool(fields) and all(is_settings(_without_none(hints[field.name])[0]) for field in fields)


@functools.cache
def rows_of(cls: type) -> tuple[Row, ...]:
    """Read the declaration of settings class *cls*. Raises TypeError for a field that says nothing about itself."""
    hints = get_type_hints(cls)
    return tuple(_row(cls, field, hints[field.name]) for field in dataclasses.fields(cls))


def _row(cls: type, field: dataclasses.Field[Any], hint: object) -> Row:
    kind, optional = _without_none(hint)
    notes = field.metadata.get(_KEY)
    if notes is None:
        if not is_settings(kind):
            raise TypeError(f"{cls.__name__}.{field.name} is not declared with setting(…)")
        notes = _Notes(section_prose(kind), False, None, None)
    default: object = REQUIRED
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return Row(field.name, kind, optional, default, notes.prose, notes.reload, notes.example, notes.check)


def section_prose(cls: type) -> str:
    """The docstring of a settings class. Raises TypeError without one: dataclasses invent a signature in its place."""
    text = inspect.cleandoc(cls.__doc__ or "")
    if not text or text.startswith(f"{cls.__name__}("):
        raise TypeError(f"{cls.__name__} needs a docstring: it is the section's prose in the reference")
    return text


def _without_none(hint: object) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, types.UnionType):
        kept = [kind for kind in get_args(hint) if kind is not type(None)]
        optional = len(kept) < len(get_args(hint))
        return (functools.reduce(lambda a, b: a | b, kept) if len(kept) > 1 else kept[0]), optional
    return hint, False
