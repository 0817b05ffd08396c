"""
Takes numbers that must not be stored out of the facts of one stream, and says what is muted in its recording.

A number may be dictated over several turns and keys, and be recognised by its last digits only. A turn that ends in
digits is therefore held back, with what follows it, until the caller's next turn shows what they are. Without I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from calls.services import Fact, facts
from media.messages import RATE_HZ
from media.redaction.digits import Run, read_runs, tokens_of
from media.redaction.numbers import (
    Found,
    Kind,
    asked_for,
    find_numbers,
    is_card_over,
    is_dictated,
    is_social_security,
    is_telephone,
    may_begin_card,
    named_in,
    redact,
)

REDACTED = "redacted"
"""Replaces a key that was pressed."""
PRESSED = "[pressed "
"""The beginning of the words of a turn of keys."""
CALLER, AGENT = 0, 1
"""The sides of a recording."""
BEFORE, AFTER = RATE_HZ, RATE_HZ // 2
"""Samples that are muted before and after such a turn: it begins up to 0.5 s before voice activity notices it."""
_ANSWERS = 4
"""Turns of the agent that ask for nothing, after which what was asked for before counts no more."""
_WORDS_AROUND = 4
"""Words that may stand before the digits of a turn that goes on with a number: "and then it's"."""
_WORDS_BEHIND = 2
"""Words that may stand behind the digits of a turn that the next one goes on with: "okay?"."""
_SHORT = 6
"""Words of a turn without digits that does not end a dictation: "hold on, I can't read it"."""
_FOREVER = 1 << 62
_MOST_INTERRUPTIONS = 3
"""Such turns one after the other. Otherwise short answers behind a telephone number would all be held back."""
_FEWEST_HELD = 3
"""Digits for which a turn is held back that has other words. A spoken one of digits alone always is: "four." "one."."""
_MOST_HELD = 30
"""Digits that are held back: a telephone number and the longest card. More of them are no number that is read out."""
_LOST_END = (12, 18)
"""Digits that count as a card if they end in the middle of it: telephone numbers have at most 11."""
_TEXTS = ("text", "words", "said", "heard", "message")
"""The keys of an event's data that hold words."""


@dataclass(slots=True)
class _Held:
    """A fact that is held back."""

    fact: Fact
    begin: int
    end: int
    spans: list[Found]
    """The digits that are taken out if they prove to be such a number."""


