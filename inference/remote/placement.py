"""
The three engines, spoken to in a worker elsewhere (``worker.py``): the same Protocols over the channel layer.

A session is placed by the competing consumers of one layer, which takes some milliseconds: a voice does that when its
call begins and an utterance while the caller speaks. A language model has no such time; once it was served it asks
the same worker again, directly, and only goes back to the queue when that one is full or gone.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import numpy as np
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, get_channel_layer
from msgspec import structs

from inference.remote import wire
from inference.remote.links import BEAT, SILENT_BEATS, Layer, Links, end, wait
from inference.requests import NO_REQUESTS
from inference.types import (
    NO_TOOLS,
    AudioChunk,
    Description,
    EngineError,
    EngineFull,
    EngineLoading,
    EngineTimeout,
    Message,
    NoWorker,
    Pcm,
    TextDelta,
    Tools,
    Transcript,
)

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

PLACE_AGAIN = 0.5
"""Seconds without an answer after which a placement is sent again: a worker that dies may take it with it. Twice taken
does no harm: the second offer is declined."""
FULL_PATIENCE = 0.25
"""Seconds for which all workers must say that they are full; they say so several times in it."""
PIECE_SECONDS = 0.1
"""Sound is sent in pieces of this length while nobody waits for words."""
KEPT_SECONDS = 30.0
"""Of an utterance, for the case that its worker dies; an utterance is rarely longer."""
_SEND_AGAIN = 0.02
_CREDIT_EVERY = wire.WINDOW // 4


class _Owner(Protocol):
    """What a session is for."""

    def opened(self, session: _Session) -> None:
        """A worker has taken it and waits to hear what it is."""

    def receive(self, session: _Session, message: wire.Message) -> None: ...

    def lost(self, session: _Session, error: EngineError) -> None:
        """It is over, by no wish of ours."""

    def leave(self, session: _Session) -> None:
        """Its worker would like to stop."""


class _Session:
    """This end of a session; each attempt on a worker has one of its own, so that no answer goes to the wrong one."""

    def __init__(self, remote: Remote, owner: _Owner) -> None:
        self.id = secrets.randbits(62) + 1
        self.peer = ""
        self.over = False
        self.settled = asyncio.Event()
        self._remote = remote
        self._owner = owner

    @property
    def open(self) -> bool:
        return bool(self.peer) and not self.over

    def take(self, peer: str, *, heard: bool = True) -> None:
        """The worker is found. ``heard``: it has offered itself."""
        self.peer = peer
        self._remote.links.join(self, heard=heard)
        self.settled.set()
        try:
            self._owner.opened(self)
        except EngineError as error:
            self.fail(error)

    def tell(self, message: wire.Message) -> None:
        if self.open:
            self._remote.links.tell(self.peer, message)

    def receive(self, message: wire.Message) -> None:
        match message:
            case wire.Failed(request=0):
                self._end()
                self._owner.lost(self, message.error)
            case wire.Offer():
                pass  # the placement was taken twice by the same worker
            case _:
                self._owner.receive(self, message)

    def lose(self, error: EngineError) -> None:
        self.fail(error)

    def leave(self) -> None:
        self._owner.leave(self)

    def fail(self, error: EngineError) -> None:
        """End it, and tell whom it was for."""
        if not self.over:
            self.end()
            self._owner.lost(self, error)

    def end(self) -> None:
        """Give it up; the place is free again. Harmless when it is over."""
        if self.open:
            self._remote.links.tell(self.peer, wire.Close(self.id))
        self._end()

    def _end(self) -> None:
        self.over = True
        self.settled.set()
        self._remote.forget(self)


@dataclass(slots=True)
class _Worker:
    """One that was heard of. ``ahead`` is its clock less ours."""

    news: wire.Announcement
    ahead: float
    missed: int = 0


class Remote:
    """
    What the three have in common.

    ``alias`` is the name of the engine at the worker. ``start`` waits up to ``start_timeout`` for a worker, from which
    it learns what it serves; facts given as options are not waited for. A session is refused when none has taken it
    within ``place_timeout``, sooner where it is known that none would, and an answer is awaited for
    ``answer_timeout``.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        *,
        alias: str = "",
        layer: str = "default",
        stream_layer: str = "stream",
        start_timeout: float = 30.0,
        place_timeout: float = 2.0,
        answer_timeout: float = 10.0,
        facts: wire.Facts | None = None,
    ) -> None:
        self.alias = alias or self.kind
        self.answer_timeout = answer_timeout
        self._layer_alias = layer
        self._stream_alias = stream_layer
        self._start_timeout = start_timeout
        self._place_timeout = place_timeout
        self._facts = facts
        self._weights = ""
        self._links: Links | None = None
        self._placements: Layer | None = None
        self._workers: dict[str, _Worker] = {}
        self._unlike: set[str] = set()
        self._waiting: dict[int, _Session] = {}
        self._placing: set[asyncio.Task[None]] = set()
        # Each send takes a connection, and a pool has a hundred.
        self._sending = asyncio.Semaphore(16)
        self._news = asyncio.Event()
        self._starting = asyncio.Lock()

    @property
    def facts(self) -> wire.Facts:
        if self._facts is None:
            raise EngineError(f"what the workers of {self.alias!r} serve is not known before start()")
        return self._facts

    @property
    def may_speculate(self) -> bool:
        """No, while nothing is known."""
        return self._facts is not None and self._facts.may_speculate

    @property
    def links(self) -> Links:
        if self._links is None:
            raise EngineError(f"the engine {self.alias!r} was not started, or was closed")
        return self._links

    def describe(self) -> Description:
        """Its weights stay the same while workers come and go: speech is kept by them."""
        weights = f"served by workers on the channel layer ({self._weights or 'none heard so far'})"
        slots = sum(worker.news.slots for worker in self._workers.values() if worker.news.state == "ready")
        return Description(weights, device="elsewhere", capacity=slots)

    async def start(self) -> None:
        async with self._starting:
            if self._links is not None:
                return
            self._placements, stream = _layer(self._layer_alias), _layer(self._stream_alias)
            self._links = Links(
                stream,
                f"inference.{self.alias}",
                group=f"inference.{self.alias}",
                on_stranger=self._on_stranger,
                on_notice=self._on_notice,
                on_beat=self._on_beat,
            )
            try:
                async with asyncio.timeout(self._start_timeout):
                    await self._links.open()
                    if self._facts is not None:
                        await wait(self._news, SILENT_BEATS * BEAT)
                    while self._facts is None:
                        await self._news.wait()
                        self._news.clear()
            except TimeoutError:
                error = self._nobody(stream)
                await self._close()
                raise error from None
            except BaseException:
                await self._close()
                raise

    async def close(self) -> None:
        async with self._starting:
            await self._close()

    async def _close(self) -> None:
        if self._links is None:
            return
        for session in [*self._waiting.values(), *self._links.sessions.values()]:
            cast(_Session, session).fail(EngineError(f"the engine {self.alias!r} was closed"))
        links, self._links = self._links, None
        await end(*self._placing)
        await links.close()
        self._workers.clear()

    # -- workers ----------------------------------------------------------------------------------------

    def _on_notice(self, envelope: wire.Envelope) -> None:
        if self._links is None or not isinstance(envelope, wire.Announcement):
            return
        if envelope.state == "gone":
            self._workers.pop(envelope.sender, None)
            for session in self._links.of(envelope.sender):
                session.lose(wire.Lost("the worker was stopped"))
            return
        if (facts := envelope.facts) is not None:
            if self._facts is None:
                self._facts = facts
            if facts.rate_hz != self._facts.rate_hz:
                # It may be the first of a new kind: this process goes on with the old ones until it is restarted.
                if envelope.sender not in self._unlike:
                    self._unlike.add(envelope.sender)
                    rates = f"{facts.rate_hz} Hz, not {self._facts.rate_hz} Hz"
                    logger.warning("A worker of %s is left alone: it works at %s", self.alias, rates)
                self._workers.pop(envelope.sender, None)
                return
        self._workers[envelope.sender] = _Worker(envelope, envelope.at - asyncio.get_running_loop().time())
        self._weights = "; ".join(sorted({facts.weights for facts in self._told()} - {""})) or self._weights
        self._news.set()
        if envelope.state == "draining":
            for session in self._links.of(envelope.sender):
                cast(_Session, session).leave()

    def _told(self) -> list[wire.Facts]:
        """What the workers say of themselves that are heard now."""
        return [worker.news.facts for worker in self._workers.values() if worker.news.facts is not None]

    def _on_beat(self) -> None:
        for channel, worker in list(self._workers.items()):
            worker.missed += 1
            if worker.missed > SILENT_BEATS:
                del self._workers[channel]

    def check(self) -> None:
        """Raises the reason why no worker would take a session now, as far as is known."""
        if not any(worker.news.state == "ready" for worker in self._workers.values()):
            raise self._nobody()

    @property
    def _full(self) -> bool:
        return all(worker.news.free <= 0 for worker in self._workers.values() if worker.news.state == "ready")

    def _nobody(self, stream: Layer | None = None) -> EngineError:
        if any(worker.news.state == "loading" for worker in self._workers.values()):
            return EngineLoading(f"the workers of {self.alias!r} are loading still")
        if self._links is not None and not self._links.channel:
            return NoWorker(f"no worker of {self.alias!r} is heard, as Redis cannot be reached (REDIS_URL)")
        if isinstance(stream, InMemoryChannelLayer):
            return NoWorker(f"no worker serves {self.alias!r} in this process; to hear one elsewhere set REDIS_URL")
        silence = SILENT_BEATS * BEAT
        return NoWorker(
            f"no worker of {self.alias!r} was heard for {silence:g} s: does `manage.py runworker {self.alias}` run?"
        )

    def ready(self, channel: str) -> bool:
        """This worker would probably take a session."""
        worker = self._workers.get(channel)
        return worker is not None and worker.news.state == "ready" and worker.news.free > 0

    # -- sessions ---------------------------------------------------------------------------------------

    def place(self, owner: _Owner) -> _Session:
        """A session that some worker will take, or that will be lost."""
        links = self.links
        session = _Session(self, owner)
        self._waiting[session.id] = session
        task = asyncio.ensure_future(self._place(session, links))
        self._placing.add(task)
        task.add_done_callback(self._placing.discard)
        return session

    def forget(self, session: _Session) -> None:
        self._waiting.pop(session.id, None)
        if session.peer and self._links is not None:
            self._links.leave(session)

    async def _place(self, session: _Session, links: Links) -> None:
        assert self._placements is not None
        now = asyncio.get_running_loop().time
        until = {channel: now() + worker.ahead + self._place_timeout for channel, worker in self._workers.items()}
        placement = wire.pack(wire.Placement(links.channel, session.id, dict(list(until.items())[: wire.MOST_WORKERS])))
        begun = now()
        refusal = f"no worker of {self.alias!r} took a session within {self._place_timeout:g} s"
        try:
            async with asyncio.timeout_at(begun + self._place_timeout):
                while not session.settled.is_set():
                    self.check()
                    if self._full:
                        # The news of a place that has just become free takes a moment.
                        if now() > begun + FULL_PATIENCE:
                            raise EngineFull(f"all places of {self.alias!r} are taken")
                        await wait(session.settled, FULL_PATIENCE / 10)
                        continue
                    try:
                        async with self._sending:
                            await self._placements.send(f"inference.{self.alias}", placement)
                    except ChannelFull:
                        raise EngineFull(f"too many wait for a worker of {self.alias!r}") from None
                    except Exception as error:
                        # The connections of a pool die one by one after Redis was restarted.
                        refusal = f"Redis cannot be asked for a worker of {self.alias!r}: {error}"
                        await asyncio.sleep(_SEND_AGAIN)
                    else:
                        await wait(session.settled, PLACE_AGAIN)
        except EngineError as error:
            session.fail(error)
        except TimeoutError:
            session.fail(NoWorker(refusal))

    def _on_stranger(self, peer: str, message: wire.Message) -> None:
        if self._links is None:
            return  # closing, and everybody was told
        match message:
            case wire.Offer():
                if (session := self._waiting.pop(message.session, None)) is not None:
                    session.take(peer)
                else:
                    # Given up meanwhile, or taken by another worker before.
                    self._links.tell(peer, wire.Close(message.session))
            case wire.Failed(request=0):
                if (session := self._waiting.get(message.session)) is not None:
                    session.fail(message.error)
            case wire.Words() | wire.Delta() | wire.Piece():
                self._links.tell(peer, wire.Close(message.session))


