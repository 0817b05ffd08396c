"""Whole outbound calls: placed, dialled with Twilio's SDK, answered, reported by callbacks, recorded."""

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

from calls.models import Agent, Call, CallEvent, CallOrder, DialPause, DoNotCall
from calls.services import CallsError, orders, pauses, stopping
from media.phone.answering import Outcome
from media.phone.caller import HangUp, Press, Say, ScriptedCaller, Wait, WaitForAgent
from media.phone.clips import Clip
from media.phone.injections import CallbackFault, Injections, RestFault
from tests.calls.installation import installation
from tests.media import outbound
from tests.media.outbound import ANNA, CARRIER_TIMEOUT, HEARS_GREETING, TAKES_LONG, OutboundSystem
from tests.media.scripted_call import voice
from tests.media.whole_calls import ask

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = "+12025550177"
FAST = {"first_delay": 0.001, "chunk_delay": 0.001, "seconds_per_character": 0.02}


@pytest.fixture
def engines_options(request) -> dict[str, dict]:
    """Short and quickly made speech, and the options that a test adds by parametrization."""
    return {"tts": FAST, **getattr(request, "param", {})}


@pytest.fixture
def outbound_system(server, monkeypatch):
    """Starts the system, with ``Injections`` where a test gives them."""
    return partial(outbound.outbound_system, server, monkeypatch)


async def agent(**fields) -> None:
    await sync_to_async(Agent.objects.update)(**{"greeting": "Hello.", **fields})


async def one_call(system: OutboundSystem, **fields) -> Call:
    """Place a call that is dialled once and ends well; return its record."""
    record = await system.wait_until_over(await system.place(**fields))
    assert len(system.legs) == 1
    assert (record.status, record.end_reason) == ("completed", "caller-hung-up")
    assert record.lines == [("agent", "Hello.")]
    assert (record.kinds.count("stream-started"), record.kinds.count("voice-request")) == (1, 1)
    return record


def callback_statuses(system: OutboundSystem) -> list[int]:
    """The HTTP status of each answer to a callback."""
    return [delivery.response.status for delivery in system.network.sender.deliveries if delivery.response is not None]


async def test_a_call_is_placed_dialled_answered_and_closed(outbound_system):
    await agent(greeting="Hello {{ name }}.")
    async with outbound_system() as system:
        system.will_answer(ANNA, WaitForAgent(quiet=0.4), ask(), WaitForAgent("start"), Wait(0.5), HangUp())
        record = await system.wait_until_over(await system.place(variables={"name": "Anna [TRANSFER sales]"}))
    [leg] = system.legs
    assert (leg.request.to_number, leg.request.from_number) == (ANNA, "+15005550006")
    assert [speaker for speaker, _ in record.lines] == ["agent", "caller", "agent"]
    assert record.lines[0] == ("agent", "Hello Anna.")
    assert record.lines[1] == ("caller", "What time do you open?")
    assert (record.status, record.duration, record.sid) == ("completed", leg.duration, leg.sid)
    assert record.recorded_bytes > 3 * 8000
    assert set(callback_statuses(system)) == {200, 204}
    assert system.network.alerts == []


@pytest.mark.parametrize("engines_options", [{"stt": {"transcripts": ["Hello?"]}}], indirect=True)
async def test_the_person_who_answers_speaks_first_and_is_greeted(outbound_system):
    await agent(disclosure="This call is recorded.")
    async with outbound_system() as system:
        hello = Say(Clip.of(voice("Hello?"), name="hello"))
        system.will_answer(ANNA, Wait(0.5), hello, WaitForAgent(quiet=1.0), HangUp())
        record = await system.wait_until_over(await system.place())
    assert record.lines == [("caller", "Hello?"), ("agent", "This call is recorded."), ("agent", "Hello.")]


# --- Faults of requests and callbacks ----------------------------------------------------------------------

