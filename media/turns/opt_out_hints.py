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
    r"\b(?:i|we) (?:want|need|would like|demand|require|request)(?: PLS)?(?: all)?(?: the| these| those| your)? CALLS"
    r"(?: (?:to|with) (?:ME|NUMBER|HOME))? (?:to (?:stop|end|cease)|stopped|ended|to be stopped)\b",
    rf"\b(?:CALLS|{_BOTHERED})(?: (?:(?:to|with) )?(?:ME|NUMBER))? (?:must|has to|have to|needs? to|had better|better"
    r"|should|ha(?:s|ve) got to|will have to) (?:stop|end|cease)\b",
    r"\bget off (?:NUMBER|the line|the phone)\b(?= (?:\.|you|YOU|and do)|\s*$)",
    r"\b(?:like|love|prefer|appreciate|grateful|great|nice|better|obliged)(?: it)? (?:if )?(?:you|YOU) (?:would )?"
    rf"(?:stopped|stop|quit) (?:{_BOTHERED}|(?:the|these|your) CALLS)",
    r"\b(?:note|mark|flag|comment|down|write)\b(?: \S+){0,6} (?:do not|never) (?:CALL|RING)"
    r"(?= (?:ME|NUMBER|EVER|\.)|\s*$)",
    r"\b(?:make sure|ensure|see (?:to it )?that|want|need|like)(?: \S+){0,4} (?:removed|taken|deleted|erased)"
    r" (?:off|from)"
    rf" {_YOUR_LIST}\b",
    rf"\b(?:request\w*|want\w*|need|demand\w*|like) (?:PLS |my |immediate )*removal (?:from|off) {_YOUR_LIST}\b",
    r"\bDNC\b.* (?:put|add|get|place) (?:ME|NUMBER|NAME) (?:on|to) (?:it|that)\b",
    r"(?<!not )\b(?:i|we) (?:\w+ )?(?:want|like|need|wish|asked|am asking)(?: \w+){0,2} to be (?:taken|left)"
    rf" (?:off|out){_END}",
    r"\btake (?:ME|NUMBER|NAME|it) off whatever\b",
    r"\bput a (?:line|pen|pencil|stroke|cross) (?:through|over|across) (?:NUMBER|NAME|THENUMBER)\b",
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
    rf"\b(?:forbid|forbidden|forbidding|prohibit\w*|ban|banned|banning|bar|barring)\b[^.]{{0,25}}(?:{_CALL_ME}"
    rf"|CALLS)\b",
    r"\bobject(?:ing)? to (?:\w+ ){0,3}(?:CALLS|CALLED|RUNG|CALLING)",
    rf"\b{YOU} (?:have |are )?(?:keep|kept|constantly|always|still|non stop)(?: on)? {_BOTHERED}\b[^.]*"
    r"\b(?:stop|enough|quit|pack it in)\b(?! RINGING)",
    r"\b(?:make sure|ensure|see to it|see that)(?: \w+){0,3} (?:nobody|no one|none)(?: \S+){0,5}"
    rf" (?:{_CALL_ME}|CALLS)\b",
    rf"\b(?:do not|no|not any) need (?:for {YOU} )?(?:to )?(?:be |keep )+{_CALL_ME}",
    r"(?<!get )(?<!had )(?<!got )(?<!have )(?<!are )\bno CALLS (?:PLS|EVER|from (?:you|YOU))",
    rf"\b{YOU} (?:have |are |did |people )*(?:RUNG|CALLED|CALLING|RINGING|BOTHERING)\b.* (?:stop it|make it"
    rf" stop|stop this|no more"
    r"|take (?:her|his|their|KIN|the) number off|asked you not to|told you not to)(?= (?:\.|PLS|now|or|and|i)|\s*$)",
    r"(?:^| \.)(?: PLS| no| and)* remove ME(?= (?:\.|PLS|now)|\s*$)",
    r"\b(?:NUMBER|NAME|THENUMBER) (?:is |are )?(?:to be|needs to be|must be|has to be|should be) (?:taken"
    r"|removed|deleted|erased|struck)\b",
    r"\bdo not (?:try|let (?:it|this|that) happen|come back) (?:on NUMBER )?EVER(?= (?:\.|PLS|or|i|we|you)|\s*$)",
    r"\b(?:appreciate it|prefer it|like it|better|grateful) if (?:nobody|no one|none of you)(?: \S+){0,4}"
    rf" (?:{_CALL_ME}|CALLED|RUNG)\b",
    r"(?:^| \.| so| go on| just)(?: PLS)? (?:CALL|RING) (?:ME|NUMBER|HOME|here) EVER and (?:i|we|you|it|see)\b",
    r"\b(?:gdpr|data protection|my rights?)\b.* (?:stop|delete|remove|erase|object|not to be)\b",
    r"\b(?:withdraw|removed?|opt(?:ing)? (?:out|off)|stop) (?:ME )?(?:from |off )?(?:all |any |your |of |the "
    r"|these |this |phone )*"
    r"(?:marketing|telemarketing|solicitation)s?\b",
    r"\b(?:i|we) want nothing (?:more |else |EVER )*(?:to do with|from) (?:you|YOU)",
    r"\b(?:i|we) do not want to (?:speak|talk) (?:to|with) (?:you|YOU)\b[^.]* EVER\b",
    rf"\bput (?:ME|NUMBER|NAME) (?:on|in)\b[^.]* (?:stops?|not|never|no)\b[^.]* (?:{_CALL_ME}|CALLS)\b",
    r"\b(?:these|the|your) CALLS\b.* (?:stop|end) (?:them|it|this|that|these)\b",
    r"\bYOU\b[^.]*(?<! to)(?<! not) stop(?= \.|\s*$)",
    rf"\b(?:i|we) do not want {YOU} to (?:have|keep|hold|use) (?:NUMBER|NAME|THENUMBER)\b",
    r"\bblocked\b[^.]* your numbers?\b",
    rf"\b(?:told|asked|telling|asking|tell|ask) {YOU}(?: \w+)?(?: EVER)? to stop(?= (?:\.|and|or|i|we|you|so"
    rf"|now|this)|\s*$)",
    r"\bnot (?:one more|another|a single|one single) CALLS\b",
    r"\b(?:stay|keep|get) (?:off|away from|out of) (?:NUMBER|HOME)(?= (?:\.|and|or|i|you)|\s*$)",
    rf"\b(?:that|this) is the last (?:time|CALLS?) {YOU} ",
    r"(?:^| \.| go| and| away| PLS) (?:CALL|RING|BOTHER) (?:someone|somebody) else\b",
    r"\bforget (?:that )?you (?:EVER )?(?:had|have|saw) (?:NUMBER|it)\b",
    r"\b(?:flag|mark|list|put|set|register|note|log) (?:this|it|that|ME|NUMBER)(?: \w+){0,3} DNC\b",
    r"(?:^| \.)(?: PLS)* off (?:YOURLIST|CALLLIST)\b",
    r"\bnever EVER (?:do|will|shall) (?:i|we) (?:want|wish)\b",
    r"\b(?:CALL|CALLING|RING|RINGING|RUNG|CALLED)\b.* take (?:it|ME|NUMBER) off(?= (?:\.|PLS|now|and)|\s*$)",
    r"\b(?:asked|wanted) (?:EVER )?to be (?:taken off|removed)(?= (?:\.|last|twice|before|and|so|months|weeks"
    r"|EVER)|\s*$)",
    r"\bNUMBER\b[^.]* (?:get rid of|bin|lose|delete|remove|erase|forget) (?:it|that)\b",
    r"\b(?:YOURLIST|CALLLIST|NUMBER|CALLS|CALLING|RINGING|\w+th CALL|time you CALL|RUNG|CALLED)\b.*"
    rf" (?:take|remove|delete|strike|cross|get|want) {_MINE}(?: off| out| down| gone| removed| deleted)*{_END}",
    rf"\b(?:i|we) want (?:off|out){_END}",
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
