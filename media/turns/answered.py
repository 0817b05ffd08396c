"""Judges by the first words on an outbound call who has answered it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from enum import Enum, StrEnum, auto
from functools import lru_cache

from media.turns.clock import RATE_HZ
from media.turns.commands import Command, Noted
from media.turns.labels import QUESTION_MARKS
from media.turns.lexicon import Lexicon, lexicon_of, words_of
from media.turns.options import ConversationOptions
from media.turns.utterance import Utterance

_GREETS = frozenset(("presence", "nod", "agreement", "murmur", "go_on", "address"))
"""The kinds of phrases that a hello is made of: "hello", "yes?", "mm-hm", "go ahead"."""
LONGEST_NAME = 4
"""Words of a name or a company's name in a hello: "Acme Dental, Julie speaking" has three."""
LONGEST_WITHOUT_LIST = 2
"""Words that are taken for a hello in a language without lists."""


def is_hello(text: str, lexicon: Lexicon | None, *, unfinished: bool = False) -> bool:
    """
    Whether these words answer the telephone and no more: a hello, a name, or a question who is calling.

    The greeting of the agent is the answer to them. ``unfinished``: the speaker is still speaking, so that "who" may be
    the beginning of "who is this?".
    """
    words = words_of(text)
    if lexicon is None:
        return 0 < len(words) <= LONGEST_WITHOUT_LIST
    names = 0
    says_name = complete = False
    capitals = _capitalised(text)
    while words:
        if unfinished and any(words == asked[: len(words)] for asked in lexicon.openings["asks_who"]):
            return True
        phrase = lexicon.split(words)[0]
        asked, named = lexicon.words_after("asks_who", words), lexicon.words_after("gives_name", words)
        rest = min((after for after in (asked, named) if after is not None), key=len, default=words)
        if phrase.kind and len(phrase.words) >= len(words) - len(rest):
            if phrase.kind not in _GREETS:
                return False
            complete, rest = True, words[len(phrase.words) :]
        elif rest is not words:
            says_name |= rest is named
            complete = rest is asked or words[len(words) - len(rest) - 1] not in lexicon.unfinished
        else:
            if words[0] in lexicon.unfinished or (capitals is not None and words[0] not in capitals):
                return False
            complete, names, rest = True, names + 1, words[1:]
        words = rest
    return complete and names <= (LONGEST_NAME if says_name or capitals is not None else 1)


def _capitalised(text: str) -> frozenset[str] | None:
    """The words that are written with a capital letter; None if recognition writes none."""
    found = frozenset(word for token in text.split() if token[:1].isupper() for word in words_of(token))
    return found or None


# -- people and machines ----------------------------------------------------------------------------------

MONOLOGUE = 15.0
"""Seconds of voice from the start of the call, without a pause as long as between turns, that only a recording has:
people who answer say a few words and wait. With a sign of an announcement less is enough."""
MONOLOGUE_WITH_SIGN = 6.0
"""The same with one sign of an announcement. "You've reached Acme, this is Julie, how can I help?" takes 4 s."""
MONOLOGUE_WORDS = 2.0
"""Words a second that a monologue has at least: a noise in which recognition finds some words is none."""
SIGNS = 2
"""Signs that are an announcement together, though each may be said by a person."""
KEYS = 2
"""Phrases of a menu that are one: it offers at least two keys, and people speak of one ("it said press nine")."""
_MACHINE_LISTS = ("screening", "voicemail", "menu", "voicemail_signs", "person")
_BEEP = re.compile(r"[\[(*]\s*beep", re.IGNORECASE)
"""The beep, as some recognisers write it."""


_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])\s+")


class Answerer(StrEnum):
    """Who has answered the call. The names go on record."""

    PERSON = "person"
    VOICEMAIL = "voicemail"
    """An answering machine or a mailbox."""
    SCREENING = "screening"
    """The telephone's assistant, which asks who is calling and may put the call through."""
    MENU = "menu"
    """A menu of keys."""
    NOBODY = "nobody"
    """No voice was heard until the agent has asked whether somebody is there."""


