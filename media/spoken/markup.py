"""
Removes what is written to be seen and not to be said: markdown, HTML, emoji, stage directions, other scripts.

What is left is one line of plain characters, in which quotation marks, dashes and digits have one form each.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from html import unescape

from media.spoken.directions import without_directions
from media.spoken.scripts import script_of

_PICTURES = frozenset(("So", "Sk", "Me", "Cs", "Co", "Cn", "Cf", "Cc"))
"""Unicode categories of what cannot be said."""
_SAID_SYMBOLS = frozenset("°№℃℉™®©\u200c\t\n\r")
"""Characters of these categories that carry meaning, or shape words."""
_REPLACED = {
    "’": "'", "‘": "'", "‛": "'", "ʼ": "'", "´": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‹": '"',
    "›": '"', "−": "-", "‐": "-", "‑": "-", "⁃": "-", "‒": "–", "⁄": "/", "∕": "/", "⋅": "·", "…": "...", "№": "No. ",
    "²": "^2", "³": "^3", "µ": "μ", "、": ", ", "。": ". ", "・": " ", "\u2028": "\n", "\u2029": "\n", "™": "", "®": "",
    "©": "", "¿": "", "¡": "", "\u200d": "", "\xad": "", "ª": "ª", "º": "º", "′": "′", "″": "″",
}  # fmt: skip
"""The one form that the rules know of each of these. Unicode's normal form would lose the meaning of the last four."""

_FENCE = re.compile(r"```[^\n`]*\n[^`]*```")
_TICKS = re.compile(r"`{1,3}")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\n]{0,500}\)")
_CITATION = re.compile(
    r"\s?\[\[?(?:\^|(?:sources?|refs?|docs?|documents?|citations?|footnotes?|notes?|quellen?|fuentes?|fontes?|fonti?)[\s:#]*)"
    r"\d{1,3}(?:\s?[,–-]\s?\d{1,3})*\]?\](?:\(https?://[^()\s]{0,500}\))?"
    r"|(?<=[\w.,;:!?\"')])\[\[?\d{1,2}(?:\s?[,–-]\s?\d{1,2})*\]?\](?:\(https?://[^()\s]{0,500}\))?"
    r"|\s?【[^【】\n]{0,40}[\d†][^【】\n]{0,40}】",
    re.I,
)
"""A reference to where something is written: "[source 1]", "at nine.[2]"."""
_BLOCK = re.compile(r"\[(\w+)\]([^\[\]]*)\[/\1\]")
_DIRECTIVE = re.compile(r"\[[A-Za-z]\w*[:=][^\[\]\s]*\]")
"""A directive for a program: "[pause:0.5s]"."""
_TAG = re.compile(
    r"<((?:https?://|mailto:)[^<>\s]{1,300}|[\w.+-]{1,64}@[\w.-]{1,100})>|</?[a-zA-Z][^<>\n]{0,100}>|<!--[^<>]{0,200}-->"
)
_LINE_START = re.compile(r"^[ \t]*(?:(?:#{1,6}|[*+•‣▪◦●○∙>]|[-–—](?!\d))[ \t]+(?:\[[ xX]\][ \t]+)?)+", re.M)
_RULE_LINE = re.compile(r"^[ \t]*[-*_=|:\s]{3,}$", re.M)
_STRONG = re.compile(r"(\*{2,3})(?=[^\s*])([^*\n]{1,500}?)(?<=[^\s*])\1")
_EMPHASIS = re.compile(r"(?<!\*)\*(?=[^\s*])(?=[^*\n]*[^\W\d_])([^*\n]{1,500}?)(?<=[^\s*])\*(?!\*)")
_UNDERLINED = re.compile(r"(?<!\w)(_{1,3})(?=[^\s_])([^\n]{1,500}?)(?<=[^\s_])\1(?!\w)")
_STRUCK = re.compile(r"~~([^~\n]{1,500})~~")
_GREEK_SIGNS = frozenset("αβγδεζηθικλμνξοπρσςτυφχψωΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ")
"""Greek letters that are signs in other languages: π, Ω."""
_GREEK_WORD = re.compile(rf"[{''.join(sorted(_GREEK_SIGNS))}]{{2,}}")
_KEYCAP = re.compile("([0-9#*])\ufe0f?\u20e3")


def plain_text(text: str, scripts: frozenset[str]) -> str:
    """``text`` without markup, and without letters of other scripts than ``scripts``."""
    text = unescape(text)
    if "[" in text or "【" in text:
        text = _CITATION.sub("", text)
    if not text.isascii():
        text = _plain_characters(_KEYCAP.sub(r"\1 ", text), scripts)
        if "GREEK" not in scripts:
            text = _GREEK_WORD.sub(" ", text)
    text = _FENCE.sub(" ", text)
    text = _TICKS.sub("", text)
    text = _LINK.sub(r"\1", text)
    if "[" in text:
        text = _DIRECTIVE.sub(" ", _BLOCK.sub(r"\2", text))
    text = _TAG.sub(lambda match: match[1] or " ", text)
    text = without_directions(text)
    text = _RULE_LINE.sub("", _LINE_START.sub("", text))
    text = _STRUCK.sub(r"\1", _UNDERLINED.sub(r"\2", text))
    return _EMPHASIS.sub(r"\1", _STRONG.sub(r"\2", text))


def _plain_characters(text: str, scripts: frozenset[str]) -> str:
    text = unicodedata.normalize("NFC", text)
    return "".join([c if c.isascii() else _plain_character(c, scripts) for c in text])


@lru_cache(8192)
def _plain_character(character: str, scripts: frozenset[str]) -> str:
    latin_only = len(scripts) == 1
    if latin_only and character in _REPLACED:
        return _REPLACED[character]
    if unicodedata.category(character) in _PICTURES and character not in _SAID_SYMBOLS:
        return " "
    if "\ufe00" <= character <= "\ufe0f":
        return ""
    script = script_of(character)
    if script and script not in scripts:
        return character if character in _GREEK_SIGNS else " "
    return _plain_form(character) if latin_only else character


def _plain_form(character: str) -> str:
    """The form of a character that the rules of the languages in Latin letters know."""
    decomposed = unicodedata.decomposition(character)
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    if decomposed.startswith("<fraction>"):
        return " " + "".join(chr(int(code, 16)) for code in decomposed.split()[1:]).replace("⁄", "/")
    if decomposed.startswith(("<super>", "<sub>")) and character.isdigit():
        return ("^" if "super" in decomposed else "") + str(unicodedata.digit(character))
    if unicodedata.category(character) == "Zs":
        return " "
    if decomposed.startswith("<") and character not in "ªº":
        return unicodedata.normalize("NFKC", character)
    return " " if unicodedata.category(character) in ("Nl", "No") else character
