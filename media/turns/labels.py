"""
Labels the words that the caller says while the agent is speaking, waiting to speak, or taking leave.

``label_words`` answers with a label. What follows from a label is in ``media.turns.overlap_table``.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from enum import Enum, auto
from functools import lru_cache

from media.turns.lexicon import Lexicon, Phrase, words_of

MOST_MURMURED = 4
"""A caller who agrees in four phrases ("yeah okay sure right") is still listening; one with five wants the floor."""
LONGEST_NAMED = 4
"""Words that may follow thanks or a farewell and belong to them: "for all your help", "on Tuesday at ten"."""
STRAY_WORDS = 2
"""Words on no list that a farewell may contain: a name, or a word that was recognised wrongly."""
SHORTEST_QUESTION = 3
"""Words of the shortest question that is known by its first word alone: "what time is", not "is it"."""
SHORTEST_ECHO = 3
"""Words of the shortest text that counts as the agent's own words coming back: shorter ones are said by chance."""
SHORTEST_ECHO_OF_QUESTION = 5
"""The same while the agent asks: callers answer with the agent's words ("Wednesday at nine")."""
BEGUN_ECHO = 2
"""The same while the voice goes on: more words will tell, and the agent waits for them."""
ECHO_SHARE = 0.75
"""The share of the caller's words that must be the agent's. Recognition gets some words of an echo wrong."""
ALIKE = 0.75
"""How alike two words are that may be the same, one of them misheard: "anna" and "hannah"."""
SHORTEST_MISHEARD = 6
"""Words of the shortest echo that may have misheard words in it: "Thursday at ten" corrects "Tuesday at ten"."""
JUST_SAID = 5
"""The agent's last words of which one may come back before the others."""
WORDS_UNTIL_ANSWER = 4
"""Words that the agent says after a question before an answer to it begins, at three a second."""
QUESTION_MARKS = "?？؟"
"""The marks at the end of a question, in Latin, Chinese and Arabic writing. Spanish has another one, "¿", before it."""
SHORT_WITHOUT_LIST = 1
"""Words that are taken for a murmur in a language without lists."""


class Label(Enum):
    """The act that the caller's words perform."""

    NOISE = auto()
    """There are none: it was a cough or another noise."""
    ECHO = auto()
    """They are the agent's own words, come back from the caller's loudspeaker."""
    MURMUR = auto()
    """They show that the caller is listening, or thinking: "mm-hm", "I see"."""
    AGREEMENT = auto()
    """They agree: "yes", "that's fine"."""
    THANKS = auto()
    PRESENCE_CHECK = auto()
    """They greet or ask whether anybody is there: "hello?", "are you there?"."""
    FAREWELL = auto()
    REFUSAL = auto()
    """They decline politely: "no, thank you"."""
    OBJECTION = auto()
    """They object, do not understand, or ask the agent to be silent: "no", "what?", "stop"."""
    HOLD_REQUEST = auto()
    """They ask for a moment: "hold on", "let me get my card"."""
    CORRECTION = auto()
    """They correct something: "I meant Tuesday"."""
    QUESTION = auto()
    ANSWER = auto()
    """They say yes to what the agent has just asked."""
    TAKES_TURN = auto()
    """They say anything else."""


@dataclass(frozen=True, slots=True)
class AgentSpeech:
    """The agent's words around those of the caller."""

    heard: str = ""
    """The words that the caller has heard."""
    coming: str = ""
    """The words of the agent's turn that are still to come."""
    leaving: bool = False
    """The agent has said goodbye."""
    asked: bool = False
    """It has just asked something, when the caller began to speak or by the time that they stopped."""


def asks_at_the_end(heard: str) -> bool:
    """Whether the last that was heard is a question, or words that followed it before it could be answered."""
    end = max(heard.rfind(mark) for mark in QUESTION_MARKS)
    return end >= 0 and len(heard[end + 1 :].split()) <= WORDS_UNTIL_ANSWER


def _has_question(text: str) -> bool:
    return any(mark in text for mark in QUESTION_MARKS)


SILENT = AgentSpeech()
"""The agent says nothing."""

