"""Finds the grammar of a language."""

from __future__ import annotations

from functools import lru_cache

from media.spoken.english.grammar import AMERICAN, BRITISH
from media.spoken.grammar import Grammar
from media.spoken.languages.dutch import DUTCH
from media.spoken.languages.french import FRENCH
from media.spoken.languages.german import GERMAN
from media.spoken.languages.italian import ITALIAN
from media.spoken.languages.portuguese import BRAZILIAN, PORTUGUESE
from media.spoken.languages.rules import build
from media.spoken.languages.spanish import SPANISH
from media.spoken.languages.words import changeable_words
from media.spoken.scripts import scripts_of

_AMERICAN_REGIONS = ("", "us", "ca", "ph", "pr")
"""The regions of English in which dates begin with the month. Canada has both; its keypads say pound."""
_LANGUAGES = {
    "de": GERMAN, "es": SPANISH, "fr": FRENCH, "it": ITALIAN, "nl": DUTCH, "pt": PORTUGUESE,
}  # fmt: skip


@lru_cache(256)
def grammar_for(language: str) -> Grammar:
    """The grammar for a tag such as ``en``, ``en-GB`` or ``pt_BR``. One without rules if the language is not known."""
    tag, _, region = language.lower().replace("_", "-").partition("-")
    if tag == "en":
        return AMERICAN if region in _AMERICAN_REGIONS else BRITISH
    known = BRAZILIAN if (tag, region) == ("pt", "br") else _LANGUAGES.get(tag)
    if known is None:
        return Grammar(scripts=scripts_of(tag))
    return Grammar(rules=build(known), words=changeable_words(known), suffixes=tuple(known.suffixes))
