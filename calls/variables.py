"""Filling ``{{ name }}`` in an agent's texts. Pure."""

import math
import re
from collections.abc import Callable, Mapping, Sequence

from calls.plain_text import is_storable

VARIABLE_NAME = "[a-z_][a-z0-9_]{0,63}"
"""The names that ``{{ name }}`` in an agent's texts may have."""
LONGEST_VALUE = 1000
"""Characters in the value of a variable. The agent speaks it, and 1000 characters take over a minute."""
_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_][a-z0-9_]*)\s*\}\}")
_BREAK = re.compile(r"\r\n|[\t-\r\x85\u2028\u2029]")
# Control characters cannot be spoken, PostgreSQL refuses NUL, and UTF-8 refuses lone surrogates.
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def faults_of(variables: Mapping[str, object]) -> dict[str, str]:
    """Return what is wrong with these values for ``{{ name }}``, by the name. Empty if all can be stored and spoken."""
    judged = {name: _fault_of_name(name) or _fault_of_value(value) for name, value in variables.items()}
    return {name: fault for name, fault in judged.items() if fault}


def _fault_of_name(name: str) -> str:
    if re.fullmatch(VARIABLE_NAME, name):
        return ""
    return "A name has up to 64 lower-case letters, digits and underscores, and does not begin with a digit."


def _fault_of_value(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "This must be a number that JSON has."
    if not isinstance(value, str | int | float | bool | None):
        return "This must be a string, a number, true, false or null."
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        return f"This has {len(value)} characters. At most {LONGEST_VALUE} are allowed."
    if isinstance(value, str) and not is_storable(value):
        return "This has a NUL character or a lone surrogate, which cannot be stored."
    return ""


Join = Callable[[Sequence[str]], str]
"""Makes one text of pieces: those of the agent's text and, by turns with them, the values of variables."""


def fill(text: str, variables: Mapping[str, object], *, join: Join = "".join) -> str:
    """
    Replace the placeholders by the values of the variables. An unknown name and ``None`` become nothing.

    A value is inserted as one line without control characters. Placeholders in it are not replaced. ``join`` may leave
    out of the values what the reader of the text would take for an instruction.
    """
    pieces = _PLACEHOLDER.split(text)
    return join([_spoken(variables.get(piece)) if place % 2 else piece for place, piece in enumerate(pieces)])


def placeholders(text: str) -> set[str]:
    """Return the names of the placeholders in ``text``."""
    return set(_PLACEHOLDER.findall(text))


def misspelt(text: str, *, spoken: bool) -> list[str]:
    """
    Return what looks like a placeholder in ``text`` and is none, such as ``{name}`` or ``{{ First-Name }}``.

    In a text that is ``spoken``, single braces have no other use. A prompt may have them in an example.
    """
    rest = _PLACEHOLDER.sub(" ", text)
    found = re.findall(r"\{\{[^{}]*\}\}?|\{[^{}]*\}\}", rest)
    if spoken:
        found = re.findall(r"\$?\{+[^{}]*\}*|\}+", rest)
    return list(dict.fromkeys(found))


def _spoken(value: object) -> str:
    return "" if value is None else _UNSPEAKABLE.sub("", _BREAK.sub(" ", str(value)))
