"""Whole calls through the simulated network: signed callbacks, the real socket, the session and the records."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import os
import wave
from collections.abc import Callable, Iterator

import aiohttp
import numpy as np
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from twilio.request_validator import RequestValidator

from calls.models import Call
from clientcaller.logs import JSONFormatter
from media.phone.caller import HangUp, Press, ScriptedCaller, TalkOver, Wait, WaitForAgent
from media.phone.clips import Clip
from media.phone.gateway import Gateway
from media.phone.impairments import Fault, Impairments, Stall
from media.phone.injections import CallbackFault, Injections
from media.phone.leg import PhoneCall
from media.phone.measurements import measure
from media.phone.network import PhoneNetwork
from media.runtime import get_runtime
from tests.media.scripted_call import voice
from tests.media.whole_calls import PUBLIC, ask, callback_statuses, finished_record, lateness, phones, talk
from tests.metric_values import counting

COUNTED = (
    "response_latency_seconds_count", "response_latency_seconds_sum", "barge_in_stop_seconds_sum",
    "turns_interrupted_total",
)  # fmt: skip
SERVING = ("media", "uvicorn")
"""The loggers of the lines about a stream."""

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def json_lines() -> Iterator[Callable[[], list[dict[str, object]]]]:
    """A function that returns what was logged in the format of ``LOG_FORMAT=json``."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


async def test_a_call_is_answered_transcribed_recorded_and_closed(server, json_lines):
    async with phones(server) as network:
        call = await talk(network, WaitForAgent(), ask(), WaitForAgent(), HangUp())
    record = await finished_record(call)
    about_it = [line.get("call") for line in json_lines() if str(record.pk) in str(line["message"])]
    assert len(about_it) > 3
    assert set(about_it) == {str(record.pk)}
    assert [speaker for speaker, _ in record.lines] == ["agent", "caller", "agent"]
    assert record.lines[1] == ("caller", "What time do you open?")
    assert record.status == "completed"
    assert record.end_reason == "caller-hung-up"
    assert record.recorded_bytes > 5 * 8000
    assert callback_statuses(network) <= {200, 204}
    measured = measure(call.tape)
    assert measured.errors == []
    assert measured.gaps == [] or lateness() > 0.02
    assert len(measured.responses) == 1


async def test_the_records_and_the_metrics_agree_with_the_tape(server):
    counted = {name: counting(f"clientcaller_{name}") for name in COUNTED}
    async with phones(server) as network:
        interruption = Clip.of(voice("No I want to know about Sunday mornings"), name="interruption")
        call = await talk(
            network,
            WaitForAgent(),
            ask(),
            WaitForAgent("start"),
            TalkOver(interruption, after=1.0),
            Wait(3.0),
            HangUp(),
        )
    record = await finished_record(call)
    measured = measure(call.tape)
    response = next(turn.response_latency for turn in record.turns.all() if turn.response_latency)
    assert response == pytest.approx(measured.responses[0], abs=0.1 + lateness())
    stopped = next(turn for turn in record.turns.all() if turn.interrupted)
    (overlap,) = measured.interruptions
    assert overlap.clear_after is not None
    assert stopped.stages["barge_in_stop"] == pytest.approx(overlap.clear_after, abs=0.1 + lateness())
    responses = [turn.response_latency for turn in record.turns.all() if turn.response_latency]
    assert counted["response_latency_seconds_count"]() == len(responses)
    assert counted["response_latency_seconds_sum"]() == pytest.approx(sum(responses), abs=0.001)
    assert counted["barge_in_stop_seconds_sum"]() == pytest.approx(stopped.stages["barge_in_stop"], abs=0.001)
    assert counted["turns_interrupted_total"]() == sum(turn.interrupted for turn in record.turns.all())


@pytest.mark.parametrize(
    "engines_options", [{"llm": {"replies": ["We open at nine. Goodbye."], "end_call_after": 1}}], indirect=True
)
async def test_the_agent_hangs_up_after_its_closing_line(server):
    async with phones(server) as network:
        call = await talk(network, WaitForAgent(), ask(), Wait(30.0))
    record = await finished_record(call)
    assert record.end_reason == "agent-ended"
    assert record.status == "completed"


async def test_a_call_above_the_limit_hears_that_the_line_is_busy(server, settings):
    settings.MAX_LIVE_CALLS = 1
    async with phones(server) as network:
        first = await network.call_in(
            ScriptedCaller([WaitForAgent(), Wait(0.5), HangUp()]), from_number="+12025550123", to_number="+15005550006"
        )
        while not get_runtime().streams:  # noqa: ASYNC110 (a stream has no event for its start)
            await asyncio.sleep(0.01)
        second = await talk(network, Wait(5.0), HangUp(), number="+12025550124")
        await first.wait()
    assert (await finished_record(first)).lines
    record = await finished_record(second)
    assert record.lines == []
    assert record.end_reason == "refused"
    # The slot is free again.
    async with phones(server) as network:
        third = await talk(network, WaitForAgent(), HangUp(), number="+12025550125")
    assert (await finished_record(third)).lines


