"""Which scripts a voice can speak: what is written in another one is not sent to it."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

LATIN = frozenset({"LATIN"})
_SCRIPTS = {
    "am": "ETHIOPIC", "ar": "ARABIC", "as": "BENGALI", "be": "CYRILLIC", "bg": "CYRILLIC", "bn": "BENGALI",
    "el": "GREEK", "fa": "ARABIC", "gu": "GUJARATI", "he": "HEBREW", "hi": "DEVANAGARI", "hy": "ARMENIAN",
    "ja": "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA HALFWIDTH FULLWIDTH IDEOGRAPHIC", "ka": "GEORGIAN",
    "kk": "CYRILLIC", "km": "KHMER", "kn": "KANNADA", "ko": "HANGUL CJK", "ky": "CYRILLIC", "lo": "LAO",
    "mk": "CYRILLIC", "ml": "MALAYALAM", "mn": "CYRILLIC", "mr": "DEVANAGARI", "my": "MYANMAR", "ne": "DEVANAGARI",
    "or": "ORIYA", "pa": "GURMUKHI", "ps": "ARABIC", "ru": "CYRILLIC", "si": "SINHALA", "sr": "CYRILLIC",
    "ta": "TAMIL", "te": "TELUGU", "tg": "CYRILLIC", "th": "THAI", "uk": "CYRILLIC", "ur": "ARABIC", "yi": "HEBREW",
    "yue": "CJK BOPOMOFO IDEOGRAPHIC", "zh": "CJK BOPOMOFO IDEOGRAPHIC",
}  # fmt: skip
"""The scripts of the languages that are not written in Latin letters, as the names of Unicode's characters begin."""


def scripts_of(language: str) -> frozenset[str]:
    """The scripts in which texts of a language (``en``, ``pt-BR``) are written. Latin letters are in every one."""
    return LATIN | frozenset(_SCRIPTS.get(language.lower().partition("-")[0], "").split())


@lru_cache(4096)
def script_of(character: str) -> str:
    """The script of a letter or mark; empty for all other characters, and for those that belong to no script."""
    if unicodedata.category(character)[0] not in "LM":
        return ""
    name = unicodedata.name(character, "").partition(" ")[0]
    return (
        ""
        if name in ("COMBINING", "MODIFIER", "VARIATION", "FEMININE", "MASCULINE", "MICRO", "DOUBLE-STRUCK")
        else name
    )
