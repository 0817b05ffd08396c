"""
The end of the caller's turn: whether they have finished, and how long to wait before that is believed.

The wait is graded: the words set a base, what the agent just asked shortens it, and how this caller pauses lengthens
it. It is counted in silence on the stream, from the last voiced sample.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from media.turns.clause_ends import WHOLE_PAIRS, ends_whole, is_stranded, promises_verb
from media.turns.dictation import Progress, progress
from media.turns.expectation import DICTATED, NOTHING, Expectation, Kind, expectation_of
from media.turns.labels import QUESTION_MARKS, Label, asks_at_the_end, label_words
from media.turns.lexicon import Lexicon, lexicon_of, words_of

SPECULATE = 0.08
"""Seconds of silence after which recognition is asked for the words. Shorter gaps are the stops inside words."""

# The waits, in seconds of silence after which the turn is over. Whole words are answered within 350 ms; where it is not
# clear whether the caller has finished they get about twice as long, and plainly unfinished words get long enough that
# most callers have gone on.
COMPLETE = 0.25
"""The words are a whole sentence, a question or an answer."""
REQUESTED = 0.3
"""The words are a whole question or request, though recognition has put no mark behind them."""
OFTEN_PAUSES = 0.35
"""The words are whole, but this caller often pauses between sentences."""
LIKELY = 0.36
"""The words may well be all that the caller says."""
CLAUSE = 0.4
"""The words are a clause, which may be followed by another."""
UNSURE = 0.5
"""The words say nothing about whether the caller has finished."""
PAUSED_BEFORE = 1.8
"""
The last three are so many times as long once the caller has paused in this turn and gone on. In recordings of people,
the first pause of a turn is its end in 27 of 36 cases, and a later one in 13 of 57.
"""
OPENING = 0.7
"""The caller has greeted, or said only what opens an answer. Nearly all go on sooner, and nobody takes the line for
lost."""
ADDRESS = 0.9
"""The agent asked for an address or a number, which has parts, and people stop between them."""
UNFINISHED = 1.2
"""The words are plainly unfinished, or the caller hesitates, spells something out or asks for time."""
LONGEST = 1.2
"""No wait is longer: a caller who has finished after all takes a longer silence for a lost line."""
SHORTEST = 0.2
"""No wait is shorter: quick speakers make stops of nearly this length between two sentences."""

TELEPHONE_DIGITS = 10
"""The longest of the numbers that people spell out without being asked for one has about so many digits."""
COUNTED_PAUSE = 0.2
"""Seconds of the shortest pause that counts as one: shorter ones lie between two words."""
PAUSES_KNOWN = 3
"""The caller has gone on after so many pauses: they often pause."""
PAUSES_KEPT = 5
"""The middle one of the last so many pauses counts, so that a single long stop does not make every turn slow."""

_BY_FORM = frozenset(("answer", "dictated"))
"""The observations that do not depend on what the words mean."""
_UNSURE_STOP = re.compile(r"(?<![.。])[.。]([\"'»”’)]*)$")
"""One full stop at the end; three of them are a hesitation."""
_HALF_OF_THE_DAY = re.compile(r"\b([ap])\.? m\b\.?$")
_DRAWN_OUT = re.compile(r"([a-z])\1{2,}")
_WORD = re.compile(r"[a-z0-9'@.-]*[a-z0-9'@]")

_english = lexicon_of("en")
assert _english is not None
_ENGLISH: Lexicon = _english
_DANGLING = _ENGLISH.unfinished
_MAY_END = _ENGLISH.may_end | {"well", "anyway"}
_DANGLING_PAIRS = frozenset(
    ("tell me", "give me", "show me", "send me", "you please", "know what", "think that", "i'd rather", "i mean")
)
_HESITATING = ("...", "…", ",", "-", "—", ":")
"""The marks at the end of words that go on."""
_HESITATION = frozenset("well like so anyway".split()).union(*_ENGLISH.tables["pauses.hesitations"])
_WAIT_FOR_ME = re.compile(
    r"^((just |give me )?(one|a) (second|moment|minute|sec)|let me (see|think|check|look|find)|hang on|hold on|wait)\b"
)
_LEADS = frozenset("and but so okay ok yes yeah no well um uh oh hi hello hey right sorry great thanks".split())
_WH = frozenset("what when where who whom whose which why how".split())
_QUESTION = _WH | frozenset(
    "is are was were do does did can could will would should may have what's where's who's when's how's".split()
)
_SUBJECTS = frozenset("i we he she they you it the my our".split())
_ANSWERS = frozenset(
    """
    yes yeah yep yup no nope sure okay ok right correct exactly please thanks hello hi goodbye bye maybe never
    sorry pardon monday tuesday wednesday thursday friday saturday sunday today tomorrow morning afternoon evening
    """.split()
)
_WHOLE = frozenset(
    (
        "thank you,thank you very much,thanks a lot,that's all,that's it,that's right,that's fine,sounds good,"
        "that sounds good,that works,go ahead,i don't know,i don't think so,i think so,i guess so,of course,i see"
    ).split(",")
)
_DIGITS = frozenset("zero oh one two three four five six seven eight nine double triple".split())
_SMALL = frozenset("on at in the this next for it it's is that's not about around by just a little maybe only".split())
"""Words that may stand before the day in an answer: "on Monday"."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the words make a whole turn."""

    wait: float
    """Seconds of silence after which the turn is over."""
    complete: bool
    """The words alone make a whole turn."""
    why: str
    """The observations about the words."""
    by_form: bool = False
    """They are whole by their form, whatever they mean: a whole answer, or all that was to be dictated."""
    settled: bool = False
    """They leave nothing to the sound of the turn: they are plainly unfinished, dictated, or whole by their form."""


