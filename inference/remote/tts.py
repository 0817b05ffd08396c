"""Implements text to speech by a worker elsewhere: the client's end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from inference import usage
from inference.remote import wire
from inference.remote.memory import CallMemory
from inference.remote.placement import RemoteEngine, RemoteSession
from inference.remote.streams import IncomingStream
from inference.remote.waiting import cancel_and_wait
from inference.resuming import has_sound, resume_at
from inference.types import NO_SOUND, AudioChunk, EngineError, EngineFull, EngineTimeout, Pcm

MOST_MOVES = 3
"""Workers that may be lost in one turn. After so many there is another fault than that of one worker."""


class RemoteTextToSpeech(RemoteEngine):
    """
    ``rate_hz`` is learned from a worker unless the options give it.

    The voice of a call belongs to one worker, which remembers what it has said. If that worker is gone, another one
    goes on with the sentence.
    """

    kind = "tts"

    def __init__(
        self, *, rate_hz: int = 0, may_speculate: bool = True, hears_caller: bool = False, **options: Any
    ) -> None:
        facts = wire.Facts(rate_hz=rate_hz, may_speculate=may_speculate, hears_caller=hears_caller)
        super().__init__(facts=facts if rate_hz else None, **options)

    @property
    def rate_hz(self) -> int:
        return self.facts.rate_hz

    @property
    def hears_caller(self) -> bool:
        """False while no worker is known."""
        return self.workers.facts is not None and self.workers.facts.hears_caller

    def open(self, *, voice: str = "", language: str = "en") -> RemoteSpeech:
        """
        Raises if the voice is unknown and all workers list the voices that they have.

        Otherwise the first ``speak()`` raises for an unknown voice. It also raises if there is no worker: there may be
        one by then, and until then the greeting is played from stored sound.
        """
        all_facts = self.workers.all_facts or [self.facts]
        known = {name for facts in all_facts for name in facts.voices or ()}
        if voice and voice not in known and all(facts.voices is not None for facts in all_facts):
            voices = ", ".join(sorted(known)) or "none"
            raise EngineError(f"no worker has the voice {voice!r}; they have: {voices}", permanent=True)
        return RemoteSpeech(self, voice, language)


@dataclass(eq=False)
class RemoteTurn:
    """One ``speak()``: its text, the sound that was received for it, and its session."""

    number: int
    session: RemoteSession | None = None
    stream: IncomingStream[wire.Piece] = field(default_factory=IncomingStream)
    text: str = ""
    """The text so far. If the worker is lost, another one gets what is still to be said."""
    clause_ends: list[int] = field(default_factory=list)
    begin: int = 0
    """The character with which the present worker has begun."""
    text_ended: bool = False
    text_error: Exception | None = None
    """The error that reading the text has raised. The listener gets it once the text before it was said."""
    characters_said: int = 0
    """The number of them that the received sound says."""
    samples: int = 0
    """The length of the sound so far."""
    samples_before: int = 0
    """How much of it other workers have made before the present one."""
    reached: list[tuple[int, int]] = field(default_factory=list)
    """For each piece of sound, the samples and the characters said by the end of it."""
    owed_since: float = 0.0
    """The loop's time since which the worker owes sound."""

    @property
    def owes_sound(self) -> bool:
        """Whether the worker has something to say; else it waits for text."""
        return self.text_ended or self.characters_said < len(self.text)

    @property
    def clauses_to_say(self) -> list[str]:
        """The text for the present worker."""
        ends = [end for end in self.clause_ends if end > self.begin]
        return [self.text[start:end] for start, end in zip([self.begin, *ends], ends, strict=False)]


