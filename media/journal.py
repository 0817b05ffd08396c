"""From what the conversation reports to the facts of its call, with the time of the wall clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from time import time

from calls.services import StreamClaim, facts
from media.spool import FactSpool
from media.turns import commands as cmd
from media.turns.clock import StreamClock


class Journal:
    """
    Records the facts of one stream.

    ``clock`` maps times to positions in the caller's stream. Made on the loop whose clock the conversation runs on.
    """

    def __init__(self, claim: StreamClaim, recorder: FactSpool, *, clock: StreamClock) -> None:
        self._call_id = claim.call_id
        self._recorder = recorder
        self._next_turn = claim.next_turn
        """The number of the stream's first turn in the whole call."""
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        # The wall clock is read once: if it is set during the call, the times of the call's facts still agree.
        self._epoch = time() - self._loop.time()
        """The wall-clock time at which the loop's clock was zero."""

    def stream_started(self, stream_sid: str) -> None:
        self._recorder.record(facts.StreamStarted(call_id=self._call_id, stream_sid=stream_sid, at=self._now()))

    def turn_ended(self, turn: cmd.TurnEnded) -> None:
        stages = dict(turn.stages)
        if turn.wait is not None:
            stages["wait"] = turn.wait
        fact = facts.TurnEnded(
            call_id=self._call_id,
            number=self._next_turn + turn.number - 1,
            speaker=turn.speaker,
            said=turn.said,
            heard=turn.heard,
            interrupted=turn.interrupted,
            fallback=turn.fallback,
            started_at=self._wall_time(turn.started),
            ended_at=self._wall_time(turn.ended),
            start_position=self._clock.position_at(turn.started),
            end_position=self._clock.position_at(turn.ended),
            stages=stages,
            speculation_hits=int(turn.speculation_hit),
            speculation_waste=turn.speculations - turn.speculation_hit,
        )
        self._recorder.record(fact)

    def noted(self, note: cmd.Noted) -> None:
        at = self._wall_time(note.at)
        self._recorder.record(facts.EventNoted(call_id=self._call_id, kind=note.kind, at=at, data=dict(note.data)))

    def opted_out(self, opt_out: cmd.OptOut) -> None:
        fact = facts.OptedOut(call_id=self._call_id, how=opt_out.how, words=opt_out.words, at=self._now())
        self._recorder.record(fact)

    def transfer_requested(self, transfer: cmd.Transfer) -> None:
        fact = facts.TransferRequested(call_id=self._call_id, target=transfer.target, at=self._now())
        self._recorder.record(fact)

    def _now(self) -> datetime:
        return self._wall_time(self._loop.time())

    def _wall_time(self, now: float) -> datetime:
        return datetime.fromtimestamp(self._epoch + now, UTC)
