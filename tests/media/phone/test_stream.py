"""One media stream, with a small application at the other end of a real WebSocket."""

import base64
from itertools import pairwise

import pytest
from aiohttp import WSCloseCode

from media.phone import earpiece
from media.phone.measurements import measure
from media.phone.stream import StreamEnd, StreamViolation
from tests.media.phone.doubles import DEADLINE, Person
from tests.media.phone.sounds import LOUD
from tests.media.phone.streams import SID, AppStream, run_stream, tape_events

# -- to the application ---------------------------------------------------------------------------


async def test_the_messages_are_twilios_with_counters_as_strings():
    seen: list[AppStream] = []

    async def app(app: AppStream) -> None:
        seen.append(app)
        while len(app.of("media")) < 4:
            await app.receive()
        await app.socket.close()

    end, gateway = await run_stream(app, Person(keys=["5"]))
    assert end == StreamEnd("app-closed", 1000)
    assert [error.code for error in gateway.errors] == [31921]
    connected, start, *rest = seen[0].messages
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": SID,
        "start": {
            "streamSid": SID,
            "accountSid": "AC" + "2" * 32,
            "callSid": "CA" + "3" * 32,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": "t0"},
        },
    }
    assert [message["sequenceNumber"] for message in rest] == [str(number + 2) for number in range(len(rest))]
    media = seen[0].of("media")
    assert [message["media"]["chunk"] for message in media] == [str(number + 1) for number in range(len(media))]
    stamps = [int(message["media"]["timestamp"]) for message in media]
    assert 100 <= stamps[0] <= 200
    assert all(18 <= later - earlier <= 22 for earlier, later in pairwise(stamps))
    assert media[0]["media"]["track"] == "inbound"
    assert seen[0].of("dtmf")[0]["dtmf"] == {"track": "inbound_track", "digit": "5"}


async def test_silence_is_sent_as_comfort_noise_and_speech_unchanged():
    payloads: list[bytes] = []
    person = Person()

    async def app(app: AppStream) -> None:
        payloads.append(base64.b64decode((await app.wait_for("media"))["media"]["payload"]))
        person.says = LOUD
        while payloads[-1] != LOUD:
            payloads.append(base64.b64decode((await app.wait_for("media"))["media"]["payload"]))
        await app.socket.close()

    await run_stream(app, person)
    assert len(payloads[0]) == 160
    assert set(payloads[0]) == {0xFF, 0x7F}


async def test_a_stream_ends_with_stop_and_a_close_when_the_person_hangs_up():
    person = Person()
    seen: list[AppStream] = []

    async def app(app: AppStream) -> None:
        seen.append(app)
        await app.wait_for("media")
        person.hung_up = True
        await app.receive_all()

    end, gateway = await run_stream(app, person)
    assert end == StreamEnd("party-hung-up", 1000)
    assert seen[0].messages[-1]["event"] == "stop"
    assert seen[0].messages[-1]["stop"] == {"accountSid": "AC" + "2" * 32, "callSid": "CA" + "3" * 32}
    assert seen[0].socket.close_code == 1000
    assert gateway.errors == []


# -- from the application -------------------------------------------------------------------------


async def test_audio_is_played_in_real_time_and_its_mark_is_echoed_afterwards():
    person = Person()

    async def app(app: AppStream) -> None:
        await app.mark("too early")
        await app.wait_for("start")
        await app.mark("nothing queued")
        assert (await app.wait_for("mark"))["mark"] == {"name": "nothing queued"}
        await app.play(LOUD * 5)
        await app.mark("played")
        echo = await app.wait_for("mark")
        assert echo["mark"] == {"name": "played"}
        assert person.loud_samples == 800
        await app.socket.close()

    _, gateway = await run_stream(app, person, strict=False)
    assert [error.code for error in gateway.errors] == [31951, 31921]
    start, end = tape_events(gateway, "agent_speech_start")[0]["at"], tape_events(gateway, "agent_speech_end")[0]["at"]
    assert end - start == pytest.approx(0.1, abs=0.001)
    assert gateway.underruns == 0


