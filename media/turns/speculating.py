"""Begins replies before it is certain that the caller has finished; the language model may find that they have not."""

from __future__ import annotations

from collections.abc import Callable

from media.turns import events as ev
from media.turns.agent import Agent
from media.turns.agent_turn import asks_the_same
from media.turns.caller import Caller
from media.turns.commands import Line
from media.turns.endpointing import LIKELY, UNFINISHED
from media.turns.options import ConversationOptions
from media.turns.timing import Timing
from media.turns.utterance import Utterance, Words

ASK_AGAIN = UNFINISHED - 0.5
"""Seconds of silence after which the reply is asked for again where the language model wanted to wait. It is ready by
the end of the wait, and most callers who go on have done so before."""
MODEL_DECIDES = LIKELY
"""Seconds of silence up to which a turn is not over before the language model has begun its reply or wants to wait.
That costs no time: before, there is nothing to say. Later, the caller may already speak of how long it takes."""
MOST_EARLY = 2
"""Replies that are begun before the pause, for one turn of the caller: who goes on twice may do so again."""
MOST_WRONG = 2
"""So many more times wrong than right, and the language model is not believed any more: it costs a second each time."""


class Speculating:
    """
    Decides which replies are begun early.

    The language model may answer unfinished words with the request to wait. Then the wait is that of plainly unfinished
    words. Before it is over, the model is asked again and told that the caller has finished. It is told so at once
    where the form of the words says that they are whole, and for the rest of a call in which it was wrong too often.

    ``lines_to_answer`` returns what the language model answers if the caller says no more than this; None if it answers
    nothing.
    """

    def __init__(
        self,
        options: ConversationOptions,
        *,
        agent: Agent,
        caller: Caller,
        lines_to_answer: Callable[[Utterance], tuple[Line, ...] | None],
    ) -> None:
        self._options = options
        self._agent = agent
        self._caller = caller
        self._lines_to_answer = lines_to_answer
        self._waits_on: tuple[Line, ...] | None = None
        """What the model wanted to wait after last."""
        self._wrong = 0
        """How many more times the model wanted to wait and the caller had finished, than the caller went on."""

    def begin(self, utterance: Utterance) -> None:
        """Start the reply to the words of the pause, or to those before it, if the language model answers them."""
        words, early = utterance.words, self._words is None
        self._caller.words_considered()
        lines = self._lines_to_answer(utterance)
        if lines is None or words is None or not self._options.speculate:
            return
        if not words.model_waits and self._waits_on is not None and asks_the_same(self._waits_on, lines):
            if not early:
                self._wait(words)
            return
        if (begun := self._agent.speculation) is not None and self._agent.has_speculated_on(lines):
            utterance.timing.take_reply(begun.timing)
            begun.timing = utterance.timing
            return
        if early:
            if utterance.early_starts >= MOST_EARLY:
                return
            utterance.early_starts += 1
        utterance.speculations += 1
        settled = words.model_waits or words.judgement.by_form
        finished = self._options.may_wait and (settled or self._wrong >= MOST_WRONG)
        timing = Timing() if early else utterance.timing
        self._agent.speculate(lines, timing, finished=finished, early=early)

    def follow(self, utterance: Utterance) -> None:
        """The caller speaks on: a reply that was begun before the pause is dropped if they have said more since."""
        begun = self._agent.speculation
        if begun is not None and begun.early and utterance.words is None:
            self._agent.drop_speculation()

    def take_refusal(self, event: ev.ReplyRefused) -> None:
        """There was no room for an early reply."""
        begun, utterance = self._agent.speculation, self._caller.utterance
        if begun is not None and begun.revision == event.revision:
            self._agent.speculation = None
            if utterance is not None:
                utterance.speculations -= 1

    def holds(self, utterance: Utterance, now: float) -> bool:
        """Whether the turn, which is over by its silence, is not over because the language model may want to wait."""
        timing, reply = utterance.timing, self._agent.speculation
        if timing.released is None:
            timing.released = now
        if reply is None or reply.finished or reply.timing.first_token is not None or not self._options.may_wait:
            return False
        return utterance.pause is not None and utterance.pause.silence(self._caller.position) < MODEL_DECIDES

    def take_end(self, event: ev.ReplyEnded, now: float) -> bool:
        """A reply has ended. Returns whether the end of the caller's turn is to be judged anew."""
        reply = self._agent.find(event.revision)
        if reply is None or not event.requests.wait or reply.segment.received or reply.held:
            self._agent.take_end(event, now)
            return False
        if reply is not self._agent.speculation:
            self._agent.ask_again(reply, now)
            return False
        self._agent.speculation = None
        if not reply.finished and self._options.may_wait:
            self._waits_on = reply.history
            if self._words is not None:
                self._wait(self._words)
        return True

    def _wait(self, words: Words) -> None:
        """The language model wants to wait after these words."""
        words.model_waits = True
        words.speculate_at = ASK_AGAIN

    def went_on(self) -> None:
        """The caller goes on after the pause, if there is one."""
        words = self._words
        if words is not None and words.model_waits:
            self._wrong = max(0, self._wrong - 1)

    def turn_is_over(self) -> None:
        """The caller had finished before this pause."""
        words = self._words
        if words is not None and words.model_waits:
            self._wrong += 1

    @property
    def _words(self) -> Words | None:
        pause = self._caller.utterance.pause if self._caller.utterance is not None else None
        return pause.words if pause is not None else None
