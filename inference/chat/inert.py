"""
Makes data inert: a model that reads or repeats it requests nothing and begins no other turn.

What the caller says, what an operator has the agent say and the values of variables are data. The prompt says how a
request is written, so the same writing in data could be obeyed, or repeated by the model and obeyed then. It is left
out wherever data enters a prompt; what is stored stays as it was.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence

from inference.chat.reply_syntax import Found, ReplySyntax, Turn
from inference.chat.request_text import RequestReader
from inference.types import FINISHED

_SYNTAX = ReplySyntax(RequestReader())
DEEPEST = 8
"""Commands inside of each other that are looked for. Data with more of them is an attack and loses all its signs."""
_SIGN = re.compile(r"[^\w\s.,!?'’-]|[_\n]")
_SPACES = re.compile(r"[ \t]{2,}")
_MAY_REQUEST = re.compile(r"[^\w\s.,!?;'\"$€-]|_|\n|bracket|brace|underscore", re.IGNORECASE)
"""Without one of these, no text requests anything."""
_CONTROL = re.compile(
    rf"""
      <\|[^<>|\n]{{1,60}}\|?>                                       # <|im_start|>, whatever its name is
    | </?[a-z]+(?:_[a-z0-9]+)+/?>                                   # <start_of_image>
    | </?(?:s|bos|eos|unk|pad|mask|cls|sep|image|audio|video)>
    | <</?SYS>> | \[/?(?:system|user|assistant|inst|cls|sep|pad|unk|g?mask|bos|eos)\]
    | (?:^|(?<=\n))[ \t#*>]*(?:system|assistant|user|human|developer)[ \t*]*:
    | (?:^|(?<=\n))\#{{2,}}[ \t]*(?:system|instruction|input|response|user|assistant)\b:?
    | {re.escape(FINISHED)}
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What chat templates write for themselves, beside what ends or begins a turn in a reply."""
_WRITTEN_OTHERWISE = re.compile(
    r"""
      (?P<open>\b(?:left|open|opening|start|begin)[ ](?:(?:square|curly|angle)[ ])?(?:brackets?|braces?)\b)
    | (?P<close>\b(?:right|close|closing|end)[ ](?:(?:square|curly|angle)[ ])?(?:brackets?|braces?)\b)
    | (?P<underscore>[ ]?\bunderscore\b[ ]?)
    | &(?:\#x?[0-9a-f]+|[a-z]+);?
    | \\(?:u00|x)(?P<escape>[0-9a-f]{2})
    | %(?P<percent>[0-9a-f]{2})
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Signs that a caller spells out, or that are written as in HTML, JSON or an address: a model may write them itself."""
_SPELT = {"open": "[", "close": "]", "underscore": "_"}
_LOOK_ALIKES = str.maketrans(
    "АВЕКМНОРСТУХаеорсухіЅѕІЈјԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧοеⵏӀ‹›∣¦ː",
    "ABEKMHOPCTYXaeopcyxiSsIJjdqwABEZHIKMNOPTYXoeII<>||:",
)
"""Letters of other scripts, and signs, that look like those of a request."""


def inert(text: str) -> str:
    """
    Return data without what a model's reply may request with, and without control tokens of chat templates.

    Characters that only look like others, are invisible, or are spelt out hide nothing.
    """
    if not _MAY_REQUEST.search(text):
        return text
    kept = _without_commands(text, [True] * len(text))
    return text if kept == text else _SPACES.sub(" ", kept).strip()


def join_inert(pieces: Sequence[str]) -> str:
    """
    Return one text from an operator's pieces and the data between them, by turns, the operator's first.

    Each piece of data is made inert, and so is what several pieces would say together, or with the text around them:
    "[TRANS" and "FER sales]". A request that the operator wrote, with data in it, stays.
    """
    parts = [inert(piece) if number % 2 else piece for number, piece in enumerate(pieces)]
    is_data = [number % 2 == 1 for number, part in enumerate(parts) for _ in part]
    return _without_commands("".join(parts), is_data)


def _without_commands(text: str, is_data: list[bool]) -> str:
    """Leave out the data of commands until none is left: one may be hidden inside another."""
    for _ in range(DEEPEST):
        if not any(is_data):
            return text
        dropped = [False] * len(text)
        for inside in _commands_in(text):
            data = [at for at in inside if is_data[at]]
            if data and not _is_request_anyway(text, inside, is_data):
                for at in data:
                    dropped[at] = True
        if not any(dropped):
            return text
        text = "".join(character for character, drop in zip(text, dropped, strict=True) if not drop)
        is_data = [data for data, drop in zip(is_data, dropped, strict=True) if not drop]
    return "".join(
        character for character, data in zip(text, is_data, strict=True) if not (data and _SIGN.match(character))
    )


def _is_request_anyway(text: str, inside: range, is_data: Sequence[bool]) -> bool:
    """Whether what the operator wrote is a request with any other data in it: "[TRANSFER {{ department }}]"."""
    if all(is_data[at] for at in inside):
        return False
    blank = ""
    for at in inside:
        if not is_data[at]:
            blank += text[at]
        elif not blank.endswith("\0"):
            blank += "\0"
    return any(at == 0 and found.requests for at, found in _SYNTAX.parts(blank.replace("\0", "x")))


def _commands_in(text: str) -> Iterator[range]:
    """The places of commands. An invisible character may hide one, or begin a word: the text is read both ways."""
    plain, starts, ends = _fold(text, keep_invisible=False)
    for begin, end in _commands(plain):
        yield range(starts[begin], ends[end - 1])
    if any(map(_is_invisible, text)):
        plain, starts, ends = _fold(text, keep_invisible=True)
        for begin, end in _commands(plain):
            yield range(starts[begin], ends[end - 1])


def _fold(text: str, *, keep_invisible: bool) -> tuple[str, list[int], list[int]]:
    """Return the text as it looks, and for each of its characters where in ``text`` it begins and ends."""
    plain: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    while at < len(text):
        otherwise = _WRITTEN_OTHERWISE.match(text, at)
        sign = _sign(otherwise) if otherwise else ""
        if otherwise and sign:
            end, looks = otherwise.end(), sign
        else:
            invisible = _is_invisible(text[at])
            end, looks = at + 1, text[at] * keep_invisible if invisible else _look(text[at])
        plain += looks
        starts += [at] * len(looks)
        ends += [end] * len(looks)
        at = end
    return "".join(plain), starts, ends


def _sign(match: re.Match[str]) -> str:
    """The sign that is written otherwise; empty if it is none of ours."""
    if match.lastgroup in _SPELT:
        return _SPELT[match.lastgroup]
    code = match["escape"] or match["percent"]
    sign = chr(int(code, 16)) if code else html.unescape(match[0])
    return sign if len(sign) == 1 and sign.isascii() and sign.isprintable() else ""


def _is_invisible(character: str) -> bool:
    if character.isascii():
        return not (character.isprintable() or character.isspace())
    return unicodedata.category(character) in ("Cf", "Cc", "Mn", "Me")


def _look(character: str) -> str:
    if character.isascii():
        return character
    looks = unicodedata.normalize("NFKC", character).translate(_LOOK_ALIKES)
    bracket = {"Ps": "[", "Pe": "]"}.get(unicodedata.category(character), "")
    return bracket if bracket and not looks.isascii() and "QUOTATION" not in unicodedata.name(character, "") else looks


def _commands(plain: str) -> Iterator[tuple[int, int]]:
    """Where the commands in this text begin and end."""
    for at, found in _SYNTAX.parts(plain):
        if _is_command(found):
            yield at, max(found.end, at + 1)
    for match in _CONTROL.finditer(plain):
        yield match.span()


def _is_command(found: Found) -> bool:
    control = found.turn in (Turn.BEGINS, Turn.NONE) or (found.turn is Turn.OTHERS and found.block is None)
    return bool(found.requests) or found.block is not None or control
