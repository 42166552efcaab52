"""The compiled kernel, where it could be built: the plain case of what is done for every message, in C.

It is optional. Whoever uses it has Python that does the same and more: the long way of the rare case, and the whole way
where there is no kernel (no compiler at the installation, another interpreter) or where it is switched off, as in
other packages, by

    PURE_PYTHON=1

Pure computation: no I/O, no clock, nothing kept between two calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import environ
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._kernel import Pump

__all__ = ["Kernel", "compiled", "presence"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel can do. Each function may decline, with None, what is not plain.

    Fields:
        pump: makes the compiled form of `sekisho.smtp.server.run_dialogue`.
        split_header: octets and the most fields allowed, to fields, their names and ends, and the end of them all.
        render_event: start, fields, end and the longest text allowed, to one line of the event log.
    """

    pump: type[Pump]
    split_header: Callable[[bytes, int], tuple[list[tuple[str, bytes]], list[str], list[int], int] | None]
    render_event: Callable[[str, dict[str, object], str, int], bytes | None]


def _load() -> Kernel | None:
    if environ.get("PURE_PYTHON"):
        return None
    try:
        from ._kernel import Pump, render_event, split_header
    except ImportError:
        return None
    return Kernel(Pump, split_header, render_event)


compiled = _load()
"""The kernel, or None where Python does its work."""


def presence() -> str:
    """Return ``compiled``, ``off`` (by PURE_PYTHON) or ``absent`` (it was not built), for operators."""
    if compiled is not None:
        return "compiled"
    return "off" if environ.get("PURE_PYTHON") else "absent"
