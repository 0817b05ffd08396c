"""One engine of this process, and who is taken in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from inference.remote import wire
from inference.remote.links import BEAT, Layer, Links, end, wait
from inference.remote.served import (
    ServedReply,
    ServedSession,
    ServedSpeech,
    ServedTranscription,
    SessionHost,
    unexpected,
)
from inference.types import EngineError, EngineFull

logger = logging.getLogger(__name__)

DEFAULT_SLOTS = 128
"""Where an engine sets no limit itself: what one process is measured to carry."""
OpenMessage: TypeAlias = wire.OpenUtterance | wire.OpenReply | wire.OpenVoice
KINDS = ("stt", "llm", "tts")
CLIENT_SILENT_BEATS = 15
"""Of a client nobody waits for an answer: a process that was held up for a moment should find its calls where it left
them."""
OFFER_TIMEOUT = 2.0
"""Seconds for which a place is kept for whoever has not said yet what it is for."""
_RETRY_AFTER = 0.5
_ANNOUNCE_TIMEOUT = 2.0
_END_TIMEOUT = 2.0


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
            if isinstance(known, OfferedSlot) and known.peer == placement.sender:
                self.links.tell(placement.sender, wire.Offer(placement.session))
            return True
        if self.free <= 0:
            return False
        slot = OfferedSlot(self, placement.session, placement.sender, on_open=self._open_in_slot)
        self.links.join(slot, heard=False)
        self.links.tell(placement.sender, wire.Offer(placement.session))
        self.update()
        return True

    def _on_stranger(self, peer: str, message: wire.Message) -> None:
        match message:
            case wire.OpenUtterance() | wire.OpenReply() | wire.OpenVoice() if self.state == "ready":
                self._open(peer, message)
            case wire.OpenUtterance() | wire.OpenReply() | wire.OpenVoice():
                self.refuse(peer, message.session, wire.Lost(f"the worker is {self.state}"))
            case wire.Close():
                pass
            case _:
                self.refuse(peer, message.session, wire.Lost("the worker does not know the session"))

    # -- sessions ---------------------------------------------------------------------------------------

    def _open_in_slot(self, slot: OfferedSlot, message: OpenMessage) -> None:
        self._open(slot.peer, message, slot)

    def _open(self, peer: str, message: OpenMessage, offered: OfferedSlot | None = None) -> None:
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
            self.refuse(peer, message.session, error if isinstance(error, EngineError) else unexpected(error))
            if offered is not None:
                self.links.leave(offered)
        else:
            self.links.join(session)
            if offered is None:
                self.links.tell(peer, wire.Offer(session.id))
        self.update()

    def _session(self, peer: str, message: OpenMessage) -> ServedSession:
        match message:
            case wire.OpenUtterance() if self.alias == "stt":
                self._check_rate(message.rate_hz)
                return ServedTranscription(self, peer, message, self.engine)
            case wire.OpenReply() if self.alias == "llm":
                return ServedReply(self, peer, message, self.engine)
            case wire.OpenVoice() if self.alias == "tts":
                self._check_rate(message.rate_hz)
                return ServedSpeech(self, peer, message, self.engine)
        raise EngineError(f"{self.alias!r} was asked for {type(message).__name__}", permanent=True)

    def _check_rate(self, rate_hz: int) -> None:
        if rate_hz != self.engine.rate_hz:
            raise EngineError(f"this worker works at {self.engine.rate_hz} Hz, not {rate_hz} Hz")

    def send(self, peer: str, message: wire.Message) -> None:
        self.links.tell(peer, message)

    def refuse(self, peer: str, session: int, error: EngineError) -> None:
        self.links.tell(peer, wire.Failed.of(session, 0, error))

    def finish(self, session: ServedSession) -> None:
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


class OfferedSlot(ServedSession):
    """A place that is kept."""

    def __init__(
        self, host: SessionHost, id: int, peer: str, *, on_open: Callable[[OfferedSlot, OpenMessage], None]
    ) -> None:
        super().__init__(host, id, peer)
        self._on_open = on_open
        self._timer = asyncio.get_running_loop().call_later(OFFER_TIMEOUT, host.finish, self)

    def on(self, message: wire.Message) -> None:
        match message:
            case wire.OpenUtterance() | wire.OpenReply() | wire.OpenVoice():
                self.over = True
                self._timer.cancel()
                self._on_open(self, message)
            case _:
                self.lose(wire.Lost("the session was never opened"))

    async def release(self) -> None:
        self._timer.cancel()
