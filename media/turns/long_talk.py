"""A voice that goes on without an answer by the agent: a caller with a long story, or a machine that never ends."""

from __future__ import annotations

from media.turns.clock import RATE_HZ, samples
from media.turns.lexicon import words_of
from media.turns.options import ConversationOptions

CHECK_AGAIN = 15.0
"""Seconds after which words that made sense are judged again."""
HEARD_OUT = 4
"""Words that make sense are heard out for so many times ``longest_turn``: five minutes by default."""
LEAST_RATE = 0.5
"""Words per second. People who tell something say two or more; in music and noise, recognition finds one at times."""
RECENT = 100
"""The latest words that are judged: half a minute of talk."""
LEAST_VARIETY = 0.5
"""
The share of different groups of three words among the recent ones. It is 0.95 and more in what people tell. An
announcement of 10 s that comes again and again has 0.3, one of 20 s has 0.5, and a song or a repeated word 0.1.
"""
MOST_CUT_SHORT = 3
"""After so many turns that the agent had to end itself, one after the other, no caller is listening."""


class LongTalk:
    """
    Judges whether a voice that goes on is still heard out.

    ``begin`` and ``answered`` tell it when the caller's voice begins and the agent is heard. Positions are samples.
    """

    def __init__(self, options: ConversationOptions) -> None:
        self._longest = samples(options.longest_turn)
        self._since: int | None = None
        """The position from which the voice has had no answer; None if it has one."""
        self._checked = 0
        """The position up to which the words were judged."""
        self._words = 0
        """How many words there were by then."""
        self.due: int | None = None
        """The position at which ``judge`` is due; None at none."""
        self._cut_short = 0
        """How many turns in succession the agent had to end."""

    def begin(self, position: int) -> None:
        """The caller's voice begins. Without an answer since the last time, it goes on."""
        if self._since is None:
            self._since = self._checked = position
            self._words = 0
            self.due = position + self._longest

    def answered(self) -> None:
        """The caller has heard something of the agent."""
        self._since = self.due = None

    def finished(self) -> None:
        """The caller's turn was over by itself, or they have pressed a key."""
        self._cut_short = 0

    @property
    def hopeless(self) -> bool:
        """The agent has ended turn after turn, and the voice went on each time."""
        return self._cut_short >= MOST_CUT_SHORT

    def cut_short(self) -> None:
        """The agent ends the caller's turn now."""
        self._cut_short += 1
        self.answered()

    def judge(self, text: str, position: int) -> bool:
        """Whether a voice with these words has been heard for long enough. If not, ``due`` is later."""
        if self._since is None:
            return False
        words = words_of(text)
        new = len(words) - self._words if len(words) >= self._words else len(words)
        rate = new / max(1.0, (position - self._checked) / RATE_HZ)
        if position - self._since >= HEARD_OUT * self._longest or rate < LEAST_RATE or not _varied(words[-RECENT:]):
            return True
        self._checked, self._words = position, len(words)
        self.due = position + samples(CHECK_AGAIN)
        return False


def _varied(words: tuple[str, ...]) -> bool:
    groups = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(groups)) >= LEAST_VARIETY * len(groups)
