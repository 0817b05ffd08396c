"""Judges the caller's words by what the agent is saying and doing at that moment."""

from __future__ import annotations

import re

from media.turns.agent import Agent
from media.turns.barge_in import Verdict
from media.turns.closing import SILENCE, Closing
from media.turns.history import History
from media.turns.labels import QUESTION_MARKS, AgentSpeech, Label, asks_at_the_end, label_words
from media.turns.lexicon import lexicon_of, words_of
from media.turns.opening import Opening
from media.turns.options import ConversationOptions
from media.turns.overlap_table import RESPONSES, Response, Situation
from media.turns.utterance import Utterance

_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])\s*(?=\S)")
MOST_COMPLETING = 3
"""Words of the longest answer that says that a number is complete: "that's it"."""
_BETWEEN_KEYS = frozenset((Label.MURMUR, Label.HOLD_REQUEST, Label.QUESTION, Label.PRESENCE_CHECK))
"""What people say while they look for the next key."""

EARLY_ANSWER = 3
"""Words of a question before whose end people answer it, once they have heard half of it: about a second."""
_SENTENCE_ENDS = f".!…{QUESTION_MARKS}"


class OverlapJudge:
    """Labels the caller's words by what the agent is saying, and knows in which situation they come."""

    def __init__(
        self, options: ConversationOptions, *, agent: Agent, closing: Closing, history: History, opening: Opening
    ) -> None:
        self._lexicon = lexicon_of(options.language)
        self._agent = agent
        self._closing = closing
        self._history = history
        self._opening = opening
        self._last: tuple[tuple[str, AgentSpeech, bool, bool], Label] | None = None
        """The words judged last and their label: most events change neither."""

    def change_language(self, options: ConversationOptions) -> None:
        self._lexicon, self._last = lexicon_of(options.language), None

    def open(self, utterance: Utterance) -> None:
        """The caller's voice has begun in the agent's turn."""
        turn = self._agent.turn
        if turn is not None:
            utterance.over_agent = True
            utterance.only_words_count = turn.only_words_count
            utterance.after_question = _may_be_answered(turn.heard, turn.said)

    def verdict(self, utterance: Utterance, *, decide: bool = False) -> Verdict:
        """
        Judge the words that the caller has said so far in the agent's turn.

        ``decide``: there is no time to wait for more of them.
        """
        unfinished = utterance.pause is None or utterance.pause.words is None
        turn = self._agent.turn
        if not utterance.text or turn is None:
            return Verdict(Label.NOISE, self._situation())
        heard = turn.heard
        if unfinished:
            utterance.after_question |= _may_be_answered(heard, turn.said)
        speech = AgentSpeech(
            heard or self._history.agent_line_last,
            coming=turn.said[len(heard) :],
            asked=utterance.after_question,
            leaving=self._leaving or any(requests.end_call for requests in turn.requests),
        )
        answers = speech.asked and not self._mentions("asks_who", utterance.text)
        if not answers and self._opening.is_answered(utterance.text, unfinished=unfinished):
            return Verdict(Label.PRESENCE_CHECK, self._situation())
        label = self._label(utterance.text, speech, unfinished=unfinished, decide=decide)
        return Verdict(label, self._situation())

    def label_turn(self, text: str) -> Label:
        """Label words of the caller's own turn, or after the agent's last words."""
        heard = self._history.agent_said_last
        return self._label(text, AgentSpeech(heard, asked=asks_at_the_end(heard), leaving=self._leaving))

    def is_late_echo(self, utterance: Utterance) -> bool:
        """Whether the caller's turn, which began in the agent's, is the agent's own words."""
        return utterance.over_agent and self.label_turn(utterance.text) is Label.ECHO

    def is_echo(self, utterance: Utterance) -> bool:
        """Whether the caller's words so far are the agent's own."""
        turn = self._agent.turn
        return self.is_late_echo(utterance) if turn is None else self.verdict(utterance).label is Label.ECHO

    @property
    def agent_said(self) -> str:
        """The words of the agent that the caller may be answering."""
        return self._agent.turn.said if self._agent.turn is not None else self._history.agent_said_last

    def gives_time(self, agent_said: str) -> bool:
        """Whether the agent has told the caller to take their time."""
        return self._mentions("gives_time", agent_said)

    def asks_for_number(self) -> bool:
        """Whether the agent has just asked for a number of several digits."""
        return self._mentions("asks_for_number", self.agent_said)

    def expects_more(self, agent_said: str) -> bool:
        """Whether the agent's last sentence asks something, or asks for a moment: no call ends there."""
        last = _SENTENCE_END.split(agent_said.rstrip())[-1]
        return last.endswith(tuple(QUESTION_MARKS)) or label_words(last, self._lexicon) is Label.HOLD_REQUEST

    def caller_said_goodbye(self) -> bool:
        """Whether the caller's last words, or their last sentence, were a goodbye."""
        said = self._history.caller_said_last.strip()
        last = _SENTENCE_END.split(said)[-1]
        return Label.FAREWELL in (label_words(said, self._lexicon), label_words(last, self._lexicon))

    def completes_keys(self, text: str) -> bool:
        """Whether the caller's words after some keys say that these were all: "done", "that's it"."""
        return len(words_of(text)) <= MOST_COMPLETING and self.label_turn(text) not in _BETWEEN_KEYS

    def _mentions(self, opening: str, text: str) -> bool:
        return self._lexicon is not None and self._lexicon.mentions(opening, words_of(text))

    def leaves_the_end_standing(self, text: str) -> bool:
        """Whether the call is ending, and goes on ending though the caller has said this after the last words."""
        situation = self._ending_situation()
        return situation is not None and RESPONSES[situation, self.label_turn(text)] is Response.CARRY_ON

    def _label(self, text: str, speech: AgentSpeech, *, unfinished: bool = False, decide: bool = False) -> Label:
        key = (text, speech, unfinished, decide)
        if self._last is None or self._last[0] != key:
            self._last = (key, label_words(text, self._lexicon, speech, unfinished=unfinished, decide=decide))
        return self._last[1]

    @property
    def _leaving(self) -> bool:
        ending = self._closing.ending
        return ending is not None and ending.transfer is None

    def _situation(self) -> Situation:
        turn = self._agent.turn
        if turn is None or turn.protected:
            return Situation.PROTECTED
        if self._closing.ending is not None:
            return Situation.GIVING_UP if self._closing.ending == SILENCE else Situation.PROMISED
        if turn.pending:
            return Situation.PENDING
        if turn.requests:
            return Situation.PROMISED
        return Situation.HELD if self._agent.held_since is not None else Situation.SPEAKING

    def _ending_situation(self) -> Situation | None:
        ending = self._closing.ending
        if ending is None:
            return None
        if ending == SILENCE:
            return Situation.GIVING_UP
        return Situation.CLOSING if ending.transfer is None else Situation.CONNECTING


def _may_be_answered(heard: str, said: str) -> bool:
    """Whether the agent, of whose words that it has ``said`` these were ``heard``, has asked, or nearly so."""
    if asks_at_the_end(heard):
        return True
    begun = max(heard.rfind(mark) for mark in _SENTENCE_ENDS) + 1
    rest = said[len(heard) :]
    end = min((place for mark in _SENTENCE_ENDS if (place := rest.find(mark)) >= 0), default=-1)
    if end < 0 or rest[end] not in QUESTION_MARKS:
        return False
    known, missing = len(heard[begun:].split()), len(rest[:end].split())
    return missing <= min(known, EARLY_ANSWER)
