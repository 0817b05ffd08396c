"""Implements text to speech by a worker elsewhere: the client's end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from inference import usage
from inference.remote import wire
from inference.remote.placement import RemoteEngine, RemoteSession
from inference.remote.streams import IncomingStream
from inference.remote.waiting import cancel_and_wait
from inference.types import AudioChunk, EngineError, EngineTimeout, Pcm


class RemoteTextToSpeech(RemoteEngine):
    """
    ``rate_hz`` is learned from a worker unless the options give it.

    The voice of a call belongs to one worker, which remembers what it has said. If that worker is gone, another one
    speaks from the next turn on.
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
    clauses: list[str] = field(default_factory=list)
    """The text so far. If the worker is lost before the first sound, all of it is sent to another one."""
    text_ended: bool = False
    text_error: Exception | None = None
    """The error that reading the text has raised. The listener gets it once the text before it was said."""
    characters: int = 0
    """The length of the text so far."""
    characters_said: int = 0
    """The number of them that the received sound says."""
    owed_since: float = 0.0
    """The loop's time since which the worker owes sound."""

    @property
    def owes_sound(self) -> bool:
        """Whether the worker has something to say; else it waits for text."""
        return self.text_ended or self.characters_said < self.characters


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
        self._closed = False
        self._draining = False
        """The worker wants to stop: the session is closed as soon as no turn uses it."""
        self.meter = usage.current()
        self._session: RemoteSession | None = engine.place(self)
        """None after it was lost or given back; the next turn places another one."""

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        turn = self._last_turn = RemoteTurn(next(self._numbers))
        self._turns[turn.number] = turn
        reading = asyncio.ensure_future(self._read_text(turn, text))
        try:
            for attempt in (1, 2):
                self._begin(turn)
                begun = False
                try:
                    while (piece := await self._next_piece(turn)) is not None:
                        begun = True
                        yield AudioChunk(np.frombuffer(piece.sound, "<i2"), piece.text_end, piece.exact)
                        assert turn.session is not None
                        turn.stream.count_read(turn.session, turn.number)
                    break
                except wire.SessionLost:
                    # Before the first sound it makes no difference to the caller which worker speaks.
                    if begun or attempt == 2:
                        raise
            if turn.text_error is not None:
                raise turn.text_error
        finally:
            # The worker is told before anything is awaited, because the next turn may begin at once.
            self._finish(turn)
            await cancel_and_wait(reading)

    def heard(self, samples: int) -> None:
        turn = self._last_turn
        if turn is not None and turn.session is not None and turn.session is self._session:
            turn.session.send(wire.Heard(turn.session.id, turn.number, max(0, samples)))

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """Sends the end of the sound if it is too long for one message: more than 10 s at a telephone's rate."""
        if self._session is not None and self._engine.hears_caller:
            sound = wire.encode_sound(pcm)[-wire.MAX_SOUND_BYTES :]
            self._session.send(wire.CallerSaid(self._session.id, text, sound, rate_hz))

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            self._session.lose(EngineError("the voice was closed"))

    # -- turns ------------------------------------------------------------------------------------------

    def _begin(self, turn: RemoteTurn) -> None:
        if self._closed:
            raise EngineError("the voice was closed")
        if self._session is None:
            self._draining = False
            self._session = self._engine.place(self)
        turn.session, turn.stream = self._session, IncomingStream()
        if turn.session.open:
            self._send_turn(turn.session, turn)

    def _send_turn(self, session: RemoteSession, turn: RemoteTurn) -> None:
        """Send the turn with all of its text so far."""
        session.send(wire.Speak(session.id, turn.number))
        for clause in turn.clauses:
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
                turn.clauses.append(clause)
                turn.characters += len(clause)
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
                    turn.characters_said = piece.text_end
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
        """Open the voice and begin its turns. A worker that takes over does not learn what was said before."""
        session.send(wire.OpenSpeech(session.id, self._engine.rate_hz, self._voice, self._language))
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
        for turn in self._turns.values():
            if turn.session is session:
                turn.stream.end(error)

    def drain(self, session: RemoteSession) -> None:
        self._draining = session is self._session
        self._close_drained_session()