def judge_words(text: str, lexicon: Lexicon | None, *, monologue: float = 0.0) -> Answerer | None:
    """
    Judge by the first words on a call which machine has answered it; None if it is none, or not clear yet.

    ``monologue``: seconds of voice from the start of the call without a pause as long as between turns. To be wrong
    about a person is much worse than to talk to a machine: what a person might say too is no machine.
    """
    words = words_of(text)
    if lexicon is None or not words:
        return None
    found = _count_kinds(words, lexicon)
    if found["screening"]:
        return Answerer.SCREENING
    stated = _count_stated(text, lexicon)
    if stated["voicemail"] or _BEEP.search(text):
        return Answerer.VOICEMAIL
    if stated["menu"] >= KEYS:
        return Answerer.MENU
    signs = found["voicemail_signs"]
    if found["person"] or lexicon.mentions("asks_who", words) or text.rstrip().endswith(tuple(QUESTION_MARKS)):
        return None
    enough = MONOLOGUE_WITH_SIGN if signs else MONOLOGUE
    talks_on = monologue >= enough and len(words) >= MONOLOGUE_WORDS * enough
    return Answerer.VOICEMAIL if signs >= SIGNS or talks_on else None


def may_be_announcement(text: str, lexicon: Lexicon | None) -> bool:
    """Whether an announcement may have begun with these words: more of them will tell."""
    found = _count_kinds(words_of(text), lexicon) if lexicon is not None else Counter()
    return bool(found["voicemail_signs"]) and not text.rstrip().endswith(tuple(QUESTION_MARKS))


@lru_cache(maxsize=256)
def _count_kinds(words: tuple[str, ...], lexicon: Lexicon) -> Counter[str]:
    """Count the phrases of each list. The longest at a place counts: no machine says "to leave a message"."""
    found: Counter[str] = Counter()
    while words:
        rests = [(rest, name) for name in _MACHINE_LISTS if (rest := lexicon.words_after(name, words)) is not None]
        rest, name = min(rests, key=lambda found: len(found[0]), default=(words[1:], ""))
        if name:
            found[name] += 1
        words = rest
    return found


def _count_stated(text: str, lexicon: Lexicon) -> Counter[str]:
    """Count the phrases outside of questions: a person may ask "leave a message?" or "press one?"."""
    stated: Counter[str] = Counter()
    for sentence in _SENTENCE_END.split(text):
        if not sentence.endswith(tuple(QUESTION_MARKS)):
            stated += _count_kinds(words_of(sentence), lexicon)
    return stated


# -- on a call ----------------------------------------------------------------------------------------------

ANNOUNCEMENT_OVER = 2.0
"""Seconds of silence after which an announcement is over: sentences are 1 s apart, and the beep comes within 2 s."""
SCREENING_OVER = 0.8
"""The same for the question of a telephone's assistant, which waits for an answer and cuts off a late one."""
SUSPICIOUS = 1.2
"""Seconds of silence in which an announcement that may have begun can go on; then it is taken for a person."""
LONGEST_ANNOUNCEMENT = 60.0
"""Seconds of voice after which a machine is not listened to any longer: it repeats itself, or plays music."""
OVERHEARD = 0.5
"""Seconds of silence after which what an assistant says into the agent's introduction is over."""
PERSON_COMES = 30.0
"""Seconds that the agent waits for a person after its introduction: the telephone rings for about so long."""


class AnsweredMove(Enum):
    """The consequence of who has answered."""

    TALK = auto()
    """It is a person, or not known: the conversation takes its course."""
    LISTEN = auto()
    """A machine is speaking: say nothing."""
    IGNORE = auto()
    """A machine has said something that needs no answer."""
    INTRODUCE = auto()
    """An assistant asks who is calling: say so, and wait for the person."""
    LEAVE_MESSAGE = auto()
    HANG_UP = auto()