async def test_the_conversation_continues_on_a_new_stream_after_a_drop(server):
    drop = Impairments(faults=[Fault(at=6.0, kind="drop")])  # in each stream; the second one ends before
    async with phones(server, impairments=drop) as network:
        call = await talk(network, WaitForAgent(), ask(), Wait(3.3), WaitForAgent(), ask(), Wait(0.6), HangUp())
    record = await finished_record(call)
    said = [heard for speaker, heard in record.lines if speaker == "agent"]
    assert any(heard.startswith("Sorry, we were cut off.") for heard in said)
    assert [turn.number for turn in record.turns.all()] == list(range(1, len(record.lines) + 1))
    assert record.lines.count(("caller", "What time do you open?")) == 2
    assert record.kinds.count("stream-started") == 2
    assert await sync_to_async(Call.objects.count)() == 1


INVALID = ("garbage", "bad-base64", "binary", "wrong-sid", "second-start", "odd-length", "unknown-event", "early-media")


async def test_invalid_messages_on_the_socket_do_not_disturb_the_call(server, settings):
    settings.MAX_LIVE_CALLS = len(INVALID)

    async def talk_with(kind: str, number: str) -> PhoneCall:
        faults = Impairments(faults=[Fault(at=0.5, kind=kind), Fault(at=3.0, kind=kind)])
        async with phones(server, impairments=faults) as network:
            return await talk(network, WaitForAgent(), ask(), WaitForAgent("start"), Wait(0.3), HangUp(), number=number)

    calls = await asyncio.gather(*(talk_with(kind, f"+120255501{n:02}") for n, kind in enumerate(INVALID)))
    for kind, call in zip(INVALID, calls, strict=True):
        record = await finished_record(call)
        assert ("caller", "What time do you open?") in record.lines, kind
        assert record.lines[-1][0] == "agent", kind


@pytest.mark.parametrize("kind", ["invalid-utf8", "binary", "deep-json"])
async def test_malformed_frames_leave_one_warning_and_no_traceback(server, kind, caplog):
    """Kludex/uvicorn#2540, python-websockets/websockets#1523"""
    async with phones(server, impairments=Impairments(faults=[Fault(at=1.0, kind=kind)])) as network:
        call = await talk(network, Wait(2.5), HangUp())
    kinds = (await finished_record(call)).kinds
    assert "stream-ended" in kinds
    faults = [line for line in caplog.records if line.levelno >= logging.WARNING and line.name.startswith(SERVING)]
    assert {line.levelname for line in faults} == {"WARNING"}
    assert not any(line.exc_info for line in caplog.records)
    reason = "UTF-8" if kind == "invalid-utf8" else "ignored a bad message"
    cut_off = kinds.count("stream-started") - 1  # the call goes on over a new stream
    assert sum(reason in line.getMessage() for line in faults) == (cut_off if kind == "invalid-utf8" else 1)


async def test_a_message_of_a_megabyte_ends_its_stream_and_no_other(server):
    async with (
        phones(server, impairments=Impairments(faults=[Fault(at=1.0, kind="huge")])) as bad,
        phones(server) as good,
    ):
        hit, unharmed = await asyncio.gather(
            talk(bad, Wait(4.0), HangUp()),
            talk(good, WaitForAgent(), ask(), WaitForAgent("start"), Wait(0.3), HangUp(), number="+12025550124"),
        )
    assert ("caller", "What time do you open?") in (await finished_record(unharmed)).lines
    assert "stream-ended" in (await finished_record(hit)).kinds


async def test_pressed_keys_become_a_turn_of_the_caller(server):
    async with phones(server) as network:
        call = await talk(network, WaitForAgent(), Press("12#"), WaitForAgent("start"), Wait(0.5), HangUp())
    record = await finished_record(call)
    assert ("caller", "[pressed 1 2 #]") in record.lines


