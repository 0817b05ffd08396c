"""Draws curves of false cut-offs (%) against mean waits (ms) as a plain SVG."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 20, 50
MOST_MS, MOST_PERCENT = 1500, 70
COLOURS = ("#999999", "#b07a00", "#1f5fbf", "#1a8a4a", "#8a3fb0", "#c0392b")
FONT = 'font-family="sans-serif" font-size="12"'
DASHED = 2
"""So many curves are drawn dashed: the first ones, for comparison."""

Values = NDArray[np.float64]


def draw(curves: Mapping[str, tuple[Values, Values]], now: Mapping[str, tuple[float, float]]) -> str:
    """
    Return the SVG. ``curves`` maps a name to its waits in ms and its cut-offs in per cent; ``now`` marks the point of
    those that the product has.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_grid(),
    ]
    for number, (name, (waits, cuts)) in enumerate(curves.items()):
        colour, dash = COLOURS[number % len(COLOURS)], ' stroke-dasharray="5 4"' if number < DASHED else ""
        order = np.argsort(waits, kind="stable")
        points = [(x, y) for x, y in zip(waits[order], cuts[order], strict=True) if x <= MOST_MS and y <= MOST_PERCENT]
        path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        if name in now:
            parts.append(f'<circle cx="{_x(now[name][0]):.1f}" cy="{_y(now[name][1]):.1f}" r="5" fill="{colour}"/>')
        top = TOP + 16 + 18 * number
        parts.append(
            f'<path d="M{WIDTH - 230} {top}h25" stroke="{colour}" stroke-width="2"{dash}/>'
            f'<text x="{WIDTH - 198}" y="{top + 4}">{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _grid() -> list[str]:
    lines = []
    for ms in range(0, MOST_MS + 1, 250):
        lines.append(f'<line x1="{_x(ms)}" x2="{_x(ms)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>')
        lines.append(f'<text x="{_x(ms)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{ms}</text>')
    for percent in range(0, MOST_PERCENT + 1, 10):
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(percent)}" y2="{_y(percent)}" stroke="#e4e4e4"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{_y(percent) + 4}" text-anchor="end">{percent}</text>')
    below = f'x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 12}"'
    beside = f'transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"'
    return [
        *lines,
        f'<text {below} text-anchor="middle">mean wait at the end of a turn, ms</text>',
        f'<text {beside} text-anchor="middle">false cut-offs, % of the pauses inside turns</text>',
    ]


def _x(ms: float) -> float:
    return LEFT + ms / MOST_MS * (WIDTH - LEFT - RIGHT)


def _y(percent: float) -> float:
    return HEIGHT - BOTTOM - percent / MOST_PERCENT * (HEIGHT - TOP - BOTTOM)
