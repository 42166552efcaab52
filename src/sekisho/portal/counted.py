"""From the counts of the log to charts in the reader's words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sekisho.telemetry import Tallies

from .charts import MAX_SERIES, Columns, Series
from .clock import Clock
from .words import word

__all__ = ["by_hour"]

EVERY = 6  # hours between two numbers on the axis


def by_hour(
    tallies: Tallies,
    clock: Clock,
    *,
    id: str,
    title: str,
    language: str,
    series: Mapping[str, Sequence[int]],
    name: Callable[[str], str],
) -> Columns:
    """Return the chart of *series*, the largest first; what exceeds the colors is drawn together.

    Args:
        series: by a name that *name* puts into words, one number for each hour of *tallies*.
    """
    order = sorted(series, key=lambda each: (-sum(series[each]), each))
    kept = order if len(order) <= MAX_SERIES else order[: MAX_SERIES - 1]
    parts = [Series(name(each), series[each]) for each in kept]
    if others := order[len(kept) :]:
        numbers = [sum(column) for column in zip(*(series[each] for each in others), strict=True)]
        parts.append(Series(word("operator.chart.others", language, count=len(others)), numbers))
    unknown = 0 if tallies.since is None else sum(1 for hour in tallies.hours if hour + 3600 <= tallies.since)
    days, labels, hours = zip(*(clock.column(hour) for hour in tallies.hours), strict=True)
    total = sum(sum(part.numbers) for part in parts)
    return Columns(
        id=id,
        title=title,
        summary=word(
            "operator.chart.summary",
            language,
            title=title,
            total=f"{total:,}",
            parts=word("operator.chart.and", language).join(f"{part.name} {sum(part.numbers):,}" for part in parts),
        ),
        labels=labels,
        series=parts,
        ticks={position: f"{hour}:00" for position, hour in enumerate(hours) if hour % EVERY == 0},
        days={at: day for at, day in enumerate(days) if not at or day != days[at - 1]},
        unknown=unknown if tallies.since is not None else len(labels),
        unknown_name=word("operator.chart.unknown", language),
        table=(word("operator.chart.numbers", language), word("operator.chart.hour", language)),
        none=word("operator.chart.none" if tallies.since is not None else "operator.known.nothing", language),
    )
