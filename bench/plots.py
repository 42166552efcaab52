"""Two plots as SVG, written by hand: ratios to Postfix as bars, latencies as a histogram."""

import math
from html import escape

WIDTH = 760
INK, PALE, OURS, BAD = "#222", "#ccc", "#2a6f97", "#b23a48"


def svg(height, parts):
    style = "font-family: sans-serif; font-size: 13px"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" style="{style}">'
    ground = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>"]) + "\n"


def text(x, y, words, anchor="start", fill=INK, size=13):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}">{escape(words)}</text>'
    )


def line(x1, y1, x2, y2, stroke=PALE, dash=""):
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"{dashes}/>'


def box(x, y, width, height, fill):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" fill="{fill}"/>'


def ratios(rows):
    """One bar per figure that is compared with Postfix: how many times better, on a log scale; a tick at its bar."""
    rows = [row for row in rows if row["against"] == "postfix" and row["ratio"]]
    left, right, top, step = 270, 60, 50, 26
    better = [row["ratio"] if row["more"] else 1 / row["ratio"] for row in rows]
    wanted = [row["bar"] if row["more"] else 1 / row["bar"] for row in rows]
    end = max([10.0, *better, *wanted]) * 1.1
    scale = (WIDTH - left - right) / math.log10(end)
    place = lambda value: left + max(0.0, math.log10(value)) * scale
    bottom = top + step * len(rows)
    parts = [text(10, 24, "Times better than Postfix in the same run (the tick: what is to be reached)", size=15)]
    for tick in (1, 2, 5, 10, 20, 50, 100, 200):
        if tick <= end:
            parts += [
                line(place(tick), top - 6, place(tick), bottom),
                text(place(tick), bottom + 18, f"{tick}×", "middle"),
            ]
    for at, (row, value, bar) in enumerate(zip(rows, better, wanted, strict=True)):
        y = top + at * step
        parts.append(text(left - 10, y + 14, f"{row['scenario']} {row['what']}", "end"))
        parts.append(box(left, y, place(value) - left, 18, OURS if row["met"] else BAD))
        parts.append(line(place(bar), y - 3, place(bar), y + 21, INK))
        parts.append(text(place(max(value, bar) if bar < 1.6 * value else value) + 6, y + 14, f"{value:.1f}×"))
    return svg(bottom + 30, parts)


def histogram(latency):
    """The replies to the final dot by their time, both axes logarithmic, and below the worst of each second."""
    left, top, height, right = 70, 50, 240, 20
    buckets = latency["dot_histogram"]
    low, high = math.log10(buckets[0][0]) - 0.05, math.log10(max(100.0, buckets[-1][0])) + 0.05
    most = math.ceil(math.log10(max(n for _, n in buckets)) + 0.1)
    across = lambda ms: left + (math.log10(ms) - low) / (high - low) * (WIDTH - left - right)
    up = lambda n: top + height - (math.log10(n) + 0.3) / (most + 0.3) * height
    ms = latency["dot_ms"]
    title = f"Reply to the final dot at {latency['rate']}/s, half of the highest rate: {latency['ok']:,} messages"
    parts = [text(10, 24, title, size=15)]
    for power in range(most + 1):
        parts += [
            line(left, up(10**power), WIDTH - right, up(10**power)),
            text(left - 8, up(10**power) + 4, f"{10**power:,}", "end"),
        ]
    for power in range(math.ceil(low), math.floor(high) + 1):
        parts.append(text(across(10**power), top + height + 18, f"{10**power:g} ms", "middle"))
    wide = across(10 ** (1 / 20)) - across(1)
    for end, n in buckets:
        parts.append(box(across(end) - wide, up(n), wide - 1, top + height - up(n), OURS if end <= 100 else BAD))
    for name in ("p50", "p99", "max"):
        x = across(max(ms[name], 10**low))
        parts += [
            line(x, top - 8, x, top + height, INK, "3 3"),
            text(x, top - 12, f"{name} {ms[name]:.1f}", "middle", size=12),
        ]
    return svg_of_seconds(parts, latency["by_second"], top + height + 60, left, right)


def svg_of_seconds(parts, seconds, top, left, right):
    height = 120
    worst = max([100.0, *(ms for _, ms in seconds)])
    up = lambda ms: top + height - ms / worst * height
    wide = (WIDTH - left - right) / max(1, len(seconds))
    parts.append(text(10, top - 16, "The slowest reply of each second, in ms"))
    for tick in sorted({0, 50, 100, int(worst)}):
        parts += [line(left, up(tick), WIDTH - right, up(tick)), text(left - 8, up(tick) + 4, str(tick), "end")]
    for at, (_, ms) in enumerate(seconds):
        parts.append(box(left + at * wide, up(ms), wide - 1, top + height - up(ms), OURS if ms <= 100 else BAD))
    parts += [text(left, top + height + 18, "0 s"), text(WIDTH - right, top + height + 18, f"{len(seconds)} s", "end")]
    return svg(top + height + 30, parts)