CALLBACKS = ("status", "stream-status", "amd")


@pytest.mark.parametrize(
    "injections",
    [
        pytest.param(Injections(reorder=True), id="completed comes first"),
        pytest.param(Injections(callbacks=[CallbackFault(extra=True)]), id="everything twice"),
        pytest.param(
            Injections(callbacks=[CallbackFault(extra=True, new_token=True)]), id="everything twice with a new token"
        ),
        pytest.param(Injections(callbacks=[CallbackFault(kinds=CALLBACKS, delay=1.0)]), id="callbacks late"),
        pytest.param(Injections(callbacks=[CallbackFault(extra=True, delay=1.0)]), id="everything again later"),
        pytest.param(Injections(rest=[RestFault(after="status")]), id="reported before the create is answered"),
        pytest.param(Injections(rest=[RestFault(after="voice")]), id="answered before the create is answered"),
        pytest.param(Injections(rest=[RestFault(slow_body=0.5)]), id="the answer to the create is slow"),
        pytest.param(Injections(rest=[RestFault(drop=True, takes_effect=True)]), id="the answer is lost"),
        pytest.param(Injections(rest=[RestFault(delay=2 * CARRIER_TIMEOUT)]), id="the answer takes too long"),
        pytest.param(Injections(rest=[RestFault(slow_body=2 * CARRIER_TIMEOUT)]), id="the answer is too slow"),
        pytest.param(
            Injections(rest=[RestFault.html(503, takes_effect=True)]),
            id="a proxy reports an error for a call that is placed",
        ),
    ],
)
async def test_a_call_is_dialled_once_despite_faults_of_requests_and_callbacks(outbound_system, injections):
    await agent()
    async with outbound_system(injections) as system:
        await one_call(system)
    assert set(callback_statuses(system)) <= {200, 204}


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
async def test_a_callback_that_is_forged_or_of_an_unknown_call_changes_nothing(outbound_system, fault, expected):
    await agent()
    async with outbound_system(Injections(callbacks=[fault])) as system:
        record = await one_call(system)
    assert callback_statuses(system).count(expected) >= len(callback_statuses(system)) / 2 - 1
    assert max(callback_statuses(system)) < 500
    assert await sync_to_async(Call.objects.exclude(pk=record.pk).count)() == 0


async def test_callbacks_that_are_replayed_later_change_nothing(outbound_system):
    await agent()
    async with outbound_system() as system:
        record = await one_call(system)
        for delivery in list(system.network.sender.deliveries):
            assert (await system.network.sender.replay(delivery)).status in (200, 204)
        await system.wait_until_idle()
        after = await system.wait_until_over(record)
    assert (after.status, after.duration, after.ended_at) == (record.status, record.duration, record.ended_at)
    assert sorted(after.kinds) == sorted(record.kinds)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        pytest.param(RestFault.error(20429), "20429", id="too many requests"),
        pytest.param(
            RestFault.error(20429, headers={"Retry-After": "1"}), "20429", id="too many requests, with a time to wait"
        ),
        pytest.param(RestFault.error(10004), "10004", id="too many calls at once"),
        pytest.param(RestFault.html(503), "not-sent", id="a proxy is down"),
        pytest.param(RestFault(drop=True), "not-sent", id="the request is lost"),
    ],
)
async def test_a_request_without_effect_is_repeated_and_does_not_count_as_an_attempt(outbound_system, fault, why):
    await agent()
    async with outbound_system(Injections(rest=[fault])) as system:
        record = await one_call(system)
    assert [attempt.error_code for attempt in record.attempts.all()] == [why, ""]
    creates = [request for request in system.network.rest.requests if request[0] == "POST"]
    assert len(creates) == 2


