"""SVG pictures for the docs: bars of ratios, and small line charts. Needs Python's standard library only."""

import math
from xml.sax.saxutils import escape

INK, SOFT, GRID = "#1f2328", "#59636e", "#d8dee4"
COLOURS = ["#0969da", "#bf8700", "#1a7f37", "#cf222e"]
FONT = 'font-family="system-ui, sans-serif"'


def text(x, y, words, size=13, colour=INK, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def page(width, height, parts, title):
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                      f'viewBox="0 0 {width} {height}" role="img" {FONT}>',
                      f"<title>{escape(title)}</title>",
                      f'<rect width="{width}" height="{height}" fill="#ffffff"/>', *parts, "</svg>", ""])


def short(x):
    """Three digits: 0.123, 1.23, 12.3, 123, 12300 -> 12.3k."""
    if x == 0:
        return "0"
    if abs(x) >= 10000:
        return short(x / 1000) + "k"
    return f"{x:.{max(0, 2 - math.floor(math.log10(abs(x))))}f}"


def tick(x):
    """A round number on an axis: 0.5, 250, 16k."""
    return f"{x / 1000:g}k" if x >= 10000 else f"{x:g}"


def ratio_bars(title, subtitle, names, rows):
    """Two bars a row, the second name's always 1 long.

    rows: dicts with label, ratio, low, high (the first's over the second's; more is better), first, second (the figures,
    as text).
    """
    left, bar_space, right, row_height, top = 230, 420, 210, 50, 92
    width, height = left + bar_space + right, top + row_height * len(rows) + 16
    longest = max([1.0] + [row["high"] for row in rows])
    unit = bar_space / longest
    parts = [text(16, 28, title, 17, weight="600"), text(16, 48, subtitle, 12, SOFT)]
    for i, name in enumerate(names):
        parts.append(f'<rect x="{16 + 150 * i}" y="60" width="12" height="12" rx="2" fill="{COLOURS[i]}"/>')
        parts.append(text(34 + 150 * i, 71, name, 12))
    for i, row in enumerate(rows):
        y = top + row_height * i
        parts.append(text(left - 12, y + 24, row["label"], 13, anchor="end"))
        for k, (length, figure) in enumerate([(row["ratio"], row["first"]), (1.0, row["second"])]):
            at = y + 4 + 17 * k
            parts.append(f'<rect x="{left}" y="{at}" width="{length * unit:.1f}" height="14" rx="2" fill="{COLOURS[k]}"/>')
            end = max(length, row["high"]) if k == 0 else length
            words = f'{row["ratio"]:.1f}×   {figure}' if k == 0 else figure
            parts.append(text(left + end * unit + 8, at + 12, words, 12, weight="600" if k == 0 else "normal"))
        low, high, middle = left + row["low"] * unit, left + row["high"] * unit, y + 11
        parts.append(f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" '
                     f'stroke="{INK}" fill="none"/>')
    return page(width, height, parts, title)


def nice_ticks(high):
    """Five or fewer round numbers from 0 to `high`."""
    size = 10 ** math.floor(math.log10(high))
    step = next(s * size for s in (0.1, 0.2, 0.25, 0.5, 1, 2, 5) if high / (s * size) <= 5)
    return [step * i for i in range(int(high / step + 1e-9) + 1)]


def panel(x0, y0, width, height, chart):
    """One line chart. chart: dict with title, x_label, series: [(name, [(x, y), …])]; x is drawn by its logarithm, y
    from zero."""
    left, right, top, bottom = 52, 24, 40, 40
    w, h = width - left - right, height - top - bottom
    points = [p for _, series in chart["series"] for p in series]
    xs, highest = [x for x, _ in points], max(y for _, y in points) or 1
    positive = min((x for x in xs if x > 0), default=1)
    log = lambda x: math.log2(x or positive / 2)  # where zero stands
    x_low, x_high = log(min(xs)), log(max(xs))
    place_x = lambda x: x0 + left + (w * (log(x) - x_low) / (x_high - x_low) if x_high > x_low else w / 2)
    place_y = lambda y: y0 + top + h - h * y / (highest * 1.05)
    parts = [text(x0 + left, y0 + 18, chart["title"], 13, weight="600")]
    for y in nice_ticks(highest):
        parts.append(f'<path d="M{x0 + left} {place_y(y):.1f}h{w}" stroke="{GRID}"/>')
        parts.append(text(x0 + left - 6, place_y(y) + 4, tick(y), 11, SOFT, "end"))
    for x in sorted(set(xs)):
        parts.append(text(place_x(x), y0 + top + h + 16, tick(x), 11, SOFT, "middle"))
    parts.append(text(x0 + left + w / 2, y0 + height - 6, chart["x_label"], 11, SOFT, "middle"))
    for i, (name, series) in enumerate(chart["series"]):
        path = "L".join(f"{place_x(x):.1f} {place_y(y):.1f}" for x, y in series)
        parts.append(f'<path d="M{path}" stroke="{COLOURS[i]}" stroke-width="2" fill="none"/>')
        parts += [f'<circle cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="3" fill="{COLOURS[i]}"/>' for x, y in series]
        if len(chart["series"]) > 1:
            parts.append(text(x0 + left + 8 + 90 * i, y0 + 34, name, 11, COLOURS[i], weight="600"))
    return parts


def line_charts(title, subtitle, charts, columns=3):
    """Charts as in panel(), side by side."""
    width, height, top = 330, 240, 64
    rows = -(-len(charts) // columns)
    parts = [text(16, 28, title, 17, weight="600"), text(16, 48, subtitle, 12, SOFT)]
    for i, chart in enumerate(charts):
        parts += panel(width * (i % columns), top + height * (i // columns), width, height, chart)
    return page(width * min(columns, len(charts)), top + height * rows + 8, parts, title)