class RemoteSpeech:
    """The voice of one call."""

    def __init__(self, engine: RemoteTextToSpeech, voice: str, language: str) -> None:
        self._engine = engine
        self._voice = voice
        self._language = language
        self._numbers = count(1)
        self._turns: dict[int, RemoteTurn] = {}
        """The turns whose listener has not stopped yet, by number."""
        self._last_turn: RemoteTurn | None = None
        self.sent: Callable[[], int] = lambda: sys.maxsize
        """Set by the owner (``MovingSpeech``). Until then, all sound counts as sent."""
        self._left = ""
        """The channel of the worker that was lost."""
        self._memory = CallMemory() if engine.facts_known and engine.facts.remembers else None
        """What was said, if another worker could use it."""
        self._closed = False
        self._draining = False
        """The worker wants to stop: the session is closed as soon as no turn uses it."""
        self.meter = usage.current()
        self._session: RemoteSession | None = engine.place(self)
        """None after it was lost or given back; the next turn places another one."""

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        turn = self._last_turn = RemoteTurn(next(self._numbers))
        self._turns[turn.number] = turn
        if self._memory is not None:
            self._memory.begin_turn(self._engine.rate_hz)
        reading = asyncio.ensure_future(self._read_text(turn, text))
        try:
            moves = 0
            while turn.begin < len(turn.text) or not turn.text_ended or not moves:
                self._begin(turn)
                again_from = turn.begin if moves else None
                try:
                    while (piece := await self._next_piece(turn)) is not None:
                        pcm = np.frombuffer(piece.sound, "<i2")
                        turn.samples += len(pcm)
                        turn.reached.append((turn.samples, turn.characters_said))
                        if self._memory is not None:
                            self._memory.agent_said(turn.text, pcm, turn.characters_said, again_from)
                        yield AudioChunk(pcm, turn.characters_said, piece.exact)
                        again_from = None
                        assert turn.session is not None
                        turn.stream.count_read(turn.session, turn.number)
                    break
                except (wire.SessionLost, EngineFull) as error:
                    moves += 1
                    was_asked_directly = turn.session is not None and turn.session.directly
                    if moves > MOST_MOVES or (isinstance(error, EngineFull) and not was_asked_directly):
                        raise
                    said = turn.characters_said
                    self._go_back(turn)
                    if said:
                        # At once: what is sent until the other worker speaks would be heard twice.
                        yield AudioChunk(NO_SOUND, turn.begin, again_from=turn.begin)
            if turn.text_error is not None:
                raise turn.text_error
        finally:
            # The worker is told before anything is awaited, because the next turn may begin at once.
            self._finish(turn)
            await cancel_and_wait(reading)

    def heard(self, samples: int) -> None:
        turn = self._last_turn
        if self._memory is not None:
            self._memory.heard(samples)
        if turn is not None and turn.session is not None and turn.session is self._session:
            # What the caller heard before from another worker is not of this turn there.
            turn.session.send(wire.Heard(turn.session.id, turn.number, max(0, samples - turn.samples_before)))

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """
        Sends the end of the sound if it is too long for one message: more than 10 s at a telephone's rate.
        """
        if self._memory is not None:
            self._memory.caller_said(text, pcm, rate_hz)
        if self._session is not None and self._engine.hears_caller:
            sound = wire.encode_sound(pcm)[-wire.MAX_SOUND_BYTES :]
            self._session.send(wire.CallerSaid(self._session.id, text, sound, rate_hz))

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            self._session.lose(EngineError("the voice was closed"))

    def _go_back(self, turn: RemoteTurn) -> None:
        """The worker is lost: another one says what the caller will not hear of the sound so far."""
        sent = self.sent()
        turn.begin = resume_at(turn.text, turn.clause_ends, said=turn.characters_said, sent=sent)
        if turn.text_ended and not has_sound(turn.text[turn.begin :]):
            turn.begin = len(turn.text)
        kept = [samples for samples, characters in turn.reached if characters <= turn.begin]
        turn.samples = turn.samples_before = turn.samples if sent >= turn.characters_said else max(kept, default=0)
        turn.reached = [(samples, characters) for samples, characters in turn.reached if characters <= turn.begin]
        turn.characters_said = turn.begin

    # -- turns ------------------------------------------------------------------------------------------

    def _begin(self, turn: RemoteTurn) -> None:
        if self._closed:
            raise EngineError("the voice was closed")
        if self._session is None:
            self._draining = False
            self._session = self._engine.place(self, instead_of=self._left)
            self._left = ""
        turn.session, turn.stream = self._session, IncomingStream()
        if turn.session.open:
            self._send_turn(turn.session, turn)

    def _send_turn(self, session: RemoteSession, turn: RemoteTurn) -> None:
        """Send the turn with all of its text so far."""
        session.send(wire.Speak(session.id, turn.number))
        for clause in turn.clauses_to_say:
            session.send(wire.Clause(session.id, turn.number, clause))
        if turn.text_ended:
            session.send(wire.NoMoreText(session.id, turn.number))

    async def _read_text(self, turn: RemoteTurn, text: AsyncIterator[str]) -> None:
        now = asyncio.get_running_loop().time
        try:
            async for clause in text:
                if turn.session is not None:
                    turn.session.send(wire.Clause(turn.session.id, turn.number, clause))
                if not turn.owes_sound:
                    turn.owed_since = now()
                turn.text += clause
                turn.clause_ends.append(len(turn.text))
        except Exception as error:
            turn.text_error = error
        turn.text_ended, turn.owed_since = True, now()
        if turn.session is not None:
            turn.session.send(wire.NoMoreText(turn.session.id, turn.number))

    async def _next_piece(self, turn: RemoteTurn) -> wire.Piece | None:
        """Raises ``EngineTimeout`` if the worker owes sound for too long. Waiting for text is not limited."""
        now = asyncio.get_running_loop().time
        turn.owed_since = now()
        while True:
            try:
                async with asyncio.timeout_at(max(turn.owed_since, now()) + self._engine.answer_timeout):
                    piece = await turn.stream.next()
            except TimeoutError:
                if turn.owes_sound and now() >= turn.owed_since + self._engine.answer_timeout:
                    raise EngineTimeout(f"the voice was silent for {self._engine.answer_timeout:g} s") from None
            else:
                if piece is not None:
                    turn.characters_said = turn.begin + piece.text_end
                return piece

    def _finish(self, turn: RemoteTurn) -> None:
        """Stop the turn at the worker, unless it has ended."""
        del self._turns[turn.number]
        if turn.session is not None and not turn.stream.ended:
            turn.session.send(wire.Stop(turn.session.id, turn.number))
        self._close_drained_session()

    def _close_drained_session(self) -> None:
        if self._draining and not self._turns and self._session is not None:
            session, self._session = self._session, None
            session.close()

    # -- the session ------------------------------------------------------------------------------------

    def opened(self, session: RemoteSession) -> None:
        """Open the voice and begin its turns, each where it is. A worker that takes over learns no more than that."""
        call = self.meter.call if self.meter is not None else ""
        session.send(wire.OpenSpeech(session.id, self._engine.rate_hz, self._voice, self._language, call))
        if self._memory is not None and self._engine.workers.remembers(session.peer):
            for message in self._memory.messages(session.id):
                session.send(message)
        for turn in self._turns.values():
            if turn.session is session:
                self._send_turn(session, turn)

    def receive(self, session: RemoteSession, message: wire.Message) -> None:
        if not isinstance(message, wire.Piece | wire.Done | wire.Failed):
            raise EngineError(f"unexpected {type(message).__name__} from the worker of a voice")
        turn = self._turns.get(message.request)
        if turn is None or turn.session is not session:
            return  # the listener has stopped
        match message:
            case wire.Piece():
                turn.stream.put(message)
            case wire.Done():
                turn.stream.end()
            case wire.Failed():
                turn.stream.end(message.error)

    def lost(self, session: RemoteSession, error: EngineError) -> None:
        if session is self._session:
            self._session = None
            self._left = session.peer if isinstance(error, wire.SessionLost) else ""
        for turn in self._turns.values():
            if turn.session is session:
                turn.stream.end(error)

    def drain(self, session: RemoteSession) -> None:
        self._draining = session is self._session
        self._close_drained_session()
