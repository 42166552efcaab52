"""Charts as SVG: drawn here, without script, from numbers and words. Pure.

Color is never the only sign: each column names its parts where the pointer rests, a legend names the colors, and the
same numbers stand in a table behind the drawing. Colors are classes (``.chart .s1`` …), so that night and print have
their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

__all__ = ["MAX_SERIES", "Bar", "Columns", "Series", "bars", "columns"]

MAX_SERIES = 6  # colors that can be told apart

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 10, 42
DAY_WIDTH = 46  # of a day's name
END = Markup(' class="end"')


@dataclass(frozen=True, slots=True)
class Series:
    """One part of every column: its name and one number for each."""

    name: str
    numbers: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A chart of numbers over time.

    Fields:
        id: of the drawing in the page.
        title: stands above it.
        summary: one sentence that says what it shows, for who does not see it.
        labels: one for each column, in full.
        ticks: what is written below, by position of the column.
        days: what is written below that, by position of the column where the day begins.
        unknown: columns at the beginning of which nothing is known; their hatching is called *unknown_name*.
        table: words that open the numbers, and the head of its first column.
        none: what is said when there is nothing to draw.
    """

    id: str
    title: str
    summary: str
    labels: Sequence[str]
    series: Sequence[Series]
    ticks: dict[int, str]
    days: dict[int, str]
    unknown: int = 0
    unknown_name: str = ""
    table: tuple[str, str]
    none: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: words, number, and where the words lead."""

    name: str
    number: int
    link: str = ""
    note: str = ""


def columns(chart: Columns) -> Markup:
    """Draw stacked columns, with legend and table."""
    sums = [sum(parts) for parts in zip(*(series.numbers for series in chart.series), strict=True)]
    if not any(sums):
        return Markup('<figure class="chart"><figcaption>{}</figcaption><p class="hint">{}</p></figure>').format(
            chart.title, chart.none
        )
    top = _round_up(max(sums))
    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-labelledby="{}-t {}-d">').format(
            WIDTH, HEIGHT, chart.id, chart.id
        ),
        Markup('<title id="{}-t">{}</title><desc id="{}-d">{}</desc>').format(
            chart.id, chart.title, chart.id, chart.summary
        ),
        _hatching(chart),
        _grid(top),
        _axis(chart),
        *_drawn(chart, sums, top),
        Markup("</svg>"),
    ]
    return Markup('<figure class="chart"><figcaption>{}</figcaption>{}{}{}</figure>').format(
        chart.title,
        Markup('<div class="scroll" tabindex="0" role="group" aria-label="{}">{}</div>').format(
            chart.title, Markup("").join(parts)
        ),
        _legend(chart),
        _table(chart, sums),
    )


def bars(title: str, head: tuple[str, str], rows: Sequence[Bar], none: str) -> Markup:
    """Draw a table of names and numbers, with a bar for each that is as long as its number is large."""
    if not rows:
        return Markup('<figure class="chart"><figcaption>{}</figcaption><p class="hint">{}</p></figure>').format(
            title, none
        )
    most = max(max(row.number for row in rows), 1)
    body = Markup("").join(_bar(row, most) for row in rows)
    return Markup(
        '<figure class="chart"><table class="bars"><caption>{}</caption><thead><tr><th scope="col">{}</th>'
        '<th scope="col" class="number">{}</th><td></td></tr></thead><tbody>{}</tbody></table></figure>'
    ).format(title, head[0], head[1], body)


def _bar(row: Bar, most: int) -> Markup:
    name = Markup('<a href="{}">{}</a>').format(row.link, row.name) if row.link else Markup("{}").format(row.name)
    if row.note:
        name += Markup(" <small>{}</small>").format(row.note)
    width = max(round(row.number * 100 / most, 1), 0.6) if row.number else 0
    return Markup(
        '<tr><th scope="row">{}</th><td class="number">{}</td><td class="drawn"><svg viewBox="0 0 100 1" '
        'preserveAspectRatio="none" aria-hidden="true"><rect class="s1" width="{}" height="1"/></svg></td></tr>'
    ).format(name, f"{row.number:,}", f"{width:g}")


# The parts of a column chart


def _round_up(number: int) -> int:
    """Return the next number that an axis reads well with, and that its half is whole for."""
    size = 1
    while True:
        for step in (2, 4, 6, 8, 10):
            if number <= step * size:
                return step * size
        size *= 10


def _y(number: float, top: int) -> float:
    return HEIGHT - BOTTOM - number * (HEIGHT - BOTTOM - TOP) / top


def _grid(top: int) -> Markup:
    found = Markup("")
    for number in (0, top // 2, top):
        y = _y(number, top)
        found += Markup('<path class="axis" d="M{} {:g}H{}"/>').format(LEFT, y, WIDTH - RIGHT)
        found += Markup('<text class="soft end" x="{}" y="{:g}">{}</text>').format(LEFT - 6, y + 4, f"{number:,}")
    return found


def _x(position: int, chart: Columns) -> float:
    return round(LEFT + position * (WIDTH - LEFT - RIGHT) / len(chart.labels), 1)


def _axis(chart: Columns) -> Markup:
    found = Markup("")
    base = HEIGHT - BOTTOM
    for position, text in chart.ticks.items():
        x = _x(position, chart)
        found += Markup(
            '<path class="axis" d="M{:g} {}v5"/><text class="soft middle" x="{:g}" y="{}">{}</text>'
        ).format(x, base, x, base + 17, text)
    for position, text in chart.days.items():
        x = _x(position, chart)
        is_last = x > WIDTH - RIGHT - DAY_WIDTH
        found += Markup('<path class="day" d="M{:g} {}V{}"/><text{} x="{:g}" y="{}">{}</text>').format(
            x, TOP, base + 36, END if is_last else "", x + (-4 if is_last else 4), base + 36, text
        )
    return found


def _hatching(chart: Columns) -> Markup:
    if not chart.unknown:
        return Markup("")
    return Markup(
        '<defs><pattern id="{}-u" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<path class="hatch" d="M0 0V7"/></pattern></defs>'
        '<rect x="{}" y="{}" width="{:g}" height="{}" fill="url(#{}-u)"><title>{}</title></rect>'
    ).format(
        chart.id,
        LEFT,
        TOP,
        _x(chart.unknown, chart) - LEFT,
        HEIGHT - BOTTOM - TOP,
        chart.id,
        chart.unknown_name,
    )


def _drawn(chart: Columns, sums: Sequence[int], top: int) -> list[Markup]:
    width = (WIDTH - LEFT - RIGHT) / len(chart.labels)
    found = []
    for position, label in enumerate(chart.labels):
        if not sums[position]:
            continue
        parts, told, below = Markup(""), [], 0
        for number, series in enumerate(chart.series, 1):
            if own := series.numbers[position]:
                y, foot = _y(below + own, top), _y(below, top)
                parts += Markup('<rect class="s{}" x="{:g}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                    number, _x(position, chart) + 1, y, width - 2, max(foot - y, 1.0)
                )
                told.append(f"{series.name} {own:,}")
                below += own
        found.append(Markup("<g><title>{}: {}</title>{}</g>").format(label, ", ".join(told), parts))
    return found


def _legend(chart: Columns) -> Markup:
    entries = Markup("").join(
        Markup(
            '<li><svg viewBox="0 0 8 8" aria-hidden="true"><rect class="s{}" width="8" height="8"/></svg>{}</li>'
        ).format(number, series.name)
        for number, series in enumerate(chart.series, 1)
    )
    if chart.unknown:
        entries += Markup(
            '<li><svg viewBox="0 0 8 8" aria-hidden="true"><path class="hatch" d="M0 8L8 0M0 4L4 0M4 8L8 4"/></svg>{}'
            "</li>"
        ).format(chart.unknown_name)
    return Markup('<ul class="legend">{}</ul>').format(entries)


def _table(chart: Columns, sums: Sequence[int]) -> Markup:
    """Return the numbers, without the columns that have none."""
    head = Markup("").join(Markup('<th scope="col" class="number">{}</th>').format(each.name) for each in chart.series)
    rows = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            label,
            Markup("").join(
                Markup('<td class="number">{}</td>').format(f"{series.numbers[position]:,}") for series in chart.series
            ),
        )
        for position, label in enumerate(chart.labels)
        if sums[position]
    )
    return Markup(
        '<details><summary>{}</summary><div class="scroll" tabindex="0" role="group" aria-label="{}">'
        '<table class="data"><thead><tr><th scope="col">{}</th>{}</tr></thead><tbody>{}</tbody></table></div></details>'
    ).format(chart.table[0], chart.title, chart.table[1], head, rows)
