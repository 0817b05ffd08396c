"""Serves one engine of this process to clients elsewhere, and decides which sessions it takes."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TypeAlias, cast

from inference import metrics
from inference.interfaces import Engine, LanguageModel, SpeechToText, TextToSpeech
from inference.remote import wire
from inference.remote.links import BEAT, Layer, Links
from inference.remote.outage import Outage
from inference.remote.pulse import Pulse
from inference.remote.served import ServedReply, ServedSession, ServedSpeech, ServedTranscription, unexpected
from inference.remote.waiting import cancel_and_wait, wait_at_most
from inference.types import EngineError, EngineFull
from inference.usage import UsageMeter, metering

logger = logging.getLogger(__name__)

KINDS = ("stt", "llm", "tts")
DEFAULT_SLOTS = 128
"""Slots of an engine that sets no limit itself: one process was measured to carry as many."""
CLIENT_SILENT_BEATS = 45
"""Beats (4.5 s) after which a silent client counts as dead. The worker waits for no answer of a client, and a client
that was held up, or cut off from Redis for three seconds, should find its calls as they were."""
OFFER_TIMEOUT = 2.0
"""Seconds for which an offered slot is reserved until the client opens its session: as long as a client waits."""
_RETRY_AFTER = 0.5
"""Seconds between attempts to read placements from a layer that has failed."""
_ANNOUNCE_TIMEOUT = 2.0
"""Seconds for sending an announcement. Redis answers in milliseconds; a slower layer counts as failed."""
_RELEASE_TIMEOUT = 2.0
"""Seconds that closing waits for the engine to release its sessions."""

OpenMessage: TypeAlias = wire.OpenTranscription | wire.OpenReply | wire.OpenSpeech


class Server:
    """
    One engine of this process, which clients find under its alias.

    ``placements`` and ``stream`` are the channel layers for placements and for everything else. With ``slots`` 0 the
    engine sets the limit. With ``pulse`` a thread shows that the worker lives while its event loop is held up; the
    layer must serve several threads.
    """

    def __init__(
        self, alias: str, engine: Engine, *, placements: Layer, stream: Layer, slots: int = 0, pulse: bool = False
    ) -> None:
        if alias not in KINDS:
            raise ValueError(f"the alias is {alias!r}; it must be one of {', '.join(KINDS)}")
        self.alias = alias
        self.engine = engine
        self.slots = slots
        """Sessions that are served at once; 0 until the engine has loaded, unless the operator sets the limit."""
        self.state: wire.WorkerState = "loading"
        self.links = Links(
            stream,
            f"inference.{alias}.worker",
            on_unknown_session=self._on_unknown_session,
            max_silent_beats=CLIENT_SILENT_BEATS,
        )
        self._placements = placements
        self._stream = stream
        self._sessions_served = metrics.SESSIONS_SERVED.labels(alias)
        metrics.begin_at_zero(alias, metrics.SESSIONS_REFUSED)
        self._name = f"inference.{alias}"
        """The channel of placements and the group of clients that receive announcements."""
        self._pulse = Pulse(stream, self._name) if pulse else None
        self._facts: wire.Facts | None = None
        """Set when the engine has loaded."""
        self._releasing: set[asyncio.Task[None]] = set()
        """Sessions that are over and that the engine has not released yet; each still takes a slot."""
        self._was_full = False
        """Whether the last announcement said that no slot is free."""
        self.loaded = asyncio.Event()
        """Set when the engine can serve."""
        self._may_take = asyncio.Event()
        """Set while placements are taken."""
        self._changed = asyncio.Event()
        """Set when clients should hear of the worker's state before the next beat."""
        self.idle = asyncio.Event()
        """Set while no slot is taken."""
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def free(self) -> int:
        """Slots without a session. A session keeps its slot until the engine has released it."""
        return self.slots - len(self.links.sessions) - len(self._releasing)

    async def serve(self) -> None:
        """Never returns. Raises the engine's error if it does not load, and ``EngineError`` once it is broken."""
        self._tasks = [asyncio.ensure_future(self._announce_always()), asyncio.ensure_future(self._take_placements())]
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
        languages = getattr(self.engine, "languages", None)
        self._facts = wire.Facts(
            # Which of these attributes an engine has depends on its kind.
            rate_hz=getattr(self.engine, "rate_hz", 0),
            gives_partials=bool(getattr(self.engine, "gives_partials", False)),
            may_speculate=bool(self.engine.may_speculate),
            hears_caller=bool(getattr(self.engine, "hears_caller", False)),
            voices=None if voices is None or len(voices) > wire.MAX_VOICES else sorted(voices),
            languages=None if languages is None else sorted(languages)[: wire.MAX_LANGUAGES],
            weights=description.weights[:200],
            device=description.device[:200],
            remembers=bool(getattr(self.engine, "remembers", False)),
        )
        seconds = now() - begun
        logger.info(
            "%s: loaded on %s in %.1f s; serving up to %d sessions", self.alias, description.device, seconds, self.slots
        )
        self.loaded.set()
        if self.state == "loading":  # and not stopped meanwhile
            self.state = "ready"
        self.update()

    def drain(self) -> None:
        """Take no more sessions. ``idle`` is set when the open ones have ended."""
        self.state = "draining"
        for task in self._tasks[1:]:
            task.cancel()
        self.update()

    async def close(self) -> None:
        """End the sessions that are still open, and tell their clients."""
        self.state = "gone"
        for session in list(self.links.sessions.values()):
            self.links.remove(session)
            session.lose(wire.SessionLost("the worker was stopped"))
        if self._releasing:
            await asyncio.wait(list(self._releasing), timeout=_RELEASE_TIMEOUT)
        await cancel_and_wait(*self._tasks)
        if self._pulse is not None:
            await self._pulse.stop()
        await self.links.close()
        # The last message of all: a client that receives it expects nothing more.
        if self.links.channel:
            await self._announce()
        await self.engine.close()

    def update(self) -> None:
        """Called when slots were taken or freed, and when the state has changed."""
        full = self.free <= 0
        if self.state == "ready" and not full:
            self._may_take.set()
        else:
            self._may_take.clear()
        if full != self._was_full or self.state != "ready":
            self._was_full = full
            self._changed.set()
        if self.links.sessions or self._releasing:
            self.idle.clear()
        else:
            self.idle.set()

    # -- the layer --------------------------------------------------------------------------------------

    async def _announce_always(self) -> None:
        """Announce the worker in every beat, until its engine breaks."""
        await self.links.open()
        if self._pulse is not None:
            self._pulse.start()
        outage = Outage(logger)
        while True:
            if (error := await self._announce()) is None:
                outage.end()
            else:
                reason = str(error) or type(error).__name__
                outage.report("%s: cannot announce this worker to its clients, retrying: %s", self.alias, reason)
            if broken := getattr(self.engine, "broken", ""):
                raise EngineError(f"{self.alias} is broken: {broken}")
            await wait_at_most(BEAT, self._changed)
            self._changed.clear()

    async def _announce(self) -> Exception | None:
        """Return why the layer failed, if it did."""
        at = asyncio.get_running_loop().time()
        news = wire.Announcement(self.links.channel, self.state, self.slots, max(0, self.free), at, self._facts)
        if self._pulse is not None:
            self._pulse.note(news, time.monotonic())
        try:
            async with asyncio.timeout(_ANNOUNCE_TIMEOUT):
                await self._stream.group_send(self._name, wire.pack(news))
        except Exception as error:
            return error
        return None

    async def _take_placements(self) -> None:
        now = asyncio.get_running_loop().time
        outage = Outage(logger)
        while True:
            await self._may_take.wait()
            begun = now()
            try:
                message = await self._placements.receive(self._name)
            except Exception as error:
                # Redis-py also raises after 5 s without a message, which is no outage.
                if now() - begun < _RETRY_AFTER:
                    outage.report("%s: cannot read placements, retrying: %s", self.alias, error)
                    await asyncio.sleep(_RETRY_AFTER)
                continue
            outage.end()
            await self._take_placement(message)

    async def _take_placement(self, message: wire.LayerMessage) -> None:
        try:
            placement = wire.unpack(message)
            if not isinstance(placement, wire.Placement):
                raise wire.InvalidEnvelope(f"it is a {type(placement).__name__} and not a Placement")
        except wire.InvalidEnvelope as error:
            logger.warning("%s: dropped an invalid placement: %s", self.alias, error)
            return
        if self._offer(placement):
            return
        try:
            # The last slot went to a client that came directly. Another worker may have a slot.
            await self._placements.send(self._name, message)
        except Exception as error:
            logger.info("%s: could not return a placement; its client sends it again: %s", self.alias, error)

    def _offer(self, placement: wire.Placement) -> bool:
        """Offer a slot for the session, or ignore a placement that needs none. False if there is no slot."""
        if asyncio.get_running_loop().time() > placement.until.get(self.links.channel, float("inf")):
            return True  # its client has given up
        if (known := self.links.sessions.get(placement.session)) is not None:
            # The placement was sent again though a slot is reserved, so the first offer may be lost.
            if isinstance(known, OfferedSlot) and known.peer == placement.sender:
                self.links.send(placement.sender, wire.Offer(placement.session))
            return True
        if self.free <= 0:
            return False
        self.links.add(OfferedSlot(self, placement.session, placement.sender), peer_knows=False)
        self.links.send(placement.sender, wire.Offer(placement.session))
        self.update()
        return True

    def _on_unknown_session(self, peer: str, message: wire.Message) -> None:
        match message:
            case wire.OpenTranscription() | wire.OpenReply() | wire.OpenSpeech() if self.state == "ready":
                self.open(peer, message)
            case wire.OpenTranscription() | wire.OpenReply() | wire.OpenSpeech():
                self.refuse(peer, message.session, wire.SessionLost(f"the worker is {self.state}"))
            case wire.Close():
                pass
            case _:
                self.refuse(peer, message.session, wire.SessionLost("the worker does not know the session"))

    # -- sessions ---------------------------------------------------------------------------------------

    def open(self, peer: str, message: OpenMessage, slot: OfferedSlot | None = None) -> None:
        """Open a session in the slot that was offered for it, or directly in a free one."""
        try:
            if slot is None and self.free <= 0:
                raise EngineFull(f"all slots of {self.alias!r} are taken")
            if slot is None and message.session in self.links.sessions:
                raise EngineError("another client has a session with this id")
            session = self._make_session(peer, message)
        except Exception as error:
            if not isinstance(error, EngineError):
                with metering(UsageMeter(message.call)):
                    logger.exception("%s: unexpected error in opening a session; it is refused", self.alias)
            self.refuse(peer, message.session, error if isinstance(error, EngineError) else unexpected(error))
            if slot is not None:
                self.links.remove(slot)
        else:
            self._sessions_served.inc()
            self.links.add(session)
            if slot is None:
                self.links.send(peer, wire.Offer(session.id))
        self.update()

    def _make_session(self, peer: str, message: OpenMessage) -> ServedSession:
        match message:
            case wire.OpenTranscription() if self.alias == "stt":
                self._check_rate(message.rate_hz)
                return ServedTranscription(self, peer, message, cast(SpeechToText, self.engine))
            case wire.OpenReply() if self.alias == "llm":
                return ServedReply(self, peer, message, cast(LanguageModel, self.engine))
            case wire.OpenSpeech() if self.alias == "tts":
                self._check_rate(message.rate_hz)
                return ServedSpeech(self, peer, message, cast(TextToSpeech, self.engine))
        raise EngineError(f"the worker of {self.alias!r} cannot handle {type(message).__name__}", permanent=True)

    def _check_rate(self, rate_hz: int) -> None:
        own_rate_hz = cast(SpeechToText | TextToSpeech, self.engine).rate_hz
        if rate_hz != own_rate_hz:
            raise EngineError(f"the rate of this worker is {own_rate_hz} Hz and not {rate_hz} Hz")

    def refuse(self, peer: str, session: int, error: EngineError) -> None:
        """Tell the client why the session does not exist here, or no longer does."""
        metrics.SESSIONS_REFUSED.labels(self.alias, metrics.error_label(error)).inc()
        self.links.send(peer, wire.Failed.from_error(session, 0, error))

    def finish(self, session: ServedSession) -> None:
        """Forget the session, and free its slot once the engine has released it. Idempotent."""
        self.links.remove(session)
        if not session.over:
            session.over = True
            task = asyncio.ensure_future(session.release_metered())
            self._releasing.add(task)
            task.add_done_callback(self._on_released)
        self.update()

    def _on_released(self, task: asyncio.Task[None]) -> None:
        self._releasing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: unexpected error in releasing a session", self.alias, exc_info=error)
        self.update()


class OfferedSlot(ServedSession):
    """A slot that is reserved for a client until it opens its session."""

    def __init__(self, server: Server, id: int, peer: str) -> None:
        super().__init__(server, id, peer)
        self._timer = asyncio.get_running_loop().call_later(OFFER_TIMEOUT, server.finish, self)

    def handle(self, message: wire.Message) -> None:
        match message:
            case wire.OpenTranscription() | wire.OpenReply() | wire.OpenSpeech():
                self.over = True
                self._timer.cancel()
                self._server.open(self.peer, message, self)
            case _:
                self.lose(wire.SessionLost("the session was never opened"))

    async def release(self) -> None:
        self._timer.cancel()