class Redactor:
    """
    Redacts the facts of one stream.

    ``mute`` is called with the side, the begin and the end of what must not be heard in the recording, ``release`` with
    the position up to which nothing more will be muted. ``keep`` is called with each fact that is held back, without
    any digits: it may be stored if the process dies meanwhile.
    """

    def __init__(
        self,
        *,
        language: str,
        mute: Callable[[int, int, int], None],
        release: Callable[[int], None],
        keep: Callable[[Fact], None] = lambda fact: None,
    ) -> None:
        self._language = language
        self._mute = mute
        self._release = release
        self._keep = keep
        self._asked: Kind | None = None
        """What the caller is giving, because the agent has asked for it or they have announced it."""
        self._answers_left = 0
        self._wants_other = False
        """The agent's last question was for something else, such as a telephone number."""
        self._given = ""
        """The digits of all such numbers of this stream."""
        self._held: list[_Held] = []
        self._tail: tuple[Run, ...] = ()
        """The digits that are held back, of one turn after the other."""
        self._interruptions = 0
        """The caller's turns without digits since then."""
        self._judged_to = 0
        """The position up to which the caller's words are judged."""

    def take(self, fact: Fact, position: int) -> list[Fact]:
        """Pass a fact of the moment ``position``. Returns what may be recorded now, in its order."""
        match fact:
            case facts.TurnEnded(speaker="caller"):
                return self._caller(fact)
            case facts.TurnEnded():
                return self._agent(fact)
            case facts.EventNoted(kind="key"):
                return self._key(fact, position)
            case facts.EventNoted():
                return self._noted(fact, position)
            case facts.LanguageChanged():
                self._language = fact.language
                return [fact]
            case facts.OptedOut():
                return [msgspec.structs.replace(fact, words=self._redacted(fact.words))]
            case _:
                # What must not be late, and has no words of a person.
                return [fact]

    def finish(self) -> list[Fact]:
        """The stream is over. Returns what was held back."""
        clean = self._break_off()
        self.mute_rest()
        return clean

    def _break_off(self) -> list[Fact]:
        """The digits that are held back are not continued. Returns what was held back."""
        digits = "".join(run.digits for run in self._tail)
        is_part = may_begin_card(digits) and _LOST_END[0] <= len(digits) <= _LOST_END[1]
        is_part = is_part and not self._wants_other and not any(map(is_telephone, self._tail))
        return self._let_go(Kind.CARD if is_part else None)

    def mute_rest(self) -> None:
        """Nobody will judge what the caller has said since their last turn: they may have begun such a number."""
        self._mute(CALLER, self._judged_to, _FOREVER)

    # -- the sides ------------------------------------------------------------------------------------------

    def _agent(self, turn: facts.TurnEnded) -> list[Fact]:
        begin, end = turn.start_position or 0, turn.end_position or 0
        asked = asked_for(turn.heard or turn.said, self._asked)
        self._answers_left = _ANSWERS if asked is not self._asked else max(self._answers_left - 1, 0)
        self._asked = asked if self._answers_left else None
        found = self._find(turn.said)
        if found:
            self._mute(AGENT, begin - BEFORE, end + AFTER)
        heard = _first(found, turn.heard) if turn.said.startswith(turn.heard) else self._find(turn.heard)
        clean = msgspec.structs.replace(turn, said=redact(turn.said, found), heard=redact(turn.heard, heard))
        question = asked_for(turn.heard or turn.said, Kind.UNKNOWN)
        if self._held and question is None:
            # What the caller says next answers another question.
            earlier = self._break_off()
            self._wants_other = True
            return [*earlier, clean]
        if question is not Kind.UNKNOWN:
            self._wants_other = question is None
        if self._held:
            return self._hold(_Held(clean, begin, end, []))
        # The caller may have begun to speak before the agent's turn was over, but not before it began.
        self._release(begin - BEFORE)
        return [clean]

    def _caller(self, turn: facts.TurnEnded) -> list[Fact]:
        text, begin, end = turn.said, turn.start_position or 0, turn.end_position or 0
        runs, found = read_runs(text, self._language), self._find(text)
        if self._asked is not None and text.startswith(PRESSED):
            found = [Found(run.start, run.end, self._asked) for run in runs]
        if self._tail and runs and self._words(text, 0, runs[0].start) <= _WORDS_AROUND:
            whole = Run(tuple(piece for run in (*self._tail, runs[0]) for piece in run.pieces))
            kind = Kind.SOCIAL if is_social_security(whole) else None
            if is_card_over((*self._tail, runs[0]), is_unlikely=self._wants_other):
                kind = Kind.CARD
            if kind is None and found and found[0].start == runs[0].start:
                kind = found[0].kind
            if kind is not None:
                kept = [one for one in found if one.start >= runs[0].end]
                found = [Found(runs[0].start, runs[0].end, kind), *kept]
                return [*self._let_go(kind), *self._say(turn, found)]
        if not self._may_go_on(text, runs, found):
            return [*self._let_go(None), *self._say(turn, found)]
        spans = [Found(runs[-1].start, runs[-1].end, Kind.CARD)] if runs else []
        earlier = self._go_on(text, runs)
        self._note(text, found)
        if found:
            self._mute(CALLER, max(self._judged_to, begin - BEFORE), end + AFTER)
        return [*earlier, *self._hold(_Held(turn, begin, end, sorted([*found, *spans], key=lambda one: one.start)))]

    def _say(self, turn: facts.TurnEnded, found: list[Found]) -> list[Fact]:
        """The caller's turn is judged."""
        begin, end = turn.start_position or 0, turn.end_position or 0
        self._note(turn.said, found)
        if found:
            self._mute(CALLER, max(self._judged_to, begin - BEFORE), end + AFTER)
            self._answers_left = _ANSWERS  # what was asked for is still being given
        self._judged_to = max(self._judged_to, end)
        self._release(end)
        text = redact(turn.said, found)
        return [msgspec.structs.replace(turn, said=text, heard=text)]

    def _key(self, note: facts.EventNoted, position: int) -> list[Fact]:
        if self._asked is None:
            return self._hold(_Held(note, position, position, []))
        self._mute(CALLER, position - AFTER, position + AFTER)
        clean = _without_key(note)
        return self._hold(_Held(clean, position, position, [])) if self._held else [clean]

    def _noted(self, note: facts.EventNoted, position: int) -> list[Fact]:
        if self._asked is not None and note.kind in ("transcript-failed", "nothing-understood"):
            self._mute(CALLER, self._judged_to, position + AFTER)
        clean = self._without_numbers(note, self._redacted)
        if clean.data != note.data:
            # These words may be in no turn: they were said over the agent.
            self._mute(CALLER, self._judged_to, position + AFTER)
        if self._held or any(self._digits_in(str(clean.data[name])) for name in _TEXTS if name in clean.data):
            return self._hold(_Held(clean, position, position, []))
        return [clean]

    # -- held back ------------------------------------------------------------------------------------------

    def _may_go_on(self, text: str, runs: list[Run], found: list[Found]) -> bool:
        """Whether these words end in digits that the next turn may continue, or interrupt such a dictation shortly."""
        if not runs:
            is_dictation = sum(len(run.digits) for run in self._tail) >= _FEWEST_HELD
            is_short = self._words(text, 0, len(text)) <= _SHORT
            return is_dictation and is_short and self._interruptions < _MOST_INTERRUPTIONS
        last = runs[-1]
        is_known = any(one.overlaps(last) for one in found)
        if is_known or self._words(text, last.end, len(text)) > _WORDS_BEHIND:
            return False
        is_dictation = is_dictated(text, self._language) and not text.startswith(PRESSED)
        return len(last.digits) >= _FEWEST_HELD or bool(self._tail) or is_dictation

    def _go_on(self, text: str, runs: list[Run]) -> list[Fact]:
        """Put the digits of these words to those that are held back. Returns what need not be held back any more."""
        if not runs:
            self._interruptions += 1
            return []
        self._interruptions = 0
        goes_on = len(runs) == 1 and self._words(text, 0, runs[0].start) <= _WORDS_AROUND
        tail = (*(self._tail if goes_on else ()), runs[-1])
        earlier: list[Fact] = []
        if sum(len(run.digits) for run in tail) > _MOST_HELD:
            earlier, tail = self._let_go(None), (runs[-1],)
        self._tail = tail
        return earlier

    def _hold(self, held: _Held) -> list[Fact]:
        self._held.append(held)
        self._keep(self._without_any(held.fact))
        return []

    def _without_any(self, fact: Fact) -> Fact:
        """The fact without any digits, of which nobody knows yet what they are."""
        if isinstance(fact, facts.TurnEnded):
            said, heard = self._without_digits(fact.said), self._without_digits(fact.heard)
            return msgspec.structs.replace(fact, said=said, heard=heard)
        if isinstance(fact, facts.EventNoted):
            clean = self._without_numbers(fact, self._without_digits)
            return _without_key(clean) if fact.kind == "key" else clean
        return fact

    def _let_go(self, kind: Kind | None) -> list[Fact]:
        """What was held back is judged: its digits are such a number, or not."""
        held, self._held, self._tail, self._interruptions = self._held, [], (), 0
        clean: list[Fact] = []
        for one in held:
            fact = one.fact
            if kind is not None and isinstance(fact, facts.EventNoted):
                if fact.kind == "key":
                    self._mute(CALLER, one.begin - AFTER, one.end + AFTER)
                    fact = _without_key(fact)
                else:
                    clean_fact = self._without_numbers(fact, self._without_long_ones)
                    if clean_fact.data != fact.data:
                        self._mute(CALLER, self._judged_to, one.end + AFTER)
                    fact = clean_fact
            elif isinstance(fact, facts.TurnEnded) and fact.speaker == "caller":
                fact = self._caller_held(fact, one, kind)
            elif isinstance(fact, facts.TurnEnded):
                fact = self._agent_held(fact, one, kind)
            clean.append(fact)
        if held:
            self._release(self._judged_to)
        return clean

    def _agent_held(self, turn: facts.TurnEnded, held: _Held, kind: Kind | None) -> Fact:
        """The agent's words between the parts of a dictation, which it may have repeated."""

        def find(text: str) -> list[Found]:
            if kind is not None and is_dictated(text, self._language):
                return [Found(run.start, run.end, kind) for run in read_runs(text, self._language)]
            return self._find(text)

        if find(turn.said):
            self._mute(AGENT, held.begin - BEFORE, held.end + AFTER)
        said, heard = (redact(text, find(text)) for text in (turn.said, turn.heard))
        return msgspec.structs.replace(turn, said=said, heard=heard)

    def _caller_held(self, turn: facts.TurnEnded, held: _Held, kind: Kind | None) -> Fact:
        sure = self._find(turn.said)
        found = [Found(one.start, one.end, kind) for one in held.spans] if kind is not None else sure
        if kind is not None:
            self._note(turn.said, found)
            self._mute(CALLER, max(self._judged_to, held.begin - BEFORE), held.end + AFTER)
        self._judged_to = max(self._judged_to, held.end)
        text = redact(turn.said, found)
        return msgspec.structs.replace(turn, said=text, heard=text)

    # -- words ----------------------------------------------------------------------------------------------

    def _find(self, text: str) -> list[Found]:
        known = (self._given,) if self._given else ()
        return find_numbers(text, asked=self._asked, known=known, language=self._language)

    def _redacted(self, text: str) -> str:
        return redact(text, self._find(text))

    def _digits_in(self, text: str) -> list[Run]:
        return [run for run in read_runs(text, self._language) if len(run.digits) >= _FEWEST_HELD]

    def _without_long_ones(self, text: str) -> str:
        return redact(text, [Found(run.start, run.end, Kind.CARD) for run in self._digits_in(text)])

    def _without_digits(self, text: str) -> str:
        runs = read_runs(text, self._language)
        return redact(text, [Found(run.start, run.end, Kind.UNKNOWN) for run in runs])

    def _without_numbers(self, note: facts.EventNoted, clean: Callable[[str], str]) -> facts.EventNoted:
        data = {
            name: clean(value) if name in _TEXTS and isinstance(value, str) else value
            for name, value in note.data.items()
        }
        return msgspec.structs.replace(note, data=data)

    def _words(self, text: str, begin: int, end: int) -> int:
        return sum(begin <= token.start < end for token in tokens_of(text))

    def _note(self, text: str, found: list[Found]) -> None:
        """Remember the digits of these numbers, and what the caller has announced."""
        for run in read_runs(text, self._language):
            if any(one.start <= run.start < one.end for one in found):
                self._given = f"{self._given}{run.digits}"[-200:]
        if not found and (announced := named_in(text)) in (Kind.CARD, Kind.ACCOUNT, Kind.SOCIAL) and _ends_open(text):
            self._asked, self._answers_left = announced, _ANSWERS


def _ends_open(text: str) -> bool:
    """Whether the words announce a number that is still to come: "my card number is"."""
    words = [token.word for token in tokens_of(text)]
    return bool({*words[-_WORDS_AROUND:]} & {"is", "it's", "number", "ist", "est", "es", "e"})


def _first(found: list[Found], heard: str) -> list[Found]:
    """The numbers of a text in its first part."""
    return [Found(one.start, min(one.end, len(heard)), one.kind) for one in found if one.start < len(heard)]


def _without_key(note: facts.EventNoted) -> facts.EventNoted:
    return msgspec.structs.replace(note, data={**note.data, "digit": REDACTED})