_PATIENT = frozenset((Label.MURMUR, Label.AGREEMENT, Label.THANKS, Label.PRESENCE_CHECK, Label.FAREWELL))
"""What the words before the last one may do while the caller speaks, so that it is worth waiting for another word."""

_BY_PRIORITY = (
    ("objection", Label.OBJECTION),
    ("hold", Label.HOLD_REQUEST),
    ("farewell", Label.FAREWELL),
    ("refusal", Label.REFUSAL),
    ("presence", Label.PRESENCE_CHECK),
    ("thanks", Label.THANKS),
    ("agreement", Label.AGREEMENT),
    ("go_on", Label.AGREEMENT),
)
"""If phrases of several kinds are said together, the first of these counts. All other phrases are murmurs."""


def label_words(
    text: str,
    lexicon: Lexicon | None,
    agent: AgentSpeech = SILENT,
    *,
    unfinished: bool = False,
    decide: bool = False,
) -> Label:
    """
    Say what the caller's words do.

    ``unfinished``: the caller is still speaking, so more words may follow, and the last one may be recognised wrongly.
    ``decide``: it counts nevertheless, because there is no time to wait for more.
    """
    words = words_of(text)
    if not words:
        return Label.NOISE
    listed = len(words) == 1 and lexicon is not None and words in lexicon.phrases
    if not listed and _is_echo(words, agent, unfinished=unfinished):
        return Label.ECHO
    if lexicon is None:
        return Label.MURMUR if len(words) <= SHORT_WITHOUT_LIST else Label.TAKES_TURN
    label = _label_listed(text, words, lexicon, agent, unfinished=unfinished)
    if unfinished and not decide and label is Label.TAKES_TURN and len(words) > 1:
        # "Okay, Sam" may become "okay, thank you".
        before = _label_listed("", words[:-1], lexicon, agent, unfinished=True)
        return before if before in _PATIENT else label
    return label


def _label_listed(
    text: str, words: tuple[str, ...], lexicon: Lexicon, agent: AgentSpeech, *, unfinished: bool
) -> Label:
    """Label words with the lists of a language."""
    phrases = lexicon.split(words, unfinished=unfinished)
    kinds = {phrase.kind for phrase in phrases}
    if kinds == {"address"}:
        return Label.FAREWELL if agent.leaving else Label.TAKES_TURN
    if "farewell" in kinds and _is_only_farewell(words, phrases, lexicon):
        return Label.FAREWELL
    if "" in kinds or ("closing" in kinds and not agent.leaving):
        return _label_sentence(text, words, phrases, lexicon)
    if _is_asked(text) and words[-1] in lexicon.unclear and kinds <= _LEADS:
        return Label.OBJECTION
    return _label_phrases(phrases, kinds, agent)


def _label_phrases(phrases: list[Phrase], kinds: set[str], agent: AgentSpeech) -> Label:
    """Label words that are all on the lists."""
    if phrases[-1].kind == "go_on":
        return Label.AGREEMENT
    if "closing" in kinds and not kinds & {"objection", "hold"}:
        return Label.FAREWELL
    label = next((label for kind, label in _BY_PRIORITY if kind in kinds), Label.MURMUR)
    if label in (Label.MURMUR, Label.AGREEMENT):
        if sum(phrase.kind != "address" for phrase in phrases) > MOST_MURMURED:
            return Label.TAKES_TURN
        if agent.asked and kinds & {"agreement", "nod"}:
            return Label.ANSWER
    return label


def _label_sentence(text: str, words: tuple[str, ...], phrases: list[Phrase], lexicon: Lexicon) -> Label:
    """Label words of which some are on no list."""
    if _is_asked(text):
        return Label.HOLD_REQUEST if phrases[-1].kind == "hold" else Label.QUESTION
    for start in _clause_starts(phrases):
        rest = lexicon.words_after("thanks_for", words[start:])
        if rest is not None and _unknown_words(rest, lexicon) <= LONGEST_NAMED and not lexicon.not_only & set(rest):
            return Label.THANKS
        if lexicon.words_after("hold_openings", words[start:]) is not None:
            return Label.HOLD_REQUEST
    if _asks_for_a_moment(words, phrases, lexicon):
        return Label.HOLD_REQUEST
    said = _without_leads(words, phrases)
    # What looks like a lead may be the opening itself: Dutch "kan" agrees, and begins "kan ik met pin betalen".
    if any(lexicon.words_after("correction_openings", part) for part in (words, said)):
        return Label.CORRECTION
    for part in (words, said):
        if len(part) >= SHORTEST_QUESTION and lexicon.words_after("question_openings", part) is not None:
            return Label.QUESTION
    return Label.OBJECTION if phrases[0].kind == "objection" else Label.TAKES_TURN