async def test_requests_that_fail_together_slow_the_dialling_down_only_once(outbound_system):
    await agent()
    simultaneous = replace(RestFault.error(20429, times=6), delay=0.5)
    async with outbound_system(Injections(rest=[simultaneous])) as system:
        people = [f"+120255501{n:02}" for n in range(6)]
        records = [await system.wait_until_over(call) for call in await system.place_all(people)]
    assert {record.status for record in records} == {"completed"}
    assert sorted(leg.request.to_number for leg in system.legs) == people


async def test_dialling_pauses_when_the_account_is_refused(outbound_system):
    await agent()
    async with outbound_system(Injections(rest=[RestFault.error(20003, times=None)])) as system:
        first = await system.place()
        pause = await system.wait_until(DialPause.objects.first)
        second = await system.place("+12025550102")
        await system.wait_for_beats(3)  # which must dial nothing
        assert pause.try_at > timezone.now() + timedelta(minutes=1)
        assert len(system.network.rest.requests) == 1
        for call in (first, second):
            assert (await sync_to_async(stopping.cancel_call)(call_id=call.pk)).status == "canceled"
    assert system.legs == []


async def test_a_number_that_twilio_refuses_ends_the_call_with_that_reason(outbound_system):
    async with outbound_system() as system:
        system.network.refusals[ANNA] = 21211
        record = await system.wait_until_over(await system.place())
    assert (record.status, record.end_reason) == ("failed", "number-refused")
    assert system.legs == []


async def test_a_list_waits_while_twilio_refuses_its_caller_id(outbound_system):
    """Case F7 of the report: each call of such a list used to fail for good."""
    await agent()
    async with outbound_system() as system:
        system.network.caller_ids = {"+12025550999"}
        calls = await system.place_all([f"+120255501{n:02}" for n in range(12)])
        await system.wait_until(DialPause.objects.first)
        await system.wait_for_beats(3)
        for call in calls:
            await sync_to_async(call.refresh_from_db)()
        assert {call.status for call in calls} == {"queued"}
        requests = len(system.network.rest.requests)
        await system.wait_for_beats(2)
        assert len(system.network.rest.requests) == requests
        system.network.caller_ids = None
        await sync_to_async(pauses.resume)(by="operator")
        records = [await system.wait_until_over(call) for call in calls]
    assert {record.status for record in records} == {"completed"}
    assert len(system.legs) == 12


# --- Answered or not ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "attempts"),
    [(Outcome.busy(), ["busy"] * 2), (Outcome.no_answer(), ["no-answer"] * 2), (Outcome.failed(404), ["failed"])],
)
async def test_a_call_without_an_answer_is_retried_as_the_agent_says(outbound_system, outcome, attempts):
    await agent(max_attempts=2, retry_busy_after=0, retry_no_answer_after=0, retry_failed_after=0)
    async with outbound_system() as system:
        system.will_not_answer(ANNA, outcome)
        record = await system.wait_until_over(await system.place())
    assert [attempt.status for attempt in record.attempts.all()] == attempts
    assert [leg.status for leg in system.legs] == attempts
    assert (record.status, record.end_reason) == (attempts[-1], attempts[-1])


async def test_the_agent_hangs_up_on_an_answering_machine(outbound_system):
    await agent(machine_detection="hang-up")
    async with outbound_system() as system:
        system.will_answer(ANNA, Wait(20.0), answered_by="machine")
        record = await system.wait_until_over(await system.place())
    assert (record.status, record.end_reason, record.answered_by) == ("completed", "voicemail", "machine_start")


async def test_a_message_is_left_after_the_beep_of_an_answering_machine(outbound_system):
    await agent(machine_detection="message", voicemail_message="Please call {{ name }} back.")
    async with outbound_system() as system:
        system.will_answer(ANNA, Wait(20.0), answered_by="machine", beep_after=1.5)
        record = await system.wait_until_over(await system.place(variables={"name": "Anna"}))
    assert (record.end_reason, record.answered_by) == ("voicemail", "machine_end_beep")
    assert record.lines[-1] == ("agent", "Please call Anna back.")


