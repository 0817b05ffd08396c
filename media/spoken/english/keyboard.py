"""Keys of a computer in English: "Ctrl+C" is said as "Control plus C"."""

from __future__ import annotations

import re

from media.spoken.english.numerals import number
from media.spoken.spans import Match, Rule, Start, rule, text_after, text_before

_NAMES = {
    "Ctrl": "Control", "Ctl": "Control", "Cmd": "Command", "Esc": "Escape", "Del": "Delete", "Ins": "Insert",
    "Alt": "Alt", "Opt": "Option", "PgUp": "Page Up", "PgDn": "Page Down", "PrtSc": "Print Screen", "Bksp": "Backspace",
}  # fmt: skip
"""The names that are printed on keys, and how they are said."""
_MODIFIERS = "Ctrl|Ctl|Control|Cmd|Command|Alt|Opt|Option|Shift|Win|Windows|Fn|Meta"
_AMBIGUOUS = ("Del", "Ins", "Opt")
"""Other words too, such as the name of a street: they are keys only beside a word that says so."""
_KEY_AFTER = re.compile(r"\s(?:keys?|button)\b")
_PRESSED_BEFORE = re.compile(r"\b(?:press|hit|hold|push|tap)\s$", re.I)

WORDS = frozenset(form for name in _NAMES if name != "Alt" for form in (name, f"{name}."))
"""The words that these rules may change."""


def _key(key: str) -> str:
    if key.isdigit():
        return number(key)
    if re.fullmatch(r"[Ff]\d{1,2}", key):
        return f"F {number(key[1:])}"
    return key.upper() if len(key) == 1 else _NAMES.get(key, key)


def _combination(match: Match) -> str:
    return " plus ".join(_key(key) for key in re.findall(r"\w+", match[0]))


def _is_key(match: Match) -> bool:
    if match[0] not in _AMBIGUOUS:
        return True
    return bool(_KEY_AFTER.match(text_after(match)) or _PRESSED_BEFORE.search(text_before(match)))


_KEY = rf"(?:{_MODIFIERS}|[A-Z][a-zA-Z]{{1,8}}|[A-Za-z]|[Ff]?\d{{1,2}})"
RULES: tuple[Rule, ...] = (
    rule(
        "key",
        rf"\b(?:{_MODIFIERS})(?:\s?\+\s?{_KEY}){{1,3}}(?![\w+])",
        _combination,
        signs="+",
        start=Start.CAPITAL,
    ),
    rule(
        "key",
        r"\b(?:(?:Ctrl|Ctl|Control|Cmd|Command|Alt|Shift)-){1,3}(?:[A-Z]|F\d{1,2}|Del|Delete|Tab|Esc)(?![\w-])",
        _combination,
        signs="-",
        start=Start.CAPITAL,
    ),
    rule("key", rf"\b(?:{'|'.join(_NAMES)})\b", lambda m: _key(m[0]), _is_key, signs="", start=Start.CAPITAL),
)