class Endpointing:
    """
    Judges pauses, and learns from those after which the caller went on.

    In other languages than English it knows fewer words: those of the language's ``Lexicon``, if there is one.
    """

    def __init__(self, language: str = "en") -> None:
        self._lexicon = lexicon_of(language)
        self._pauses: deque[float] = deque(maxlen=PAUSES_KEPT)
        """The last pauses after which the caller went on; seconds."""

    def change_language(self, language: str) -> None:
        """The caller goes on in another language. How they pause stays known."""
        self._lexicon = lexicon_of(language)

    def resumed_after(self, pause: float) -> None:
        """The caller went on after a pause of so many seconds. After a very long one they began something new."""
        if SPECULATE <= pause <= 1.5 * LONGEST:
            self._pauses.append(min(pause, LONGEST))

    def judge(
        self, text: str, *, agent_said: str = "", stop_counts: bool = True, has_paused: bool = False
    ) -> Judgement:
        """
        Decide how long to wait after these words; ``agent_said`` is what they may be an answer to.

        ``stop_counts``: a full stop at the end means that the sentence is over. ``has_paused``: the caller has paused
        in this turn before, and gone on.
        """
        english = self._lexicon is _ENGLISH
        text = text if stop_counts else _UNSURE_STOP.sub(r"\1", text.rstrip())
        wait, why = _base_wait(text, agent_said) if english else _wait_by_lists(text, agent_said, self._lexicon)
        settled = wait >= ADDRESS or why in _BY_FORM
        if has_paused and LIKELY <= wait <= UNSURE:
            wait *= PAUSED_BEFORE
        if self._pauses and wait > COMPLETE:
            usual = sorted(self._pauses)[len(self._pauses) // 2]
            wait = max(wait, min(wait * 1.5, usual * 1.25))
        elif len(self._pauses) >= PAUSES_KNOWN:
            wait = OFTEN_PAUSES
        words_wait = min(max(wait, SHORTEST), LONGEST)
        return Judgement(words_wait, wait <= OFTEN_PAUSES, why, why in _BY_FORM, settled)


def _base_wait(text: str, agent_said: str) -> tuple[float, str]:
    lowered = text.lower().replace("’", "'").strip()
    words = [_DRAWN_OUT.sub(r"\1\1", word.rstrip(".")) for word in _WORD.findall(_HALF_OF_THE_DAY.sub(r"\1m", lowered))]
    if not words:
        return UNSURE, "no words"
    expectation = expectation_of(agent_said, _ENGLISH)
    if lowered.endswith(_HESITATING):
        return UNFINISHED, "hesitating"
    if _WAIT_FOR_ME.match(lowered):
        return UNFINISHED, "wants time"
    if dictated := _while_dictating(text, expectation, _ENGLISH):
        return dictated
    if expectation.kind not in _NEVER_SPELLED and 1 < _count_single(words) < TELEPHONE_DIGITS:
        return UNFINISHED, "spelling out"
    if lowered.endswith(("?", "!")):
        return _after_a_question_mark(words)
    if agent_said and _only_opens(text, expectation, _ENGLISH):
        goes_on = words[-1] in _HESITATION or " ".join(words[-2:]) in _DANGLING_PAIRS
        return (UNFINISHED, "hesitating") if goes_on else (OPENING, "only opens")
    return _after_dangling_words(words, lowered) or _after_a_clause(words, lowered, expectation)


_NEVER_SPELLED = frozenset((Kind.DATE, Kind.BIRTH, Kind.TIME, Kind.CHOICE))
"""Answers that may have two numbers in them: "at 2 30"."""
_WITH_PARTS = DICTATED | {Kind.DATE, Kind.BIRTH, Kind.NAME, Kind.ADDRESS}
"""Where the agent asks for one of these, "sure" only opens the answer."""


def _while_dictating(text: str, expectation: Expectation, lexicon: Lexicon) -> tuple[float, str] | None:
    """Judge an answer that has a form; None if these words do not begin one."""
    match progress(text, expectation, lexicon):
        case Progress.GOES_ON:
            return UNFINISHED, "dictating"
        case Progress.MAY_END:
            return ADDRESS, "dictated, perhaps not all"
        case Progress.COMPLETE:
            return COMPLETE, "dictated"
        case Progress.NONE:
            return None


def _only_opens(text: str, expectation: Expectation, lexicon: Lexicon) -> bool:
    """
    Whether the words greet or lead to what the caller is about to say, and do nothing else.

    Not where the agent has said nothing yet: people who answer the telephone greet, and wait for an answer.
    """
    words = words_of(text)
    openers: list[tuple[str, ...]] = []
    leads = at = 0
    while at < len(words):
        if length := lexicon.length_at("pauses.openers", words, at):
            openers.append(words[at : at + length])
        else:
            phrase = lexicon.split(words[at:])[0]
            length = len(phrase.words)
            if phrase.kind not in ("murmur", "nod", "agreement", "address"):
                return False
            leads += phrase.kind == "agreement"
        at += length
    agrees_only = leads > 0 and expectation.kind in _WITH_PARTS and not expectation.confirms
    # "Hello, hello" asks whether somebody is there.
    return len(set(openers)) == len(openers) > 0 or (not openers and agrees_only)


def _after_a_question_mark(words: Sequence[str]) -> tuple[float, str]:
    open_ended = words[-1] in _DANGLING - _MAY_END or " ".join(words[-2:]) in _DANGLING_PAIRS
    return (LIKELY, "dangling, but asked") if open_ended else (COMPLETE, "question")


def _after_dangling_words(words: Sequence[str], lowered: str) -> tuple[float, str] | None:
    """Judge words whose last one seldom ends a sentence; None if it is another word, or these are whole."""
    last, pair = words[-1], " ".join(words[-2:])
    hesitates = last in _HESITATION
    if not hesitates and last not in _DANGLING and pair not in _DANGLING_PAIRS:
        return None
    stopped = lowered.endswith(".")
    stranded = is_stranded(words)
    if ends_whole(words) or (stopped and stranded):
        return None
    if stranded:
        return UNSURE, "a question that may go on"
    if stopped and last in _MAY_END and len(words) >= 3 and not promises_verb(words):
        return LIKELY, "dangling, but a sentence"
    return UNFINISHED, "hesitating" if hesitates else "dangling"


def _after_a_clause(words: Sequence[str], lowered: str, expectation: Expectation) -> tuple[float, str]:
    asked = expectation.asked
    begins = next((index for index, word in enumerate(words) if word not in _LEADS), 0)
    first, second = words[begins], words[begins + 1] if begins + 1 < len(words) else ""
    asks = first in _QUESTION and not (first in _WH and second in _SUBJECTS) and len(words) - begins >= 3
    short = _is_answer(words)
    if not short and not expectation.confirms and _has_more_parts(words[begins:], expectation):
        return ADDRESS, "an answer with parts"
    if short and (asked or lowered.endswith(".")):
        return COMPLETE, "answer"
    if short and not asks:
        return LIKELY, "short answer"
    if lowered.endswith("."):
        return (COMPLETE, "sentence") if len(words) >= 3 or asked else (LIKELY, "short sentence")
    if asks:
        return REQUESTED, "question without a mark"
    if words[-1] == "please" and len(words) >= 2:
        return REQUESTED, "request"
    if expectation.kind is Kind.CHOICE and len(words) <= 4 and words[-1] in expectation.words:
        return COMPLETE, "a choice"
    if 0 < begins < len(words) <= 3:
        # "yes my husband": it is not clear whether that is all.
        return UNSURE, "more than an answer"
    if expectation.kind is Kind.OPEN and _is_number(words):
        return REQUESTED, "a number"
    if asked and len(words) <= 4:
        return LIKELY, "answers what was asked"
    if len(words) >= 4 and first not in _WH:
        return CLAUSE, "clause without a mark"
    return UNSURE, "a few words"


def _is_answer(words: Sequence[str]) -> bool:
    """Whether these few words are an answer that nothing needs to follow: "yes please", "on Monday", "no I'm not"."""
    if " ".join(words) in _WHOLE:
        return True
    if len(words) <= 3 and words[-1] in _ANSWERS and all(word in _ANSWERS | _LEADS | _SMALL for word in words):
        return True
    rest = list(words)
    while rest and (rest[0] in _LEADS or rest[0] in _ANSWERS):
        del rest[0]
    if len(words) <= 4 and rest != list(words) and " ".join(rest) in WHOLE_PAIRS:
        return True
    kinds = {phrase.kind for phrase in _ENGLISH.split(tuple(words))}
    return kinds <= _SAYS_ALL and kinds != {"address"}


def _is_number(words: Sequence[str]) -> bool:
    """Whether the words are one number, perhaps behind a small word: "about 5"."""
    return (words[-1].isdecimal() or words[-1] in _DIGITS) and all(word in _SMALL for word in words[:-1])


def _has_more_parts(words: Sequence[str], expectation: Expectation) -> bool:
    return expectation.kind is Kind.ADDRESS or (expectation.whole and len(words) == 1)


_SAYS_ALL = frozenset(
    (
        "murmur",
        "nod",
        "agreement",
        "go_on",
        "thanks",
        "farewell",
        "closing",
        "presence",
        "objection",
        "refusal",
        "address",
    )
)
"""The lists of phrases of which a whole answer may consist."""
_SHORT_ANSWERS = frozenset(
    (Label.AGREEMENT, Label.THANKS, Label.PRESENCE_CHECK, Label.FAREWELL, Label.REFUSAL, Label.OBJECTION)
)


def _wait_by_lists(text: str, agent_said: str, lexicon: Lexicon | None) -> tuple[float, str]:
    """Judge words of another language than English by its lists and by the marks of recognition."""
    words = words_of(text)
    if not words:
        return UNSURE, "no words"
    expectation = expectation_of(agent_said, lexicon) if lexicon is not None else NOTHING
    asked = expectation.asked or asks_at_the_end(agent_said)
    marked = text.rstrip()
    label = label_words(text, lexicon) if lexicon is not None else Label.TAKES_TURN
    if marked.endswith(_HESITATING):
        return UNFINISHED, "hesitating"
    if label is Label.HOLD_REQUEST:
        return UNFINISHED, "wants time"
    if lexicon is not None and (early := _wait_by_form(text, words, agent_said, lexicon)):
        return early
    if label in _SHORT_ANSWERS:
        return (COMPLETE, "answer") if asked or marked.endswith((".", "?", "!")) else (LIKELY, "short answer")
    if _spells_out(words):
        return UNFINISHED, "spelling out"
    if marked.endswith((*QUESTION_MARKS, "!")):
        return COMPLETE, "question"
    if lexicon is not None and words[-1] in lexicon.unfinished:
        stopped = marked.endswith(".") and words[-1] in lexicon.may_end and len(words) >= 3
        return (LIKELY, "dangling, but a sentence") if stopped else (UNFINISHED, "dangling")
    return _wait_by_length(words, marked, label, asked=asked)


def _wait_by_form(text: str, words: Sequence[str], agent_said: str, lexicon: Lexicon) -> tuple[float, str] | None:
    """Judge words that are dictated, that open an answer, or after which the caller is looking for others."""
    expectation = expectation_of(agent_said, lexicon)
    if dictated := _while_dictating(text, expectation, lexicon):
        return dictated
    if not text.rstrip().endswith((*QUESTION_MARKS, "!", ".")) and (words[-1],) in lexicon.tables["pauses.hesitations"]:
        return UNFINISHED, "hesitating"
    is_asked = text.rstrip().endswith(tuple(QUESTION_MARKS))
    opens = agent_said and not is_asked and _only_opens(text, expectation, lexicon)
    return (OPENING, "only opens") if opens else None


def _wait_by_length(words: Sequence[str], marked: str, label: Label, *, asked: bool) -> tuple[float, str]:
    if marked.endswith((".", "。")):
        return (COMPLETE, "sentence") if len(words) >= 3 or asked else (LIKELY, "short sentence")
    if label is Label.QUESTION:
        return REQUESTED, "question without a mark"
    if asked and len(words) <= 4:
        return LIKELY, "answers what was asked"
    return (CLAUSE, "clause without a mark") if len(words) >= 4 else (UNSURE, "a few words")


def _spells_out(words: Sequence[str]) -> bool:
    """Whether the words end with single digits or letters that are not a whole number yet: "0 1", "M A R"."""
    alone = list(takewhile(lambda word: len(word) == 1, reversed(words)))
    # Two short words are no letters: French "il y a".
    return 1 < len(alone) < TELEPHONE_DIGITS and (len(alone) > 2 or all(word.isdigit() for word in alone))


def _count_single(words: Sequence[str]) -> int:
    """Count the single digits or letters with which the words end, or the digits of the groups: "555-123", "5 5 5"."""
    groups = list(takewhile(lambda word: _is_single(word) or word.replace("-", "").isdigit(), reversed(words)))
    # One number is a number: "room 12", "it's 42".
    grouped = len(groups) > 1 or any("-" in group for group in groups)
    return sum(1 if _is_single(group) else len(group.replace("-", "")) for group in groups) if grouped else 0


def _is_single(word: str) -> bool:
    return word in _DIGITS or (len(word) == 1 and word not in "ai")
