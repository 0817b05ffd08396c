"""Text without what a terminal, a log or a person's eye would take for something else. Pure."""

import re

CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
"""
Control characters other than the tab and the line feed, and invisible ones that turn the direction of text around.

In terminals they begin commands, such as ANSI escapes, and in a log another line or the same one anew.
"""
_IN_A_LINE = re.compile(rf"[\t\n{CONTROLS}]")
_IN_LINES = re.compile(rf"[{CONTROLS}]")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_NAMES = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def is_storable(text: str) -> bool:
    """Whether every database can store the text. PostgreSQL refuses NUL, and UTF-8 refuses lone surrogates."""
    return _UNSTORABLE.search(text) is None


def storable(text: str) -> str:
    """Return the text without what a database cannot store."""
    return _UNSTORABLE.sub("", text)


def printable(text: str) -> str:
    r"""Return ``text`` as one line without control characters: they are written as in Python, such as ``\x1b``."""
    return _IN_A_LINE.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Return ``text`` without control characters other than its tabs and line ends."""
    return _IN_LINES.sub(_escaped, text.replace("\r\n", "\n"))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _NAMES.get(match[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