def _bytes(pcm: Pcm) -> bytes:
    return pcm.astype("<i2", copy=False).tobytes()


def _layer(alias: str) -> Layer:
    layer = get_channel_layer(alias)
    if layer is None:
        raise EngineError(f"CHANNEL_LAYERS has no {alias!r}", permanent=True)
    return cast(Layer, layer)


class _Stream(Generic[Item]):
    """What comes of a reply or a turn, in order, for the one who reads it."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._changed = asyncio.Event()
        self._error: EngineError | None = None
        self.ended = False

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._changed.set()

    def end(self, error: EngineError | None = None) -> None:
        """Only the first time counts."""
        if not self.ended:
            self.ended, self._error = True, error
            self._changed.set()

    async def next(self) -> Item | None:
        """None at the end. Raises ``EngineError`` where it broke off."""
        while not self._items:
            if self._error is not None:
                raise self._error
            if self.ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()


class _Credit:
    """Lets the worker send more as pieces are read."""

    def __init__(self) -> None:
        self._read = 0

    def piece(self, session: _Session, request: int) -> None:
        self._read += 1
        if self._read == _CREDIT_EVERY:
            self._read = 0
            session.tell(wire.Credit(session.id, request, _CREDIT_EVERY))


# Speech to text


class RemoteSpeechToText(Remote):
    """
    ``rate_hz`` and ``gives_partials`` are learned from a worker unless they are given.

    Sound crosses as 16-bit samples at the engine's rate, 16 to 32 kB/s while somebody speaks: exactly what an engine
    in this process would get.
    """

    kind = "stt"

    def __init__(self, *, rate_hz: int = 0, gives_partials: bool = False, may_speculate: bool = True, **options: Any):
        facts = wire.Facts(rate_hz=rate_hz, gives_partials=gives_partials, may_speculate=may_speculate)
        super().__init__(facts=facts if rate_hz else None, **options)

    @property
    def rate_hz(self) -> int:
        return self.facts.rate_hz

    @property
    def gives_partials(self) -> bool:
        return self.facts.gives_partials

    def open(
        self, *, language: str = "en", hint: str = "", on_partial: Callable[[Transcript], None] | None = None
    ) -> _Utterance:
        """Raises at once if there is no worker; what goes wrong later is told by ``snapshot`` and ``finish``."""
        self.check()
        return _Utterance(self, language, hint, on_partial)


class _Utterance:
    """All that was said is kept, as long as it is short enough: a second worker could begin again."""

    def __init__(
        self,
        remote: RemoteSpeechToText,
        language: str,
        hint: str,
        on_partial: Callable[[Transcript], None] | None,
    ) -> None:
        self._remote = remote
        self._language = language
        self._hint = hint
        self._on_partial = on_partial
        self._sound = bytearray()
        self._sent = 0
        self._whole = True
        self._piece_bytes = int(PIECE_SECONDS * remote.rate_hz) * 2
        self._kept_bytes = int(KEPT_SECONDS * remote.rate_hz) * 2
        self._requests = count(1)
        self._asked: dict[int, tuple[bool, asyncio.Future[Transcript]]] = {}
        self._final: asyncio.Future[Transcript] | None = None
        self._error: EngineError | None = None
        self._second_try = False
        self._session = remote.place(self)

    def push(self, pcm: Pcm) -> None:
        if self._final is not None or self._error is not None:
            return
        self._sound += _bytes(pcm)
        if len(self._sound) - self._sent >= self._piece_bytes:
            self._flush()
            if len(self._sound) > self._kept_bytes:
                self._keep_less()

    async def snapshot(self) -> Transcript:
        if self._final is not None:
            return await self.finish()
        return await self._await(self._ask(final=False))

    async def finish(self) -> Transcript:
        if self._final is None:
            self._final = self._ask(final=True)
        return await self._await(self._final)

    def cancel(self) -> None:
        self._fail(EngineError("the utterance was cancelled"))

    # -- the session ------------------------------------------------------------------------------------

    def opened(self, session: _Session) -> None:
        wants_partials = self._on_partial is not None and self._remote.gives_partials
        session.tell(
            wire.OpenUtterance(session.id, self._remote.rate_hz, self._language, self._hint[-1000:], wants_partials)
        )
        self._flush()
        for request, (final, _) in self._asked.items():
            session.tell(wire.Ask(session.id, request, final))

    def receive(self, session: _Session, message: wire.Message) -> None:
        match message:
            case wire.Words(request=0):
                if self._on_partial is not None and self._final is None and self._error is None:
                    try:
                        self._on_partial(_transcript(message))
                    except Exception:
                        logger.exception("A partial transcript could not be handed on")
            case wire.Words():
                if (asked := self._asked.pop(message.request, None)) is not None and not asked[1].done():
                    asked[1].set_result(_transcript(message))
            case wire.Failed():
                if (asked := self._asked.pop(message.request, None)) is not None and not asked[1].done():
                    asked[1].set_exception(message.error)
            case _:
                raise EngineError(f"a worker answered an utterance with {type(message).__name__}")
        if self._final is not None and not self._asked:
            session.end()

    def lost(self, session: _Session, error: EngineError) -> None:
        if isinstance(error, wire.Lost) and self._whole and not self._second_try and self._error is None:
            self._second_try = True
            self._sent = 0
            try:
                self._session = self._remote.place(self)
            except EngineError as refusal:
                self._fail(refusal)
        else:
            self._fail(error)

    def leave(self, session: _Session) -> None:
        """It will be over in time."""

    # -- ------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._session.open and self._sent < len(self._sound):
            for piece in wire.pieces(bytes(self._sound[self._sent :])):
                self._session.tell(wire.Push(self._session.id, piece))
            self._sent = len(self._sound)

    def _keep_less(self) -> None:
        if self._session.open:
            self._whole = False
            del self._sound[: self._sent]
            self._sent = 0
        else:
            self._fail(EngineError(f"no worker took the utterance for {KEPT_SECONDS:g} s of it"))

    def _ask(self, *, final: bool) -> asyncio.Future[Transcript]:
        answer: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting any more when it fails.
        answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        if self._error is not None:
            answer.set_exception(self._error)
            return answer
        request = next(self._requests)
        self._asked[request] = final, answer
        self._flush()
        self._session.tell(wire.Ask(self._session.id, request, final))
        return answer

    async def _await(self, answer: asyncio.Future[Transcript]) -> Transcript:
        try:
            async with asyncio.timeout(self._remote.answer_timeout):
                return await asyncio.shield(answer)
        except TimeoutError:
            error = EngineTimeout(f"recognition gave no answer within {self._remote.answer_timeout:g} s")
            self._fail(error)
            raise error from None

    def _fail(self, error: EngineError) -> None:
        if self._error is None and not (self._final is not None and not self._asked):
            self._error = error
        for _, answer in self._asked.values():
            if not answer.done():
                answer.set_exception(error)
        self._asked.clear()
        self._sound.clear()
        self._sent = 0
        self._session.end()


def _transcript(words: wire.Words) -> Transcript:
    return Transcript(words.text, words.samples, words.confidence)


# Language model


class RemoteLanguageModel(Remote):
    kind = "llm"

    def __init__(self, *, may_speculate: bool | None = None, **options: Any) -> None:
        facts = None if may_speculate is None else wire.Facts(may_speculate=may_speculate)
        super().__init__(facts=facts, **options)
        self.home = ""
        """The worker that served last: it knows the beginning of the conversations, and is asked without a queue."""

    def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        return self._stream(_request(messages, tools, speculative=speculative))

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        async with aclosing(self._stream(_request(messages, tools, warm=True))) as nothing:
            async for _ in nothing:
                pass

    async def _stream(self, request: wire.OpenReply) -> AsyncGenerator[TextDelta, None]:
        """Until the first word another worker may be asked; after it, the reply has broken off."""
        for attempt in (1, 2):
            reply = _Reply(self, request, directly=attempt == 1)
            credit = _Credit()
            begun = False
            try:
                while (delta := await self._next(reply)) is not None:
                    begun = True
                    yield TextDelta(delta.text, delta.requests or NO_REQUESTS)
                    credit.piece(reply.session, 0)
                return
            except (wire.Lost, EngineFull):
                if begun or attempt == 2:
                    raise
            finally:
                reply.session.end()

    async def _next(self, reply: _Reply) -> wire.Delta | None:
        try:
            async with asyncio.timeout(self.answer_timeout):
                return await reply.stream.next()
        except TimeoutError:
            raise EngineTimeout(f"the language model was silent for {self.answer_timeout:g} s") from None


def _request(
    messages: Sequence[Message], tools: Tools, *, speculative: bool = False, warm: bool = False
) -> wire.OpenReply:
    lines: list[Any] = [(message.role, message.content) for message in messages]
    return wire.OpenReply(1, lines, speculative, warm, list(tools.transfer_targets), tools.opt_out)


class _Reply:
    def __init__(self, remote: RemoteLanguageModel, request: wire.OpenReply, *, directly: bool) -> None:
        self.stream: _Stream[wire.Delta] = _Stream()
        self._remote = remote
        self._request = request
        if directly and remote.ready(remote.home):
            self.session = _Session(remote, self)
            self.session.take(remote.home, heard=False)
        else:
            self.session = remote.place(self)

    def opened(self, session: _Session) -> None:
        self._remote.home = session.peer
        session.tell(structs.replace(self._request, session=session.id))

    def receive(self, session: _Session, message: wire.Message) -> None:
        match message:
            case wire.Delta():
                self.stream.put(message)
            case wire.Done():
                self.stream.end()
                session.end()
            case _:
                raise EngineError(f"a worker answered a reply with {type(message).__name__}")

    def lost(self, session: _Session, error: EngineError) -> None:
        self.stream.end(error)

    def leave(self, session: _Session) -> None:
        """It will be over in time."""


# Text to speech


class RemoteTextToSpeech(Remote):
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

    def open(self, *, voice: str = "", language: str = "en") -> _Voice:
        """
        An unknown voice is refused here where the workers tell which they have, else by the first ``speak()``. The
        want of a worker is told there too: there may be one by then, and the greeting is kept as sound.
        """
        told = self._told() or [self.facts]
        known = {name for facts in told for name in facts.voices or ()}
        if voice and voice not in known and all(facts.voices is not None for facts in told):
            raise EngineError(f"no voice {voice!r}; there is: {', '.join(sorted(known)) or 'none'}", permanent=True)
        return _Voice(self, voice, language)


@dataclass(eq=False)
class _Turn:
    """One ``speak()``: what was given to be said, what came of it, and where."""

    number: int
    session: _Session | None = None
    stream: _Stream[wire.Piece] = field(default_factory=_Stream)
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


class _Voice:
    def __init__(self, remote: RemoteTextToSpeech, voice: str, language: str) -> None:
        self._remote = remote
        self._voice = voice
        self._language = language
        self._numbers = count(1)
        self._turns: dict[int, _Turn] = {}
        self._last: _Turn | None = None
        self._closed = False
        self._leaving = False
        self._session: _Session | None = remote.place(self)

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        turn = self._last = _Turn(next(self._numbers))
        self._turns[turn.number] = turn
        giving = asyncio.ensure_future(self._give(turn, text))
        try:
            for attempt in (1, 2):
                self._begin(turn)
                begun = False
                credit = _Credit()
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
            sound = _bytes(pcm)[-wire.MAX_SOUND_BYTES :]
            self._session.tell(wire.CallerSaid(self._session.id, text, sound, rate_hz))

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            self._session.fail(EngineError("the voice was closed"))

    # -- turns ------------------------------------------------------------------------------------------

    def _begin(self, turn: _Turn) -> None:
        if self._closed:
            raise EngineError("the voice was closed")
        if self._session is None:
            self._leaving = False
            self._session = self._remote.place(self)
        turn.session, turn.stream = self._session, _Stream()
        if turn.session.open:
            self._tell_all(turn.session, turn)

    def _tell_all(self, session: _Session, turn: _Turn) -> None:
        session.tell(wire.Speak(session.id, turn.number))
        for clause in turn.given:
            session.tell(wire.Clause(session.id, turn.number, clause))
        if turn.text_over:
            session.tell(wire.NoMoreText(session.id, turn.number))

    async def _give(self, turn: _Turn, text: AsyncIterator[str]) -> None:
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

    async def _next(self, turn: _Turn) -> wire.Piece | None:
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

    def _finish(self, turn: _Turn) -> None:
        del self._turns[turn.number]
        if turn.session is not None and not turn.stream.ended:
            turn.session.tell(wire.Stop(turn.session.id, turn.number))
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        if self._leaving and not self._turns and self._session is not None:
            session, self._session = self._session, None
            session.end()

    # -- the session ------------------------------------------------------------------------------------

    def opened(self, session: _Session) -> None:
        """Where what the last turns said and what of it was heard would be told to a worker that does not know it."""
        session.tell(wire.OpenVoice(session.id, self._remote.rate_hz, self._voice, self._language))
        for turn in self._turns.values():
            if turn.session is session:
                self._tell_all(session, turn)

    def receive(self, session: _Session, message: wire.Message) -> None:
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

    def lost(self, session: _Session, error: EngineError) -> None:
        if session is self._session:
            self._session = None
        for turn in self._turns.values():
            if turn.session is session:
                turn.stream.end(error)

    def leave(self, session: _Session) -> None:
        self._leaving = session is self._session
        self._leave_if_idle()