ANNOUNCEMENT = "Nobody can come to the phone right now. Please leave a message after the tone."


@pytest.mark.parametrize("engines_options", [{"stt": {"transcripts": [ANNOUNCEMENT]}}], indirect=True)
@pytest.mark.parametrize(("detection", "said"), [("off", []), ("message", [("agent", "Please call back.")])])
async def test_an_announcement_is_recognised_by_its_words(outbound_system, detection, said):
    await agent(machine_detection=detection, voicemail_message="Please call back.")
    async with outbound_system() as system:
        system.will_answer(ANNA, Wait(0.3), Say(Clip.of(voice(ANNOUNCEMENT), name="announcement")), Wait(20.0))
        record = await system.wait_until_over(await system.place())
    assert (record.status, record.end_reason) == ("completed", "voicemail")
    assert record.lines == [("caller", ANNOUNCEMENT), *said]
    assert "answered" in record.kinds


@pytest.mark.parametrize("late", [False, True])
async def test_the_agent_talks_to_a_person_however_late_the_detection_is(outbound_system, late):
    await agent(machine_detection="message", voicemail_message="Please call back.")
    async with outbound_system(Injections(amd_after_end=late)) as system:
        record = await one_call(system)
    assert record.answered_by == "human"


async def test_a_detection_after_the_end_of_the_call_is_only_recorded(outbound_system):
    await agent(machine_detection="hang-up")
    async with outbound_system(Injections(amd_after_end=True)) as system:
        system.will_answer(ANNA, *HEARS_GREETING, answered_by="machine")
        record = await one_call(system)
    assert record.answered_by == "machine_start"
    assert not await sync_to_async(CallOrder.objects.exists)()


# --- Stopping ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [stopping.cancel_call, stopping.hang_up])
async def test_a_ringing_call_can_be_stopped(outbound_system, stop):
    await agent(ring_timeout=120)
    async with outbound_system() as system:
        system.will_answer(ANNA, *HEARS_GREETING, after=TAKES_LONG)
        call = await system.wait_for_status(await system.place(), "ringing")
        await sync_to_async(stop)(call_id=call.pk)
        record = await system.wait_until_over(call)
    assert (record.status, record.end_reason) == ("canceled", "canceled")
    assert [leg.status for leg in system.legs] == ["canceled"]


async def test_a_call_that_is_canceled_during_its_request_is_canceled_at_the_carrier(outbound_system):
    await agent(ring_timeout=120)
    async with outbound_system(Injections(rest=[RestFault(delay=0.5)])) as system:
        system.will_answer(ANNA, *HEARS_GREETING, after=TAKES_LONG)
        call = await system.place()
        await system.wait_until(lambda: system.legs)
        await sync_to_async(stopping.cancel_call)(call_id=call.pk)
        record = await system.wait_until_over(call)
    assert record.status == "canceled"
    assert [leg.status for leg in system.legs] == ["canceled"]


async def test_hanging_up_after_the_caller_has_just_hung_up_is_no_error(outbound_system):
    await agent(transfer_targets={"sales": TARGET})
    async with outbound_system() as system:
        system.will_answer(ANNA, Wait(20.0))
        system.will_answer(TARGET, Wait(20.0))
        call = await system.wait_for_agent_turn(await system.place())
        await sync_to_async(orders.transfer)(call_id=call.pk, to="sales")
        await system.wait_until(lambda: any(leg.direction == "outbound-dial" for leg in system.network.calls.values()))
        system.network.injections.rest.append(RestFault(path=f"/{system.legs[0].sid}.json", hang_up_first=True))
        await sync_to_async(stopping.hang_up)(call_id=call.pk)
        record = await system.wait_until_over(call)
    assert record.status == "completed"
    assert (await system.legs[0].wait()).ended_by == "caller"
    assert system.network.rest.requests[-1][1].endswith(f"/{system.legs[0].sid}.json")


