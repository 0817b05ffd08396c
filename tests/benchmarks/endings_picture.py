"""Draws curves of false cut-offs (%) against mean waits (ms) as a plain SVG."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.svg import LIGHT, curve, document, dot, line, text

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 20, 50
MOST_MS, MOST_PERCENT = 1500, 70
COLOURS = ("#999999", "#b07a00", "#1f5fbf", "#1a8a4a", "#8a3fb0", "#c0392b")
DASHED = 2
"""So many curves are drawn dashed: the first ones, for comparison."""

Values = NDArray[np.float64]


def draw(curves: Mapping[str, tuple[Values, Values]], now: Mapping[str, tuple[float, float]]) -> str:
    """
    Return the SVG. ``curves`` maps a name to its waits in ms and its cut-offs in per cent; ``now`` marks the point of
    those that the product has.
    """
    parts = _grid()
    for number, (name, (waits, cuts)) in enumerate(curves.items()):
        colour, dashed = COLOURS[number % len(COLOURS)], number < DASHED
        order = np.argsort(waits, kind="stable")
        points = [(x, y) for x, y in zip(waits[order], cuts[order], strict=True) if x <= MOST_MS and y <= MOST_PERCENT]
        parts.append(curve([(_x(x), _y(y)) for x, y in points], colour, dashed=dashed))
        if name in now:
            parts.append(dot(_x(now[name][0]), _y(now[name][1]), colour, radius=5))
        left, top = WIDTH - 230, TOP + 16 + 18 * number
        parts += [line(left, top, left + 25, top, colour, dashed=dashed), text(left + 32, top + 4, name)]
    return document(WIDTH, HEIGHT, parts)


def _grid() -> list[str]:
    parts = []
    for ms in range(0, MOST_MS + 1, 250):
        parts.append(line(_x(ms), TOP, _x(ms), HEIGHT - BOTTOM, LIGHT))
        parts.append(text(_x(ms), HEIGHT - BOTTOM + 16, str(ms), anchor="middle"))
    for percent in range(0, MOST_PERCENT + 1, 10):
        parts.append(line(LEFT, _y(percent), WIDTH - RIGHT, _y(percent), LIGHT))
        parts.append(text(LEFT - 8, _y(percent) + 4, str(percent), anchor="end"))
    below, beside = "mean wait at the end of a turn, ms", "false cut-offs, % of the pauses inside turns"
    return [
        *parts,
        text((LEFT + WIDTH) / 2, HEIGHT - 12, below, anchor="middle"),
        text(18, (TOP + HEIGHT - BOTTOM) / 2, beside, anchor="middle", upwards=True),
    ]


def _x(ms: float) -> float:
    return LEFT + ms / MOST_MS * (WIDTH - LEFT - RIGHT)


def _y(percent: float) -> float:
    return HEIGHT - BOTTOM - percent / MOST_PERCENT * (HEIGHT - TOP - BOTTOM)
