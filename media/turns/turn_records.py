"""Ends the turns of both sides and puts them on record."""

from __future__ import annotations

from media.turns.agent import Agent
from media.turns.agent_turn import AgentTurn
from media.turns.answered import Answering
from media.turns.caller import Caller
from media.turns.clock import StreamClock
from media.turns.history import History
from media.turns.labels import Label
from media.turns.opening import Opening
from media.turns.opting_out import OptingOut
from media.turns.overlap import OverlapJudge
from media.turns.silence import Silence
from media.turns.utterance import Utterance


class TurnRecords:
    """Tells each part that has to know that a turn is over. Who has the floor then is up to ``FloorControl``."""

    def __init__(
        self,
        *,
        clock: StreamClock,
        agent: Agent,
        answering: Answering,
        caller: Caller,
        history: History,
        opening: Opening,
        opting_out: OptingOut,
        overlaps: OverlapJudge,
        silence: Silence,
    ) -> None:
        self._clock = clock
        self._agent = agent
        self._answering = answering
        self._caller = caller
        self._history = history
        self._opening = opening
        self._opting_out = opting_out
        self._overlaps = overlaps
        self._silence = silence
        self.warm_due = False
        """There is something new for the language model to read. ``Conversation`` emits ``Warm`` and resets it."""

    def record_caller(
        self, utterance: Utterance, now: float, *, wait: float | None = None, speculation_hit: bool = False
    ) -> None:
        """The caller's turn is over. ``wait`` is given if endpointing ended it."""
        self._silence.broken()
        self._answering.keep(utterance.text)
        match self._overlaps.label_turn(utterance.text):
            case Label.HOLD_REQUEST:
                self._silence.give_time()
            case Label.MURMUR | Label.AGREEMENT | Label.THANKS | Label.PRESENCE_CHECK:
                pass  # They only say that they are there, and may still be looking for something.
            case _:
                self._silence.take_back_time()
        self._history.record(self._caller.finish(utterance, now, wait=wait, speculation_hit=speculation_hit))

    def put_down_utterance(self, now: float) -> None:
        """The caller is not answered. What is known of their words goes on record."""
        self._agent.drop_speculation()
        utterance = self._caller.utterance
        if utterance is None:
            return
        if utterance.text:
            self._opting_out.hear(self._history.with_caller(utterance.text), now)
            self.record_caller(utterance, now)
            self._history.add_caller(utterance.text)
        self._caller.close()

    def finish_agent_turn(self, now: float, *, interrupted: bool = False) -> AgentTurn | None:
        """The agent's turn is over: what was heard of it goes on record. Returns it; None if it had none."""
        turn = self._agent.finish(now, interrupted=interrupted)
        if turn is not None and not turn.pending:
            self._caller.agent_was_heard()
        record = turn.record(now, interrupted=interrupted) if turn is not None else None
        self._opening.spoken(record.heard if record is not None else "", now)
        if turn is not None and record is not None:
            self._history.record(record)
            self.warm_due = True
            if record.heard and not turn.in_callers_turn:
                self._history.add_agent(turn.heard_in_answer, unsaid=turn.rest_after(record.heard))
                if self._overlaps.gives_time(record.heard):
                    self._silence.give_time()
        self._history.take_up_aside()
        self.begin_silence(now)
        return turn

    def begin_silence(self, now: float) -> None:
        """From now on nobody speaks."""
        self._silence.begin(max(self._caller.position, self._clock.position_at(now)))
