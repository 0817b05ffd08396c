"""What is asked of a live call from outside and by the caller, from the database to the telephone and back."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async

from calls.models import Agent, Call, CallOrder, DoNotCall
from calls.services import orders
from media.phone.caller import HangUp, Press, ScriptedCaller, Step, Wait, WaitForAgent
from media.phone.leg import PhoneCall
from media.phone.network import PhoneNetwork
from tests.media.test_calls_end_to_end import books, phones, talk
from tests.media.test_calls_end_to_end import engines_options as engines_options
from tests.media.test_calls_end_to_end import server as server

pytestmark = pytest.mark.django_db(transaction=True)


async def ring(network: PhoneNetwork, *steps: Step) -> PhoneCall:
    """A call that goes on while the test does."""
    return await network.call_in(ScriptedCaller(steps), from_number="+12025550123", to_number="+15005550006")


async def live(call: PhoneCall) -> Call:
    """The call's record, once its agent has said something."""
    calls = Call.objects.filter(sid=call.sid, turns__speaker="agent")
    while not (record := await calls.afirst()):  # noqa: ASYNC110 - the books are written behind the call
        await asyncio.sleep(0.05)
    return record


async def test_the_agent_says_what_it_is_told_to_and_ends_the_call_when_told_to(server):
    async with phones(server) as network:
        call = await ring(network, WaitForAgent(), Wait(30.0))
        record = await live(call)
        await sync_to_async(orders.say)(call_id=record.pk, text="Your table is ready.")
        while not await record.turns.filter(heard="Your table is ready.").aexists():  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.05)
        await sync_to_async(orders.send_order)(record, CallOrder.Kind.HANG_UP, {"reason": "operator"})
        await call.wait()
        await network.wait_until_idle()
    record = await books(call)
    assert [heard for speaker, heard in record.lines][1] == "Your table is ready."
    assert record.end_reason == "operator"
    assert record.status == "completed"


async def test_the_key_puts_the_number_on_the_do_not_call_list(server):
    await sync_to_async(Agent.objects.update)(opt_out_key="9", disclosure="I am a computer.")
    async with phones(server) as network:
        call = await talk(network, WaitForAgent("start"), Wait(0.3), Press("9"), Wait(30.0))
    record = await books(call)
    assert record.end_reason == "opted-out"
    assert [row.number async for row in DoNotCall.objects.all()] == ["+12025550123"]
    # The disclosure was not heard to its end.
    assert record.recorded_bytes == 0
    assert "disclosed" not in record.kinds


async def test_a_call_is_recorded_once_its_disclosure_was_heard(server):
    await sync_to_async(Agent.objects.update)(disclosure="I am a computer.")
    async with phones(server) as network:
        call = await talk(network, WaitForAgent(), Wait(0.5), HangUp())
    record = await books(call)
    assert "disclosed" in record.kinds
    assert record.recorded_bytes > 8000
