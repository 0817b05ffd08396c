"""
Finds a worker for a session: the base of the three engines that are served elsewhere.

The workers of an engine compete for placements on one channel, which takes some milliseconds, or longer if one of them
has just died with a placement in its hands. A voice has that time when its call begins, and an utterance while the
caller speaks. A language model has not: once a worker has served it, it asks the same worker directly, and uses the
channel again only when that worker is full or gone. A session whose worker is lost asks another one directly as well,
and so does one whose placement is not answered.
"""

from __future__ import annotations

import asyncio
import secrets
from time import perf_counter
from typing import ClassVar, Protocol, cast

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer

from inference import metrics
from inference.remote import wire
from inference.remote.known_workers import UNHEARD_BEATS, KnownWorkers
from inference.remote.links import BEAT, LONGEST_OUTAGE, SILENT_BEATS, Layer, Links
from inference.remote.waiting import cancel_and_wait, wait_at_most
from inference.types import (
    Description,
    EngineError,
    EngineFull,
    EngineLoading,
    Languages,
    NoWorker,
    union_of_languages,
)
from inference.usage import UsageMeter

PLACE_AGAIN = 0.25
"""Seconds without an offer after which a worker is asked directly, because one that dies may take a placement with it,
and one of another version drops it. If none is heard, the placement is sent again. If two workers take the session, the
second offer is declined."""
FULL_PATIENCE = 0.25
"""Seconds for which all workers must say that they are full before a session is refused. They announce themselves every
0.2 s, and at once when a slot becomes free."""
_SEND_AGAIN = 0.02
"""Seconds after which a placement that could not be sent is tried again: each attempt uses up one connection that broke
when Redis was restarted, and the next one may work."""
_SEND_TIMEOUT = 0.5
"""Seconds for sending a placement. Redis answers in milliseconds."""
_MAX_SENDING = 16
"""Placements that are sent at the same time: each takes a connection, and the pool has a hundred."""


class SessionOwner(Protocol):
    """The purpose of a session: an utterance, a reply or a voice. It may have several sessions, one after the other."""

    meter: UsageMeter | None
    """Counts what the worker's engine bills; None if the request belongs to no call."""

    def opened(self, session: RemoteSession) -> None:
        """A worker has a slot for the session and waits for the message that opens it."""

    def receive(self, session: RemoteSession, message: wire.Message) -> None: ...

    def lost(self, session: RemoteSession, error: EngineError) -> None:
        """The session has ended, or was never placed, for a reason that is not the owner's own."""

    def drain(self, session: RemoteSession) -> None:
        """The worker wants to stop, and asks for the session to end when it can."""


class RemoteSession:
    """The client's end of a session. Each attempt has a session of its own, so that no answer reaches the wrong one."""

    def __init__(self, engine: RemoteEngine, owner: SessionOwner) -> None:
        self.id = secrets.randbits(62) + 1
        self.peer = ""
        """The channel of the worker; "" until one is found."""
        self.over = False
        self.asked_at = perf_counter()
        self.directly = False
        """The worker was asked without knowing whether it takes the session."""
        self.settled = asyncio.Event()
        """Set when a worker is found or the session is over."""
        self._engine = engine
        self._owner = owner

    @property
    def open(self) -> bool:
        return bool(self.peer) and not self.over

    def assign(self, peer: str, *, offered: bool = True) -> None:
        """Give the session to a worker. ``offered`` says whether the worker has offered itself for it."""
        self.peer, self.directly = peer, not offered
        self._engine.links.add(self, peer_knows=offered)
        self.settled.set()
        try:
            self._owner.opened(self)
        except EngineError as error:
            self.lose(error)

    def send(self, message: wire.Message) -> None:
        """Send this to the worker, if one has the session."""
        if self.open:
            self._engine.links.send(self.peer, message)

    def receive(self, message: wire.Message) -> None:
        if isinstance(message, wire.Words | wire.Done | wire.Failed) and self._owner.meter is not None:
            self._owner.meter.add_all(message.usage)
        match message:
            case wire.Failed(request=0):
                self._engine.count_loss(self, message.error)
                self._release()
                self._owner.lost(self, message.error)
            case wire.Offer():
                pass  # the same worker took the placement twice
            case _:
                self._owner.receive(self, message)

    def drain(self) -> None:
        self._owner.drain(self)

    def lose(self, error: EngineError) -> None:
        """Close the session and tell its owner why."""
        if not self.over:
            self._engine.count_loss(self, error)
            self.close()
            self._owner.lost(self, error)

    def close(self) -> None:
        """Free the slot at the worker. Idempotent."""
        if self.open:
            self._engine.links.send(self.peer, wire.Close(self.id))
        self._release()

    def _release(self) -> None:
        self.over = True
        self.settled.set()
        self._engine.forget(self)


