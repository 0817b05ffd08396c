"""Orders to a live call, from an operator and from the caller, through database, session and telephone."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async

from calls.models import Agent, Call, CallOrder, DoNotCall
from calls.services import orders
from media.phone.caller import HangUp, Press, ScriptedCaller, Step, Wait, WaitForAgent
from media.phone.leg import PhoneCall
from media.phone.network import PhoneNetwork
from tests.media.whole_calls import finished_record, phones, talk

pytestmark = pytest.mark.django_db(transaction=True)


async def start_call(network: PhoneNetwork, *steps: Step) -> PhoneCall:
    """Start a call that is live while the test goes on."""
    return await network.call_in(ScriptedCaller(steps), from_number="+12025550123", to_number="+15005550006")


async def wait_for_agent_turn(call: PhoneCall) -> Call:
    """The call's record once it has a turn of the agent."""
    calls = Call.objects.filter(sid=call.sid, turns__speaker="agent")
    while not (record := await calls.afirst()):  # noqa: ASYNC110 (records are written behind the call)
        await asyncio.sleep(0.05)
    return record


async def test_the_agent_says_an_ordered_text_and_ends_the_call_when_ordered(server):
    async with phones(server) as network:
        call = await start_call(network, WaitForAgent(), Wait(30.0))
        record = await wait_for_agent_turn(call)
        await sync_to_async(orders.say)(call_id=record.pk, text="Your table is ready.")
        while not await record.turns.filter(heard="Your table is ready.").aexists():  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0.05)
        await sync_to_async(orders.send_order)(record, CallOrder.Kind.HANG_UP, {"reason": "operator"})
        await call.wait()
        await network.wait_until_idle()
    record = await finished_record(call)
    assert [heard for speaker, heard in record.lines][1] == "Your table is ready."
    assert record.end_reason == "operator"
    assert record.status == "completed"


async def test_the_opt_out_key_puts_the_number_on_the_do_not_call_list(server):
    await sync_to_async(Agent.objects.update)(opt_out_key="9", disclosure="I am a computer.")
    async with phones(server) as network:
        call = await talk(network, WaitForAgent("start"), Wait(0.3), Press("9"), Wait(30.0))
    record = await finished_record(call)
    assert record.end_reason == "opted-out"
    assert [row.number async for row in DoNotCall.objects.all()] == ["+12025550123"]
    # The caller did not hear the disclosure to its end.
    assert record.recorded_bytes == 0
    assert "disclosed" not in record.kinds


async def test_a_call_is_recorded_after_its_disclosure(server):
    await sync_to_async(Agent.objects.update)(disclosure="I am a computer.")
    async with phones(server) as network:
        call = await talk(network, WaitForAgent(), Wait(0.5), HangUp())
    record = await finished_record(call)
    assert "disclosed" in record.kinds
    assert record.recorded_bytes > 8000