_LEADS = frozenset(("murmur", "nod", "agreement", "thanks", "presence", "address"))


def _is_asked(text: str) -> bool:
    return text.rstrip("\"'»”’) ").endswith(tuple(QUESTION_MARKS)) or "¿" in text


def _unknown_words(words: tuple[str, ...], lexicon: Lexicon) -> int:
    return sum(not phrase.kind for phrase in lexicon.split(words))


def _asks_for_a_moment(words: tuple[str, ...], phrases: list[Phrase], lexicon: Lexicon) -> bool:
    """Whether the words begin or end with a request to wait, and give a reason for it at most."""
    first = next((phrase for phrase in phrases if phrase.kind not in _LEADS), phrases[0])
    waits = first.kind == "hold" or (phrases[-1].kind == "hold" and len(phrases[-1].words) > 1)
    return waits and not any(lexicon.not_only.intersection(phrase.words) for phrase in phrases if phrase.kind != "hold")


def _without_leads(words: tuple[str, ...], phrases: list[Phrase]) -> tuple[str, ...]:
    """Return the words after those at the beginning that only lead to what is said: "okay, yes, …"."""
    start = 0
    for phrase in phrases:
        if phrase.kind not in _LEADS:
            break
        start += len(phrase.words)
    return words[start:]


def _clause_starts(phrases: list[Phrase]) -> list[int]:
    """Return the positions of the words before which only phrases of the lists stand."""
    starts = [0]
    for phrase in phrases:
        if not phrase.kind or phrase.kind == "objection":
            break
        starts.append(starts[-1] + len(phrase.words))
    return starts


def _is_only_farewell(words: tuple[str, ...], phrases: list[Phrase], lexicon: Lexicon) -> bool:
    """Whether words with a farewell among them take leave and do nothing else."""
    strays: list[str] = []
    for index, phrase in enumerate(phrases):
        if phrase.kind == "farewell":
            start = sum(len(before.words) for before in phrases[:index])
            rest = lexicon.words_after("farewell_openings", words[start:])
            if rest is not None and len(rest) <= LONGEST_NAMED and not lexicon.not_only.intersection(rest):
                break
        elif phrase.kind in ("", "hold") or (phrase.kind == "objection" and len(phrase.words) > 1):
            strays += phrase.words
    return len(strays) <= STRAY_WORDS and not lexicon.not_only.intersection(strays)


def _is_echo(words: tuple[str, ...], agent: AgentSpeech, *, unfinished: bool) -> bool:
    if unfinished and len(words) == 1:
        return words[0] in words_of(agent.heard)[-JUST_SAID:]
    shortest = SHORTEST_ECHO_OF_QUESTION if agent.asked or _has_question(agent.coming) else SHORTEST_ECHO
    if len(words) < (BEGUN_ECHO if unfinished else shortest):
        return False
    return _words_echoed(words, words_of(f"{agent.heard} {agent.coming}")) >= ECHO_SHARE * len(words)


@lru_cache(maxsize=64)
def _words_echoed(words: tuple[str, ...], said: tuple[str, ...]) -> int:
    """
    Count the words that repeat those of the agent.

    It is asked with every frame of the caller's voice, while the words of both change only now and then.
    """
    if len(words) >= SHORTEST_MISHEARD:
        words = tuple(
            word if word in said else next(iter(get_close_matches(word, said, 1, ALIKE)), word) for word in words
        )
    blocks = SequenceMatcher(None, words, said, autojunk=False).get_matching_blocks()
    # A single word in common is no part of an echo.
    return sum(block.size for block in blocks if block.size > 1)
