"""The agent's stock phrases in other languages than English: a data file for each language in ``phrases``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import Any

from media.turns.options import ConversationOptions

PHRASE_OPTIONS = frozenset(
    field.name
    for field in fields(ConversationOptions)
    if field.name != "language" and field.default and isinstance(field.default, (str, tuple))
)
"""The options that the agent says. Each has a default in English and a phrase in each file."""

Phrases = Mapping[str, str | tuple[str, ...]]


def tags_of(language: str) -> tuple[str, ...]:
    """Return a language and the languages that include it, the most general first: ``pt``, ``pt-br``."""
    parts = language.lower().replace("_", "-").split("-")
    return tuple("-".join(parts[:end]) for end in range(1, len(parts) + 1))


def stock_phrases(language: str) -> Phrases:
    """Return the phrases of a language by the name of their option; English ones and unknown languages have none."""
    found: dict[str, str | tuple[str, ...]] = {}
    for tag in tags_of(language):
        found.update(_read(tag))
    return found


@cache
def _read(tag: str) -> Phrases:
    file = files(__package__) / "phrases" / f"{tag}.toml"
    if not tag.replace("-", "").isalnum() or not file.is_file():
        return {}
    phrases: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: tuple(phrase) if isinstance(phrase, list) else phrase for name, phrase in phrases.items()}
