"""Decides what follows when the caller asks, or seems to ask, never to be called again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from media.turns.commands import Command, Line, Noted, OptOut, OptOutHow
from media.turns.lexicon import words_of
from media.turns.opt_out import Demand, judge_opt_out
from media.turns.opt_out_answer import Answer, judge_answer
from media.turns.options import ConversationOptions

MOST_QUESTIONS = 2
"""
Questions in a call at most. After that the language model answers words that are not plain: whoever has said no twice
is understood wrongly.
"""
HEARD_SHARE = 0.5
"""The share of the question that the caller must have heard: in its second half they know what is asked."""


_ABOUT_NUMBER = re.compile(
    r"\b(?:numbers?|phone|mobile|reach you|contact|call you|ring you|get back to you)\b", re.IGNORECASE
)
"""Words by which the agent asks for a telephone number."""


class OptOutMove(Enum):
    """The consequence of the caller's words."""

    ANSWER = auto()
    """The language model answers them."""
    ASK = auto()
    """They may be a demand not to be called: ask the caller whether they are."""
    OBEY = auto()
    """The number goes on the do-not-call list, and the call ends."""


@dataclass(slots=True)
class Doubt:
    """The caller may have asked not to be called again. What they say to the question is not known yet."""

    words: str
    """Their words."""
    strong: bool
    """It is obeyed if the call ends before they have answered."""
    ignored: bool = False
    """They have heard the question, and were silent or said only goodbye."""


