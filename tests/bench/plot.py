"""Small line charts as SVG, without a library: a few lines, few points, both themes of a README."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 50, 50
COLOURS = ("#2563eb", "#d97706", "#059669")
INK = "#6b7280"


class Line(NamedTuple):
    """A line: its name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


def draw(path: Path, title: str, across: str, up: str, lines: Sequence[Line], *, logarithmic: bool = True) -> None:
    """Write a chart: `across` and `up` name the axes; the upright one begins at 0, the other may be logarithmic."""
    xs = [x for line in lines for x, _ in line.points]
    high = max(y for line in lines for _, y in line.points) * 1.15
    scale = math.log10 if logarithmic else float
    low, far = scale(min(xs)), scale(max(xs))

    def at(x: float, y: float) -> tuple[float, float]:
        share = (scale(x) - low) / ((far - low) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / high * (HEIGHT - TOP - BOTTOM)

    def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 12, colour: str = INK) -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(words)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" role="img">',
        f"<title>{escape(title)}</title>",
        text(LEFT, 20, title, "start", 15),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, across),
    ]
    for step in range(5):
        value = high / 1.15 * step / 4
        _, y = at(xs[0], value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-opacity=".25"/>')
        parts.append(text(LEFT - 6, y + 4, f"{value:.3g}" + (f" {up}" if step == 4 else ""), "end", 11))
    marks = (
        sorted(set(xs))
        if logarithmic
        else [max(xs) * share / 4 for share in range(5) if max(xs) * share / 4 >= min(xs)]
    )
    for x in marks:
        parts.append(text(at(x, 0)[0], HEIGHT - BOTTOM + 18, f"{x:,.0f}", size=11))
    for number, (line, colour) in enumerate(zip(lines, COLOURS, strict=False)):
        points = [at(x, y) for x, y in line.points]
        route = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= 12:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        parts.append(text(LEFT + 8 + number * 120, 38, f"● {line.name}", "start", 11, colour))
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")
