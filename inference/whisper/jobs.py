"""Requests to recognise one utterance, which several callers of the engine may share."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from inference.types import EngineError
from inference.whisper.batches import Urgency
from inference.whisper.hallucinations import Hypothesis
from inference.whisper.model import Piece, window_for
from inference.whisper.sound import Sound

log = logging.getLogger(__name__)


class Utterance(Protocol):
    """What a job needs of the utterance that it recognises."""

    sound: Sound
    waiting: Job | None
    """The job that waits for a pass."""
    running: Job | None
    """The job that is in a pass."""

    def next_piece(self, job: Job) -> Piece:
        """The sound that this job recognises, which begins now."""

    def accept(self, job: Job, hypothesis: Hypothesis, *, believed: bool) -> None:
        """The result of this job. A text that was not believed is empty."""


class Job:
    """
    One request to recognise an utterance: for an answer, for a partial, to finalise its first part, or for several.

    It recognises what has been pushed by the time it begins.
    """

    def __init__(self, utterance: Utterance, urgency: Urgency, loop: asyncio.AbstractEventLoop) -> None:
        self.utterance = utterance
        self.urgency = urgency
        self.asked_at = loop.time()
        """When it was first asked for, on the loop's clock."""
        self.done: asyncio.Future[None] = loop.create_future()
        """Its result is in the utterance; its error is in the future."""
        self.waiters = 0
        """How many answers wait for it."""
        self.is_partial = False
        """Whether its words are to be reported as a partial."""
        self.finalises = False
        """Whether it is to make room in a long utterance."""
        self.plain = False
        """Whether it runs without prefix and hotwords, because they spoiled the first attempt."""
        self.piece: Piece | None = None
        """Set when it begins."""
        self.until = 0
        """Once begun: where the sound that it recognises ends, in samples of the utterance."""
        self.is_first_part = False
        """Once begun: whether that is only the first part of a long utterance."""

    @property
    def shape(self) -> tuple[int, bool]:
        return window_for(self.utterance.sound.frames), self.plain

    @property
    def is_wanted(self) -> bool:
        return not self.done.done() and (self.waiters > 0 or self.is_partial or self.finalises)

    def begin(self) -> Piece:
        self.utterance.waiting, self.utterance.running = None, self
        self.piece = self.utterance.next_piece(self)
        return self.piece

    def will_cover(self, asked: int) -> bool:
        """Whether the running job also answers a request for everything up to the sample ``asked``."""
        return (
            self.piece is not None
            and not self.piece.prefix
            and not self.is_first_part
            and self.utterance.sound.is_quiet(self.until, asked)
        )

    def succeed(self, hypothesis: Hypothesis, *, believed: bool) -> None:
        self.utterance.running = None
        if not self.done.done():
            self.utterance.accept(self, hypothesis, believed=believed)
            self.done.set_result(None)

    def fail(self, error: EngineError) -> None:
        utterance = self.utterance
        utterance.running = None if utterance.running is self else utterance.running
        utterance.waiting = None if utterance.waiting is self else utterance.waiting
        if self.done.done():
            return
        if self.is_first_part:
            log.warning("Lost the first part of a long utterance: %s", error)
            utterance.sound.drop(self.until)
        elif self.is_partial:
            log.warning("A partial transcript failed; the utterance goes on: %s", error)
        self.done.set_exception(error)
        self.done.exception()  # marks the error as retrieved, because perhaps no answer waits for it
