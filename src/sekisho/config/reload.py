"""Which changes the running service can take, and which need a restart."""

from __future__ import annotations

from typing import get_args, get_origin

from .setting import is_settings, rows_of


def changed(old: object, new: object) -> list[str]:
    """Return the dotted keys that differ between two settings of one class and take effect only after a restart."""
    return _changed(old, new, "")


def _changed(old: object, new: object, above: str) -> list[str]:
    keys: list[str] = []
    for row in rows_of(_class_of(old)):
        before, after = getattr(old, row.name), getattr(new, row.name)
        key = f"{above}{row.name}"
        if before == after:
            continue
        if is_settings(row.kind) and before is not None and after is not None:
            keys += _changed(before, after, f"{key}.")
        elif row.reload:
            continue
        elif get_origin(row.kind) is tuple and is_settings(get_args(row.kind)[0]) and len(before) == len(after):
            for number, (one, other) in enumerate(zip(before, after, strict=True), 1):
                keys += _changed(one, other, f"{key}[{number}].")
        elif get_origin(row.kind) is dict and before.keys() == after.keys():
            for name in before:
                keys += _changed(before[name], after[name], f"{key}.{name}.")
        else:
            keys.append(key)
    return keys


def _class_of(settings: object) -> type:
    return type(settings)
