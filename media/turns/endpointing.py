"""
Has the caller finished, and how long to wait to be sure.

The wait is graded: what the words promise sets a base, what the agent just asked shortens it, and how this caller
pauses stretches it. It is counted in silence on the stream, from the last voiced sample.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

SPECULATE = 0.1
"""Silence after which the transcript is asked for; shorter gaps are the stops inside words."""

COMPLETE = 0.25
LIKELY = 0.4
UNSURE = 0.6
UNFINISHED = 1.2
LONGEST = 1.2
SHORTEST = 0.2

_WORD = re.compile(r"[a-z0-9'@.-]*[a-z0-9'@]")

# A sentence does not end on these.
_DANGLING = frozenset(
    """
    a an the and or but so because if when while that which who to of for from with without in on at by about into
    than as is are was were am be been i'm i'll i'd we're it's he's she's they're my your his her our their its
    would could should will can may might must do does did not don't very really just also then
    i we you he she they there here's let's want need like get have has had please
    one's mr mrs ms dr number name address street called
    """.split()
)
_HESITATION = frozenset("um uh er erm hmm hm well like so anyway".split())
_QUESTION = frozenset(
    (
        "what when where who whom whose which why how is are was were do does did can could will would should may have"
    ).split()
)
_ENDERS_AFTER_DANGLING = frozenset(
    # "Can I?", "yes I do", "where are you", "thank you": short forms that end on a word that usually dangles.
    (
        "i do,i am,i can,i will,i have,i would,i could,it is,they are,we are,you are,are you,can i,do you,will you,"
        "thank you,about you,with you,for you,is it,was it,help you,yes please,no please,i don't,i can't,i did,it does,"
        "that is,that's it,who is it,is there,are there,over there,is that,like that,i need,i want,one please"
    ).split(",")
)
_ANSWERS = frozenset(
    """
    yes yeah yep yup no nope sure okay ok right correct exactly please thanks hello hi goodbye bye maybe never
    monday tuesday wednesday thursday friday saturday sunday today tomorrow morning afternoon evening
    """.split()
)
_DIGITS = frozenset("zero oh one two three four five six seven eight nine double triple".split())
_ASKS_FOR_SPELLING = re.compile(r"\b(number|spell|address|postcode|zip|e-?mail|code|digits?)\b")


@dataclass(frozen=True, slots=True)
class Judgement:
    """``wait``: seconds of silence after which the turn is over; ``complete``: the words alone make a whole turn."""

    wait: float
    complete: bool
    why: str


class Endpointing:
    """Judges pauses, and learns from those that the caller went on after."""

    def __init__(self) -> None:
        self._pauses: deque[float] = deque(maxlen=5)

    def resumed_after(self, pause: float) -> None:
        """The caller went on speaking after a pause of so many seconds."""
        if pause >= SPECULATE:
            self._pauses.append(min(pause, LONGEST))

    def judge(self, text: str, *, agent_said: str = "") -> Judgement:
        """How long to wait after these words; ``agent_said`` is what they may be an answer to."""
        wait, why = _base(text, agent_said)
        if self._pauses and wait > COMPLETE:
            # Of the last few pauses, the middle one: a single long stop must not make every turn slow.
            usual = sorted(self._pauses)[len(self._pauses) // 2]
            wait = max(wait, min(wait * 1.5, usual * 1.25))
        elif len(self._pauses) >= 3:
            # Even whole sentences get the upper end of their range from someone who often pauses between them.
            wait = 0.35
        return Judgement(min(max(wait, SHORTEST), LONGEST), wait <= 0.35, why)


def _base(text: str, agent_said: str) -> tuple[float, str]:
    lowered = text.lower().replace("’", "'").strip()
    words = _WORD.findall(lowered)
    if not words:
        return UNSURE, "no words"
    last = words[-1].rstrip(".")
    if lowered.endswith(("...", "…", ",", "-", "—", ":")) or last in _HESITATION:
        return UNFINISHED, "hesitating"
    spelled = _spelled(words)
    if spelled and (spelled < 10 and (spelled > 1 or _ASKS_FOR_SPELLING.search(agent_said.lower()))):
        return UNFINISHED, "spelling out"
    asked = agent_said.rstrip().endswith("?")
    if last in _DANGLING and " ".join(words[-2:]) not in _ENDERS_AFTER_DANGLING:
        if lowered.endswith(("?", "!")):
            return LIKELY, "dangling, but asked"
        return UNFINISHED, "dangling"
    if lowered.endswith(("?", "!")):
        return COMPLETE, "question"
    if len(words) <= 3 and (words[0] in _ANSWERS or last in _ANSWERS):
        return (COMPLETE, "answer") if asked or lowered.endswith(".") else (LIKELY, "short answer")
    if lowered.endswith("."):
        return (COMPLETE, "sentence") if len(words) >= 3 or asked else (LIKELY, "short sentence")
    if words[0] in _QUESTION and len(words) >= 3:
        return 0.3, "question without a mark"
    if asked and len(words) <= 4:
        return LIKELY, "answers what was asked"
    if len(words) >= 4:
        return 0.5, "clause without a mark"
    return UNSURE, "a few words"


def _spelled(words: list[str]) -> int:
    """How many digits or letters the words end with."""
    count = 0
    for word in reversed(words):
        stripped = word.strip(".-")
        if stripped in _DIGITS or (len(stripped) == 1 and stripped not in "ai"):
            count += 1
        elif stripped.isdigit():
            count += len(stripped)
        else:
            break
    return count
