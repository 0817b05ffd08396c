"""A system that places calls: the server, the simulated network, and a worker in threads of this process."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections

from calls import tasks, waking
from calls.carrier import Carrier
from calls.models import Call, DialAttempt, Lease
from calls.services import dialling, obstacles, reconciling
from calls.services.attempts import may_have_rung
from calls.services.placing import NewCall, place_call, place_calls
from calls.status import TERMINAL
from media.phone.answering import CarrierTiming, Outcome
from media.phone.caller import HangUp, ScriptedCaller, Step, WaitForAgent
from media.phone.injections import Injections
from media.phone.leg import PhoneCall
from media.phone.network import PhoneNetwork
from media.runtime import get_runtime
from tests.media.whole_calls import phones

logger = logging.getLogger(__name__)

ANNA = "+12025550101"
HEARS_GREETING: tuple[Step, ...] = (WaitForAgent(quiet=1.0), HangUp())
"""
A person who hears the greeting and hangs up. The second of silence before it gives the mark of the greeting time to
come back on a busy machine.
"""
TAKES_LONG = 60.0
"""Seconds of ringing that no test waits for."""
CARRIER_TIMEOUT = 3.0
"""
Seconds after which a request to the carrier fails, instead of 10: some tests wait for it. A request takes milliseconds,
but a machine that runs other tests may stop one for a second.
"""
PATIENCE = 60.0
"""Seconds that a test waits for what should happen within a few."""


class Worker:
    """A Celery worker and its scheduler, as threads. The scheduler runs faster than in production."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        """What the tasks raised."""
        self.done: Counter[str] = Counter()
        """How often each task has ended."""
        self._pool = ThreadPoolExecutor(6, thread_name_prefix="worker")

    def wake(self, task: str, arguments: tuple[str, ...] = ()) -> None:
        self._pool.submit(self._do, task, arguments)

    def _do(self, task: str, arguments: tuple[str, ...]) -> None:
        try:
            getattr(tasks, task)(*arguments)
        except Exception as error:
            logger.exception("%s%s failed", task, arguments)
            self.failures.append(error)
        finally:
            connections.close_all()
            self.done[task] += 1

    async def beat(self) -> None:
        while True:
            self.wake("dial_due")
            self.wake("reconcile")
            await asyncio.sleep(0.25)

    def close(self) -> None:
        self._pool.shutdown()


@dataclass
class OutboundSystem:
    """``network`` has the people who are called. By default each hears the greeting and hangs up."""

    network: PhoneNetwork
    worker: Worker

    def will_answer(self, number: str, *steps: Step, **options: Any) -> None:
        self.network.on_dial(number, lambda: ScriptedCaller(steps), **{"after": 1.0, **options})

    def will_not_answer(self, number: str, outcome: Outcome) -> None:
        self.network.on_dial(number, lambda: outcome, after=1.0)

    async def place(self, to: str = ANNA, **fields: Any) -> Call:
        new = NewCall(to=to, agent="front-desk", **fields)
        return (await sync_to_async(place_call)(new))[0]

    async def place_all(self, people: Iterable[str]) -> list[Call]:
        wanted = [NewCall(to=number, agent="front-desk") for number in people]
        return (await sync_to_async(place_calls)(wanted))[0]

    @property
    def legs(self) -> list[PhoneCall]:
        """The calls that the carrier was asked to place, in order."""
        return [call for call in self.network.calls.values() if call.direction == "outbound-api"]

    async def wait_until(self, condition: Callable[[], Any]) -> Any:
        """Ask the condition in a thread until its result is true, and return that."""
        async with asyncio.timeout(PATIENCE):
            while not (found := await sync_to_async(condition)()):  # noqa: ASYNC110 (the database has no event)
                await asyncio.sleep(0.02)
        return found

    async def wait_for_status(self, call: Call, status: str) -> Call:
        return await self.wait_until(Call.objects.filter(pk=call.pk, status=status).first)

    async def wait_for_agent_turn(self, call: Call) -> Call:
        """The call once its agent was heard."""
        return await self.wait_until(Call.objects.filter(pk=call.pk, turns__speaker="agent").first)

    async def wait_until_over(self, call: Call) -> Call:
        """The call once it has ended and its record is complete, with ``lines``, ``kinds`` and ``recorded_bytes``."""
        await self.wait_until(lambda: Call.objects.get(pk=call.pk).status in TERMINAL)
        await self.wait_until_idle()
        return await sync_to_async(_read)(call)

    async def wait_for_beats(self, count: int) -> None:
        """Wait until the periodic tasks have run ``count`` more times."""
        end = self.worker.done["dial_due"] + 1 + count  # one may be running already
        async with asyncio.timeout(PATIENCE):
            while self.worker.done["dial_due"] < end:  # noqa: ASYNC110 (threads run them)
                await asyncio.sleep(0.02)

    async def wait_until_idle(self) -> None:
        """Wait until neither the network nor the server has anything to do."""
        runtime = get_runtime()
        async with asyncio.timeout(PATIENCE):
            await self.network.wait_until_idle()
            while runtime.streams:  # noqa: ASYNC110 (there is no event for it)
                await asyncio.sleep(0.01)
            assert await runtime.facts.drain(60)
            assert await runtime.recording_facts.drain(60)

    def check_records(self) -> None:
        """Check that the records agree with the network and that nothing is left over."""
        attempts = {str(attempt.pk): attempt for attempt in DialAttempt.objects.select_related("call")}
        dialled = {_attempt_of(leg): leg for leg in self.legs}
        assert len(dialled) == len(self.legs), "an attempt was dialled twice"
        assert {pk for pk, attempt in attempts.items() if attempt.sid} == set(dialled)
        for pk, attempt in attempts.items():
            assert attempt.ended_at, attempt
            if pk in dialled:
                assert (attempt.sid, attempt.status) == (dialled[pk].sid, dialled[pk].status)
            else:
                assert not may_have_rung(attempt.error_code, None) or attempt.call.end_reason.endswith("-refused")
            if attempt.number == attempt.call.attempts_made and attempt.call.status != "queued":
                assert attempt.call.status == attempt.status or attempt.call.canceled_at
        assert not Lease.objects.exists()
        assert self.worker.failures == []


def _attempt_of(leg: PhoneCall) -> str:
    assert leg.request.program is not None
    return parse_qs(urlsplit(leg.request.program.url or "").query)["attempt"][0]


def _read(call: Call) -> Call:
    record = Call.objects.prefetch_related("turns", "events", "attempts").get(pk=call.pk)
    record.lines = [(turn.speaker, turn.heard) for turn in record.turns.all()]
    record.kinds = [event.kind for event in record.events.all()]
    record.recorded_bytes = Path(record.recording.path).stat().st_size if record.recording else 0
    return record


@asynccontextmanager
async def outbound_system(
    server: str, monkeypatch: pytest.MonkeyPatch, injections: Injections | None = None
) -> AsyncIterator[OutboundSystem]:
    """A running system. When the block ends without an error, its records are checked."""
    limits = {
        "MAX_LIVE_CALLS": 40,
        "OUTBOUND_MAX_CALLS": 30,
        "CALLS_PER_SECOND": 50.0,
        "ATTEMPTS_PER_NUMBER_AND_DAY": 9,
    }
    for name, limit in limits.items():
        monkeypatch.setattr(settings, name, limit)
    # In production these are minutes. As there, no request lasts until it counts as unanswered.
    monkeypatch.setattr(reconciling, "UNANSWERED_REQUEST", 1.2 * CARRIER_TIMEOUT)
    monkeypatch.setattr(reconciling, "NEVER_ARRIVED", 2 * CARRIER_TIMEOUT)
    monkeypatch.setattr(reconciling, "ORDER_IGNORED", 1.0)
    monkeypatch.setattr(dialling, "CAPACITY_PAUSE", 0.5)
    monkeypatch.setattr(obstacles, "NUMBER_BUSY", 0.5)
    worker = Worker()
    monkeypatch.setattr(waking, "_send", worker.wake)
    timing = CarrierTiming(scale=0.02)
    async with phones(server, injections=injections, timing=timing, calls_per_second=100.0) as network:
        monkeypatch.setattr(settings, "TWILIO_API_BASE_URL", network.rest_url)
        carrier = Carrier(
            account_sid=settings.TWILIO_ACCOUNT_SID,
            auth_token=settings.TWILIO_AUTH_TOKEN,
            base_url=network.rest_url,
            timeout=CARRIER_TIMEOUT,
        )
        monkeypatch.setattr(dialling, "get_carrier", lambda: carrier)
        system = OutboundSystem(network, worker)
        system.will_answer("*", *HEARS_GREETING)
        beat = asyncio.ensure_future(worker.beat())
        try:
            yield system
            await system.wait_until_idle()
        finally:
            beat.cancel()
            await asyncio.to_thread(worker.close)
    await sync_to_async(system.check_records)()
