"""Parses the bodies of requests: JSON that every database can store."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from calls.api.problems import Problem
from calls.plain_text import is_storable

LARGEST_BODY = 65_536
"""Bytes of a body where the view has no ``largest_body``. With each letter as ``\\uXXXX``, a call has up to 50,000."""
MOST_BRACKETS, MOST_COMMAS = 20_000, 100_000
"""
Brackets that open, and commas, in one body: 20 and 100 for each call of the largest batch.

Making the values takes up to a microsecond each, in which no thread can serve the calls: 800,000 lists took a second.
"""
_MAX_DEPTH = 32
"""Levels of nesting. Deeper JSON is a mistake or an attack: code that walks it recursively would fail."""


class StrictJSON(BaseParser):
    """
    Accepts UTF-8 without NaN, without deep nesting, and without NUL or lone surrogates, which no database stores.

    A name that comes twice in one object is refused: which of its values counts would be a guess.
    """

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        limit = getattr((parser_context or {}).get("view"), "largest_body", LARGEST_BODY)
        body = stream.read(limit + 1)
        _check_size(body, limit)
        try:
            data = json.loads(
                body.decode("utf-8"),
                parse_constant=_parse_finite,
                parse_float=_parse_finite,
                object_pairs_hook=_unique_names,
            )
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not valid JSON: {error}") from error
        _check_storable(data, 0)
        return data


def _check_size(body: bytes, limit: int) -> None:
    if len(body) > limit:
        raise Problem(413, "body-too-large", f"The body is too large. At most {limit} bytes are allowed here.")
    if body.count(b"[") + body.count(b"{") > MOST_BRACKETS or body.count(b",") > MOST_COMMAS:
        text = (
            f"The body has more than {MOST_BRACKETS} opening brackets or {MOST_COMMAS} commas. Send fewer calls in one."
        )
        raise Problem(413, "body-too-large", text)


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"JSON has no number {text}")
    return number


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"an object has the name {twice[:50]!r} twice")
    return unique


def _check_storable(value: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise Problem(422, "too-large", f"The body is nested more than {_MAX_DEPTH} levels deep.")
    if isinstance(value, str):
        if not is_storable(value):
            raise Problem(
                422,
                "invalid-text",
                "A string in the body has a NUL character or a lone surrogate, which cannot be stored.",
            )
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_storable(name, depth)
            _check_storable(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_storable(inner, depth + 1)
