"""The usual paths do not grow heavier unnoticed: instructions of our own Python for one message, against a kept figure.

A change that makes a path heavier on purpose writes the new figures, which the commit then shows and explains:

    SEKISHO_PERF_UPDATE=1 python -m pytest tests/perf

The compiled kernel takes work from Python, so each figure is kept with and without it (PURE_PYTHON=1).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from sekisho.kernel import compiled

from .paths import MESSAGES, PATHS, walk
from .work import counted

KEPT = Path(__file__).parent / "kept.json"
ALLOWED = 1.15
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}" + ("" if compiled else ", no kernel")


def kept_figures() -> dict[str, dict[str, dict[str, int]]]:
    """Figures by Python version (each compiles to other instructions) and kernel, path and kind."""
    figures: dict[str, dict[str, dict[str, int]]] = json.loads(KEPT.read_text())
    return figures


@pytest.mark.parametrize("path", PATHS)
def test_a_message_costs_no_more_work_than_it_did(path: str, tmp_path: Path) -> None:
    work = walk(path, tmp_path)
    measured = work.per(MESSAGES)
    figures = kept_figures()
    if os.environ.get("SEKISHO_PERF_UPDATE"):
        figures.setdefault(VERSION, {})[path] = measured
        KEPT.write_text(json.dumps(figures, indent=2) + "\n")
        return
    if VERSION not in figures:
        pytest.skip(f"no figures are kept for Python {VERSION}: SEKISHO_PERF_UPDATE=1 writes them")
    for kind, kept in figures[VERSION][path].items():
        assert measured[kind] <= kept * ALLOWED, (
            f"{path}: {measured[kind]} {kind} for each message, {kept} before; the heaviest functions:\n"
            f"{work.heaviest(MESSAGES)}"
        )


def test_work_inside_the_package_counts_and_work_outside_does_not() -> None:
    from sekisho.smtp import Mailbox

    with counted() as nothing:
        sum(range(1000))
    with counted() as once:
        Mailbox.parse("rin@example.jp")
    with counted() as twice:
        Mailbox.parse("rin@example.jp")
        Mailbox.parse("rin@example.jp")
    assert nothing.instructions == nothing.calls_into_c == 0
    assert twice.instructions == 2 * once.instructions > 0
    assert twice.calls_into_c == 2 * once.calls_into_c
