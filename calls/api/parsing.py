"""Bodies: JSON that can be stored as it is, and nothing else."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from calls.api.problems import Problem

_DEEPEST = 32


class StrictJSON(BaseParser):
    """UTF-8, no NaN, no NUL or lone surrogate in any text (databases store neither), no absurd nesting."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(most + 1)
        if len(body) > most:
            raise RequestDataTooBig
        try:
            data = json.loads(body.decode("utf-8"), parse_constant=_finite, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not JSON: {error}") from error
        _check(data, 0)
        return data


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that JSON has")
    return number


def storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _check(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise Problem(422, "too-large", f"The body is nested more than {_DEEPEST} deep.")
    if isinstance(value, str):
        if not storable(value):
            raise Problem(
                422, "invalid-text", "The body has a text with a NUL or a lone surrogate, which cannot be kept."
            )
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check(name, depth)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)
