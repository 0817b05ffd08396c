"""
Engines served to other processes through a channel layer; ``client.py`` is the other end.

Channels' own worker makes a consumer for whatever message comes first, reads without bound and cannot stop in an
orderly way. This one loads its engines first, takes a placement only while a place is free, and on SIGTERM takes no
more and lets what is open come to its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from inference.interfaces import LanguageModel, SpeechToText, TextToSpeech
from inference.remote import wire
from inference.remote.links import BEAT, Layer, Links, end, wait
from inference.types import NO_TOOLS, EngineError, EngineFull, Message, Pcm, Tools, Transcript

logger = logging.getLogger(__name__)

DEFAULT_SLOTS = 128
"""Where an engine sets no limit itself: what one process is measured to carry."""
KINDS = ("stt", "llm", "tts")
CLIENT_SILENT_BEATS = 15
"""Of a client nobody waits for an answer: a process that was held up for a moment should find its calls where it left
them."""
OFFER_TIMEOUT = 2.0
"""Seconds for which a place is kept for whoever has not said yet what it is for."""
_RETRY_AFTER = 0.5
_ANNOUNCE_TIMEOUT = 2.0
_END_TIMEOUT = 2.0

_Work: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


class Server:
    """One engine of this process, as others find it under its alias. ``slots`` 0 is as many as the engine says."""

    def __init__(self, alias: str, engine: Any, *, placements: Layer, stream: Layer, slots: int = 0) -> None:
        if alias not in KINDS:
            raise ValueError(f"{alias!r} is none of {', '.join(KINDS)}")
        self.alias = alias
        self.engine = engine
        self.slots = slots
        self.state: Literal["loading", "ready", "draining", "gone"] = "loading"
        self._placements = placements
        self._stream = stream
        self._name = f"inference.{alias}"
        self.links = Links(
            stream, f"{self._name}.worker", on_stranger=self._on_stranger, silent_beats=CLIENT_SILENT_BEATS
        )
        self._facts: wire.Facts | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._was_full = False
        self._room = asyncio.Event()
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def free(self) -> int:
        """Places. One is taken until the engine, too, has let go of the session."""
        return self.slots - len(self.links.sessions) - len(self._ending)

    async def serve(self) -> None:
        """For ever. Raises what the engine raises when it does not load, and ``EngineError`` once it is broken."""
        self._tasks = [asyncio.ensure_future(self._announce_all()), asyncio.ensure_future(self._take_placements())]
        await self._load()
        await asyncio.gather(*self._tasks)

    async def _load(self) -> None:
        now = asyncio.get_running_loop().time
        begun = now()
        logger.info("%s: loading %s", self.alias, self.engine.describe().weights)
        await self.engine.start()
        description = self.engine.describe()
        self.slots = self.slots or description.capacity or DEFAULT_SLOTS
        voices = getattr(self.engine, "voice_names", None)
        self._facts = wire.Facts(
            rate_hz=getattr(self.engine, "rate_hz", 0),
            gives_partials=bool(getattr(self.engine, "gives_partials", False)),
            may_speculate=bool(self.engine.may_speculate),
            hears_caller=bool(getattr(self.engine, "hears_caller", False)),
            voices=None if voices is None or len(voices) > wire.MOST_VOICES else sorted(voices),
            weights=description.weights[:200],
            device=description.device[:200],
        )
        logger.info(
            "%s: loaded on %s in %.1f s; serving up to %d at once",
            self.alias,
            description.device,
            now() - begun,
            self.slots,
        )
        # It may be told to stop while it loads.
        if self.state == "loading":
            self.state = "ready"
        self.update()

    def drain(self) -> None:
        """Take no more. ``wait_until_idle`` says when what is open has ended."""
        self.state = "draining"
        for task in self._tasks[1:]:
            task.cancel()
        self.update()

    async def wait_until_idle(self) -> None:
        await self._idle.wait()

    async def close(self) -> None:
        """End what is left, with a word to whom it was for."""
        self.state = "gone"
        for session in list(self.links.sessions.values()):
            self.links.leave(session)
            session.lose(wire.Lost("the worker was stopped"))
        if self._ending:
            await asyncio.wait(list(self._ending), timeout=_END_TIMEOUT)
        await end(*self._tasks)
        await self.links.close()
        # Last of all: whoever hears it waits for nothing more.
        if self.links.channel:
            await self._announce()
        await self.engine.close()

    def update(self) -> None:
        """Places were taken or given back."""
        full = self.free <= 0
        if self.state == "ready" and not full:
            self._room.set()
        else:
            self._room.clear()
        if full != self._was_full or self.state != "ready":
            self._was_full = full
            self._changed.set()
        if self.links.sessions or self._ending:
            self._idle.clear()
        else:
            self._idle.set()

    # -- the layer --------------------------------------------------------------------------------------

    async def _announce_all(self) -> None:
        await self.links.open()
        complained = False
        while True:
            error = await self._announce()
            if error is not None and not complained:
                logger.warning(
                    "%s: nobody can be told of this worker: %s", self.alias, str(error) or type(error).__name__
                )
            complained = error is not None
            if broken := getattr(self.engine, "broken", ""):
                raise EngineError(f"{self.alias} is broken: {broken}")
            await wait(self._changed, BEAT)
            self._changed.clear()

    async def _announce(self) -> Exception | None:
        at = asyncio.get_running_loop().time()
        news = wire.Announcement(self.links.channel, self.state, self.slots, max(0, self.free), at, self._facts)
        try:
            async with asyncio.timeout(_ANNOUNCE_TIMEOUT):
                await self._stream.group_send(self._name, wire.pack(news))
        except Exception as error:
            return error
        return None

    async def _take_placements(self) -> None:
        now = asyncio.get_running_loop().time
        complained = False
        while True:
            await self._room.wait()
            begun = now()
            try:
                message = await self._placements.receive(self._name)
            except Exception as error:
                # Redis-py also gives up after 5 s in which nothing came, which is no outage.
                if now() - begun < _RETRY_AFTER:
                    if not complained:
                        logger.warning("%s: placements cannot be read, trying on: %s", self.alias, error)
                    complained = True
                    await asyncio.sleep(_RETRY_AFTER)
                continue
            complained = False
            try:
                placement = wire.unpack(message)
                if not isinstance(placement, wire.Placement):
                    raise wire.Garbage(f"a {type(placement).__name__} is no placement")
            except wire.Garbage as error:
                logger.warning("%s: dropped a placement: %s", self.alias, error)
                continue
            if self._offer(placement):
                continue
            try:
                # The last place went to somebody who came directly: another worker may have one.
                await self._placements.send(self._name, message)
            except Exception as error:
                logger.info("%s: a placement was lost, and will be sent again: %s", self.alias, error)

    def _offer(self, placement: wire.Placement) -> bool:
        """False if there is no place for it."""
        if asyncio.get_running_loop().time() > placement.until.get(self.links.channel, float("inf")):
            return True  # whoever sent it has given up
        if (known := self.links.sessions.get(placement.session)) is not None:
            # Sent again, and taken already: the offer may be lost.
            if isinstance(known, _Offered) and known.peer == placement.sender:
                self.links.tell(placement.sender, wire.Offer(placement.session))
            return True
        if self.free <= 0:
            return False
        self.links.join(_Offered(self, placement.session, placement.sender), heard=False)
        self.links.tell(placement.sender, wire.Offer(placement.session))
        self.update()
        return True

    def _on_stranger(self, peer: str, message: wire.Message) -> None:
        match message:
            case wire.OpenUtterance() | wire.OpenReply() | wire.OpenVoice() if self.state == "ready":
                self.begin(peer, message)
            case wire.OpenUtterance() | wire.OpenReply() | wire.OpenVoice():
                self.refuse(peer, message.session, wire.Lost(f"the worker is {self.state}"))
            case wire.Close():
                pass
            case _:
                self.refuse(peer, message.session, wire.Lost("the worker does not know the session"))

    # -- sessions ---------------------------------------------------------------------------------------

    def begin(
        self,
        peer: str,
        message: wire.OpenUtterance | wire.OpenReply | wire.OpenVoice,
        offered: _Offered | None = None,
    ) -> None:
        """Open what was asked for, in a place that was offered or directly."""
        try:
            if offered is None and self.free <= 0:
                raise EngineFull(f"all places of {self.alias!r} are taken")
            if offered is None and message.session in self.links.sessions:
                raise EngineError("a session of this name is somebody else's")
            session = self._session(peer, message)
        except Exception as error:
            if not isinstance(error, EngineError):
                logger.exception("%s: a session failed to open", self.alias)
            self.refuse(peer, message.session, error if isinstance(error, EngineError) else _surprise(error))
            if offered is not None:
                self.links.leave(offered)
        else:
            self.links.join(session)
            if offered is None:
                self.links.tell(peer, wire.Offer(session.id))
        self.update()

    def _session(self, peer: str, message: wire.OpenUtterance | wire.OpenReply | wire.OpenVoice) -> _Session:
        match message:
            case wire.OpenUtterance() if self.alias == "stt":
                self._check_rate(message.rate_hz)
                return _Utterance(self, peer, message, self.engine)
            case wire.OpenReply() if self.alias == "llm":
                return _Reply(self, peer, message, self.engine)
            case wire.OpenVoice() if self.alias == "tts":
                self._check_rate(message.rate_hz)
                return _Voice(self, peer, message, self.engine)
        raise EngineError(f"{self.alias!r} was asked for {type(message).__name__}", permanent=True)

    def _check_rate(self, rate_hz: int) -> None:
        if rate_hz != self.engine.rate_hz:
            raise EngineError(f"this worker works at {self.engine.rate_hz} Hz, not {rate_hz} Hz")

    def refuse(self, peer: str, session: int, error: EngineError) -> None:
        self.links.tell(peer, wire.Failed.of(session, 0, error))

    def finish(self, session: _Session) -> None:
        """It is over; its place is free once the engine has let go of it. Harmless when repeated."""
        self.links.leave(session)
        if not session.over:
            session.over = True
            task = asyncio.ensure_future(session.release())
            self._ending.add(task)
            task.add_done_callback(self._ended)
        self.update()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: a session failed to end", self.alias, exc_info=error)
        self.update()


def _surprise(error: Exception) -> EngineError:
    return EngineError(f"the worker met {type(error).__name__}: {error}")


class _Session:
    """This end of a session."""

    def __init__(self, server: Server, id: int, peer: str) -> None:
        self.id = id
        self.peer = peer
        self.over = False
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, message: wire.Message) -> None:
        if isinstance(message, wire.Close):
            self._server.finish(self)
        else:
            self.on(message)

    def on(self, message: wire.Message) -> None:
        raise EngineError(f"a client said {type(message).__name__} out of place")

    def lose(self, error: wire.Lost) -> None:
        self._server.refuse(self.peer, self.id, error)
        self._server.finish(self)

    def tell(self, message: wire.Message) -> None:
        if not self.over:
            self._server.links.tell(self.peer, message)

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
            logger.exception("%s: a session failed", self._server.alias)
            self.tell(wire.Failed.of(self.id, request, _surprise(error)))

    async def release(self) -> None:
        """Let the engine go. Called once."""
        await end(*self._tasks)


class _Offered(_Session):
    """A place that is kept."""

    def __init__(self, server: Server, id: int, peer: str) -> None:
        super().__init__(server, id, peer)
        self._timer = asyncio.get_running_loop().call_later(OFFER_TIMEOUT, server.finish, self)

    def on(self, message: wire.Message) -> None:
        match message:
            case wire.OpenUtterance() | wire.OpenReply() | wire.OpenVoice():
                self.over = True
                self._timer.cancel()
                self._server.begin(self.peer, message, self)
            case _:
                self.lose(wire.Lost("the session was never opened"))

    async def release(self) -> None:
        self._timer.cancel()


class _Utterance(_Session):
    def __init__(self, server: Server, peer: str, asked: wire.OpenUtterance, engine: SpeechToText) -> None:
        super().__init__(server, asked.session, peer)
        self._transcription = engine.open(
            language=asked.language, hint=asked.hint, on_partial=self._on_partial if asked.partials else None
        )
        self._finished = False
        self._unanswered = 0

    def on(self, message: wire.Message) -> None:
        match message:
            case wire.Push():
                self._transcription.push(_pcm(message.sound))
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
                asyncio.get_running_loop().call_soon(self._server.finish, self)

    def _on_partial(self, words: Transcript) -> None:
        self.tell(_words(self.id, 0, words))

    async def release(self) -> None:
        self._transcription.cancel()
        await super().release()


def _pcm(sound: bytes) -> Pcm:
    """A copy: engines may expect to be allowed to write."""
    return np.frombuffer(sound, "<i2").astype(np.int16)


def _words(session: int, request: int, words: Transcript) -> wire.Words:
    return wire.Words(session, request, words.text, int(words.samples), float(words.confidence))


class _Reply(_Session):
    def __init__(self, server: Server, peer: str, asked: wire.OpenReply, engine: LanguageModel) -> None:
        super().__init__(server, asked.session, peer)
        self._credit = asyncio.Semaphore(wire.WINDOW)
        self.spawn(0, self._answer, asked, engine).add_done_callback(lambda _: server.finish(self))

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
class _Turn:
    number: int
    text: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    credit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(wire.WINDOW))
    task: asyncio.Task[None] | None = None
    characters: int = 0
    begun: bool = False

    async def clauses(self) -> AsyncIterator[str]:
        while (clause := await self.text.get()) is not None:
            yield clause


class _Voice(_Session):
    def __init__(self, server: Server, peer: str, asked: wire.OpenVoice, engine: TextToSpeech) -> None:
        super().__init__(server, asked.session, peer)
        self._speech = engine.open(voice=asked.voice, language=asked.language)
        self._turns: dict[int, _Turn] = {}
        self._last: _Turn | None = None
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
                self._speech.caller_said(message.text, _pcm(message.sound), message.rate_hz)
            case wire.Clause() | wire.NoMoreText() | wire.Stop() | wire.Credit():
                if (turn := self._turns.get(message.request)) is not None:
                    self._on_turn(turn, message)
            case _:
                super().on(message)

    def _on_turn(self, turn: _Turn, message: wire.Clause | wire.NoMoreText | wire.Stop | wire.Credit) -> None:
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
        turn = _Turn(number)
        self._turns[number] = self._last = turn
        turn.task = self.spawn(number, self._say, turn)

    async def _say(self, turn: _Turn) -> None:
        try:
            async with self._speaking, aclosing(self._speech.speak(turn.clauses())) as chunks:
                turn.begun = True
                said = 0
                async for chunk in chunks:
                    *parts, last = wire.pieces(chunk.pcm.astype("<i2", copy=False).tobytes())
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
            logger.warning("%s: closing a voice failed: %s", self._server.alias, error)


class Worker:
    """All engines of this process, from loading to the last session. ``drain`` is how long open ones may take."""

    def __init__(self, servers: list[Server], *, drain: float = 30.0) -> None:
        self._servers = servers
        self._drain = drain
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()

    def stop(self) -> None:
        """Once: let what is open end. Twice: now."""
        if self._stopping.is_set():
            self._at_once.set()
        self._stopping.set()

    async def run(self) -> None:
        """Until ``stop``. Raises ``EngineError`` if an engine does not load, or breaks."""
        serving = [asyncio.create_task(server.serve()) for server in self._servers]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait((*serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
            await self._end()
        finally:
            await end(*serving, stopping)
            await asyncio.gather(*(server.close() for server in self._servers))
            logger.info("Stopped")

    async def _end(self) -> None:
        for server in self._servers:
            server.drain()
        if busy := sum(len(server.links.sessions) for server in self._servers):
            logger.info("Stopping: %d sessions have up to %g s to end", busy, self._drain)
        idle = asyncio.create_task(self._wait_until_idle())
        at_once = asyncio.create_task(self._at_once.wait())
        await asyncio.wait((idle, at_once), timeout=self._drain, return_when=asyncio.FIRST_COMPLETED)
        await end(idle, at_once)

    async def _wait_until_idle(self) -> None:
        for server in self._servers:
            await server.wait_until_idle()
