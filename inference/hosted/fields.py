"""Reads fields of decoded JSON that may be missing, null or of another type. Pure."""

from __future__ import annotations

from math import isfinite
from typing import Any


def text(value: Any) -> str:
    """The text; "" for anything else."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """The number; None for anything else, also for a boolean and for infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e15 and isfinite(value) else None


def share(value: Any, default: float = 1.0) -> float:
    """The number from 0 to 1 that is nearest; ``default`` if it is none."""
    given = number(value)
    return default if given is None else min(1.0, max(0.0, given))


def items(value: Any) -> list[Any]:
    """The list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def fields(value: Any) -> dict[str, Any]:
    """The object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}
