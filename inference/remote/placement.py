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
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, get_channel_layer

from inference.remote import wire
from inference.remote.links import BEAT, SILENT_BEATS, Layer, Links, end, wait
from inference.types import (
    Description,
    EngineError,
    EngineFull,
    EngineLoading,
    NoWorker,
)

logger = logging.getLogger(__name__)

PLACE_AGAIN = 0.5
"""Seconds without an answer after which a placement is sent again: a worker that dies may take it with it. Twice taken
does no harm: the second offer is declined."""
FULL_PATIENCE = 0.25
"""Seconds for which all workers must say that they are full; they say so several times in it."""
_SEND_AGAIN = 0.02


class SessionOwner(Protocol):
    """What a session is for."""

    def opened(self, session: RemoteSession) -> None:
        """A worker has taken it and waits to hear what it is."""

    def receive(self, session: RemoteSession, message: wire.Message) -> None: ...

    def lost(self, session: RemoteSession, error: EngineError) -> None:
        """It is over, by no wish of ours."""

    def leave(self, session: RemoteSession) -> None:
        """Its worker would like to stop."""


class RemoteSession:
    """This end of a session; each attempt on a worker has one of its own, so that no answer goes to the wrong one."""

    def __init__(self, remote: RemoteEngine, owner: SessionOwner) -> None:
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


class RemoteEngine:
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
        self._waiting: dict[int, RemoteSession] = {}
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
            cast(RemoteSession, session).fail(EngineError(f"the engine {self.alias!r} was closed"))
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
                cast(RemoteSession, session).leave()

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

    def place(self, owner: SessionOwner) -> RemoteSession:
        """A session that some worker will take, or that will be lost."""
        links = self.links
        session = RemoteSession(self, owner)
        self._waiting[session.id] = session
        task = asyncio.ensure_future(self._place(session, links))
        self._placing.add(task)
        task.add_done_callback(self._placing.discard)
        return session

    def forget(self, session: RemoteSession) -> None:
        self._waiting.pop(session.id, None)
        if session.peer and self._links is not None:
            self._links.leave(session)

    async def _place(self, session: RemoteSession, links: Links) -> None:
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


def _layer(alias: str) -> Layer:
    layer = get_channel_layer(alias)
    if layer is None:
        raise EngineError(f"CHANNEL_LAYERS has no {alias!r}", permanent=True)
    return cast(Layer, layer)
