"""Whole outbound calls: placed, dialled over Twilio's API by the real SDK, answered, talked, reported, in the books."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from calls.models import Agent, Call, CallEvent, CallOrder, DialPace, DoNotCall
from calls.services import CallsError, orders, stopping
from media.phone.answering import Outcome
from media.phone.caller import HangUp, Press, ScriptedCaller, Wait, WaitForAgent
from media.phone.injections import CallbackFault, Injections, RestFault
from tests.calls.installation import installation
from tests.media import outbound
from tests.media.outbound import ANNA, CARRIER_TIMEOUT, SHORTLY, TAKES_LONG, Office
from tests.media.test_calls_end_to_end import ask, server

pytestmark = pytest.mark.django_db(transaction=True)

server = server
TARGET = "+12025550177"
FAST = {"first_delay": 0.001, "chunk_delay": 0.001, "seconds_per_character": 0.02}


@pytest.fixture
def engines_options(request) -> dict[str, dict]:
    """A voice that speaks quickly and is made quickly; further options by parametrization."""
    return {"tts": FAST, **getattr(request, "param", {})}


@pytest.fixture
def office(server, monkeypatch):
    """Opens the office, perhaps with ``Injections``."""
    return partial(outbound.office, server, monkeypatch)


async def agent(**fields) -> None:
    await sync_to_async(Agent.objects.update)(**{"greeting": "Hello.", **fields})


async def one_call(here: Office, **fields) -> Call:
    """Placed, dialled once, answered, talked, over."""
    record = await here.over(await here.place(**fields))
    assert len(here.phones) == 1
    assert (record.status, record.end_reason) == ("completed", "caller-hung-up")
    assert record.lines == [("agent", "Hello.")]
    assert (record.kinds.count("stream-started"), record.kinds.count("voice-request")) == (1, 1)
    return record


def answers(here: Office) -> list[int]:
    """The status of each answer to a webhook."""
    return [delivery.response.status for delivery in here.network.deliveries if delivery.response is not None]


async def test_a_call_is_placed_dialled_answered_talked_and_closed(office):
    await agent(greeting="Hello {{ name }}.")
    async with office() as here:
        here.answers(ANNA, WaitForAgent(quiet=0.4), ask(), WaitForAgent("start"), Wait(0.5), HangUp())
        record = await here.over(await here.place(variables={"name": "Anna"}))
    [phone] = here.phones
    assert (phone.request.to_number, phone.request.from_number) == (ANNA, "+15005550006")
    assert [speaker for speaker, _ in record.lines] == ["agent", "caller", "agent"]
    assert record.lines[0] == ("agent", "Hello Anna.")
    assert record.lines[1] == ("caller", "What time do you open?")
    assert (record.status, record.duration, record.sid) == ("completed", phone.duration, phone.sid)
    assert record.recorded_bytes > 3 * 8000
    assert set(answers(here)) == {200, 204}
    assert here.network.alerts == []


# --- What goes wrong on the way ----------------------------------------------------------------------------

CALLBACKS = ("status", "stream-status", "amd")


@pytest.mark.parametrize(
    "injections",
    [
        pytest.param(Injections(reorder=True), id="completed comes first"),
        pytest.param(Injections(callbacks=[CallbackFault(extra=True)]), id="everything twice"),
        pytest.param(Injections(callbacks=[CallbackFault(extra=True, new_token=True)]), id="everything twice anew"),
        pytest.param(Injections(callbacks=[CallbackFault(kinds=CALLBACKS, delay=1.0)]), id="callbacks late"),
        pytest.param(Injections(callbacks=[CallbackFault(extra=True, delay=1.0)]), id="everything again later"),
        pytest.param(Injections(rest=[RestFault(after="status")]), id="reported before the create is answered"),
        pytest.param(Injections(rest=[RestFault(after="voice")]), id="answered before the create is answered"),
        pytest.param(Injections(rest=[RestFault(slow_body=0.5)]), id="the answer to the create drips"),
        pytest.param(Injections(rest=[RestFault(drop=True, takes_effect=True)]), id="the answer is lost"),
        pytest.param(Injections(rest=[RestFault(delay=2 * CARRIER_TIMEOUT)]), id="the answer takes too long"),
        pytest.param(Injections(rest=[RestFault(slow_body=3 * CARRIER_TIMEOUT)]), id="the answer drips too long"),
        pytest.param(Injections(rest=[RestFault.html(503, takes_effect=True)]), id="a proxy lies"),
    ],
)
async def test_whatever_happens_to_requests_and_callbacks_it_is_one_call(office, injections):
    await agent()
    async with office(injections) as here:
        await one_call(here)
    assert set(answers(here)) <= {200, 204}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (CallbackFault(extra=True, signature="wrong"), 403),
        (CallbackFault(extra=True, signature="missing"), 403),
        (CallbackFault(extra=True, signature="other-url"), 403),
        (CallbackFault(extra=True, as_json=True), 403),
        (CallbackFault(extra=True, call_sid="CA" + "0" * 32), 204),
    ],
)
async def test_a_copy_that_is_not_twilios_or_of_an_unknown_call_changes_nothing(office, fault, expected):
    await agent()
    async with office(Injections(callbacks=[fault])) as here:
        record = await one_call(here)
    assert answers(here).count(expected) >= len(answers(here)) / 2 - 1
    assert max(answers(here)) < 500
    assert await sync_to_async(Call.objects.exclude(pk=record.pk).count)() == 0


async def test_callbacks_that_are_replayed_later_change_nothing(office):
    await agent()
    async with office() as here:
        record = await one_call(here)
        for delivery in list(here.network.deliveries):
            assert await here.network.replay(delivery) in (200, 204)
        await here.quiet()
        after = await here.over(record)
    assert (after.status, after.duration, after.ended_at) == (record.status, record.duration, record.ended_at)
    assert sorted(after.kinds) == sorted(record.kinds)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        pytest.param(RestFault.error(20429), "20429", id="too many requests"),
        pytest.param(RestFault.error(20429, headers={"Retry-After": "1"}), "20429", id="and when to come again"),
        pytest.param(RestFault.error(10004), "10004", id="too many calls at once"),
        pytest.param(RestFault.html(503), "not-sent", id="a proxy is down"),
        pytest.param(RestFault(drop=True), "not-sent", id="the request is lost"),
    ],
)
async def test_a_request_that_came_to_nothing_is_made_again_and_counts_for_nothing(office, fault, why):
    await agent()
    async with office(Injections(rest=[fault])) as here:
        record = await one_call(here)
    assert [attempt.error_code for attempt in record.attempts.all()] == [why, ""]
    creates = [request for request in here.network.rest.requests if request[0] == "POST"]
    assert len(creates) == 2


async def test_requests_that_fail_together_are_one_failure_and_dialling_goes_on_soon(office):
    await agent()
    under_way_together = replace(RestFault.error(20429, times=6), delay=0.5)
    async with office(Injections(rest=[under_way_together])) as here:
        people = [f"+120255501{n:02}" for n in range(6)]
        records = [await here.over(call) for call in await here.place_all(people)]
    assert {record.status for record in records} == {"completed"}
    assert sorted(phone.request.to_number for phone in here.phones) == people


async def test_an_account_that_is_refused_stops_dialling(office):
    await agent()
    async with office(Injections(rest=[RestFault.error(20003, times=None)])) as here:
        first = await here.place()
        pace = await here.until(DialPace.objects.filter(paused_until__isnull=False).first)
        second = await here.place("+12025550102")
        await here.beats(3)  # in which nothing must happen
        assert pace.paused_until > timezone.now() + timedelta(minutes=1)
        assert len(here.network.rest.requests) == 1
        for call in (first, second):
            assert (await sync_to_async(stopping.cancel_call)(call_id=call.pk)).status == "canceled"
    assert here.phones == []


async def test_a_number_that_twilio_refuses_ends_the_call_with_the_reason(office):
    async with office() as here:
        here.network.refusals[ANNA] = 21211
        record = await here.over(await here.place())
    assert (record.status, record.end_reason) == ("failed", "number-refused")
    assert here.phones == []


# --- Who is, or is not, there ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "attempts"),
    [(Outcome.busy(), ["busy"] * 2), (Outcome.no_answer(), ["no-answer"] * 2), (Outcome.failed(404), ["failed"])],
)
async def test_whom_nobody_reaches_is_tried_again_by_policy(office, outcome, attempts):
    await agent(max_attempts=2, retry_busy_after=0, retry_no_answer_after=0, retry_failed_after=0)
    async with office() as here:
        here.does_not_answer(ANNA, outcome)
        record = await here.over(await here.place())
    assert [attempt.status for attempt in record.attempts.all()] == attempts
    assert [phone.status for phone in here.phones] == attempts
    assert (record.status, record.end_reason) == (attempts[-1], attempts[-1])


async def test_a_machine_is_hung_up_on(office):
    await agent(machine_detection="hang-up")
    async with office() as here:
        here.answers(ANNA, Wait(20.0), answered_by="machine")
        record = await here.over(await here.place())
    assert (record.status, record.end_reason, record.answered_by) == ("completed", "voicemail", "machine_start")


async def test_a_machine_is_told_the_message_after_its_beep(office):
    await agent(machine_detection="message", voicemail_message="Please call {{ name }} back.")
    async with office() as here:
        here.answers(ANNA, Wait(20.0), answered_by="machine", beep_after=1.5)
        record = await here.over(await here.place(variables={"name": "Anna"}))
    assert (record.end_reason, record.answered_by) == ("voicemail", "machine_end_beep")
    assert record.lines[-1] == ("agent", "Please call Anna back.")


@pytest.mark.parametrize("late", [False, True])
async def test_a_person_is_talked_to_whenever_the_verdict_comes(office, late):
    await agent(machine_detection="message", voicemail_message="Please call back.")
    async with office(Injections(amd_after_end=late)) as here:
        record = await one_call(here)
    assert record.answered_by == "human"


async def test_a_verdict_on_a_machine_after_the_end_is_only_noted(office):
    await agent(machine_detection="hang-up")
    async with office(Injections(amd_after_end=True)) as here:
        here.answers(ANNA, *SHORTLY, answered_by="machine")
        record = await one_call(here)
    assert record.answered_by == "machine_start"
    assert not await sync_to_async(CallOrder.objects.exists)()


# --- Stopping ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [stopping.cancel_call, stopping.hang_up])
async def test_a_call_is_stopped_while_it_rings(office, stop):
    await agent(ring_timeout=120)
    async with office() as here:
        here.answers(ANNA, *SHORTLY, after=TAKES_LONG)
        call = await here.becomes(await here.place(), "ringing")
        await sync_to_async(stop)(call_id=call.pk)
        record = await here.over(call)
    assert (record.status, record.end_reason) == ("canceled", "canceled")
    assert [phone.status for phone in here.phones] == ["canceled"]


async def test_a_call_that_is_canceled_while_it_is_requested_never_rings_for_long(office):
    await agent(ring_timeout=120)
    async with office(Injections(rest=[RestFault(delay=0.5)])) as here:
        here.answers(ANNA, *SHORTLY, after=TAKES_LONG)
        call = await here.place()
        await here.until(lambda: here.phones)
        await sync_to_async(stopping.cancel_call)(call_id=call.pk)
        record = await here.over(call)
    assert record.status == "canceled"
    assert [phone.status for phone in here.phones] == ["canceled"]


async def test_to_hang_up_on_somebody_who_has_just_hung_up_is_no_error(office):
    await agent(transfer_targets={"sales": TARGET})
    async with office() as here:
        here.answers(ANNA, Wait(20.0))
        here.answers(TARGET, Wait(20.0))
        call = await here.talks(await here.place())
        await sync_to_async(orders.transfer)(call_id=call.pk, to="sales")
        await here.until(lambda: any(phone.direction == "outbound-dial" for phone in here.network.calls.values()))
        here.network.injections.rest.append(RestFault(path=f"/{here.phones[0].sid}.json", hang_up_first=True))
        await sync_to_async(stopping.hang_up)(call_id=call.pk)
        record = await here.over(call)
    assert record.status == "completed"
    assert (await here.phones[0].wait()).ended_by == "caller"
    assert here.network.rest.requests[-1][1].endswith(f"/{here.phones[0].sid}.json")


# --- While it lasts ----------------------------------------------------------------------------------------


async def test_the_agent_says_what_the_operator_asks_for_and_hangs_up_when_told(office):
    await agent()
    async with office() as here:
        here.answers(ANNA, Wait(20.0))
        call = await here.talks(await here.place())
        await sync_to_async(orders.say)(call_id=call.pk, text="Your table is ready.")
        await here.until(lambda: call.turns.filter(heard="Your table is ready.").exists())
        await sync_to_async(stopping.hang_up)(call_id=call.pk)
        record = await here.over(call)
    assert (record.status, record.end_reason) == ("completed", "operator")
    with pytest.raises(CallsError, match="agent is on the line"):
        await sync_to_async(orders.say)(call_id=call.pk, text="Too late.")


async def test_a_call_is_handed_over(office):
    await agent(transfer_targets={"sales": TARGET})
    async with office() as here:
        here.answers(ANNA, Wait(20.0))
        here.answers(TARGET, Wait(0.5), HangUp())
        call = await here.talks(await here.place())
        await sync_to_async(orders.transfer)(call_id=call.pk, to="sales")
        record = await here.over(call)
    [leg] = [phone for phone in here.network.calls.values() if phone.direction == "outbound-dial"]
    assert (leg.request.to_number, leg.request.from_number, leg.status) == (TARGET, "+15005550006", "completed")
    assert (record.status, record.end_reason, record.streams) == ("completed", "transferred", 1)
    assert "transfer-completed" in record.kinds


async def test_who_hangs_up_before_the_hand_over_is_not_connected_to_anybody(office):
    await agent(transfer_targets={"sales": TARGET})
    async with office() as here:
        here.answers(ANNA, Wait(20.0))
        here.answers(TARGET, Wait(20.0))
        call = await here.talks(await here.place())
        await sync_to_async(orders.transfer)(call_id=call.pk, to="sales")
        await here.until(CallOrder.objects.exclude(taken_at=None).exists)
        here.phones[0].hang_up()
        record = await here.over(call)
    assert record.status == "completed"
    assert [phone.request.to_number for phone in here.network.calls.values()] == [ANNA]


async def test_a_call_that_nobody_takes_over_comes_back(office):
    await agent(transfer_targets={"sales": TARGET})
    async with office() as here:
        here.answers(ANNA, Wait(20.0))
        here.does_not_answer(TARGET, Outcome.busy())
        call = await here.talks(await here.place())
        await sync_to_async(orders.transfer)(call_id=call.pk, to="sales")
        await here.until(lambda: call.turns.filter(heard__contains="nobody answered").exists())
        await sync_to_async(stopping.hang_up)(call_id=call.pk)
        record = await here.over(call)
    assert (record.status, record.end_reason, record.streams) == ("completed", "operator", 2)
    assert "transfer-failed" in record.kinds


@pytest.mark.parametrize("engines_options", [{"stt": {"transcripts": ["Take me off your list."]}}], indirect=True)
@pytest.mark.parametrize("how", ["key", "words"])
async def test_who_wants_no_more_calls_gets_no_more(office, how):
    await agent(opt_out_key="9")
    steps = [Press("9")] if how == "key" else [ask()]
    async with office() as here:
        here.answers(ANNA, WaitForAgent(quiet=0.4), *steps, Wait(20.0))
        waiting = await here.place(scheduled_for=timezone.now() + timedelta(seconds=1))
        record = await here.over(await here.place())
        refused = await here.over(waiting)
    assert (record.status, record.end_reason) == ("completed", "opted-out")
    assert await sync_to_async(lambda: DoNotCall.objects.get().number)() == ANNA
    assert (refused.status, refused.end_reason) == ("canceled", "do-not-call")
    with pytest.raises(CallsError, match="do-not-call"):
        await here.place()


# --- Many, and strange times -------------------------------------------------------------------------------


async def test_twenty_calls_at_once(office):
    await agent()
    async with office() as here:
        people = [f"+120255501{n:02}" for n in range(20)]
        records = [await here.over(call) for call in await here.place_all(people)]
    assert [(record.status, record.lines) for record in records] == [("completed", [("agent", "Hello.")])] * 20
    assert sorted(phone.request.to_number for phone in here.phones) == people


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
async def test_a_step_of_the_clock_in_the_middle_of_a_call_does_no_harm(office, monkeypatch, step):
    await agent()
    now, offset = timezone.now, timedelta()
    monkeypatch.setattr(timezone, "now", lambda: now() + offset)
    async with office() as here:
        here.answers(ANNA, WaitForAgent(quiet=1.0), HangUp())
        call = await here.talks(await here.place())
        offset = step
        record = await here.over(call)
        second = await here.over(await here.place("+12025550102"))
    assert (record.status, second.status) == ("completed", "completed")
    assert len(here.phones) == 2
    assert await sync_to_async(CallEvent.objects.filter(kind="retry-scheduled").count)() == 0


# --- In earnest --------------------------------------------------------------------------------------------


async def test_in_processes_of_their_own_with_redis_and_postgresql(postgres_server, redis_server, tmp_path):
    """REST API, Celery, carrier, webhooks, stream, orders by doorbell, records."""
    servers = {
        "database_url": postgres_server.create_database("outbound_end_to_end"),
        "redis_url": redis_server.url,
    }
    async with installation(tmp_path, **servers, ENGINES_OPTIONS=json.dumps({"tts": FAST})) as here:
        here.network.on_dial(ANNA, lambda: ScriptedCaller([WaitForAgent(), Wait(60.0)]), after=0.5)
        headers = {"Authorization": f"Bearer {await here.ledger('key')}"}
        async with aiohttp.ClientSession(here.url, headers=headers) as api:

            async def post(path: str, **body: str) -> dict:
                async with api.post(path, json=body) as answer:
                    assert answer.status in (201, 202), await answer.text()
                    return await answer.json()

            async def until(condition: Callable[[dict], Any]) -> dict:
                """The call's resource, once it is so."""
                async with asyncio.timeout(30):
                    while True:
                        async with api.get(path) as answer:
                            record = await answer.json()
                        if condition(record):
                            return record
                        await asyncio.sleep(0.1)

            worker = here.start_worker()
            path = f"/api/calls/{(await post('/api/calls/', to=ANNA, agent='front-desk'))['id']}/"
            await until(lambda record: record["transcript"])
            await post(f"{path}say/", text="Your table is ready.")
            await until(lambda record: "agent: Your table is ready." in record["transcript"])
            await post(f"{path}hangup/")
            await until(lambda record: record["status"] == "completed")
            await here.network.wait_until_idle()
            [phone] = here.network.calls.values()
            # The stream's own end is in the books before the carrier has told how long it was.
            record = await until(lambda record: record["recording"] and record["duration"] == phone.duration)
            async with api.get(urlsplit(record["recording"]["url"]).path) as answer:
                assert (await answer.read())[:4] == b"RIFF"
    assert record["end_reason"] == "operator"
    assert [(attempt["sid"], attempt["status"]) for attempt in record["attempts"]] == [(phone.sid, phone.status)]
    assert {delivery.response.status for delivery in here.network.deliveries} <= {200, 204}
    assert "Traceback" not in worker.text
