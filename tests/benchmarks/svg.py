"""Parts of plain SVG pictures. Positions and lengths are pixels."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

INK, LIGHT = "#333", "#ddd"
DASHES = ' stroke-dasharray="5 4"'


def document(width: float, height: float, parts: Sequence[str]) -> str:
    """The whole picture, on a white ground."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" fill="{INK}">'
    )
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="#fff"/>', *parts, "</svg>"]) + "\n"


def line(x0: float, y0: float, x1: float, y1: float, colour: str, *, dashed: bool = False) -> str:
    ends = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="1.5"{DASHES if dashed else ""}/>'


def curve(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    """Straight lines from point to point."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{DASHES if dashed else ""}/>'


def dot(x: float, y: float, colour: str, *, radius: float = 3.5) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>'


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, upwards: bool = False) -> str:
    """``upwards``: read from below to above."""
    place = f'transform="translate({x:.1f} {y:.1f}) rotate(-90)"' if upwards else f'x="{x:.1f}" y="{y:.1f}"'
    return f'<text {place} text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'