class OptingOut:
    """
    Decides what the caller's words about not being called lead to, and remembers what was asked.

    Commands go to ``emit``. If the call ends before the caller has answered the question, a strong suspicion is obeyed
    and a weak one is only noted. A person who says "leave me alone" and hangs up has a right not to be called again; an
    operator can take a number off the list, but nobody can take back a call.
    """

    def __init__(self, options: ConversationOptions, emit: Callable[[Command], None]) -> None:
        self.change_language(options)
        self._emit = emit
        self.opted_out = False
        """The caller has asked never to be called again."""
        self.doubt: Doubt | None = None
        """Set from when a demand is suspected until the caller has answered the question."""
        self._settled: set[tuple[str, ...]] = set()
        """The words that the caller was asked about and did not confirm."""

    def change_language(self, options: ConversationOptions) -> None:
        self._question = options.confirm_opt_out.strip()
        self._not_caught = options.not_caught.strip()
        self._listens = options.hears_opt_out and options.language.lower().startswith("en")
        """The judgement of words is English."""

    def judge(self, lines: Sequence[Line]) -> OptOutMove:
        """Return the consequence of the caller's last words among these lines."""
        words = _caller_said(lines)
        if self.opted_out:
            return OptOutMove.OBEY
        if not self._listens or not words:
            return OptOutMove.ANSWER
        judgement = judge_opt_out(words, asked_for_number=self._asked_for_number(lines))
        if judgement.demand is Demand.PLAIN:
            return OptOutMove.OBEY
        if self.doubt is not None and self._answers_question(lines):
            return OptOutMove.OBEY if judge_answer(words) is Answer.YES else OptOutMove.ANSWER
        if judgement.demand is not Demand.SUSPECTED:
            return OptOutMove.ANSWER
        if self.doubt is not None and self.doubt.ignored and judgement.likely:
            return OptOutMove.OBEY
        may_ask = self._question and len(self._settled) < MOST_QUESTIONS and words_of(words) not in self._settled
        return OptOutMove.ASK if may_ask else OptOutMove.ANSWER

    def hear(self, lines: Sequence[Line], now: float) -> None:
        """
        Note the last words of the caller among these lines, which are not answered yet or never will be.

        A plain demand is obeyed before the agent answers, because callers who make one often hang up right after it.
        """
        match self.judge(lines):
            case OptOutMove.OBEY:
                self._obey(_caller_said(lines), now)
            case OptOutMove.ASK:
                self._suspect(lines)
            case OptOutMove.ANSWER:
                pass

    def answer(self, lines: Sequence[Line], now: float) -> OptOutMove:
        """The agent answers the last words of the caller among these lines. Returns how."""
        move = self.judge(lines)
        match move:
            case OptOutMove.OBEY:
                self._obey(_caller_said(lines), now)
            case OptOutMove.ASK:
                doubt = self._suspect(lines)
                self._emit(Noted("opt-out-question", now, {"strong": doubt.strong, "text": doubt.words}))
            case OptOutMove.ANSWER if self.doubt is not None:
                words, asked = _caller_said(lines), self._answers_question(lines)
                answer = judge_answer(words) if asked else Answer.OTHER
                if answer is Answer.GOODBYE:
                    self._ignore(answer.value, now)
                    return move
                if asked or self.doubt.ignored:
                    self._settled.add(words_of(self.doubt.words))
                self._close_doubt(answer.value, now, words)
            case OptOutMove.ANSWER:
                pass
        return move

    def is_answer(self, text: str, *, heard: str) -> bool:
        """Whether the caller answers the question before its end, of which they have ``heard`` this."""
        if self.doubt is None or not self._has_heard_question(heard):
            return False
        return judge_answer(text) in (Answer.YES, Answer.NO)

    def keep_silent(self, lines: Sequence[Line], now: float) -> None:
        """The caller says nothing for so long that the agent asks whether they are there."""
        if self._answers_question(lines):
            self._ignore("silence", now)

    def end_call(self, now: float, *, with_caller: bool) -> None:
        """
        The call is over. If a question was not answered, a strong suspicion is obeyed.

        ``with_caller``: it is the caller who was on the line, and nobody else is about to talk with them.
        """
        if self.doubt is None:
            return
        doubt, obeyed = self.doubt, self.doubt.strong and with_caller
        self._close_doubt("none", now, obeyed=obeyed)
        if obeyed:
            self.opt_out("asked", doubt.words)

    def opt_out(self, how: OptOutHow, words: str = "") -> None:
        """The number goes on the do-not-call list, once a call."""
        self.doubt = None
        if not self.opted_out:
            self.opted_out = True
            self._emit(OptOut(how, words))

    def _obey(self, words: str, now: float) -> None:
        demanded = words
        if self.doubt is not None:
            demanded = f"{self.doubt.words} {words}"
            self._close_doubt(Answer.YES.value, now, words)
        self.opt_out("asked", demanded)

    def _suspect(self, lines: Sequence[Line]) -> Doubt:
        words = _caller_said(lines)
        self.doubt = Doubt(words, judge_opt_out(words).strong)
        return self.doubt

    def _close_doubt(self, answer: str, now: float, words: str = "", **more: bool) -> None:
        self.doubt = None
        self._emit(Noted("opt-out-answer", now, {"answer": answer, **more, **({"text": words} if words else {})}))

    def _ignore(self, answer: str, now: float) -> None:
        """The caller has heard the question and has answered neither yes nor no."""
        if self.doubt is not None and not self.doubt.ignored:
            self.doubt.ignored = True
            self._emit(Noted("opt-out-answer", now, {"answer": answer}))

    def _answers_question(self, lines: Sequence[Line]) -> bool:
        """Whether the last that the agent was heard to say is the question, or enough of it."""
        return self._has_heard_question(self._agent_said(lines))

    def _asked_for_number(self, lines: Sequence[Line]) -> bool:
        said = self._agent_said(lines)
        return _ABOUT_NUMBER.search(said) is not None and not self._has_heard_question(said)

    def _agent_said(self, lines: Sequence[Line]) -> str:
        """What the agent was last heard to say, but for asking the caller to repeat."""
        said = (line.text for line in reversed(lines) if line.speaker == "agent" and line.text != self._not_caught)
        return next(said, "")

    def _has_heard_question(self, text: str) -> bool:
        heard, question = words_of(text), words_of(self._question)
        return heard == question[: len(heard)] and len(heard) >= HEARD_SHARE * len(question) > 0


def _caller_said(lines: Sequence[Line]) -> str:
    """The last words of the caller."""
    return next((line.text for line in reversed(lines) if line.speaker == "caller"), "")
