"""Reads the JSON of hosted services, in which any field may be missing, null or of another type. Pure."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any


def text_of(message: Mapping[str, Any], *names: str) -> str:
    """Return the first of these fields that holds text; ``""`` if none does."""
    return next((value for name in names if isinstance(value := message.get(name), str) and value), "")


def number_of(message: Mapping[str, Any], *names: str) -> float | None:
    """Return the first of these fields that holds a finite number."""
    return next((value for name in names if (value := as_number(message.get(name))) is not None), None)


def mapping_of(message: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Return the first of these fields that holds an object; an empty one if none does."""
    return next((value for name in names if isinstance(value := message.get(name), Mapping)), {})


def list_of(message: Mapping[str, Any], *names: str) -> Sequence[Any]:
    """Return the first of these fields that holds a list; an empty one if none does."""
    return next((value for name in names if isinstance(value := message.get(name), list)), ())


def numbers_of(message: Mapping[str, Any], *names: str) -> list[float]:
    """Return the numbers of a list, up to the first entry that is none."""
    numbers: list[float] = []
    for each in list_of(message, *names):
        if (number := as_number(each)) is None:
            break
        numbers.append(number)
    return numbers


def texts_of(message: Mapping[str, Any], *names: str) -> list[str]:
    """Return the texts of a list, up to the first entry that is none."""
    return list(takewhile(lambda each: isinstance(each, str), list_of(message, *names)))


def as_number(value: Any) -> float | None:
    """Return a finite number that a sound of hours can have as its time, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e9 else None  # false for NaN, and right for integers beyond all floats


def audio_of(message: Mapping[str, Any], *names: str) -> bytes:
    """Decode base64, also without the padding at its end. What is no base64 is no audio."""
    encoded = "".join(text_of(message, *names).split()).rstrip("=")
    if len(encoded) % 4 == 1:  # a letter too many: it holds no whole byte
        encoded = encoded[:-1]
    try:
        return binascii.a2b_base64(encoded + "=" * (-len(encoded) % 4), strict_mode=True)
    except (binascii.Error, ValueError):
        return b""
