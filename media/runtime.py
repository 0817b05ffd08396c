"""What the calls of one process share: engines, voice activity, phrases, the books. Made once, on the server's loop."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections

from calls import services
from calls.services import facts
from inference.backends import Engines, make_engines
from inference.types import EngineError
from media.brief import conversation_options
from media.order_inbox import Orders
from media.phrases import Phrases
from media.recorder import RecordingSpool
from media.session import Session
from media.speech import VoiceDetector
from media.spool import FactSpool

logger = logging.getLogger(__name__)

P = ParamSpec("P")
Result = TypeVar("Result")

PHRASES_PATIENCE = 10.0
"""How long calls wait for phrases that have to be made first: a voice that is slow must not keep them out for long."""

# In a container every process has the same number: the rest tells one life of it from the next.
PROCESS = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(3)}"


class Service:
    """
    The media side of this process.

    ``start`` loads the engines and may take seconds; calls that come before it is done wait for it. ``close`` ends
    the calls that are left, writes down what is not yet written and releases everything.
    """

    def __init__(self) -> None:
        self.engines: Engines = make_engines(settings.ENGINES)
        self.detector = VoiceDetector()
        # Whatever is set for a voice may change how it sounds.
        self.phrases = Phrases(
            self.engines.tts, folder=Path(settings.SPOOL_DIR) / "phrases", version=repr(settings.ENGINES["tts"])
        )
        self.recordings = RecordingSpool(Path(settings.SPOOL_DIR) / "recordings")
        self.facts = FactSpool(
            _record_fact,
            folder=Path(settings.SPOOL_DIR) / "facts",
            transient=(OperationalError, InterfaceError),
        )
        self.sessions: dict[UUID, Session] = {}
        """The live ones, by call."""
        self.orders = Orders(self._take_orders, self.sessions)
        self.streams: set[object] = set()
        """Sockets that were let in and whose books are not closed yet."""
        self.problem = "engines are loading"
        # Threads of our own: Channels' single one would let one slow query hold up every socket of the process.
        self._database = ThreadPoolExecutor(4, thread_name_prefix="calls-db")
        self._started: asyncio.Task[None] | None = None
        self._remove_readiness_check: Callable[[], None] = lambda: None
        self._chores: set[asyncio.Task[Any]] = set()

    @property
    def speculate(self) -> bool:
        """Every engine may be put to work on a guess."""
        engines = self.engines
        return engines.stt.may_speculate and engines.llm.may_speculate and engines.tts.may_speculate

    def begin(self) -> None:
        """Start without waiting for it; a failure is logged and shows in ``problem``."""
        if self._started is None:
            self._remove_readiness_check = services.add_readiness_check(lambda: self.problem)
            self._started = asyncio.ensure_future(self._start())
            self._started.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def start(self) -> None:
        """Returns when calls can be taken. Safe to await many times; raises ``EngineError`` if engines do not load."""
        self.begin()
        assert self._started is not None
        await asyncio.shield(self._started)

    async def _start(self) -> None:
        self.chore(self.orders.watch())
        if settings.REDIS_URL:
            self.chore(self.orders.listen(get_channel_layer()))
        try:
            await self.engines.start()
        except EngineError as error:
            self.problem = f"engines: {error}"
            logger.error("The engines of profile %s did not start: %s", settings.ENGINES_PROFILE, error)
            raise
        preparing = self.chore(
            self.phrases.prepare(conversation_options().stock_phrases, voice="", language="en", lasting=True)
        )
        await asyncio.wait([preparing], timeout=PHRASES_PATIENCE)
        self.problem = ""
        self.chore(self._settle_leftovers())
        logger.info(
            "Ready to take calls: profile %s, up to %d at once", settings.ENGINES_PROFILE, settings.MAX_LIVE_CALLS
        )

    async def _settle_leftovers(self) -> None:
        """What a process that died has left: calls without an end, recordings without a header."""
        for call_id, path in await asyncio.to_thread(self.recordings.recover):
            self.book_recording(call_id, path)
        if closed := await self.database(services.clean_up):
            logger.warning("Closed the books of %d calls that a dead process had left open", closed)

    async def database(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Run a service of ``calls`` on a thread of its own."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._database, partial(in_own_connection, function, *args, **kwargs))

    async def _take_orders(self) -> list[services.Order]:
        return await self.database(services.take_orders, process=PROCESS)

    def book_recording(self, call_id: str, path: Path) -> None:
        """Have a recording kept with its call. Its fact id follows from the file: two who find it say the same."""
        fact_id = uuid5(NAMESPACE_URL, path.name).hex
        self.facts.record(facts.RecordingFinished(call_id=UUID(call_id), fact_id=fact_id, path=str(path)))

    def chore(self, work: Any) -> asyncio.Task[Any]:
        """Something that goes on beside the calls; a failure is logged."""
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chore_done)
        return task

    def _chore_done(self, task: asyncio.Task[Any]) -> None:
        self._chores.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A chore failed", exc_info=error)

    @property
    def full(self) -> bool:
        """This process carries as many streams as it may; admission has usually said so before."""
        return len(self.streams) >= settings.MAX_LIVE_CALLS

    async def close(self) -> None:
        """End what is left, politely towards the books."""
        self._remove_readiness_check()
        for session in list(self.sessions.values()):
            await session.close("drain")
        for task in list(self._chores):
            task.cancel()
        if self._started is not None and not self._started.done():
            self._started.cancel()
        await self.phrases.close()
        await self.engines.close()
        # The books first: letting go of a recording's lock hands it to whoever recovers it.
        await self.facts.close()
        await self.recordings.close()
        self._database.shutdown(wait=False)


def in_own_connection(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()


def _record_fact(fact: services.Fact) -> None:
    in_own_connection(services.record_fact, fact)


_service: Service | None = None


def get_service() -> Service:
    """The one of this process, made at the first use. Its loop is the one it is started on."""
    global _service
    if _service is None:
        _service = Service()
    return _service


async def close_service() -> None:
    global _service
    if _service is not None:
        service, _service = _service, None
        await service.close()