class Answering:
    """
    Finds out who has answered an outbound call, and says what follows from it.

    It judges until the callee has answered the greeting with words that no machine says. Commands go to ``emit``.
    """

    def __init__(self, options: ConversationOptions, emit: Callable[[Command], None]) -> None:
        self._options = options
        self._lexicon = lexicon_of(options.language)
        self._emit = emit
        self.judging = options.outbound
        """It is not known yet who has answered, or it is a machine that is still on the line."""
        self.kind: Answerer | None = None
        """Who has answered; None while it is not known."""
        self.introduced = False
        """The agent has told an assistant who is calling, and waits for the person."""
        self._said: list[str] = []
        """What was said in earlier utterances."""

    def stop(self) -> None:
        """Nothing more is to be found out."""
        self.judging = False

    @property
    def machine(self) -> bool:
        """A machine is on the line that gets no reply."""
        return self.judging and self.kind not in (None, Answerer.PERSON, Answerer.NOBODY)

    def judge(self, utterance: Utterance, position: int, now: float, *, over_agent: bool) -> AnsweredMove:
        """Say what follows from the words so far; ``over_agent``: they are said while the agent speaks."""
        if not self.judging:
            return AnsweredMove.TALK
        monologue = (position - utterance.onset) / RATE_HZ if not self._said else 0.0
        text = " ".join([*self._said, utterance.text])
        kind = judge_words(text, self._lexicon, monologue=monologue)
        pause = utterance.pause
        silence = pause.silence(position) if pause is not None and pause.words is not None else 0.0
        if self.introduced and kind in (None, Answerer.SCREENING, Answerer.MENU):
            return self._judge_after_introduction(utterance, silence, over_agent=over_agent)
        if kind is not None and kind is not self.kind:
            self._found(kind, text, now)
        if not self.machine:
            return AnsweredMove.TALK
        if self.kind is Answerer.SCREENING:
            return AnsweredMove.INTRODUCE if silence >= SCREENING_OVER else AnsweredMove.LISTEN
        if silence < ANNOUNCEMENT_OVER and monologue < LONGEST_ANNOUNCEMENT:
            return AnsweredMove.LISTEN
        leaves = self.kind is Answerer.VOICEMAIL and self._options.voicemail_message.strip()
        return AnsweredMove.LEAVE_MESSAGE if leaves else AnsweredMove.HANG_UP

    def _judge_after_introduction(self, utterance: Utterance, silence: float, *, over_agent: bool) -> AnsweredMove:
        words = words_of(utterance.text)
        if self._lexicon is None or not words or not silence:
            return AnsweredMove.LISTEN if over_agent else AnsweredMove.TALK
        ignore = AnsweredMove.IGNORE if silence >= OVERHEARD or not over_agent else AnsweredMove.LISTEN
        if self._lexicon.mentions("screening", words) or over_agent:
            return ignore
        if self._lexicon.split(words)[0].kind == "presence" or self._lexicon.mentions("asks_who", words):
            return AnsweredMove.TALK
        waits = self._lexicon.mentions("screening_waits", words)
        return ignore if waits or utterance.over_agent else AnsweredMove.TALK

    def suspects(self, utterance: Utterance, position: int) -> bool:
        """Whether an announcement may have begun that still has time to go on."""
        pause = utterance.pause
        if not self.judging or pause is None or pause.silence(position) >= SUSPICIOUS:
            return False
        return may_be_announcement(utterance.text, self._lexicon)

    def introduce(self) -> str:
        """Return the words that tell an assistant who is calling: the greeting without its questions."""
        self.introduced = True
        self._said.clear()
        sentences = _SENTENCE_END.split(self._options.greeting.strip())
        stated = [sentence for sentence in sentences if not sentence.endswith(tuple(QUESTION_MARKS))]
        return " ".join(stated or sentences)

    def keep(self, text: str) -> None:
        """An utterance is over."""
        if self.judging:
            self._said.append(text)

    def talked(self, text: str, now: float) -> None:
        """Somebody has spoken to the agent, after its greeting or its introduction, and no machine was recognised."""
        if self.judging and not may_be_announcement(text, self._lexicon):
            self._found(Answerer.PERSON, text, now)
            self.judging = False

    def heard_nobody(self, now: float) -> None:
        """No voice was heard at all."""
        if self.judging and self.kind is None and not self._said:
            self._found(Answerer.NOBODY, "", now)

    def _found(self, kind: Answerer, text: str, now: float) -> None:
        self.kind = kind
        self._emit(Noted("answered", now, {"kind": kind.value, **({"text": text.strip()} if text else {})}))
        if self._options.talks_to_machines and kind is Answerer.VOICEMAIL:
            self.judging = False