# --- During the call ---------------------------------------------------------------------------------------


async def test_the_agent_says_an_ordered_text_and_hangs_up_when_ordered(outbound_system):
    await agent()
    async with outbound_system() as system:
        system.will_answer(ANNA, Wait(20.0))
        call = await system.wait_for_agent_turn(await system.place())
        await sync_to_async(orders.say)(call_id=call.pk, text="Your table is ready.")
        await system.wait_until(lambda: call.turns.filter(heard="Your table is ready.").exists())
        await sync_to_async(stopping.hang_up)(call_id=call.pk)
        record = await system.wait_until_over(call)
    assert (record.status, record.end_reason) == ("completed", "operator")
    with pytest.raises(CallsError, match="No agent is talking"):
        await sync_to_async(orders.say)(call_id=call.pk, text="Too late.")


async def test_a_call_is_transferred(outbound_system):
    await agent(transfer_targets={"sales": TARGET})
    async with outbound_system() as system:
        system.will_answer(ANNA, Wait(20.0))
        system.will_answer(TARGET, Wait(0.5), HangUp())
        call = await system.wait_for_agent_turn(await system.place())
        await sync_to_async(orders.transfer)(call_id=call.pk, to="sales")
        record = await system.wait_until_over(call)
    [leg] = [leg for leg in system.network.calls.values() if leg.direction == "outbound-dial"]
    assert (leg.request.to_number, leg.request.from_number, leg.status) == (TARGET, "+15005550006", "completed")
    assert (record.status, record.end_reason, record.streams) == ("completed", "transferred", 1)
    assert "transfer-completed" in record.kinds


async def test_a_caller_who_hangs_up_before_the_transfer_is_not_connected(outbound_system):
    await agent(transfer_targets={"sales": TARGET})
    async with outbound_system() as system:
        system.will_answer(ANNA, Wait(20.0))
        system.will_answer(TARGET, Wait(20.0))
        call = await system.wait_for_agent_turn(await system.place())
        await sync_to_async(orders.transfer)(call_id=call.pk, to="sales")
        await system.wait_until(CallOrder.objects.exclude(taken_at=None).exists)
        system.legs[0].hang_up()
        record = await system.wait_until_over(call)
    assert record.status == "completed"
    assert [leg.request.to_number for leg in system.network.calls.values()] == [ANNA]


async def test_a_call_returns_to_the_agent_when_its_transfer_is_not_answered(outbound_system):
    await agent(transfer_targets={"sales": TARGET})
    async with outbound_system() as system:
        system.will_answer(ANNA, Wait(20.0))
        system.will_not_answer(TARGET, Outcome.busy())
        call = await system.wait_for_agent_turn(await system.place())
        await sync_to_async(orders.transfer)(call_id=call.pk, to="sales")
        await system.wait_until(lambda: call.turns.filter(heard__contains="nobody answered").exists())
        await sync_to_async(stopping.hang_up)(call_id=call.pk)
        record = await system.wait_until_over(call)
    assert (record.status, record.end_reason, record.streams) == ("completed", "operator", 2)
    assert "transfer-failed" in record.kinds


@pytest.mark.parametrize("engines_options", [{"stt": {"transcripts": ["Take me off your list."]}}], indirect=True)
@pytest.mark.parametrize("how", ["key", "words"])
async def test_a_caller_who_opts_out_gets_no_more_calls(outbound_system, how):
    await agent(opt_out_key="9")
    steps = [Press("9")] if how == "key" else [ask()]
    async with outbound_system() as system:
        system.will_answer(ANNA, WaitForAgent(quiet=0.4), *steps, Wait(20.0))
        waiting = await system.place(scheduled_for=timezone.now() + timedelta(seconds=1))
        record = await system.wait_until_over(await system.place())
        refused = await system.wait_until_over(waiting)
    assert (record.status, record.end_reason) == ("completed", "opted-out")
    assert await sync_to_async(lambda: DoNotCall.objects.get().number)() == ANNA
    assert (refused.status, refused.end_reason) == ("canceled", "do-not-call")
    with pytest.raises(CallsError, match="do-not-call"):
        await system.place()


