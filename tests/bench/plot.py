"""Small line charts as SVG, without a library: a few lines, few points, both themes of a README."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 40, 60, 50
COLOURS = ("#3b82f6", "#d97706", "#059669")
INK = "#768390"
"""Colours that can be read on white as on near-black: an image in a README does not know the theme."""


class Line(NamedTuple):
    """A line: its name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


def ticks(high: float, most: int = 5) -> list[float]:
    """Round values from 0 to `high` or just above it, at most so many steps."""
    rough = high / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * each for each in (1, 2, 2.5, 5, 10) if size * each >= rough * 0.999)
    return [step * number for number in range(math.ceil(high / step * 0.999) + 1)]


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from the one at or below `low` to the one at or below `high`."""
    return [10.0**each for each in range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)]


def draw(path: Path, title: str, across: str, up: str, lines: Sequence[Line], *, logarithmic: bool = True) -> None:
    """Write a chart: `across` names the level axis, which may be logarithmic, `up` the upright one, which begins at 0."""
    xs = [x for line in lines for x, _ in line.points]
    rows = ticks(max(y for line in lines for _, y in line.points))
    columns = decades(min(xs), max(xs)) if logarithmic else ticks(max(xs), 6)
    scale = math.log10 if logarithmic else float
    low, far = scale(columns[0]), scale(max(columns[-1], *xs))

    def at(x: float, y: float) -> tuple[float, float]:
        share = (scale(x) - low) / ((far - low) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / rows[-1] * (HEIGHT - TOP - BOTTOM)

    def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 12, colour: str = INK) -> str:
        where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        return f'<text {where} font-size="{size}" fill="{colour}">{escape(words)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" role="img">',
        f"<title>{escape(title)}</title>",
        text(10, 20, title, "start", 15),
        text(10, 46, up, "start"),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, across),
    ]
    for value in rows:
        _, y = at(columns[0], value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-opacity=".3"/>')
        parts.append(text(LEFT - 8, y + 4, f"{value:,g}", "end"))
    parts += [text(at(x, 0)[0], HEIGHT - BOTTOM + 18, f"{x:,g}") for x in columns]
    right = LEFT + 60.0
    for number, (line, colour) in enumerate(zip(lines, COLOURS, strict=False)):
        points = [at(x, y) for x, y in line.points]
        route = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = ' stroke-dasharray="7 4"' if number else ""  # not told by colour alone
        parts.append(f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        if len(points) <= 12:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        if len(lines) > 1:
            parts.append(f'<path d="M{right:.1f} 42h26" stroke="{colour}" stroke-width="2"{dashes}/>')
            parts.append(text(right + 32, 46, line.name, "start", 12, colour))
            right += 60 + 6.5 * len(line.name)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")