@pytest.mark.parametrize("engines_options", [{"stt": {"transcripts": ["It's 4111 1111 1111 1111."]}}], indirect=True)
async def test_a_number_that_must_not_be_stored_is_in_no_record_and_silent_in_the_recording(server, settings):
    settings.REDACT_NUMBERS = True
    async with phones(server) as network:
        call = await talk(network, WaitForAgent(), ask(), WaitForAgent(), HangUp())
    record = await finished_record(call)
    assert record.lines[1] == ("caller", "It's [card number].")
    number = next(turn for turn in record.turns.all() if turn.speaker == "caller")
    with wave.open(record.recording.path) as file:
        file.setpos(number.start_position)
        frames = np.frombuffer(file.readframes(number.end_position - number.start_position), np.int16).reshape(-1, 2)
    assert np.abs(frames[:, 0]).max() < 10


async def test_callbacks_that_arrive_twice_late_or_out_of_order_change_nothing(server):
    injections = Injections(
        callbacks=[
            CallbackFault(kinds=("voice",), extra=True, new_token=True),
            CallbackFault(kinds=("status",), extra=True),
            CallbackFault(kinds=("stream-status",), delay=0.5),
        ],
        reorder=True,
    )
    async with phones(server, injections=injections) as network:
        call = await talk(network, WaitForAgent(), ask(), WaitForAgent("start"), Wait(0.3), HangUp())
    record = await finished_record(call)
    assert record.status == "completed"
    assert record.kinds.count("stream-started") == 1
    assert await sync_to_async(Call.objects.count)() == 1


async def test_a_forged_callback_is_refused_and_creates_no_call(server):
    async def call_with(signature: str) -> PhoneNetwork:
        forged = Injections(callbacks=[CallbackFault(signature=signature)])
        async with phones(server, injections=forged) as network:
            await talk(network, Wait(1.0), HangUp())
        return network

    for network in await asyncio.gather(*map(call_with, ("wrong", "missing", "other-url"))):
        assert callback_statuses(network) == {403}
    assert await sync_to_async(Call.objects.count)() == 0


def signed(path: str, token: str | None = None) -> dict[str, str]:
    url = PUBLIC.replace("https://", "wss://") + path
    return {"X-Twilio-Signature": RequestValidator(token or settings.TWILIO_AUTH_TOKEN).compute_signature(url, {})}


async def handshake_status(server: str, path: str, headers: dict[str, str]) -> int:
    """The HTTP status with which the server answers a WebSocket handshake."""
    async with aiohttp.ClientSession() as client:
        try:
            async with client.ws_connect(server + path, headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as refusal:
            return refusal.status


async def test_a_socket_without_a_valid_signature_and_token_is_refused(server):
    token = base64.urlsafe_b64encode(os.urandom(24)).decode()
    path = f"/twilio/media/{token}"
    assert await handshake_status(server, path, {}) == 403
    assert await handshake_status(server, path, signed(path, "another token")) == 403
    assert await handshake_status(server, path, signed("/twilio/media/other")) == 403
    assert await handshake_status(server, path, signed(path)) == 403  # a valid signature for an unknown token
    assert await handshake_status(server, "/twilio/other", signed("/twilio/other")) == 403


async def test_a_token_opens_one_stream_only_once(server, monkeypatch):
    seen: list[str] = []
    run: Callable = Gateway.run

    async def run_and_remember(self, request):
        seen.append(request.url)
        return await run(self, request)

    monkeypatch.setattr(Gateway, "run", run_and_remember)
    async with phones(server) as network:
        await talk(network, WaitForAgent(), HangUp())
    path = "/twilio/media/" + seen[0].rsplit("/", 1)[1]
    assert await handshake_status(server, path, signed(path)) == 403


async def test_a_stalled_network_is_not_taken_for_a_silent_caller(server, settings):
    stall = Impairments(stalls=[Stall(at=2.5, seconds=2.0)], jitter=0.06, network_delay=0.03)
    async with phones(server, impairments=stall) as network:
        call = await talk(network, WaitForAgent(), ask(), WaitForAgent("start"), Wait(0.3), HangUp())
    record = await finished_record(call)
    assert [speaker for speaker, _ in record.lines] == ["agent", "caller", "agent"]
    assert record.lines[1] == ("caller", "What time do you open?")


async def test_twenty_calls_at_once(server, settings):
    settings.MAX_LIVE_CALLS = 30
    async with phones(server) as network:
        steps = [WaitForAgent(), ask(), WaitForAgent("start"), Wait(0.3), HangUp()]
        calls = await asyncio.gather(*(talk(network, *steps, number=f"+120255501{n:02}") for n in range(20)))
    for call in calls:
        record = await finished_record(call)
        assert [speaker for speaker, _ in record.lines] == ["agent", "caller", "agent"]


async def test_the_health_probes_answer(server):
    async with aiohttp.ClientSession() as client:
        for path in ("/healthz", "/readyz"):
            async with client.get(server + path) as answer:
                assert answer.status == 200
