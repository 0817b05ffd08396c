"""
Decides what one call says: its replies, clauses and retries, without a thread, a clock or tensors.

A ``Speaker`` is told what the call wants (a reply with its clauses, how much of it was heard) and about each frame that
was made for it. It decides what the model must have been fed and what the caller hears, and has that done through
``SlotControls``, in the order in which it decides. The engine's thread calls it and does the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from inference.csm.context import Codes, Context, ContextSegment, Positions, text_positions
from inference.csm.guards import MOST_FRAMES, ClauseGuard, Frame, Verdict, expected_frames
from inference.csm.replies import Clause, SpokenReply
from inference.csm.row_contents import RowContents
from inference.csm.trimming import fade_out
from inference.types import AudioChunk, ContextTooLarge, EngineError, Pcm

if TYPE_CHECKING:
    from inference.csm.controls import SlotControls

_NO_SOUND = np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class Format:
    """The facts about the model that a speaker needs."""

    positions: int
    """Positions of one row; one fewer can be fed."""
    codebooks: int
    frame_samples: int
    rate_hz: int


class Speaker:
    """
    The replies of one call, and what its row of the model was fed.

    Methods may raise ``EngineError``; the caller then calls ``fail`` with it. ``counts`` is shared by all calls: it
    counts how clauses ended and what the guards found.
    """

    def __init__(
        self,
        context: Context,
        controls: SlotControls,
        model: Format,
        *,
        tokenize: Callable[[str], tuple[int, ...]],
        counts: Counter[str],
    ) -> None:
        self.context = context
        self.is_open = False
        """True between ``enter`` and ``leave``. Otherwise nothing is done for the call."""
        self.replies: list[SpokenReply] = []
        """The replies that have begun and not ended. A filler may be spoken while the reply waits for its text."""
        self.speaking: SpokenReply | None = None
        """The reply of which a clause is being spoken."""
        self.last_speaker: SpokenReply | None = None
        """The reply that spoke last; it goes on before any other."""
        self.last_ended: SpokenReply | None = None
        """Of the replies that have ended, the one with the highest number: ``heard`` is about this one."""
        self.row = RowContents(model.positions, model.codebooks)
        self.pending_context: list[tuple[ContextSegment, int]] = []
        """The caller's turns that are not yet in the context. They go there when no reply is open, each before the
        reply of its number."""
        self._controls = controls
        self._model = model
        self._tokenize = tokenize
        self._counts = counts

    # -- the call

    def enter(self) -> None:
        """The call begins: have its context prefilled."""
        self.is_open = True
        self._prefill_to(self.context.written_out(), then_speak=False)

    def leave(self) -> None:
        """The call is over: end its replies with an error, and clear its cache."""
        self.fail(EngineError("the call is over"))
        self._rewind(0)
        self.is_open = False

    def fail(self, error: EngineError) -> None:
        """End all open replies with this error, without touching the context or the model."""
        for reply in self.replies:
            reply.clause = None
            self._controls.deliver(reply, error)
        self.replies.clear()
        self.speaking = None
        self.row.drop_waiting()
        if self.is_open:
            self._controls.stop()

    def begin_reply(self, reply: SpokenReply) -> None:
        if self.is_open:
            self.replies.append(reply)
        else:
            self._controls.deliver(reply, EngineError("the call is over"))

    def add_clauses(self, reply: SpokenReply, clauses: Sequence[Clause]) -> None:
        if reply in self.replies:
            reply.waiting.extend(clauses)
            self._next_clause()

    def end_text(self, reply: SpokenReply) -> None:
        """No more clauses will come."""
        if reply in self.replies:
            reply.text_ended = True
            self._next_clause()

    def cancel_reply(self, reply: SpokenReply) -> None:
        """The rest of the reply is not wanted. Has no effect after its end."""
        self._end_reply(reply, None)

    def heard(self, samples: int) -> None:
        """Of the newest reply the caller heard only this much: end it if it is open, and forget the rest."""
        last = self.last_ended
        for reply in [reply for reply in self.replies if last is None or reply.number > last.number]:
            self._end_reply(reply, None)
        if self.last_ended is None or not self.is_open:
            return
        has_changed = False
        for clause in self.last_ended.spoken:
            frames = 0
            if samples > clause.first_sample:
                frames = (samples - clause.first_sample + clause.trimmed_samples) // self._model.frame_samples
            if clause.segment is not None and frames < len(clause.segment.codes):
                # Nor was any clause after it heard, so that what remains of this one becomes the last segment.
                self.context.forget(clause.segment)
                self._remember_clause(clause, frames)
                has_changed = True
        if has_changed and not self.replies:
            self._prefill_context()

    def remember(self, segment: ContextSegment, before: int) -> None:
        """Remember what the caller said, before the reply of that number if there is one by then."""
        self.pending_context.append((segment, before))
        if not self.replies and self.is_open:
            self._prefill_context()

    # -- frames

    def judge(self, frame: Frame, codes: Codes, pcm: Pcm) -> None:
        """Decide what becomes of a frame of the clause that is being spoken."""
        reply = self.speaking
        assert reply is not None
        clause = reply.clause
        assert clause is not None
        guard = clause.guard
        match guard.judge(frame):
            case Verdict.CONTINUE:
                clause.codes.append(codes)
                self._speak(reply, clause, pcm, frame.level_dbfs)
            case Verdict.CUT:
                self._counts[guard.reason] += 1
                self._speak(reply, clause, fade_out(pcm, self._model.rate_hz), frame.level_dbfs)
                clause.codes.clear()  # babble in the context would teach the next clause to babble
                self._end_clause(reply, clause)
            case Verdict.END if guard.reason == "immediate-end":
                self._counts["unsaid"] += 1
                clause.codes.clear()
                self._end_reply(reply, EngineError(f"the voice does not say a clause of {len(clause.text)} characters"))
            case Verdict.END:
                self._counts[guard.reason] += 1
                self._end_clause(reply, clause)
            case Verdict.RETRY:
                self._counts[guard.reason] += 1
                self._retry_clause(reply, clause)
            case Verdict.FAIL:
                self._counts[guard.reason] += 1
                self._rewind(0)
                if clause.tries or reply.samples > clause.first_sample:
                    clause.codes.clear()
                    self._end_reply(reply, EngineError("the speech engine produced NaN or infinite values"))
                else:
                    self._retry_clause(reply, clause)

    def _speak(self, reply: SpokenReply, clause: Clause, pcm: Pcm, level_dbfs: float) -> None:
        sound = reply.silence.push(pcm, level_dbfs)
        clause.trimmed_samples += len(pcm) - len(sound)
        if not len(sound):
            return
        reply.samples += len(sound)
        frames = len(clause.codes)
        characters = len(clause.text) * frames // max(clause.guard.expected, frames + 1)
        reply.text_end = max(reply.text_end, clause.text_start + characters)
        self._controls.deliver(reply, AudioChunk(sound, reply.text_end))

    # -- clauses

    def _next_clause(self) -> None:
        """Begin the next clause, unless one is being spoken; with none left, end the replies whose text has ended."""
        if self.speaking is not None:
            return
        ready = [reply for reply in self.replies if reply.waiting]
        if ready:
            reply = next((reply for reply in ready if reply is self.last_speaker), ready[0])
            self._begin_clause(reply, reply.waiting.popleft())
        else:
            for reply in [reply for reply in self.replies if reply.text_ended]:
                self._end_reply(reply, None)

    def _begin_clause(self, reply: SpokenReply, clause: Clause) -> None:
        clause.guard = ClauseGuard(clause.text, tries=clause.tries)
        clause.first_sample, clause.trimmed_samples = reply.samples, 0
        reply.clause = clause
        self.speaking = self.last_speaker = reply
        try:
            self.context.make_room(len(clause.tokens) + MOST_FRAMES + 2)
        except ContextTooLarge as error:
            self._end_reply(reply, error)
            return
        self._controls.prepare_row()
        words = text_positions(clause.tokens, self._model.codebooks)
        self._prefill_to(np.concatenate([self.context.written_out(), words]), then_speak=True)

    def _retry_clause(self, reply: SpokenReply, clause: Clause) -> None:
        """Begin the same clause again. Its codes are drawn with new random numbers."""
        clause.tries += 1
        clause.codes.clear()
        self._controls.end_clause()
        self._begin_clause(reply, clause)

    def _end_clause(self, reply: SpokenReply, clause: Clause) -> None:
        clause.is_complete = True
        if clause.guard.drop:
            del clause.codes[-clause.guard.drop :]
        self._remember_clause(clause, len(clause.codes))
        reply.spoken.append(clause)
        reply.clause = self.speaking = None
        self._controls.end_clause()
        reply.text_end = clause.text_start + len(clause.text)
        self._controls.deliver(reply, AudioChunk(_NO_SOUND, reply.text_end, exact=True))
        self._next_clause()

    def _remember_clause(self, clause: Clause, frames: int) -> None:
        """Put the first frames of a clause into the context, with the words that fit them; nothing without a word."""
        codes = clause.codes[:frames]
        tokens: tuple[int, ...] = clause.tokens
        if not clause.is_complete or len(codes) < len(clause.codes):
            # A clause that was broken off would have taken about as long as others of its length.
            length = len(clause.codes) if clause.is_complete else max(expected_frames(clause.text), len(clause.codes))
            words = clause.text.split()
            words = words[: len(words) * len(codes) // max(length, 1)]
            tokens = self._tokenize(" ".join(words)) if words else ()
        clause.segment = ContextSegment(tokens, np.stack(codes)) if tokens and codes else None
        if clause.segment is not None:
            self.context.add(clause.segment)

    def _end_reply(self, reply: SpokenReply, error: EngineError | None) -> None:
        """End a reply and remember what was said of it. Has no effect on a reply that has ended."""
        if reply not in self.replies:
            return
        self.replies.remove(reply)
        self._controls.deliver(reply, error)
        clause, reply.clause = reply.clause, None
        if clause is not None:
            self.speaking = None
            self._remember_clause(clause, len(clause.codes))
            reply.spoken.append(clause)
            self._controls.end_clause()
        if self.last_ended is None or reply.number >= self.last_ended.number:
            self.last_ended = reply
        if self.replies:
            self._next_clause()
        else:
            self._prefill_context()

    # -- the model's cache

    def _prefill_context(self) -> None:
        """With no reply open: have the context prefilled, so that the next reply need not wait for it."""
        self._controls.stop()
        self.row.drop_waiting()
        for segment, number in self.pending_context:
            answer = self.last_ended.spoken if self.last_ended is not None and self.last_ended.number >= number else []
            first = next((clause.segment for clause in answer if clause.segment is not None), None)
            self.context.add(segment, before=first)
        self.pending_context.clear()
        self.context.trim()
        self.context.make_room(0)
        self._prefill_to(self.context.written_out(), then_speak=False)

    def _prefill_to(self, wanted: Positions, *, then_speak: bool) -> None:
        """Have the model fed exactly ``wanted``, apart from the beginning that it has already; frames may follow."""
        if len(wanted) >= self._model.positions:
            raise ContextTooLarge(f"{len(wanted)} positions do not fit into {self._model.positions - 1}")
        common, expected = self.row.common_beginning(wanted)
        if then_speak:
            common = min(common, len(wanted) - 1)  # a frame is drawn from the position that was fed last
        if common < expected:
            # In the middle of a reply the caller still hears what was delivered.
            self._controls.stop(audio_goes_on=then_speak)
            if common < self.row.length:
                self._rewind(common)
            self.row.waiting = wanted[self.row.length :]
            more = len(self.row.waiting)
        else:
            self.row.waiting = np.concatenate([self.row.waiting, wanted[common:]])
            more = len(wanted) - common
        if then_speak:
            self._controls.start_clause(more)
        elif more:
            self._controls.prefill_later(more)

    def _rewind(self, length: int) -> None:
        self._controls.rewind(length)
        self.row.rewind(length)
