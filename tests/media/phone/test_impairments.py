"""What a bad line and injected faults do to a media stream."""

import asyncio
import base64
import json
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from media.phone import uplink
from media.phone.frames import FRAME_SECONDS, SILENT_FRAME
from media.phone.gateway import Gateway
from media.phone.impairments import Fault, Impairments, Stall
from media.phone.measurements import measure
from media.phone.stream import StreamEnd
from media.phone.tape import Tape
from tests.media.phone.doubles import DEADLINE, Person
from tests.media.phone.sounds import LOUD
from tests.media.phone.streams import AppStream, run_stream, serve_application, serve_requests, tape_events


async def media_under(impairments: Impairments, count: int, party: Person | None = None) -> list[dict[str, Any]]:
    """Return the first ``count`` media messages that arrive under these impairments."""
    seen: list[AppStream] = []

    async def app(app: AppStream) -> None:
        seen.append(app)
        while len(app.of("media")) < count:
            await app.receive()
        await app.socket.close()

    await run_stream(app, party, impairments=impairments)
    return seen[0].of("media")


def stamps_of(media: list[dict[str, Any]]) -> list[int]:
    return [int(message["media"]["timestamp"]) for message in media]


async def test_lost_audio_leaves_a_gap_in_the_timestamps_but_not_in_the_counters():
    media = await media_under(Impairments(faults=[Fault(0.25, "gap", 0.4)]), 12)
    chunks = [int(message["media"]["chunk"]) for message in media]
    stamps = stamps_of(media)
    assert chunks == list(range(1, 13))
    assert max(later - earlier for earlier, later in pairwise(stamps)) >= 380


async def test_loss_drops_the_same_frames_for_the_same_seed():
    first = stamps_of(await media_under(Impairments(loss=0.5, seed=3), 10))
    again = stamps_of(await media_under(Impairments(loss=0.5, seed=3), 10))
    steps = [round((later - earlier) / 20) for earlier, later in pairwise(first)]
    assert max(steps) > 1
    assert steps == [round((later - earlier) / 20) for earlier, later in pairwise(again)]


async def test_a_stall_holds_frames_back_and_then_delivers_them_at_once():
    person = Person()
    arrivals: list[float] = []  # in seconds of the stream

    async def app(app: AppStream) -> None:
        await app.wait_for("start")
        while len(arrivals) < 30:
            await app.wait_for("media")
            arrivals.append(person.said_frames * FRAME_SECONDS)
        stamps = stamps_of(app.of("media"))
        assert all(later - earlier <= 22 for earlier, later in pairwise(stamps))
        await app.socket.close()

    await run_stream(app, person, impairments=Impairments(stalls=[Stall(0.3, 0.3)]))
    pauses = [later - earlier for earlier, later in pairwise(arrivals)]
    assert max(pauses) > 0.25
    burst = pauses[pauses.index(max(pauses)) + 1 :][:8]
    assert sum(burst) < 0.1


async def test_jitter_and_bunches_do_not_change_the_order():
    stamps = stamps_of(await media_under(Impairments(network_delay=0.01, jitter=0.06, bunch=5), 20))
    assert stamps == sorted(stamps)


async def test_line_noise_is_heard_in_silence():
    media = await media_under(Impairments(noise_db=-30), 2)
    assert len(set(base64.b64decode(media[0]["media"]["payload"]))) > 20


async def test_the_carriers_delay_applies_to_what_is_heard_and_shows_on_the_tape():
    person = Person()

    async def app(app: AppStream) -> None:
        await app.wait_for("start")
        await app.play(LOUD)
        while not person.loud_samples:
            await app.receive()
        await app.socket.close()

    _, gateway = await run_stream(app, person, impairments=Impairments(carrier_delay=0.1))
    speech = tape_events(gateway, "agent_speech_start")[0]
    assert speech["heard_at"] - speech["at"] == pytest.approx(0.1, abs=0.001)
    assert person.heard.index(LOUD) >= 5 * 160


@pytest.mark.parametrize(
    ("kind", "arrives"),
    [
        ("garbage", "JSONDecodeError"),
        ("deep-json", "RecursionError"),
        ("binary", "BINARY"),
        ("invalid-utf8", "ERROR"),
    ],
)
async def test_a_malformed_message_reaches_the_application_unchanged(kind, arrives):
    seen: list[str] = []

    async def app(app: AppStream) -> None:
        while True:
            try:
                await app.receive()
            except EOFError as error:
                seen.append(error.args[0].name)
                break
            except (json.JSONDecodeError, RecursionError) as error:
                seen.append(type(error).__name__)
                break
        await app.socket.close()

    await run_stream(app, impairments=Impairments(faults=[Fault(0.05, kind)]))
    assert seen == [arrives]


