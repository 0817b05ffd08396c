"""The worker's end of the three kinds of session: an utterance, a reply, the voice of a call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from msgspec import structs

from inference.interfaces import LanguageModel, PacedTranscription, RememberingSpeech, SpeechToText, TextToSpeech
from inference.remote import wire
from inference.remote.waiting import cancel_and_wait
from inference.types import EngineError, Message, Tools, Transcript
from inference.usage import UsageMeter, metering

if TYPE_CHECKING:
    from inference.remote.server import Server

logger = logging.getLogger(__name__)


class ServedSession:
    """The worker's end of a session."""

    def __init__(self, server: Server, id: int, peer: str, call: str = "") -> None:
        self.id = id
        self.peer = peer
        """The channel of the client."""
        self.over = False
        """Set by the server when it has finished the session: nothing is sent to the client any more."""
        self._server = server
        self._meter = UsageMeter(call)
        """Counts what the session uses at an engine that bills. The client gets it with the next answer."""
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, message: wire.Message) -> None:
        if isinstance(message, wire.Close):
            self._server.finish(self)
            return
        with metering(self._meter):
            self.handle(message)

    def handle(self, message: wire.Message) -> None:
        """Handle any message but ``Close``."""
        raise EngineError(f"unexpected {type(message).__name__} from a client")

    def lose(self, error: wire.SessionLost) -> None:
        self._server.refuse(self.peer, self.id, error)
        self._server.finish(self)

    def send(self, message: wire.Message) -> None:
        if self.over:
            return
        if isinstance(message, wire.Words | wire.Done | wire.Failed) and not self._meter.is_empty:
            message = structs.replace(message, usage=self._meter.take())
        self._server.links.send(self.peer, message)

    def start_task(self, request: int, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Do the work of a request in a task of its own. What it raises is sent to the client as its outcome."""
        with metering(self._meter):
            task = asyncio.ensure_future(self._report_errors(request, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _report_errors(self, request: int, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except EngineError as error:
            self.send(wire.Failed.from_error(self.id, request, error))
        except Exception as error:
            logger.exception("%s: unexpected error in a session; the request fails", self._server.alias)
            self.send(wire.Failed.from_error(self.id, request, unexpected(error)))

    async def release(self) -> None:
        """Release what the session holds of the engine. Called once, in the session's own ``metering``."""
        await cancel_and_wait(*self._tasks)

    async def release_metered(self) -> None:
        with metering(self._meter):
            await self.release()


def unexpected(error: Exception) -> EngineError:
    return EngineError(f"unexpected error at the worker: {type(error).__name__}: {error}")


class ServedTranscription(ServedSession):
    """One utterance."""

    def __init__(self, server: Server, peer: str, opened: wire.OpenTranscription, engine: SpeechToText) -> None:
        super().__init__(server, opened.session, peer, opened.call)
        on_partial = partial(self._send_words, 0) if opened.partials else None
        with metering(self._meter):
            self._transcription = engine.open(
                language=opened.language,
                hint=opened.hint,
                on_partial=on_partial,
                others=opened.others,
                keyterms=opened.keyterms,
            )
        self._paced = self._transcription if isinstance(self._transcription, PacedTranscription) else None
        """The same, if it wants to know whether words are urgent."""
        self._finished = False
        """The final words were sent, or have failed."""
        self._unanswered = 0
        """Requests without an answer yet."""

    def handle(self, message: wire.Message) -> None:
        match message:
            case wire.Push():
                if self._paced is not None:
                    self._paced.hurried = message.hurried
                self._transcription.push(wire.decode_sound(message.sound))
            case wire.Ask():
                self._unanswered += 1
                self.start_task(message.request, partial(self._answer, message))
            case _:
                super().handle(message)

    async def _answer(self, asked: wire.Ask) -> None:
        try:
            words = await (self._transcription.finish() if asked.final else self._transcription.snapshot())
            self._send_words(asked.request, words)
        finally:
            self._unanswered -= 1
            self._finished = self._finished or asked.final
            if self._finished and not self._unanswered:
                # Not at once: an error is sent to the client after this block.
                asyncio.get_running_loop().call_soon(self._server.finish, self)

    def _send_words(self, request: int, words: Transcript) -> None:
        """Answer a request; 0 is a partial transcript."""
        self.send(
            wire.Words(
                self.id,
                request,
                words.text,
                int(words.samples),
                float(words.confidence),
                words.language,
                words.stop_counts,
                float(words.language_probability),
                words.settled,
            )
        )

    async def release(self) -> None:
        self._transcription.cancel()
        await super().release()


class ServedReply(ServedSession):
    """One reply of a language model."""

    def __init__(self, server: Server, peer: str, opened: wire.OpenReply, engine: LanguageModel) -> None:
        super().__init__(server, opened.session, peer, opened.call)
        self._credit = asyncio.Semaphore(wire.WINDOW)
        self.start_task(0, partial(self._answer, opened, engine)).add_done_callback(lambda _: server.finish(self))

    def handle(self, message: wire.Message) -> None:
        match message:
            case wire.Credit():
                _add_credit(self._credit, message)
            case _:
                super().handle(message)

    async def _answer(self, opened: wire.OpenReply, engine: LanguageModel) -> None:
        messages = [Message(role, content) for role, content in opened.messages]
        messages += [Message("finished", "")] if opened.finished else []
        messages += [Message("broken-off", "")] if opened.broken_off else []
        tools = Tools(tuple(opened.transfer_targets), opt_out=opened.opt_out, may_wait=opened.may_wait)
        if opened.warm:
            await engine.warm(messages, tools=tools)
        else:
            async with aclosing(engine.stream(messages, speculative=opened.speculative, tools=tools)) as deltas:
                async for delta in deltas:
                    await self._credit.acquire()
                    self.send(wire.Delta(self.id, delta.text, delta.requests or None, delta.is_cut))
        self.send(wire.Done(self.id, 0))


@dataclass(eq=False)
class ServedTurn:
    """One ``speak()`` of a voice."""

    number: int
    text: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    """Clauses that the engine has not read yet; None is the end."""
    credit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(wire.WINDOW))
    task: asyncio.Task[None] | None = None
    characters: int = 0
    """The length of the text so far."""
    begun: bool = False
    """The engine was asked to speak; before, the turn waits for the one before it to end."""

    async def clauses(self) -> AsyncIterator[str]:
        while (clause := await self.text.get()) is not None:
            yield clause


