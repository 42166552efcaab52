"""What is to be reached, and how each figure is read from the runs.

A figure is a median over the runs of one scenario, or one number of a scenario that runs once. `against` says whether
the bar is a ratio to Postfix in the same suite run, or a bound on the figure itself.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Fields:
        read: takes the runs of the scenario, returns the figure or None.
        bar: a ratio Sekisho / Postfix when `against` is "postfix", else a bound in the figure's unit.
        more: a larger figure is better.
    """

    scenario: str
    what: str
    unit: str
    read: Callable
    bar: float
    more: bool = False
    against: str = "postfix"


def median_of(get):
    def read(runs):
        values = []
        for run in runs:
            try:
                values.append(get(run))
            except (KeyError, TypeError):
                continue
        return statistics.median(values) if values else None

    return read


cpu = median_of(lambda run: run["cpu_ms_per_msg"])
rate = median_of(lambda run: run["rate"])
end_to_end = median_of(lambda run: run["end_to_end_rate"])


def held(sessions):
    """A number of S5's figures for so many sessions."""

    def figure(get):
        return median_of(lambda run: get(run[str(sessions)]))

    return figure


def own(get):
    return median_of(get)


FIGURES = (
    Figure("S1", "CPU per message", "ms", cpu, 1 / 4),
    Figure("S1", "accepted", "/s", rate, 3, more=True),
    Figure("S2", "CPU per message", "ms", cpu, 1 / 4),
    Figure("S2", "end to end", "/s", end_to_end, 3, more=True),
    Figure("S3", "CPU per message", "ms", cpu, 1 / 2.5),
    Figure("S3", "end to end", "/s", end_to_end, 2, more=True),
    Figure("S3strong", "first logins, end to end", "/s", end_to_end, 2, more=True),
    Figure("S3repeated", "repeated logins, end to end", "/s", end_to_end, 25, more=True),
    Figure("S4", "CPU per message", "ms", cpu, 1 / 6),
    Figure("S4", "accepted", "/s", rate, 4, more=True),
    Figure("S5", "memory per session, 5,000", "KiB", held(5000)(lambda r: r["kib_per_conn"]), 50, against=""),
    Figure("S5", "whole server with 5,000", "MiB", held(5000)(lambda r: r["pss_mib"]), 300, against=""),
    Figure("S5", "5,000 up in", "s", held(5000)(lambda r: r["ready"]["seconds"]), 15, against=""),
    Figure("S6", "restart to greeting", "s", own(lambda r: r["restart_to_greeting_s"]), 1, against=""),
    Figure("S6", "accept rate of the empty one", "", own(lambda r: r["accept_of_empty"]), 0.95, more=True, against=""),
    Figure("S6", "whole server with the backlog", "MiB", own(lambda r: r["pss_mib_before"]), 120, against=""),
    Figure("S7", "1,000 recipients", "s", median_of(lambda r: r["end_to_end_s"]), 0.06, against=""),
    Figure("S7", "transactions", "", median_of(lambda r: r["sink"]["transactions"]), 10, against=""),
    Figure("S8", "throughput", "MB/s", median_of(lambda r: r["end_to_end_mb_per_s"]), 1.5, more=True),
    Figure("S8", "CPU per message", "ms", cpu, 1 / 2),
    Figure("S8", "peak of the whole server", "MiB", median_of(lambda r: r["server"]["peak_pss_mib"]), 70, against=""),
    Figure(
        "latency", "final dot, p99 at half the highest rate", "ms", own(lambda r: r["dot_ms"]["p99"]), 50, against=""
    ),
    Figure("latency", "final dot, worst", "ms", own(lambda r: r["dot_ms"]["max"]), 100, against=""),
    Figure(
        "idle10000", "sessions held", "", held(10000)(lambda r: r["ready"]["idle_ready"]), 10000, more=True, against=""
    ),
    Figure("idle10000", "memory per session", "KiB", held(10000)(lambda r: r["kib_per_conn"]), 50, against=""),
    Figure("startup", "listening, empty queue", "s", own(lambda r: r["empty_s"]), 1, against=""),
    Figure("startup", "listening, 100,000 queued", "s", own(lambda r: r["queued_s"]), 3, against=""),
    Figure("startup", "--help", "s", own(lambda r: r["help_s"]), 0.2, against=""),
    Figure("overload", "lost of what was acknowledged", "", own(lambda r: r["relay"]["missing"]), 0, against=""),
    Figure("overload", "peak of the whole server", "MiB", own(lambda r: r["relay"]["peak_pss_mib"]), 400, against=""),
    Figure("overload", "normal again after", "s", own(lambda r: r["relay"]["recovered_s"]), 1, against=""),
    Figure("overload", "lost, 500 connections allowed", "", own(lambda r: r["crowded"]["missing"]), 0, against=""),
    Figure("overload", "normal again, 500 allowed", "s", own(lambda r: r["crowded"]["recovered_s"]), 1, against=""),
)


def figures(runs):
    """Return one dict per figure that was measured. *runs* maps peer to scenario to its runs."""
    out = []
    for figure in FIGURES:
        ours = figure.read(runs["sekisho"].get(figure.scenario, []))
        if ours is None:
            continue
        theirs = figure.read(runs.get("postfix", {}).get(figure.scenario, []))
        ratio = ours / theirs if theirs else None
        compared = ratio if figure.against == "postfix" else ours
        met = None if compared is None else compared >= figure.bar if figure.more else compared <= figure.bar
        out.append(
            {
                "scenario": figure.scenario,
                "what": figure.what,
                "unit": figure.unit,
                "sekisho": ours,
                "postfix": theirs,
                "ratio": ratio,
                "bar": figure.bar,
                "more": figure.more,
                "against": figure.against,
                "met": met,
            }
        )
    return out
