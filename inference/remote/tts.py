"""Text to speech by a worker elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from inference.remote import wire
from inference.remote.links import end
from inference.remote.placement import RemoteEngine, RemoteSession
from inference.remote.streams import CreditCounter, IncomingStream
from inference.types import (
    AudioChunk,
    EngineError,
    EngineTimeout,
    Pcm,
)


class RemoteTextToSpeech(RemoteEngine):
    """
    ``rate_hz`` is learned from a worker unless it is given. A voice belongs to one worker, where its memory is; if that
    one is gone the next turn is spoken by another.
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
        """No, while nothing is known."""
        return self._facts is not None and self._facts.hears_caller

    def open(self, *, voice: str = "", language: str = "en") -> RemoteSpeech:
        """
        An unknown voice is refused here where the workers tell which they have, else by the first ``speak()``. The
        want of a worker is told there too: there may be one by then, and the greeting is kept as sound.
        """
        told = self._told() or [self.facts]
        known = {name for facts in told for name in facts.voices or ()}
        if voice and voice not in known and all(facts.voices is not None for facts in told):
            raise EngineError(f"no voice {voice!r}; there is: {', '.join(sorted(known)) or 'none'}", permanent=True)
        return RemoteSpeech(self, voice, language)


@dataclass(eq=False)
class RemoteTurn:
    """One ``speak()``: what was given to be said, what came of it, and where."""

    number: int
    session: RemoteSession | None = None
    stream: IncomingStream[wire.Piece] = field(default_factory=IncomingStream)
    given: list[str] = field(default_factory=list)
    text_over: bool = False
    text_error: Exception | None = None
    characters: int = 0
    spoken: int = 0
    owed_since: float = 0.0

    @property
    def owes(self) -> bool:
        """The worker has something to say."""
        return self.text_over or self.spoken < self.characters


class RemoteSpeech:
    def __init__(self, remote: RemoteTextToSpeech, voice: str, language: str) -> None:
        self._remote = remote
        self._voice = voice
        self._language = language
        self._numbers = count(1)
        self._turns: dict[int, RemoteTurn] = {}
        self._last: RemoteTurn | None = None
        self._closed = False
        self._leaving = False
        self._session: RemoteSession | None = remote.place(self)

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        turn = self._last = RemoteTurn(next(self._numbers))
        self._turns[turn.number] = turn
        giving = asyncio.ensure_future(self._give(turn, text))
        try:
            for attempt in (1, 2):
                self._begin(turn)
                begun = False
                credit = CreditCounter()
                try:
                    while (piece := await self._next(turn)) is not None:
                        begun = True
                        yield AudioChunk(np.frombuffer(piece.sound, "<i2"), piece.text_end, piece.exact)
                        assert turn.session is not None
                        credit.piece(turn.session, turn.number)
                    break
                except wire.Lost:
                    # Before the first sound nobody notices that another worker speaks.
                    if begun or attempt == 2:
                        raise
            if turn.text_error is not None:
                raise turn.text_error
        finally:
            # Said before anything is awaited: the next turn may be on its heels.
            self._finish(turn)
            await end(giving)

    def heard(self, samples: int) -> None:
        turn = self._last
        if turn is not None and turn.session is not None and turn.session is self._session:
            turn.session.tell(wire.Heard(turn.session.id, turn.number, max(0, samples)))

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """Of a long turn the end crosses, more than 10 s of telephone sound."""
        if self._session is not None and self._remote.hears_caller:
            sound = wire.encode_sound(pcm)[-wire.MAX_SOUND_BYTES :]
            self._session.tell(wire.CallerSaid(self._session.id, text, sound, rate_hz))

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            self._session.fail(EngineError("the voice was closed"))

    # -- turns ------------------------------------------------------------------------------------------

    def _begin(self, turn: RemoteTurn) -> None:
        if self._closed:
            raise EngineError("the voice was closed")
        if self._session is None:
            self._leaving = False
            self._session = self._remote.place(self)
        turn.session, turn.stream = self._session, IncomingStream()
        if turn.session.open:
            self._tell_all(turn.session, turn)

    def _tell_all(self, session: RemoteSession, turn: RemoteTurn) -> None:
        session.tell(wire.Speak(session.id, turn.number))
        for clause in turn.given:
            session.tell(wire.Clause(session.id, turn.number, clause))
        if turn.text_over:
            session.tell(wire.NoMoreText(session.id, turn.number))

    async def _give(self, turn: RemoteTurn, text: AsyncIterator[str]) -> None:
        """An error of the text is told once what came before it is said, as if the engine had met it itself."""
        now = asyncio.get_running_loop().time
        try:
            async for clause in text:
                if turn.session is not None:
                    turn.session.tell(wire.Clause(turn.session.id, turn.number, clause))
                if not turn.owes:
                    turn.owed_since = now()
                turn.given.append(clause)
                turn.characters += len(clause)
        except Exception as error:
            turn.text_error = error
        turn.text_over, turn.owed_since = True, now()
        if turn.session is not None:
            turn.session.tell(wire.NoMoreText(turn.session.id, turn.number))

    async def _next(self, turn: RemoteTurn) -> wire.Piece | None:
        now = asyncio.get_running_loop().time
        turn.owed_since = now()
        while True:
            try:
                async with asyncio.timeout_at(max(turn.owed_since, now()) + self._remote.answer_timeout):
                    piece = await turn.stream.next()
            except TimeoutError:
                # While nothing is owed it is the text that takes its time.
                if turn.owes and now() >= turn.owed_since + self._remote.answer_timeout:
                    raise EngineTimeout(f"the voice was silent for {self._remote.answer_timeout:g} s") from None
            else:
                if piece is not None:
                    turn.spoken = piece.text_end
                return piece

    def _finish(self, turn: RemoteTurn) -> None:
        del self._turns[turn.number]
        if turn.session is not None and not turn.stream.ended:
            turn.session.tell(wire.Stop(turn.session.id, turn.number))
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        if self._leaving and not self._turns and self._session is not None:
            session, self._session = self._session, None
            session.end()

    # -- the session ------------------------------------------------------------------------------------

    def opened(self, session: RemoteSession) -> None:
        """Where what the last turns said and what of it was heard would be told to a worker that does not know it."""
        session.tell(wire.OpenVoice(session.id, self._remote.rate_hz, self._voice, self._language))
        for turn in self._turns.values():
            if turn.session is session:
                self._tell_all(session, turn)

    def receive(self, session: RemoteSession, message: wire.Message) -> None:
        match message:
            case wire.Piece() | wire.Done() | wire.Failed():
                turn = self._turns.get(message.request)
            case _:
                raise EngineError(f"a worker answered a voice with {type(message).__name__}")
        if turn is None or turn.session is not session:
            return  # nobody listens to it any more
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

    def leave(self, session: RemoteSession) -> None:
        self._leaving = session is self._session
        self._leave_if_idle()
