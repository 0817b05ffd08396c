"""Whole calls through the simulated network to the application that the fixture ``server`` runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from asgiref.sync import sync_to_async
from django.conf import settings

from calls.models import Call
from media.phone.caller import Say, ScriptedCaller, Step
from media.phone.clips import Clip
from media.phone.gateway import Gateway
from media.phone.impairments import Impairments
from media.phone.leg import PhoneCall
from media.phone.network import PhoneNetwork
from media.phone.ticker import Ticker
from media.runtime import get_runtime
from tests.media.scripted_call import voice

PUBLIC = "https://phone.example.com"


def ask() -> Say:
    return Say(Clip.of(voice("What time do you open?"), name="question"))


@asynccontextmanager
async def phones(server: str, *, impairments: Impairments | None = None, **options) -> AsyncIterator[PhoneNetwork]:
    def gateway(party, tape):
        return Gateway(party, tape=tape, impairments=impairments, strict=True)

    async with PhoneNetwork(
        app_url=server,
        public_url=PUBLIC,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
        gateway_factory=gateway,
        **options,
    ) as network:
        yield network


def lateness() -> float:
    """
    Seconds by which a busy machine delayed the simulated network at most. Above 20 ms it causes gaps of its own.
    """
    return max(Ticker.shared().lateness, default=0.0)


async def talk(network: PhoneNetwork, *steps: Step, number: str = "+12025550123") -> PhoneCall:
    call = await network.call_in(ScriptedCaller(steps), from_number=number, to_number="+15005550006")
    await call.wait()
    await network.wait_until_idle()
    return call


async def finished_record(call: PhoneCall) -> Call:
    """The call's record once it is complete, which is some time after the call's end."""
    runtime = get_runtime()
    while runtime.streams:  # noqa: ASYNC110 (there is no event for it)
        await asyncio.sleep(0.01)
    assert await runtime.facts.drain(60)
    assert await runtime.recording_facts.drain(60)
    return await read_record(call)


@sync_to_async
def read_record(call: PhoneCall) -> Call:
    record = Call.objects.prefetch_related("turns", "events").get(sid=call.sid)
    record.lines = [(turn.speaker, turn.heard) for turn in record.turns.all()]
    record.recorded_bytes = Path(record.recording.path).stat().st_size if record.recording else 0
    record.kinds = [event.kind for event in record.events.all()]
    return record


def callback_statuses(network: PhoneNetwork) -> set[int]:
    """The HTTP statuses with which the application answered the callbacks."""
    return {delivery.response.status for delivery in network.sender.deliveries if delivery.response is not None}
