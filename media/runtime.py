"""The engines, voice activity, phrases and spools that the calls of one process share, made once for all of them."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import ParamSpec, Protocol, TypeVar, cast
from uuid import NAMESPACE_URL, UUID, uuid5

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections

from calls import services
from calls.services import draining, facts, spooled_sound, traces
from inference import loop_lag
from inference.backends import Engines, make_engines
from inference.engine_collector import engine_collector
from inference.models.needs import name_of
from inference.types import AUTO, EngineError, has_language
from media import metrics
from media.agent_options import conversation_options
from media.background import BackgroundTasks
from media.held_facts import HeldFacts
from media.noise import level_of
from media.order_inbox import ChannelLayer, OrderInbox
from media.phrases import Phrases
from media.recorder import RecordingSpool
from media.refusing import Refusing
from media.reply_load import ReplyLoad
from media.session import Session
from media.speech import VoiceDetector
from media.spool import FactSpool
from media.turns.lexicon import lexicon_of
from media.turns.options import ConversationOptions

logger = logging.getLogger(__name__)

Params = ParamSpec("Params")
Result = TypeVar("Result")

MAX_WAIT_FOR_PHRASES = 10.0
"""Seconds for which calls wait until the phrases of the process are ready: a slow voice must not keep calls out."""
EARLY_SHARE = 4
"""Replies are begun early while fewer than one for every so many calls that the process may take are being made. In a
usual conversation one in six calls has a reply made at a time."""
HAND_OVER_TIMEOUT = 5.0
"""Seconds that streams have to end and to be on record, when the process ends."""
DATABASE_THREADS = 4
"""Channels has one thread for all its work, so that one slow query would hold up every socket of the process."""

PROCESS = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(3)}"
"""The name of this process in the records. In a container every process has the same number, so a random part
distinguishes a restarted process from the one before."""


class Stream(Protocol):
    """One media stream, as far as the runtime has to do with it."""

    ended: asyncio.Event
    """Set when its records are complete."""

    def hang_up(self, reason: str) -> None: ...


class Runtime:
    """
    The media side of this process.

    ``start`` loads the engines and may take seconds; calls that arrive before it is done wait for it. ``close`` ends
    the calls that are left, records what is not yet recorded and releases everything.
    """

    def __init__(self) -> None:
        folder = Path(settings.SPOOL_DIR)
        self.engines: Engines = make_engines(settings.ENGINES)
        self.detector = VoiceDetector()
        self.noise_suppression = level_of(settings.NOISE_SUPPRESSION)
        """One of ``media.noise.LEVELS``."""
        # Any option of the voice may change how it sounds, so all of them together are the version of its phrases.
        self.phrases = Phrases(self.engines.tts, folder=folder / "phrases", version=repr(settings.ENGINES["tts"]))
        self.reply_load = ReplyLoad(max(1, settings.MAX_LIVE_CALLS // EARLY_SHARE))
        self.recordings = RecordingSpool(folder / "recordings", sealing=spooled_sound)
        self.facts = FactSpool(
            self._record,
            folder=folder / "facts",
            transient=(OperationalError, InterfaceError),
        )
        # Recordings have a thread of their own: a store that is slow or away delays no other fact.
        self.recording_facts = FactSpool(
            lambda fact: in_own_connection(services.record_fact, fact),
            folder=folder / "recording-facts",
            transient=(OperationalError, InterfaceError, services.StorageUnavailableError),
            needs="The store of recordings, or the database,",
        )
        self.held_facts = HeldFacts(folder / "facts")
        self.sessions: dict[UUID, Session] = {}
        """The live sessions, by call."""
        self.orders = OrderInbox(partial(self.database, services.take_orders, process=PROCESS), self.sessions)
        self.streams: set[Stream] = set()
        """The streams that were let in and whose records are not complete yet. Each takes a slot of the process."""
        self.problem = "engines are loading"
        """The reason why this process cannot take calls; empty when it can."""
        self._database = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="calls-db")
        self._started: asyncio.Task[None] | None = None
        """The start, once it has begun: it is shared by all who wait for it."""
        self._remove_checks: list[Callable[[], None]] = []
        self._tasks = BackgroundTasks("The media runtime")
        self._refusing = Refusing(
            self.engines, tasks=self._tasks, hold=self._hold_dialling, release=self._release_dialling
        )

    @property
    def speculate(self) -> bool:
        """Whether every engine may be put to work on a reply that is perhaps not used."""
        engines = self.engines
        return engines.stt.may_speculate and engines.llm.may_speculate and engines.tts.may_speculate

    def can_change_to(self, language: str) -> bool:
        """Whether the engines notice that a caller speaks this language, and have it, as far as is known."""
        hears, speaks = self.engines.stt.languages, self.engines.tts.languages
        return not any(
            has_language(languages, wanted) is False
            for languages, wanted in ((hears, AUTO), (hears, language), (speaks, language))
        )

    @property
    def is_full(self) -> bool:
        """Whether every slot of this process is taken; admission has usually refused the call before."""
        return len(self.streams) >= settings.MAX_LIVE_CALLS

    def begin(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """
        Start without waiting for it; a failure is logged and shows in ``problem``.

        ``ready`` is called once everything is loaded, before the first call is taken. Idempotent.
        """
        if self._started is None:
            self._remove_checks = [
                services.add_readiness_check(lambda: self.problem),
                services.add_refusal_check(self._refusing.refusal),
                services.add_readiness_details(self._refusing.details),
                draining.add_count(lambda: len(self.streams)),
            ]
            self._refusing.begin()
            self._begin_metrics()
            self._started = asyncio.ensure_future(self._start(ready))
            # Read the exception, or asyncio would log it once more as one that was never retrieved.
            self._started.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _begin_metrics(self) -> None:
        engine_collector.watch({"stt": self.engines.stt, "llm": self.engines.llm, "tts": self.engines.tts})
        metrics.READY.set_function(lambda: not self.problem)
        metrics.STREAMS.set_function(lambda: len(self.streams))
        metrics.STREAMS_MAX.set(settings.MAX_LIVE_CALLS)
        metrics.REPLIES_IN_MAKING.set_function(lambda: self.reply_load.running)
        metrics.SPOOL_FACTS.set_function(lambda: self.facts.waiting + self.recording_facts.waiting)
        metrics.SPOOL_BYTES.set_function(lambda: self.facts.bytes_on_disk + self.recording_facts.bytes_on_disk)
        metrics.SPOOL_STALLED.set_function(lambda: max(self.facts.stalled, self.recording_facts.stalled))
        for reason, gauge in metrics.REFUSING.items():
            gauge.set_function(partial(self._refusing.refuses, is_busy=reason == "engine-full"))
        self._tasks.start(loop_lag.watch_loop())

    async def start(self) -> None:
        """Return when calls can be taken. Idempotent. Raises ``EngineError`` if an engine does not load."""
        self.begin()
        assert self._started is not None
        await asyncio.shield(self._started)

    async def _start(self, ready: Callable[[], None]) -> None:
        self._tasks.start(self.orders.poll())
        if settings.REDIS_URL:
            # The stubs give the base class, whose ``new_channel`` takes no prefix; that of every layer does.
            self._tasks.start(self.orders.listen(cast(ChannelLayer, get_channel_layer())))
        try:
            await self.engines.start()
        except EngineError as error:
            self.problem = f"engines: {error}"
            logger.error("The engines of profile %s did not start: %s", settings.ENGINES_PROFILE, error)
            raise
        conversation_options()  # raises if the setting is wrong
        preparing = self._tasks.start(self._prepare_stock_phrases())
        await asyncio.wait([preparing], timeout=MAX_WAIT_FOR_PHRASES)
        ready()
        self.problem = ""
        for problem in await self.database(_language_problems):
            logger.error("%s", problem)
        self._tasks.start(self._recover())
        logger.info(
            "Ready to take calls: profile %s (%s), up to %d at once",
            settings.ENGINES_PROFILE,
            ", ".join(name_of(engine) for engine in settings.ENGINES.values()),
            settings.MAX_LIVE_CALLS,
        )

    async def _prepare_stock_phrases(self) -> None:
        """Read the word lists and make the stock phrases of the agents that take calls, for the language of each."""
        agents = await self.database(services.active_agents)
        for voice, language in dict.fromkeys(voice for agent in agents for voice in agent.voices):
            # The first call in a language would else read its word lists while other calls wait.
            await asyncio.to_thread(lexicon_of, language)
            phrases = conversation_options(language=language).stock_phrases
            await self.phrases.prepare(phrases, voice=voice, language=language, lasting=True)

    async def _recover(self) -> None:
        """Complete the records of a process that died: recordings without a header, calls without an end."""
        for call_id, path in await asyncio.to_thread(self.recordings.recover):
            try:
                self.keep_recording(UUID(call_id), path)
            except ValueError:
                logger.error("The recording %s stays in the spool: it is not named after a call", path.name)
        if closed := await self.database(services.clean_up):
            logger.warning("Closed %d calls that a dead process had left open", closed)
        await self.database(traces.remove_from_spool)

    async def database(self, function: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
        """Run a service of ``calls`` on one of the runtime's threads."""
        loop = asyncio.get_running_loop()
        asked_at = perf_counter()
        try:
            # A thread of an executor does not know of itself which call the work is for.
            work = partial(in_own_connection, function, *args, **kwargs)
            return await loop.run_in_executor(self._database, copy_context().run, work)
        finally:
            metrics.DATABASE_WAIT.observe(perf_counter() - asked_at)

    async def _hold_dialling(self, why: str, seconds: float) -> None:
        await self.database(services.hold_dialling, process=PROCESS, why=why, seconds=seconds)

    async def _release_dialling(self) -> None:
        await self.database(services.release_dialling, process=PROCESS)

    def keep_recording(self, call_id: UUID, path: Path) -> None:
        """
        Have a finished recording moved to its call.

        The fact's id follows from the file, so that two processes that find the same file record it once.
        """
        fact_id = uuid5(NAMESPACE_URL, path.name).hex
        self.recording_facts.record(facts.RecordingFinished(call_id=call_id, fact_id=fact_id, path=str(path)))

    def _record(self, fact: facts.Fact) -> None:
        if isinstance(fact, facts.RecordingFinished):  # the version before has left it among the others
            self.recording_facts.record(fact)
        else:
            in_own_connection(services.record_fact, fact)

    def prepare_phrases(self, options: ConversationOptions, agent: services.AgentSettings) -> asyncio.Task[None]:
        """Have the phrases of a call made by a task in the background, in the voices of its agent."""
        language = options.language

        async def prepare() -> None:
            await self.phrases.prepare(agent.lasting, voice=agent.voice, language=agent.language, lasting=True)
            await self.phrases.prepare(options.stock_phrases, voice=agent.voice_for(language), language=language)
            for other, voice in agent.other_languages.items():
                phrases = conversation_options(language=other).stock_phrases
                await self.phrases.prepare(phrases, voice=voice, language=other, lasting=True)

        return self._tasks.start(prepare())

    async def hand_over(self) -> None:
        """
        End all streams, so that Twilio opens the next ones of their calls, at another process.

        Returns when their records are complete, or after ``HAND_OVER_TIMEOUT``.
        """
        for stream in list(self.streams):
            stream.hang_up("drain")
        ends = [stream.ended.wait() for stream in self.streams]
        with suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_TIMEOUT):
                await asyncio.gather(*ends)

    async def close(self) -> None:
        """End the sessions that are left, record what they report, and release everything."""
        for remove in self._remove_checks:
            remove()
        engine_collector.forget()
        metrics.READY.set_function(lambda: False)
        for call_id, session in list(self.sessions.items()):
            with services.about_call(call_id):
                await session.close("drain")
        if self._started is not None and not self._started.done():
            self._started.cancel()
        await self._tasks.cancel()
        await self.phrases.close()
        await self.engines.close()
        # The facts first: once the lock of a recording is released, another process may recover the file.
        await asyncio.gather(self.facts.close(), self.recording_facts.close())
        await asyncio.to_thread(self.held_facts.close)
        await self.recordings.close()
        self._database.shutdown(wait=False)


def in_own_connection(function: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
    """Call a service on a thread that Django does not manage: its connection is closed when it is too old or broken."""
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()


def _language_problems() -> list[str]:
    try:
        return services.language_problems()
    except DatabaseError:  # ``/readyz`` reports it
        return []


_runtime: Runtime | None = None


def running_engines() -> Engines | None:
    """Return the engines of this process; None if it takes no calls."""
    return _runtime.engines if _runtime is not None else None


def get_runtime() -> Runtime:
    """The runtime of this process, made at the first call. It belongs to the loop on which it is started."""
    global _runtime
    if _runtime is None:
        _runtime = Runtime()
    return _runtime


async def hand_over_calls() -> None:
    """End the streams of this process, if there are any, so that its calls go on at another one."""
    if _runtime is not None:
        await _runtime.hand_over()


async def close_runtime() -> None:
    """Close the runtime of this process, if there is one; the next call of ``get_runtime`` makes another."""
    global _runtime
    if _runtime is not None:
        runtime, _runtime = _runtime, None
        await runtime.close()
