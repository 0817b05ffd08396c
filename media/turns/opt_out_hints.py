"""
Words that may be a demand not to be called, though they do not have its usual form: "leave me alone".

They are never obeyed at once: the caller is asked. All text here is as ``media.turns.opt_out_words`` leaves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from media.turns.opt_out_clauses import (
    DONE,
    ING,
    LIMIT,
    STRONG_WEIGHT,
    VERB,
    WEAK_WEIGHT,
    YOU,
    doubt_lead,
    sentence_of,
)

_MINE = "(?:ME|NUMBER|NAME|THENUMBER|it|that)"
_CALL_ME = "(?:CALL|CALLING|RING|RINGING|BOTHER|BOTHERING)"
_BOTHERED = "(?:CALLING|RINGING|BOTHERING)"
_YOUR_LIST = "(?:YOURLIST|CALLLIST|THELIST|YOURDATA)"
_END = r"(?= (?:\.|PLS|and|or|it)|\s*$)"

_STRONG_HINTS = (
    r"\bdo not (?:use|dial|have) (?:it|NUMBER|THENUMBER) EVER\b",
    r"\bput an? (?:stop|block|bar|ban|hold|end) (?:on|to) (?:NUMBER|THENUMBER|(?:the|these|your) CALLS)",
    r"\b(?:i|we) (?:want|need|would like|demand)(?: PLS)?(?: all)?(?: the| these| those| your)? CALLS"
    r"(?: to (?:ME|NUMBER|HOME))? (?:to (?:stop|end|cease)|stopped|ended|to be stopped)\b",
    rf"\b(?:CALLS|{_BOTHERED})(?: (?:to )?(?:ME|NUMBER))? (?:must|has to|have to|needs? to|had better|better|should"
    r"|ha(?:s|ve) got to|will have to) (?:stop|end|cease)\b",
    r"\bget off (?:NUMBER|the line|the phone)\b(?= (?:\.|you|YOU|and do)|\s*$)",
    r"\b(?:like|love|prefer|appreciate|grateful|great|nice|better|obliged)(?: it)? (?:if )?(?:you|YOU) (?:would )?"
    rf"(?:stopped|stop|quit) (?:{_BOTHERED}|(?:the|these|your) CALLS)",
    r"\b(?:note|mark|flag|comment|down|write)\b(?: \S+){0,6} (?:do not|never|not to) (?:CALL|RING)"
    r"(?= (?:ME|NUMBER|EVER|\.)|\s*$)",
    rf"\b(?:request\w*|want\w*|need|demand\w*|like) (?:PLS |my |immediate )*removal (?:from|off) {_YOUR_LIST}\b",
    r"\bDNC\b.* (?:put|add|get|place) (?:ME|NUMBER|NAME) (?:on|to) (?:it|that)\b",
    r"(?<!not )\b(?:i|we) (?:\w+ )?(?:want|like|need|wish|asked|am asking)(?: \w+){0,2} to be (?:taken|left)"
    rf" (?:off|out){_END}",
    r"\btake (?:ME|NUMBER|NAME) off whatever\b",
)
_WEAK_HINTS = (
    r"\b(?:tired|sick|fed up|had enough|had it|bored)(?: up to here)?(?: (?:of|with|all|the|these|your|those|you|YOU))*"
    rf" (?:CALLS|{_BOTHERED}(?= (?:ME|NUMBER|HOME|here|take|stop))|(?:(?<=YOU )|(?<=you ))(?:CALLING|RINGING))",
    rf"\b(?:if|next time|every time|each time) {YOU} (?:EVER )?(?:CALL|RING|BOTHER|keep)\b.*\b(?:report|sue|lawyer"
    r"|solicitor|attorney|police|fcc|ftc|ofcom|ico|court|complaint|complain|block|legal)",
    r"\b(?:let (?:this|that) be|better be|make (?:this|it|sure this is)|has to be|must be|had better be)"
    r" the last (?:time|CALL|CALLS)\b",
    r"\b(?:revok|withdraw|cancel|rescind)\w*(?: \w+){0,4} (?:consent|permission)",
    r"\b(?:consent|permission)\b[^.]*\b(?:revok|withdraw|cancel|rescind)\w*",
    r"\b(?:no|not have|not got|without|never (?:gave|had)|did not give)(?: (?:you|YOU|my|any|the|a))*"
    rf" (?:right|business|consent|permission)(?: (?:to|in|for|from|keep|be))* {_CALL_ME}",
    rf"\b(?:forbid|forbidden|forbidding|prohibit\w*|ban|banned|banning|bar|barring)\b[^.]{{0,25}}(?:{_CALL_ME}|CALLS)\b",
    r"\bobject(?:ing)? to (?:\w+ ){0,3}(?:CALLS|CALLED|RUNG|CALLING)",
    rf"\b{YOU} (?:have |are )?(?:keep|kept|constantly|always|still|non stop)(?: on)? {_BOTHERED}\b[^.]*"
    r"\b(?:stop|enough|quit|pack it in)\b(?! RINGING)",
    r"\b(?:make sure|ensure|see to it|see that)(?: \w+){0,3} (?:nobody|no one|none)(?: \S+){0,5}"
    rf" (?:{_CALL_ME}|CALLS)\b",
    rf"\b(?:do not|no|not any) need (?:for {YOU} )?(?:to )?(?:be |keep )+{_CALL_ME}",
    r"(?<!\bi )(?<!\bwe )\b(?:do not|no) need (?:to )?(?:CALL|RING)(?: ME| NUMBER| here)* EVER\b",
    r"\bno CALLS (?:PLS|EVER|from (?:you|YOU))",
    r"\b(?:i|we) want nothing (?:more |else |EVER )*(?:to do with|from) (?:you|YOU)",
    r"\b(?:i|we) do not want to (?:speak|talk) (?:to|with) (?:you|YOU)\b[^.]* EVER\b",
    rf"\bput (?:ME|NUMBER|NAME) (?:on|in)\b[^.]* (?:stops?|not|never|no)\b[^.]* (?:{_CALL_ME}|CALLS)\b",
    r"\b(?:these|the|your) CALLS\b.* (?:stop|end) (?:them|it|this|that|these)\b",
    r"\bYOU\b[^.]*(?<! to)(?<! not) stop(?= \.|\s*$)",
    r"\bblocked\b[^.]* your numbers?\b",
    r"\bNUMBER\b[^.]* (?:get rid of|bin|lose|delete|remove|erase|forget) (?:it|that)\b",
    r"\b(?:YOURLIST|CALLLIST|NUMBER|CALLS|CALLING|RINGING|\w+th CALL|time you CALL|RUNG|CALLED)\b.*"
    rf" (?:take|remove|delete|strike|cross|get|want) {_MINE}(?: off| out| down| gone| removed| deleted)*{_END}",
    rf"\b(?:i|we) want (?:off|out){_END}",
    r"\bsaid you would (?:take|remove|stop|not|never)[^.]*(?:LIST|CALLING|RINGING|(?:CALL|RING) ME)",
)
_HINTS = [
    *((STRONG_WEIGHT, re.compile(pattern)) for pattern in _STRONG_HINTS),
    *((WEAK_WEIGHT, re.compile(pattern)) for pattern in _WEAK_HINTS),
]

_ALONE = re.compile(
    r"\bleave (?:ME|NUMBER|HOME|KIN) (?:alone|be|in peace)\b(?! (?:with|for|until|while|when|in the|to))"
)
_NOT_ALONE = re.compile(r"\b(?:he|she|they|to|not|never|will|would)$")


def weigh_hints(said: str) -> Iterator[int]:
    """Weigh what may be a demand in other words than the usual ones."""
    for weight, pattern in _HINTS:
        for found in pattern.finditer(said):
            yield weight - min(doubt_lead(said[: found.start()]), weight)
    for found in _ALONE.finditer(said):
        before = said[: found.start()]
        weight = STRONG_WEIGHT
        if _NOT_ALONE.search(sentence_of(before)):
            weight = WEAK_WEIGHT if re.search(rf"{YOU} to$|\bi want to$", sentence_of(before)) else 0
        yield weight - min(doubt_lead(before), weight)


_LOOSE = (
    re.compile(
        r"(?P<lead>.*?) (?:not|never|no|without|stop|quit|cease|end|enough|nobody|no one)(?: (?!\.)\S+){0,7}"
        rf" (?:{VERB}|{ING}|{DONE}|CALLS)(?: (?!\.)\S+)?(?: (?:ME|NUMBER|HOME|here|EVER)\b| \.|\s*$)(?P<rest>.*)"
    ),
    re.compile(
        r"(?P<lead>.*?) (?:ME|NUMBER|NAME|THENUMBER)(?: (?!\.)\S+){0,6} (?:off|from|out)(?: \S+)?"
        r" (?:CALLLIST|YOURLIST|YOURDATA)\b(?P<rest>.*)"
    ),
)
_NOT_LOOSE = re.compile(
    r"\b(?:he|she|they|who|mind|worry|forget|(?:i|we) (?:do|did) not (?:need|want) to|whether|if|unless|when|until|till"
    r"|before|after|why|did|does|what|is|was|were|had|never told|never asked|told|said|says|KIN|nobody|no one|the \w+"
    r"|my \w+|you never|you did|you have)\b"
)
"""Words of a question, a condition, a report or a third person."""
_CONDITION = re.compile(r"\b(?:if|unless|whether|when)\b")


def weigh_loosely(said: str) -> int:
    """Weigh words in which the ideas of a demand stand near each other, in a way that no rule knows."""
    for pattern in _LOOSE:
        found = pattern.match(said)
        if found is None or LIMIT.search(found["rest"]):
            continue
        lead = sentence_of(found["lead"])
        near = lead if _CONDITION.search(lead) else " ".join(lead.split()[-5:])
        if not _NOT_LOOSE.search(near + found.group()[len(found["lead"]) :]):
            return WEAK_WEIGHT
    return 0