class RemoteEngine:
    """
    The base of the engines that workers elsewhere serve.

    ``alias`` is the name under which the workers serve the engine (default: its kind). ``layer`` and ``stream_layer``
    are the aliases of the channel layers for placements and for everything else. ``start`` waits up to
    ``start_timeout`` seconds for a worker, from which it learns the ``facts`` of the engine. If the options of the
    engine state them, it waits no longer than a worker needs to be heard. A session is refused if no worker has taken
    it within ``place_timeout`` seconds, or sooner when it is known that none would. ``answer_timeout`` is how many
    seconds an answer may take.
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
        self.workers = KnownWorkers(self.alias, facts)
        self._links: Links | None = None
        """Set while the engine is started."""
        self._placements: Layer | None = None
        """The layer to which placements are sent; set by ``start``."""
        self._waiting: dict[int, RemoteSession] = {}
        """Sessions without a worker, by id."""
        self._placing: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Semaphore(_MAX_SENDING)
        self._news = asyncio.Event()
        """Set when a worker has announced itself; ``start`` waits for it."""
        self._start_lock = asyncio.Lock()
        self._placement_wait = metrics.PLACEMENT_WAIT.labels(self.alias)
        self._sessions_lost = metrics.SESSIONS_LOST.labels(self.alias)
        metrics.begin_at_zero(self.alias, metrics.PLACEMENTS_FAILED)

    @property
    def queued(self) -> int:
        """Sessions that wait for a worker."""
        return len(self._waiting)

    @property
    def languages(self) -> Languages:
        """The languages of all workers together; None while none is known, or one does not say."""
        return union_of_languages(
            None if facts.languages is None else frozenset(facts.languages) for facts in self.workers.all_facts
        )

    @property
    def facts(self) -> wire.Facts:
        if self.workers.facts is None:
            raise EngineError(f"what the workers of {self.alias!r} serve is not known before start()")
        return self.workers.facts

    @property
    def may_speculate(self) -> bool:
        """False while no worker is known."""
        return self.workers.facts is not None and self.workers.facts.may_speculate

    @property
    def links(self) -> Links:
        if self._links is None:
            raise EngineError(f"the engine {self.alias!r} was not started, or was closed")
        return self._links

    @property
    def facts_known(self) -> bool:
        return self.workers.facts is not None

    @property
    def layer_is_silent(self) -> bool:
        return self._links is not None and self._links.layer.silent

    def describe(self) -> Description:
        """The weights stay the same while workers come and go, because stored speech is found by them."""
        weights = f"served by workers on the channel layer ({self.workers.weights or 'none heard so far'})"
        return Description(weights, device="elsewhere", capacity=self.workers.slots)

    async def start(self) -> None:
        async with self._start_lock:
            if self._links is not None:
                return
            self._placements, stream = get_layer(self._layer_alias), get_layer(self._stream_alias)
            self._links = Links(
                stream,
                f"inference.{self.alias}",
                group=f"inference.{self.alias}",
                on_unknown_session=self._on_unknown_session,
                on_envelope=self._on_envelope,
                on_beat=self.workers.beat,
            )
            try:
                async with asyncio.timeout(self._start_timeout):
                    await self._links.open()
                    if self.workers.facts is not None:
                        await wait_at_most(SILENT_BEATS * BEAT, self._news)
                    while self.workers.facts is None:
                        await self._news.wait()
                        self._news.clear()
            except TimeoutError:
                error = self._no_worker_error(stream)
                await self._close()
                raise error from None
            except BaseException:
                await self._close()
                raise

    async def close(self) -> None:
        async with self._start_lock:
            await self._close()

    async def _close(self) -> None:
        if self._links is None:
            return
        for session in [*self._waiting.values(), *self._links.sessions.values()]:
            cast(RemoteSession, session).lose(EngineError(f"the engine {self.alias!r} was closed"))
        links, self._links = self._links, None
        await cancel_and_wait(*self._placing)
        await links.close()
        self.workers.clear()

    # -- workers ----------------------------------------------------------------------------------------

    def _on_envelope(self, envelope: wire.Announcement | wire.Placement) -> None:
        if self._links is None or not isinstance(envelope, wire.Announcement):
            return
        self._links.hear(envelope.sender)
        usable = self.workers.update(envelope, asyncio.get_running_loop().time())
        if usable:
            self._news.set()
        if envelope.state == "gone":
            for session in self._links.sessions_with(envelope.sender):
                session.lose(wire.SessionLost("the worker was stopped"))
        elif usable and envelope.state == "draining":
            for session in self._links.sessions_with(envelope.sender):
                cast(RemoteSession, session).drain()

    def check(self) -> None:
        """Raise the reason why no worker would take a session now, as far as is known."""
        if not self.workers.any_in_state("ready"):
            raise self._no_worker_error()

    def _no_worker_error(self, stream: Layer | None = None) -> EngineError:
        if self.workers.any_in_state("loading"):
            return EngineLoading(f"the workers of {self.alias!r} are still loading")
        if self._links is not None and not self._links.channel:
            return NoWorker(f"no worker of {self.alias!r} can be heard: Redis cannot be reached (REDIS_URL)")
        if isinstance(stream, InMemoryChannelLayer):
            return NoWorker(f"no worker serves {self.alias!r} in this process; set REDIS_URL to use workers elsewhere")
        if self._links is not None and self._links.other_version:
            return NoWorker(
                f"no worker of {self.alias!r} can be used; of a message that was heard, {self._links.other_version}"
            )
        return NoWorker(
            f"no worker of {self.alias!r} was heard for {UNHEARD_BEATS * BEAT:g} s: "
            f"is `manage.py runworker {self.alias}` running?"
        )

    # -- sessions ---------------------------------------------------------------------------------------

    def place(self, owner: SessionOwner, *, instead_of: str = "") -> RemoteSession:
        """
        Return a session that a worker will take, or that its owner will lose.

        ``instead_of`` is the channel of a worker that was lost. Another one is then asked directly, if one is known to
        have a free slot.
        """
        links = self.links
        session = RemoteSession(self, owner)
        self._waiting[session.id] = session
        if instead_of and (worker := self.workers.choose(without=instead_of)):
            # The owner must have the session before it is told that it was opened.
            asyncio.get_running_loop().call_soon(self._assign, session.id, worker, False)
            return session
        task = asyncio.ensure_future(self._place(session, links))
        self._placing.add(task)
        task.add_done_callback(self._placing.discard)
        return session

    def _ask_directly(self, session: RemoteSession) -> None:
        """Give the session to a worker that is heard, if it is known to have a free slot and no other has taken it."""
        worker = self.workers.choose(only_heard=True)
        if worker and not session.settled.is_set():
            self._assign(session.id, worker, offered=False)

    def _assign(self, id: int, worker: str, offered: bool) -> bool:
        """Give the session to the worker, unless it was given up or has one. Returns whether it was given."""
        session = self._waiting.pop(id, None)
        if session is not None:
            self._placement_wait.observe(perf_counter() - session.asked_at)
            session.assign(worker, offered=offered)
        return session is not None

    def count_loss(self, session: RemoteSession, error: EngineError) -> None:
        if session.peer:
            self._sessions_lost.inc()
        else:
            metrics.PLACEMENTS_FAILED.labels(self.alias, metrics.error_label(error)).inc()

    def forget(self, session: RemoteSession) -> None:
        self._waiting.pop(session.id, None)
        if session.peer and self._links is not None:
            self._links.remove(session)

    async def _place(self, session: RemoteSession, links: Links) -> None:
        now = asyncio.get_running_loop().time
        begun = now()
        refusal = f"no worker of {self.alias!r} took a session within {self._place_timeout:g} s"
        try:
            async with asyncio.timeout_at(begun + self._place_timeout) as limit:
                while not session.settled.is_set():
                    self.check()
                    if links.layer.silent:
                        # Nobody can be asked. The session waits as the open ones do.
                        limit.reschedule(min(now() + self._place_timeout, begun + LONGEST_OUTAGE * BEAT))
                        refusal = f"Redis cannot be asked for a worker of {self.alias!r}: it does not answer"
                    if self.workers.full:
                        # It takes a moment until a slot that has become free is known here.
                        if now() > begun + FULL_PATIENCE:
                            raise EngineFull(f"all slots of {self.alias!r} are taken")
                        await wait_at_most(FULL_PATIENCE / 10, session.settled)
                    elif failure := await self._send_placement(session, links):
                        refusal = f"Redis cannot be asked for a worker of {self.alias!r}: {failure!r}"
                        await asyncio.sleep(_SEND_AGAIN)
                    else:
                        await wait_at_most(PLACE_AGAIN, session.settled)
                        self._ask_directly(session)
        except EngineError as error:
            session.lose(error)
        except TimeoutError:
            session.lose(NoWorker(refusal))

    async def _send_placement(self, session: RemoteSession, links: Links) -> Exception | None:
        """Return why the layer failed, if it did."""
        assert self._placements is not None
        until = self.workers.on_their_clocks(asyncio.get_running_loop().time() + self._place_timeout)
        placement = wire.pack(wire.Placement(links.channel, session.id, until))
        try:
            async with asyncio.timeout(_SEND_TIMEOUT), self._sending:
                await self._placements.send(f"inference.{self.alias}", placement)
        except ChannelFull:
            raise EngineFull(f"too many sessions wait for a worker of {self.alias!r}") from None
        except Exception as error:
            return error
        return None

    def _on_unknown_session(self, peer: str, message: wire.Message) -> None:
        if self._links is None:
            return  # closed: all sessions have ended
        match message:
            case wire.Offer():
                if not self._assign(message.session, peer, offered=True):
                    # The session was given up, or another worker took it first.
                    self._links.send(peer, wire.Close(message.session))
            case wire.Failed(request=0):
                if (session := self._waiting.get(message.session)) is not None:
                    session.lose(message.error)
            case wire.Words() | wire.Delta() | wire.Piece():
                self._links.send(peer, wire.Close(message.session))


def get_layer(alias: str) -> Layer:
    layer = get_channel_layer(alias)
    if layer is None:
        known = ", ".join(channel_layers.configs)
        raise EngineError(f"CHANNEL_LAYERS has no {alias!r}; it has: {known}", permanent=True)
    return cast(Layer, layer)
