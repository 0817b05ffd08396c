"""Whole calls: the simulated telephone network, signed webhooks, the real socket, the session, the books."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from asgiref.sync import sync_to_async
from django.conf import settings
from twilio.request_validator import RequestValidator

from calls.models import Agent, Call
from media.phone.caller import HangUp, Press, Say, ScriptedCaller, Step, TalkOver, Wait, WaitForAgent
from media.phone.clips import Clip
from media.phone.gateway import Gateway
from media.phone.impairments import Fault, Impairments
from media.phone.injections import CallbackFault, Injections
from media.phone.leg import PhoneCall
from media.phone.measurements import measure
from media.phone.network import PhoneNetwork
from media.runtime import close_runtime, get_runtime
from tests.media.test_session import voice

pytestmark = pytest.mark.django_db(transaction=True)

PUBLIC = "https://phone.example.com"


def ask() -> Say:
    return Say(Clip.of(voice("What time do you open?"), name="question"))


@pytest.fixture
def engines_options(request) -> dict[str, dict]:
    """Options of the scripted engines, by parametrization; the voice is made quickly, for each server makes phrases."""
    return {"tts": {"chunk_delay": 0.001}, **getattr(request, "param", {})}


@pytest.fixture
async def server(settings, engines_options) -> AsyncIterator[str]:
    """The application as it is served, with scripted engines; gives its address."""
    from clientcaller.asgi import application

    settings.ENGINES_PROFILE = "scripted"
    settings.ENGINES = {
        alias: {**engine, "OPTIONS": engines_options.get(alias, {})}
        for alias, engine in settings.ENGINES_PROFILES["scripted"].items()
    }
    settings.PUBLIC_BASE_URL = PUBLIC
    settings.ALLOWED_HOSTS = ["*"]
    await sync_to_async(Agent.objects.update)(greeting="Hello, how can I help you?")
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application, ws="websockets-sansio", lifespan="on", log_config=None, ws_max_size=65536)
    serving = uvicorn.Server(config)
    task = asyncio.ensure_future(serving.serve(sockets=[listening]))
    while not serving.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    serving.should_exit = True
    await task
    await close_runtime()


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


async def talk(network: PhoneNetwork, *steps: Step, number: str = "+12025550123") -> PhoneCall:
    call = await network.call_in(ScriptedCaller(steps), from_number=number, to_number="+15005550006")
    await call.wait()
    await network.wait_until_idle()
    return call


async def books(call: PhoneCall) -> Call:
    """The records of a call, once all of it is written: that happens behind the call."""
    runtime = get_runtime()
    while runtime.streams:  # noqa: ASYNC110 - nobody else waits for this
        await asyncio.sleep(0.01)
    assert await runtime.facts.drain(10)
    return await read_books(call)


@sync_to_async
def read_books(call: PhoneCall) -> Call:
    record = Call.objects.prefetch_related("turns", "events").get(sid=call.sid)
    record.lines = [(turn.speaker, turn.heard) for turn in record.turns.all()]
    record.recorded_bytes = Path(record.recording.path).stat().st_size if record.recording else 0
    record.kinds = [event.kind for event in record.events.all()]
    return record


def statuses(network: PhoneNetwork) -> set[int]:
    """What the application answered to all the webhooks."""
    return {delivery.response.status for delivery in network.deliveries if delivery.response is not None}


async def test_a_call_is_answered_understood_recorded_and_closed(server):
    async with phones(server) as network:
        call = await talk(network, WaitForAgent(), ask(), WaitForAgent(), HangUp())
    record = await books(call)
    assert [speaker for speaker, _ in record.lines] == ["agent", "caller", "agent"]
    assert record.lines[1] == ("caller", "What time do you open?")
    assert record.status == "completed"
    assert record.end_reason == "caller-hung-up"
    assert record.recorded_bytes > 5 * 8000
    assert statuses(network) <= {200, 204}
    measured = measure(call.tape)
    assert measured.errors == []
    assert measured.gaps == []
    assert len(measured.responses) == 1


async def test_what_the_books_say_agrees_with_the_tape(server):
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
    record = await books(call)
    measured = measure(call.tape)
    response = next(turn.response_latency for turn in record.turns.all() if turn.response_latency)
    assert response == pytest.approx(measured.responses[0], abs=0.1)
    stopped = next(turn for turn in record.turns.all() if turn.interrupted)
    (overlap,) = measured.interruptions
    assert overlap.clear_after is not None
    assert stopped.stages["barge_in_stop"] == pytest.approx(overlap.clear_after, abs=0.1)


@pytest.mark.parametrize("engines_options", [{"llm": {"end_call_after": 1}}], indirect=True)
async def test_the_agent_hangs_up_after_its_last_words(server):
    async with phones(server) as network:
        call = await talk(network, WaitForAgent(), ask(), Wait(30.0))
    record = await books(call)
    assert record.end_reason == "agent-ended"
    assert record.status == "completed"


async def test_one_call_too_many_hears_a_busy_line(server, settings):
    settings.MAX_LIVE_CALLS = 1
    async with phones(server) as network:
        first = await network.call_in(
            ScriptedCaller([WaitForAgent(), Wait(0.5), HangUp()]), from_number="+12025550123", to_number="+15005550006"
        )
        while not get_runtime().streams:  # noqa: ASYNC110 - a stream has no event for its start
            await asyncio.sleep(0.01)
        second = await talk(network, Wait(5.0), HangUp(), number="+12025550124")
        await first.wait()
    assert (await books(first)).lines
    record = await books(second)
    assert record.lines == []
    assert record.end_reason == "refused"
    # The slot is free again.
    async with phones(server) as network:
        third = await talk(network, WaitForAgent(), HangUp(), number="+12025550125")
    assert (await books(third)).lines


async def test_a_dropped_stream_is_taken_up_again_by_the_same_conversation(server):
    drop = Impairments(faults=[Fault(at=6.0, kind="drop")])  # of each stream; the second is over by then
    async with phones(server, impairments=drop) as network:
        call = await talk(network, WaitForAgent(), ask(), Wait(3.3), WaitForAgent(), ask(), Wait(0.6), HangUp())
    record = await books(call)
    said = [heard for speaker, heard in record.lines if speaker == "agent"]
    assert any(heard.startswith("Sorry, we were cut off.") for heard in said)
    assert [turn.number for turn in record.turns.all()] == list(range(1, len(record.lines) + 1))
    assert record.lines.count(("caller", "What time do you open?")) == 2
    assert record.kinds.count("stream-started") == 2
    assert await sync_to_async(Call.objects.count)() == 1


@pytest.mark.parametrize(
    "kind",
    ["garbage", "bad-base64", "binary", "wrong-sid", "second-start", "odd-length", "unknown-event", "early-media"],
)
async def test_garbage_on_the_socket_does_not_disturb_the_call(server, kind):
    known = Impairments(faults=[Fault(at=0.5, kind=kind), Fault(at=3.0, kind=kind)])
    async with phones(server, impairments=known) as network:
        call = await talk(network, WaitForAgent(), ask(), WaitForAgent("start"), Wait(0.3), HangUp())
    record = await books(call)
    assert ("caller", "What time do you open?") in record.lines
    assert record.lines[-1][0] == "agent"


async def test_a_megabyte_ends_that_stream_and_no_other(server):
    async with (
        phones(server, impairments=Impairments(faults=[Fault(at=1.0, kind="huge")])) as bad,
        phones(server) as good,
    ):
        hit, unharmed = await asyncio.gather(
            talk(bad, Wait(4.0), HangUp()),
            talk(good, WaitForAgent(), ask(), WaitForAgent("start"), Wait(0.3), HangUp(), number="+12025550124"),
        )
    assert ("caller", "What time do you open?") in (await books(unharmed)).lines
    assert "stream-ended" in (await books(hit)).kinds


async def test_keys_are_heard(server):
    async with phones(server) as network:
        call = await talk(network, WaitForAgent(), Press("12#"), WaitForAgent("start"), Wait(0.5), HangUp())
    record = await books(call)
    assert ("caller", "[pressed 1 2 #]") in record.lines


async def test_webhooks_that_come_twice_late_and_out_of_order_change_nothing(server):
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
    record = await books(call)
    assert record.status == "completed"
    assert record.kinds.count("stream-started") == 1
    assert await sync_to_async(Call.objects.count)() == 1


@pytest.mark.parametrize("signature", ["wrong", "missing", "other-url"])
async def test_a_forged_webhook_is_refused_and_leaves_no_trace(server, signature):
    forged = Injections(callbacks=[CallbackFault(signature=signature)])
    async with phones(server, injections=forged) as network:
        call = await network.call_in(ScriptedCaller([Wait(1.0), HangUp()]), from_number="+1", to_number="+15005550006")
        await call.wait()
        await network.wait_until_idle()
    assert statuses(network) == {403}
    assert await sync_to_async(Call.objects.count)() == 0


def signed(path: str, token: str | None = None) -> dict[str, str]:
    url = PUBLIC.replace("https://", "wss://") + path
    return {"X-Twilio-Signature": RequestValidator(token or settings.TWILIO_AUTH_TOKEN).compute_signature(url, {})}


async def knock(server: str, path: str, headers: dict[str, str]) -> int:
    """The HTTP status that a socket gets."""
    async with aiohttp.ClientSession() as client:
        try:
            async with client.ws_connect(server + path, headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as refusal:
            return refusal.status


async def test_strangers_are_refused_before_anything_is_allocated(server):
    token = base64.urlsafe_b64encode(os.urandom(24)).decode()
    path = f"/twilio/media/{token}"
    assert await knock(server, path, {}) == 403
    assert await knock(server, path, signed(path, "somebody else's token")) == 403
    assert await knock(server, path, signed("/twilio/media/other")) == 403
    assert await knock(server, path, signed(path)) == 403  # a good signature for a token that opens nothing
    assert await knock(server, "/twilio/other", signed("/twilio/other")) == 403


async def test_a_token_opens_one_stream_once(server, monkeypatch):
    seen: list[str] = []
    run: Callable = Gateway.run

    async def remember(self, request):
        seen.append(request.url)
        return await run(self, request)

    monkeypatch.setattr(Gateway, "run", remember)
    async with phones(server) as network:
        await talk(network, WaitForAgent(), HangUp())
    path = "/twilio/media/" + seen[0].rsplit("/", 1)[1]
    assert await knock(server, path, signed(path)) == 403


async def test_a_stalled_line_is_not_taken_for_a_silent_caller(server, settings):
    from media.phone.impairments import Stall

    stall = Impairments(stalls=[Stall(at=2.5, seconds=2.0)], jitter=0.06, network_delay=0.03)
    async with phones(server, impairments=stall) as network:
        call = await talk(network, WaitForAgent(), ask(), WaitForAgent("start"), Wait(0.3), HangUp())
    record = await books(call)
    assert [speaker for speaker, _ in record.lines] == ["agent", "caller", "agent"]
    assert record.lines[1] == ("caller", "What time do you open?")


async def test_twenty_calls_at_once(server, settings):
    settings.MAX_LIVE_CALLS = 30
    async with phones(server) as network:
        steps = [WaitForAgent(), ask(), WaitForAgent("start"), Wait(0.3), HangUp()]
        calls = await asyncio.gather(*(talk(network, *steps, number=f"+120255501{n:02}") for n in range(20)))
    for call in calls:
        record = await books(call)
        assert [speaker for speaker, _ in record.lines] == ["agent", "caller", "agent"]


async def test_the_probes_answer(server):
    async with aiohttp.ClientSession() as client:
        for path in ("/healthz", "/readyz"):
            async with client.get(server + path) as answer:
                assert answer.status == 200
