"""The worker's end of the three kinds of session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from inference.interfaces import LanguageModel, SpeechToText, TextToSpeech
from inference.remote import wire
from inference.remote.links import end
from inference.types import NO_TOOLS, EngineError, Message, Tools, Transcript

logger = logging.getLogger(__name__)

_Work: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


def unexpected(error: Exception) -> EngineError:
    return EngineError(f"the worker met {type(error).__name__}: {error}")


class SessionHost(Protocol):
    """What a served session needs of the server that took it in."""

    @property
    def alias(self) -> str: ...

    def send(self, peer: str, message: wire.Message) -> None: ...

    def refuse(self, peer: str, session: int, error: EngineError) -> None:
        """Tell the client that the session does not exist here (any more), and why."""

    def finish(self, session: ServedSession) -> None:
        """Forget the session, and free its slot once the engine has let go of it. Harmless when repeated."""


class ServedSession:
    """This end of a session."""

    def __init__(self, host: SessionHost, id: int, peer: str) -> None:
        self.id = id
        self.peer = peer
        self.over = False
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, message: wire.Message) -> None:
        if isinstance(message, wire.Close):
            self._host.finish(self)
        else:
            self.on(message)

    def on(self, message: wire.Message) -> None:
        raise EngineError(f"a client said {type(message).__name__} out of place")

    def lose(self, error: wire.Lost) -> None:
        self._host.refuse(self.peer, self.id, error)
        self._host.finish(self)

    def tell(self, message: wire.Message) -> None:
        if not self.over:
            self._host.send(self.peer, message)

    def spawn(self, request: int, work: _Work, *arguments: Any) -> asyncio.Task[None]:
        """Whatever goes wrong in it is told to the client, as the end of the request."""
        task = asyncio.ensure_future(self._guarded(request, work, *arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, request: int, work: _Work, *arguments: Any) -> None:
        try:
            await work(*arguments)
        except EngineError as error:
            self.tell(wire.Failed.of(self.id, request, error))
        except Exception as error:
            logger.exception("%s: a session failed", self._host.alias)
            self.tell(wire.Failed.of(self.id, request, unexpected(error)))

    async def release(self) -> None:
        """Let the engine go. Called once."""
        await end(*self._tasks)


class ServedTranscription(ServedSession):
    def __init__(self, host: SessionHost, peer: str, asked: wire.OpenUtterance, engine: SpeechToText) -> None:
        super().__init__(host, asked.session, peer)
        self._transcription = engine.open(
            language=asked.language, hint=asked.hint, on_partial=self._on_partial if asked.partials else None
        )
        self._finished = False
        self._unanswered = 0

    def on(self, message: wire.Message) -> None:
        match message:
            case wire.Push():
                self._transcription.push(wire.decode_sound(message.sound))
            case wire.Ask():
                self._unanswered += 1
                self.spawn(message.request, self._answer, message)
            case _:
                super().on(message)

    async def _answer(self, asked: wire.Ask) -> None:
        try:
            words = await (self._transcription.finish() if asked.final else self._transcription.snapshot())
            self.tell(_words(self.id, asked.request, words))
        finally:
            self._unanswered -= 1
            self._finished = self._finished or asked.final
            if self._finished and not self._unanswered:
                asyncio.get_running_loop().call_soon(self._host.finish, self)

    def _on_partial(self, words: Transcript) -> None:
        self.tell(_words(self.id, 0, words))

    async def release(self) -> None:
        self._transcription.cancel()
        await super().release()


def _words(session: int, request: int, words: Transcript) -> wire.Words:
    return wire.Words(session, request, words.text, int(words.samples), float(words.confidence))


class ServedReply(ServedSession):
    def __init__(self, host: SessionHost, peer: str, asked: wire.OpenReply, engine: LanguageModel) -> None:
        super().__init__(host, asked.session, peer)
        self._credit = asyncio.Semaphore(wire.WINDOW)
        self.spawn(0, self._answer, asked, engine).add_done_callback(lambda _: host.finish(self))

    def on(self, message: wire.Message) -> None:
        match message:
            case wire.Credit():
                for _ in range(message.pieces):
                    self._credit.release()
            case _:
                super().on(message)

    async def _answer(self, asked: wire.OpenReply, engine: LanguageModel) -> None:
        messages = [Message(role, content) for role, content in asked.lines]
        tools = NO_TOOLS
        if asked.transfer_targets or asked.opt_out:
            tools = Tools(tuple(asked.transfer_targets), opt_out=asked.opt_out)
        if asked.warm:
            await engine.warm(messages, tools=tools)
        else:
            async with aclosing(engine.stream(messages, speculative=asked.speculative, tools=tools)) as deltas:
                async for delta in deltas:
                    await self._credit.acquire()
                    self.tell(wire.Delta(self.id, delta.text, delta.requests or None))
        self.tell(wire.Done(self.id, 0))


@dataclass(eq=False)
class ServedTurn:
    number: int
    text: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    credit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(wire.WINDOW))
    task: asyncio.Task[None] | None = None
    characters: int = 0
    begun: bool = False

    async def clauses(self) -> AsyncIterator[str]:
        while (clause := await self.text.get()) is not None:
            yield clause


class ServedSpeech(ServedSession):
    def __init__(self, host: SessionHost, peer: str, asked: wire.OpenVoice, engine: TextToSpeech) -> None:
        super().__init__(host, asked.session, peer)
        self._speech = engine.open(voice=asked.voice, language=asked.language)
        self._turns: dict[int, ServedTurn] = {}
        self._last: ServedTurn | None = None
        # One turn after the other: one that was stopped lets go of the engine first.
        self._speaking = asyncio.Lock()

    def on(self, message: wire.Message) -> None:
        match message:
            case wire.Speak():
                self._speak(message.request)
            case wire.Heard():
                # Of a turn not begun there is nothing to forget, and the engine would take it for the one before.
                if self._last is not None and self._last.number == message.request and self._last.begun:
                    self._speech.heard(message.samples)
            case wire.CallerSaid():
                self._speech.caller_said(message.text, wire.decode_sound(message.sound), message.rate_hz)
            case wire.Clause() | wire.NoMoreText() | wire.Stop() | wire.Credit():
                if (turn := self._turns.get(message.request)) is not None:
                    self._on_turn(turn, message)
            case _:
                super().on(message)

    def _on_turn(self, turn: ServedTurn, message: wire.Clause | wire.NoMoreText | wire.Stop | wire.Credit) -> None:
        match message:
            case wire.Clause():
                turn.characters += len(message.text)
                if turn.characters > wire.MAX_MESSAGE_BYTES:
                    raise EngineError("a turn is longer than anybody would listen")
                turn.text.put_nowait(message.text)
            case wire.NoMoreText():
                turn.text.put_nowait(None)
            case wire.Credit():
                for _ in range(message.pieces):
                    turn.credit.release()
            case wire.Stop():
                del self._turns[turn.number]
                if turn.task is not None:
                    turn.task.cancel()

    def _speak(self, number: int) -> None:
        turn = ServedTurn(number)
        self._turns[number] = self._last = turn
        turn.task = self.spawn(number, self._say, turn)

    async def _say(self, turn: ServedTurn) -> None:
        try:
            async with self._speaking, aclosing(self._speech.speak(turn.clauses())) as chunks:
                turn.begun = True
                said = 0
                async for chunk in chunks:
                    *parts, last = wire.pieces(wire.encode_sound(chunk.pcm))
                    for part in parts:
                        await turn.credit.acquire()
                        self.tell(wire.Piece(self.id, turn.number, part, said, chunk.exact))
                    said = int(chunk.text_end)
                    await turn.credit.acquire()
                    self.tell(wire.Piece(self.id, turn.number, last, said, chunk.exact))
            self.tell(wire.Done(self.id, turn.number))
        finally:
            self._turns.pop(turn.number, None)

    async def release(self) -> None:
        await super().release()
        try:
            await self._speech.close()
        except EngineError as error:
            logger.warning("%s: closing a voice failed: %s", self._host.alias, error)