@pytest.mark.parametrize(
    "kind", ["bad-base64", "empty-payload", "odd-length", "unknown-field", "number-sequence", "array", "huge"]
)
async def test_a_fault_inside_a_message_does_not_end_the_stream(kind):
    lengths: list[int] = []

    async def app(app: AppStream) -> None:
        while len(lengths) < 25:
            message = await app.socket.receive(timeout=DEADLINE)
            lengths.append(len(message.data))
        await app.socket.close()

    end, gateway = await run_stream(app, impairments=Impairments(faults=[Fault(0.15, kind)]))
    assert end.reason == "app-closed"
    assert [event["kind"] for event in tape_events(gateway, "fault")] == [kind]


async def test_messages_can_be_repeated_swapped_or_out_of_sequence():
    faults = [Fault(0.22, "duplicate"), Fault(0.3, "swap"), Fault(0.4, "sequence-gap", 10), Fault(0.0, "second-start")]
    seen: list[AppStream] = []

    async def app(app: AppStream) -> None:
        seen.append(app)
        while len(app.of("media")) < 22:
            await app.receive()
        await app.socket.close()

    await run_stream(app, impairments=Impairments(faults=[*faults, Fault(0, "early-media")]))
    names = [message["event"] for message in seen[0].messages]
    assert names[:3] == ["connected", "media", "start"]
    assert names.count("start") == 2
    sequence = [int(message["sequenceNumber"]) for message in seen[0].of("media")[1:]]
    steps = [later - earlier for earlier, later in pairwise(sequence)]
    assert 0 in steps
    assert 11 in steps
    assert -1 in steps


async def test_a_fault_can_reset_or_close_the_connection():
    async def app(app: AppStream) -> None:
        await app.receive_all()

    end, _ = await run_stream(app, impairments=Impairments(faults=[Fault(0.2, "drop")]))
    assert end == StreamEnd("lost", 1006)

    codes: list[int | None] = []

    async def note_close_code(app: AppStream) -> None:
        await app.receive_all()
        codes.append(app.socket.close_code)

    await run_stream(note_close_code, impairments=Impairments(faults=[Fault(0.2, "close", 1001)]))
    assert codes == [1001]


async def test_marks_can_be_lost_or_late():
    async def app(app: AppStream) -> None:
        await app.wait_for("media")
        await app.wait_for("media")
        await app.mark("lost")
        await app.mark("kept")
        assert (await app.wait_for("mark"))["mark"]["name"] == "kept"
        while not tape_events(gateway, "fault")[1:]:
            await app.receive()
        await app.mark("late")
        assert (await app.wait_for("mark"))["mark"]["name"] == "late"
        await app.socket.close()

    faults = [Fault(0.05, "lose-mark"), Fault(0.3, "late-marks", 0.4)]
    gateway = Gateway(Person(), tape=Tape(), impairments=Impairments(faults=faults))
    async with serve_application(app) as request:
        await gateway.run(request)
    assert measure(gateway.tape).unresolved_marks == 1
    echoed_at = next(event["at"] for event in tape_events(gateway, "mark_echoed") if event["name"] == "late")
    assert echoed_at - tape_events(gateway, "fault")[1]["at"] >= 0.399


async def test_an_application_that_does_not_read_loses_audio(monkeypatch):
    monkeypatch.setattr(uplink, "MAX_UNSENT_FRAMES", 5)
    done = asyncio.Event()

    class WaitingForError(Person):
        def next_frame(self) -> bytes:
            if gateway.errors:
                done.set()
            return SILENT_FRAME

    async def app(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        response = web.WebSocketResponse()
        await response.prepare(request)
        request.transport.pause_reading()
        await done.wait()
        request.transport.resume_reading()
        return response

    # Messages of a megabyte fill the kernel's buffers at once, so that what follows waits in the gateway.
    faults = [Fault(0.1 + number / 100, "huge") for number in range(8)]
    gateway = Gateway(WaitingForError(), tape=Tape(), impairments=Impairments(faults=faults))
    async with serve_requests(app) as request, asyncio.timeout(DEADLINE):
        await gateway.run(request)
    assert gateway.errors[0].code == 31930


async def test_the_start_message_can_be_withheld():
    async def app(app: AppStream) -> None:
        assert (await app.receive())["event"] == "connected"
        await app.socket.close()

    end, _ = await run_stream(app, impairments=Impairments(start_delay=float("inf")))
    assert end.reason == "app-closed"


def test_an_unknown_fault_is_refused_with_the_list_of_known_ones():
    with pytest.raises(ValueError, match="there are: array"):
        Impairments(faults=[Fault(0, "gremlins")])