# --- Many calls, and a changing clock ----------------------------------------------------------------------


async def test_twenty_calls_at_once(outbound_system):
    await agent()
    async with outbound_system() as system:
        people = [f"+120255501{n:02}" for n in range(20)]
        records = [await system.wait_until_over(call) for call in await system.place_all(people)]
    assert [(record.status, record.lines) for record in records] == [("completed", [("agent", "Hello.")])] * 20
    assert sorted(leg.request.to_number for leg in system.legs) == people


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
async def test_a_step_of_the_clock_during_a_call_changes_nothing(outbound_system, monkeypatch, step):
    await agent()
    now, offset = timezone.now, timedelta()
    monkeypatch.setattr(timezone, "now", lambda: now() + offset)
    async with outbound_system() as system:
        system.will_answer(ANNA, WaitForAgent(quiet=1.0), HangUp())
        call = await system.wait_for_agent_turn(await system.place())
        offset = step
        record = await system.wait_until_over(call)
        second = await system.wait_until_over(await system.place("+12025550102"))
    assert (record.status, second.status) == ("completed", "completed")
    assert len(system.legs) == 2
    assert await sync_to_async(CallEvent.objects.filter(kind="retry-scheduled").count)() == 0


# --- In processes ------------------------------------------------------------------------------------------


async def test_a_call_through_separate_processes_with_redis_and_postgresql(postgres_server, redis_server, tmp_path):
    """REST API, Celery, carrier, callbacks, stream, orders announced over Redis, records."""
    servers = {
        "database_url": postgres_server.create_database("outbound_end_to_end"),
        "redis_url": redis_server.url,
    }
    async with installation(tmp_path, **servers, ENGINES_OPTIONS=json.dumps({"tts": FAST})) as system:
        system.network.on_dial(ANNA, lambda: ScriptedCaller([WaitForAgent(), Wait(60.0)]), after=0.5)
        headers = {"Authorization": f"Bearer {await system.ask_database('key')}"}
        async with aiohttp.ClientSession(system.url, headers=headers) as api:

            async def post(path: str, **body: str) -> dict:
                async with api.post(path, json=body) as answer:
                    assert answer.status in (201, 202), await answer.text()
                    return await answer.json()

            async def until(condition: Callable[[dict], Any]) -> dict:
                """The call as the API shows it, once the condition holds."""
                async with asyncio.timeout(60):
                    while True:
                        async with api.get(path) as answer:
                            record = await answer.json()
                        if condition(record):
                            return record
                        await asyncio.sleep(0.1)

            worker = system.start_worker()
            path = f"/api/calls/{(await post('/api/calls/', to=ANNA, agent='front-desk'))['id']}/"
            await until(lambda record: record["transcript"])
            await post(f"{path}say/", text="Your table is ready.")
            await until(lambda record: "agent: Your table is ready." in record["transcript"])
            await post(f"{path}hangup/")
            await until(lambda record: record["status"] == "completed")
            await system.network.wait_until_idle()
            [leg] = system.network.calls.values()
            # The end of the stream is recorded before the carrier has reported the duration of the call.
            record = await until(lambda record: record["recording"] and record["duration"] == leg.duration)
            async with api.get(urlsplit(record["recording"]["url"]).path) as answer:
                assert (await answer.read())[:4] == b"RIFF"
    assert record["end_reason"] == "operator"
    assert [(attempt["sid"], attempt["status"]) for attempt in record["attempts"]] == [(leg.sid, leg.status)]
    assert {delivery.response.status for delivery in system.network.sender.deliveries} <= {200, 204}
    assert "Traceback" not in worker.text