async def test_a_clear_stops_the_audio_at_once_and_echoes_every_mark():
    person = Person()
    names: list[str] = []

    async def app(app: AppStream) -> None:
        await app.wait_for("start")
        await app.play(LOUD * 100)
        await app.mark("one")
        await app.mark("two")
        while not person.loud_samples:
            await app.receive()
        await app.clear()
        for _ in range(2):
            names.append((await app.wait_for("mark"))["mark"]["name"])
        heard = person.loud_samples
        for _ in range(5):
            await app.wait_for("media")
        assert person.loud_samples <= heard + 160
        await app.socket.close()

    _, gateway = await run_stream(app, person)
    assert names == ["one", "two"]
    clear = tape_events(gateway, "clear")[0]
    assert clear["marks"] == ["one", "two"]
    assert clear["played_bytes"] + clear["dropped_bytes"] == pytest.approx(16_000, abs=160)
    assert gateway.underruns == 0


async def test_a_queue_that_runs_dry_in_mid_speech_is_an_underrun(monkeypatch):
    monkeypatch.setattr(earpiece, "UNDERRUN_SECONDS", DEADLINE)  # a busy machine may take its time to fill the queue

    async def app(app: AppStream) -> None:
        await app.wait_for("start")
        await app.play(LOUD * 2)
        await app.mark("dry")
        await app.wait_for("mark")
        for _ in range(4):
            await app.wait_for("media")
        await app.play(LOUD * 2)
        await app.mark("end")
        await app.wait_for("mark")
        await app.socket.close()

    _, gateway = await run_stream(app)
    assert gateway.underruns == 1
    assert [gap.seconds >= 0.06 for gap in measure(gateway.tape).gaps] == [True]


async def test_more_than_ten_minutes_of_audio_are_reported_once():
    async def app(app: AppStream) -> None:
        await app.wait_for("start")
        await app.play(bytes(4_700_000))
        await app.play(bytes(200_000))
        await app.play(bytes(200_000))
        await app.mark("unheard")
        await app.clear()
        await app.wait_for("mark")
        await app.socket.close()

    _, gateway = await run_stream(app)
    assert [error.code for error in gateway.errors] == [31931, 31921]


# -- what goes wrong ------------------------------------------------------------------------------


BAD_TEXTS = {
    "not JSON": "hello",
    "unknown event": '{"event":"pause","streamSid":"%s"}',
    "a missing field": '{"event":"media","streamSid":"%s"}',
    "an extra field": '{"event":"clear","streamSid":"%s","sequenceNumber":"1"}',
    "an extra field of media": '{"event":"media","streamSid":"%s","media":{"payload":"//8=","track":"outbound"}}',
    "bad base64": '{"event":"media","streamSid":"%s","media":{"payload":"*"}}',
    "another stream": '{"event":"clear","streamSid":"MZ0%s"}',
}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
async def test_a_malformed_message_fails_the_call_in_strict_mode(text):
    async def app(app: AppStream) -> None:
        await app.wait_for("start")
        await app.socket.send_str(text.replace("%s", SID))
        await app.receive_all()

    with pytest.raises(StreamViolation, match="31951"):
        await run_stream(app)


async def test_a_malformed_message_is_ignored_and_reported_once_without_strict_mode():
    person = Person()

    async def app(app: AppStream) -> None:
        await app.wait_for("start")
        for text in BAD_TEXTS.values():
            await app.socket.send_str(text.replace("%s", SID))
        await app.socket.send_bytes(LOUD)
        await app.socket.send_bytes(LOUD)
        await app.play(LOUD)
        await app.mark("still here")
        await app.wait_for("mark")
        await app.socket.close(code=WSCloseCode.GOING_AWAY)

    end, gateway = await run_stream(app, person, strict=False)
    assert end == StreamEnd("app-closed", 1001)
    assert [error.code for error in gateway.errors] == [31951, 31950, 31921]
    assert person.loud_samples == 160


async def test_a_connection_without_a_close_frame_is_reported_as_lost():
    async def app(app: AppStream) -> None:
        await app.wait_for("media")
        assert app.request.transport is not None
        app.request.transport.abort()

    end, gateway = await run_stream(app)
    assert end == StreamEnd("lost", 1006)
    assert [error.code for error in gateway.errors] == [31903]


async def test_an_exception_of_the_party_is_raised_by_its_stream():
    class Broken(Person):
        def next_frame(self) -> bytes:
            raise RuntimeError("broken party")

    async def app(app: AppStream) -> None:
        await app.receive_all()

    with pytest.raises(RuntimeError, match="broken party"):
        await run_stream(app, Broken())
