"""Fills ``{{ name }}`` in an agent's prompt and greeting; pure."""

import re
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_][a-z0-9_]*)\s*\}\}")
_BREAK = re.compile(r"\r\n|[\t-\r\x85\u2028\u2029]")
# Nobody can say them, PostgreSQL refuses NUL, and UTF-8 refuses lone surrogates.
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def fill(text: str, variables: Mapping[str, object]) -> str:
    """
    Put the variables' values in the place of their names; an unknown name or ``None`` becomes nothing.

    Values are data: they go in as one line, without control characters, and braces in them are not read again.
    """
    return _PLACEHOLDER.sub(lambda match: _spoken(variables.get(match[1])), text)


def placeholders(text: str) -> set[str]:
    """The names that ``text`` asks for."""
    return set(_PLACEHOLDER.findall(text))


def _spoken(value: object) -> str:
    return "" if value is None else _UNSPEAKABLE.sub("", _BREAK.sub(" ", str(value)))