class ServedSpeech(ServedSession):
    """The voice of one call."""

    def __init__(self, server: Server, peer: str, opened: wire.OpenSpeech, engine: TextToSpeech) -> None:
        super().__init__(server, opened.session, peer, opened.call)
        with metering(self._meter):
            self._speech = engine.open(voice=opened.voice, language=opened.language)
        self._turns: dict[int, ServedTurn] = {}
        """The turns that have not ended, by number."""
        self._last_turn: ServedTurn | None = None
        self._speaking = asyncio.Lock()
        """One turn speaks at a time. A turn that was stopped must leave the engine before the next one begins."""

    def handle(self, message: wire.Message) -> None:
        match message:
            case wire.Speak():
                self._begin_turn(message.request)
            case wire.Heard():
                # If the turn has not begun the engine would take it for the turn before.
                last = self._last_turn
                if last is not None and last.number == message.request and last.begun:
                    self._speech.heard(message.samples)
            case wire.CallerSaid():
                self._speech.caller_said(message.text, wire.decode_sound(message.sound), message.rate_hz)
            case wire.AgentSaid() if isinstance(self._speech, RememberingSpeech):
                self._speech.agent_said(message.text, wire.decode_sound(message.sound), message.rate_hz)
            case wire.Clause() | wire.NoMoreText() | wire.Stop() | wire.Credit():
                if (turn := self._turns.get(message.request)) is not None:
                    self._handle_in_turn(turn, message)
            case _:
                super().handle(message)

    def _handle_in_turn(
        self, turn: ServedTurn, message: wire.Clause | wire.NoMoreText | wire.Stop | wire.Credit
    ) -> None:
        match message:
            case wire.Clause():
                turn.characters += len(message.text)
                if turn.characters > wire.MAX_MESSAGE_BYTES:
                    raise EngineError(f"the text of a turn exceeds {wire.MAX_MESSAGE_BYTES:,} characters")
                turn.text.put_nowait(message.text)
            case wire.NoMoreText():
                turn.text.put_nowait(None)
            case wire.Credit():
                _add_credit(turn.credit, message)
            case wire.Stop():
                del self._turns[turn.number]
                if turn.task is not None:
                    turn.task.cancel()

    def _begin_turn(self, number: int) -> None:
        turn = ServedTurn(number)
        self._turns[number] = self._last_turn = turn
        turn.task = self.start_task(number, partial(self._speak, turn))

    async def _speak(self, turn: ServedTurn) -> None:
        try:
            async with self._speaking, aclosing(self._speech.speak(turn.clauses())) as chunks:
                turn.begun = True
                said = 0
                async for chunk in chunks:
                    *parts, last = wire.split_sound(wire.encode_sound(chunk.pcm))
                    for part in parts:
                        await turn.credit.acquire()
                        self.send(wire.Piece(self.id, turn.number, part, said, chunk.exact))
                    said = int(chunk.text_end)
                    await turn.credit.acquire()
                    self.send(wire.Piece(self.id, turn.number, last, said, chunk.exact))
            self.send(wire.Done(self.id, turn.number))
        except asyncio.CancelledError:
            if not self._meter.is_empty:
                # The client has stopped the turn, and learns what it has used nevertheless.
                self.send(wire.Done(self.id, turn.number))
            raise
        finally:
            self._turns.pop(turn.number, None)

    async def release(self) -> None:
        await super().release()
        try:
            await self._speech.close()
        except EngineError as error:
            logger.warning("%s: closing a voice failed: %s", self._server.alias, error)


def _add_credit(credit: asyncio.Semaphore, message: wire.Credit) -> None:
    for _ in range(message.pieces):
        credit.release()
