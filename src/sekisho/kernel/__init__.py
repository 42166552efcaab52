"""The compiled kernel, where it could be built: the plain case of what is done for every message, in C.

It is optional. Whoever uses it has Python that does the same and more: the long way of the rare case, and the whole way
where there is no kernel (no compiler at the installation, another interpreter) or where it is switched off, as in
other packages, by

    PURE_PYTHON=1

Of its two modules each can be there without the other: `compiled` is what messages need, `fill_memory` what passwords
need (`sekisho.accounts.argon2id`; without it a library does that).

Pure computation: no I/O, no clock, nothing kept between two calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os import environ
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._kernel import Pump

__all__ = ["FillMemory", "Kernel", "compiled", "fill_memory", "presence"]

FillMemory = Callable[[bytes, bytes, int, int], bytes]
"""The first two blocks of argon2id's memory (1024 octets each), passes and number of blocks, to the last block.

The number is a multiple of four, from eight on. MemoryError when there is none, ValueError for anything else.
"""


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


# Sixteen blocks and two passes: every kind of reference (RFC 9106 §3.4), and a pass over what is there already.
_QUESTION = (bytes(range(256)) * 4, bytes(reversed(range(256))) * 4, 2, 16)
_ANSWER = bytes.fromhex("4587b22104bb283a6694781a9877ebc07953526cbea70f947baf0f5e701b0ee5")


def _load_fill() -> FillMemory | None:
    """Return the variant that is quickest on this processor, unless it gives another answer than the known one."""
    if environ.get("PURE_PYTHON"):
        return None
    try:
        from ._argon2id import fill, variants

        quickest = partial(fill, variants[0])
        return quickest if quickest(*_QUESTION)[:32] == _ANSWER else None
    except (ImportError, MemoryError):
        return None


compiled = _load()
"""The kernel, or None where Python does its work."""

fill_memory = _load_fill()
"""The filling of argon2id's memory for one lane; None where it was not built, or did not pass its test at the start."""


def presence() -> str:
    """Return ``compiled``, ``off`` (by PURE_PYTHON), ``partly`` or ``absent`` (what was built), for operators."""
    if environ.get("PURE_PYTHON"):
        return "off"
    parts = [part is not None for part in (compiled, fill_memory)]
    return "compiled" if all(parts) else "partly" if any(parts) else "absent"
