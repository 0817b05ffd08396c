"""The figures of turn-taking as one picture: a plain SVG, with a row for each scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from media.phone.measurements import percentile
from tests.benchmarks.svg import LIGHT, document, dot, line, text
from tests.benchmarks.turn_figures import Result, passed_share, waits, yield_latencies, yield_share

ROW, TOP, LEFT, PANEL, GAP = 26, 92, 230, 330, 60
"""Pixels: the height of a row, the space above the rows and on their left, the width of a panel, the space between."""
SLOWEST = 1000
"""Milliseconds at the right edge."""
SHARES: dict[str, tuple[str, Callable[[Result], tuple[int, int]]]] = {
    "interruptions yielded to": ("#1b6ca8", yield_share),
    "backchannels passed over": ("#d1495b", passed_share("backchannel")),
    "tics passed over": ("#edae49", passed_share("tic")),
    "asides passed over": ("#66a182", passed_share("aside")),
}
TIMES: dict[str, tuple[str, Callable[[Result], list[float]]]] = {
    "wait after complete turns": ("#7b4fa3", waits),
    "until the agent is silent": ("#1b6ca8", yield_latencies),
}


def draw(results: Mapping[str, Result], title: str) -> str:
    """The picture: shares on the left, times (median, with a line to the 95th percentile) on the right."""
    height, width = TOP + ROW * len(results) + 20, LEFT + 2 * PANEL + GAP + 40
    parts = [
        text(10, 20, title, size=14),
        *_legend(LEFT, {name: colour for name, (colour, _) in SHARES.items()}),
        *_legend(LEFT + PANEL + GAP, {name: colour for name, (colour, _) in TIMES.items()}),
        *_axis(LEFT, [f"{percent} %" for percent in range(0, 101, 25)], len(results)),
        *_axis(LEFT + PANEL + GAP, [f"{ms} ms" for ms in range(0, SLOWEST + 1, 250)], len(results)),
    ]
    for number, (name, result) in enumerate(results.items()):
        y = TOP + ROW * number + ROW / 2
        parts.append(text(LEFT - 14, y + 4, name, anchor="end"))
        for place, (colour, counted) in enumerate(SHARES.values()):
            good, whole = counted(result)
            if whole:
                parts.append(dot(LEFT + PANEL * good / whole, y - 6 + 4 * place, colour))
        for place, (colour, timed) in enumerate(TIMES.values()):
            values = timed(result)
            if values:
                x, end = (
                    LEFT + PANEL + GAP + PANEL * min(1.0, 1000 * percentile(values, at) / SLOWEST) for at in (0.5, 0.95)
                )
                here = y - 4 + 8 * place
                parts.append(line(x, here, end, here, colour))
                parts.append(dot(x, here, colour))
    return document(width, height, parts)


def _legend(left: float, colours: Mapping[str, str]) -> list[str]:
    parts = []
    for number, (name, colour) in enumerate(colours.items()):
        x, y = left + 165 * (number % 2), 42 + 18 * (number // 2)
        parts += [dot(x, y - 4, colour), text(x + 8, y, name)]
    return parts


def _axis(left: float, labels: Sequence[str], rows: int) -> list[str]:
    parts = []
    for number, label in enumerate(labels):
        x = left + PANEL * number / (len(labels) - 1)
        parts += [line(x, TOP, x, TOP + ROW * rows, LIGHT), text(x, TOP - 8, label, anchor="middle")]
    return parts
