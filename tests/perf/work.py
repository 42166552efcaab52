"""Counts the work that our own Python does: bytecode instructions and calls into C, which no busy machine changes.

Time says little on a shared machine, instructions do. Only code of the package counts, whatever the event loop, a
thread or a test double does around it; so the figures are the same in each run, to a few instructions.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import sekisho

PACKAGE = str(Path(sekisho.__file__).parent)


@dataclass
class Work:
    """What was done between `counted` and its end.

    Fields:
        by_function: instructions of each function, without those of the functions that it called.
    """

    instructions: int = 0
    calls_into_c: int = 0
    by_function: Counter[str] = field(default_factory=Counter)

    def per(self, messages: int) -> dict[str, int]:
        """The two figures for one message."""
        return {
            "instructions": round(self.instructions / messages),
            "calls_into_c": round(self.calls_into_c / messages),
        }

    def heaviest(self, messages: int, count: int = 40) -> str:
        """A table of where the instructions go, for whoever wants to make it less."""
        return "\n".join(f"{n / messages:8.0f}  {name}" for name, n in self.by_function.most_common(count))


@contextmanager
def counted() -> Iterator[Work]:
    """Count until the end of the block, in this thread."""
    work = Work()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        name = f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]} {frame.f_code.co_qualname}"
        by_function = work.by_function

        def count(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "opcode":
                by_function[name] += 1
            return count

        return count

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and frame.f_code.co_filename.startswith(PACKAGE):
            work.calls_into_c += 1

    former_trace, former_profile = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        yield work
    finally:
        sys.setprofile(former_profile)
        sys.settrace(former_trace)
        work.instructions = work.by_function.total()
