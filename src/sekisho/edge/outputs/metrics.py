"""Watcher and explainer as metrics, in Prometheus' text format. Labels have closed sets of values: no line is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sekisho.edge.explainer import ExplainerCounts
from sekisho.edge.watcher import Watcher

__all__ = ["metrics"]

Samples = Iterable[tuple[Mapping[str, str], int]]


def metrics(watcher: Watcher | None, explainer: ExplainerCounts | None, now: float) -> str:
    """Render what is there of both."""
    rows: list[str] = []
    if watcher is not None:
        totals = sorted(watcher.totals.items())
        counts = sorted(watcher.counts(now).items())
        rows += _family(
            "sekisho_edge_attempts_total", "counter", "Attempts on port 25.",
            [({"network": network}, total.attempts) for network, total in totals],
        )  # fmt: skip
        rows += _family(
            "sekisho_edge_packets_total", "counter", "Packets to port 25, repeated ones included.",
            [({"network": network}, total.packets) for network, total in totals],
        )  # fmt: skip
        rows += _family(
            "sekisho_edge_lines", "gauge", "Lines remembered, by verdict.",
            [({"network": network, "verdict": kind.value}, count) for (network, kind), count in counts],
        )  # fmt: skip
        rows += _family(
            "sekisho_edge_lines_forgotten_total", "counter", "Lines forgotten for want of room.",
            [({}, watcher.forgotten)],
        )  # fmt: skip
    if explainer is not None:
        rows += _family(
            "sekisho_edge_explainer_connections_total", "counter", "Connections that reached the explainer.",
            [({}, explainer.connections)],
        )  # fmt: skip
        rows += _family(
            "sekisho_edge_explainer_refused_total", "counter", "Of these, those beyond a limit, and those cut off.",
            [
                ({"reason": "line"}, explainer.crowded_line),
                ({"reason": "full"}, explainer.crowded),
                ({"reason": "no-smtp"}, explainer.cut),
            ],
        )  # fmt: skip
        rows += _family(
            "sekisho_edge_explainer_open", "gauge", "Connections open now.", [({}, explainer.open)]
        )  # fmt: skip
    return "".join(f"{row}\n" for row in rows)


def _family(name: str, kind: str, prose: str, samples: Samples) -> list[str]:
    rows = [f"# HELP {name} {prose}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        rows.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")
    return rows


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
