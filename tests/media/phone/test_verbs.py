"""TwiML's verbs on a leg: what they do, and what the application is told of it."""

import asyncio

import pytest

from media.phone.answering import CarrierTiming, Outcome
from media.phone.call_request import Callback, RecordingRequest
from tests.media.phone.doubles import (
    PUBLIC_URL,
    THERE,
    Person,
    call_in,
    call_request,
    open_network,
)


async def test_a_recording_is_reported_with_the_call_and_to_its_callback(app, network):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    network.on_dial(THERE, Person)
    recording = RecordingRequest("OutboundAPI", Callback(f"{PUBLIC_URL}/recorded/"), channels=2)
    await network.place(call_request(recording=recording)).wait()
    final = app.requests_to("/twilio/status/")[-1].form
    later = (await app.wait_for_request("/recorded/")).form
    assert final["RecordingSid"] == later["RecordingSid"]
    assert final["RecordingUrl"].endswith(final["RecordingSid"])
    assert (later["RecordingStatus"], later["RecordingSource"], later["RecordingChannels"]) == (
        "completed",
        "OutboundAPI",
        "2",
    )


async def test_keys_pressed_outside_a_stream_reach_gather(app):
    app.answers = {
        "/twilio/voice/": '<Gather action="/keys/" numDigits="2" timeout="600"/>',
        "/keys/": "<Hangup/>",
    }
    async with open_network(app) as network:
        await (await call_in(network, Person(keys=["4", "2"]))).wait()
    assert app.requests_to("/keys/")[0].form["Digits"] == "42"


async def test_a_message_is_recorded_until_the_caller_falls_silent(app):
    app.answers = {"/twilio/voice/": '<Record action="/message/" timeout="20"/>', "/message/": "<Hangup/>"}
    async with open_network(app) as network:
        caller = Person(says=b"\x10" * 160)
        call = await call_in(network, caller)
        await caller.wait_to_hear(b"\xff")
        caller.says = b"\xff" * 160
        await call.wait()
    message = app.requests_to("/message/")[0].form
    assert message["RecordingUrl"].endswith(message["RecordingSid"])


async def test_a_message_ended_by_hanging_up_is_reported(app):
    app.answers = {"/twilio/voice/": '<Record action="/message/"/>'}
    async with open_network(app, timing=CarrierTiming(scale=1.0)) as network:
        caller = Person(says=b"\x10" * 160)
        call = await call_in(network, caller)
        await caller.wait_to_hear(b"\xff")
        caller.hung_up = True
        await call.wait()
    assert app.requests_to("/message/")[0].form["Digits"] == "hangup"


async def test_dial_bridges_two_people(app):
    app.answers = {
        "/twilio/voice/": '<Dial action="/after-dial/"><Number statusCallback="/leg/" url="/whisper/">'
        "+15005550101</Number><Number>+15005550102</Number></Dial>",
        "/whisper/": "<Say>A call for you</Say>",
        "/after-dial/": "<Hangup/>",
    }
    caller, callee = Person(says=b"\x01" * 160), Person(says=b"\x02" * 160)
    async with open_network(app) as network:
        network.on_dial("+15005550101", lambda: callee, after=0)
        network.on_dial("+15005550102", Outcome.no_answer)
        call = await call_in(network, caller)
        await asyncio.gather(caller.wait_to_hear(b"\x02"), callee.wait_to_hear(b"\x01"))
        callee.hung_up = True
        end = await call.wait()
        legs = [leg for leg in network.calls.values() if leg.parent is call]
    assert end.status == "completed"
    assert {leg.status for leg in legs} == {"completed", "canceled"}
    result = app.requests_to("/after-dial/")[0].form
    assert (result["DialCallStatus"], result["DialBridged"]) == ("completed", "true")
    assert result["DialCallSid"] == legs[0].sid
    assert app.requests_to("/whisper/")[0].form["ParentCallSid"] == call.sid
    assert app.requests_to("/leg/")[0].form["Direction"] == "outbound-dial"


@pytest.mark.parametrize(
    ("outcome", "status"), [(Outcome.busy, "busy"), (Outcome.no_answer, "no-answer"), (Outcome.failed, "failed")]
)
async def test_dial_reports_why_it_was_not_answered(app, network, outcome, status):
    app.answers = {
        "/twilio/voice/": '<Dial action="/after-dial/">+15005550101</Dial>',
        "/after-dial/": "<Hangup/>",
    }
    network.on_dial("+15005550101", outcome)
    await (await call_in(network, Person())).wait()
    result = app.requests_to("/after-dial/")[0].form
    assert (result["DialCallStatus"], result["DialBridged"]) == (status, "false")


async def test_the_caller_hangs_up_while_the_other_phone_rings(app, network):
    app.answers = {
        "/twilio/voice/": '<Dial timeout="600"><Number statusCallback="/leg/" statusCallbackEvent="ringing">'
        "+15005550101</Number></Dial>"
    }
    network.on_dial("+15005550101", Outcome.no_answer)
    caller = Person()
    call = await call_in(network, caller)
    await app.wait_for_request("/leg/")
    caller.hung_up = True
    assert (await call.wait()).ended_by == "caller"
    assert [leg.status for leg in network.calls.values() if leg.parent] == ["canceled"]


async def test_the_person_hears_say(app):
    app.answers = {"/twilio/voice/": "<Say>Hello</Say>"}
    caller = Person()
    async with open_network(app, render_say=lambda text: b"\x05" * 400) as network:
        await (await call_in(network, caller)).wait()
    assert caller.heard.count(b"\x05") == 400
