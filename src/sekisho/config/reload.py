"""Which changes the running service can take, and which need a restart."""

from __future__ import annotations

from typing import NamedTuple, get_args, get_origin

from .setting import is_settings, rows_of


class Changes(NamedTuple):
    """Dotted keys that differ: those a reload takes, and those that wait for a restart."""

    reloaded: list[str]
    waiting: list[str]


def changed(old: object, new: object) -> Changes:
    """Compare two settings of one class."""
    changes = Changes([], [])
    _compare(old, new, "", changes)
    return changes


def _compare(old: object, new: object, above: str, changes: Changes) -> None:
    for row in rows_of(_class_of(old)):
        before, after = getattr(old, row.name), getattr(new, row.name)
        key = f"{above}{row.name}"
        if before == after:
            continue
        if is_settings(row.kind) and before is not None and after is not None:
            _compare(before, after, f"{key}.", changes)
        elif row.reload:
            changes.reloaded.append(key)
        elif get_origin(row.kind) is tuple and is_settings(get_args(row.kind)[0]) and len(before) == len(after):
            for number, (one, other) in enumerate(zip(before, after, strict=True), 1):
                _compare(one, other, f"{key}[{number}].", changes)
        elif get_origin(row.kind) is dict and before.keys() == after.keys():
            for name in before:
                _compare(before[name], after[name], f"{key}.{name}.", changes)
        else:
            changes.waiting.append(key)


def _class_of(settings: object) -> type:
    return type(settings)
