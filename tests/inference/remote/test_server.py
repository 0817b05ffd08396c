"""A worker takes as many sessions as it has slots, and refuses what does not fit; in virtual time."""

import asyncio

import pytest

from inference.engines.remote import RemoteTextToSpeech
from inference.engines.scripted import ScriptedTextToSpeech
from inference.remote import wire
from inference.remote.served import ServedSpeech
from inference.types import EngineFull
from tests.inference.remote.clients import HELLO_SAMPLES, QUICK, FakeClient, spoken_samples, started
from tests.inference.remote.serving import serving, wait_until
from tests.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("memory_layers")


# -- slots ------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_stale_placement_is_not_taken():
    async with serving("tts", ScriptedTextToSpeech()) as server, FakeClient() as client:
        now = asyncio.get_running_loop().time()
        await client.place(1, until={server.links.channel: now - 0.01})
        await client.place(2, until={server.links.channel: now + 10})
        assert await client.receive() == wire.Offer(2)


@in_virtual_time
async def test_a_placement_that_comes_twice_takes_one_slot():
    async with serving("tts", ScriptedTextToSpeech(), slots=2) as server, FakeClient() as client:
        await client.place(1)
        await client.place(1)
        await client.place(2)
        offers = [wire.Offer(1), wire.Offer(1), wire.Offer(2)]  # repeated, because the first may be lost
        assert [await client.receive() for _ in offers] == offers
        assert server.free == 0


@in_virtual_time
async def test_a_slot_that_is_offered_and_not_used_becomes_free_again():
    async with serving("tts", ScriptedTextToSpeech(), slots=1) as server, FakeClient() as client:
        await client.place(1)
        assert await client.receive() == wire.Offer(1)
        assert server.free == 0
        await client.place(2)
        assert await client.receive() == wire.Offer(2)
        client.send(wire.OpenSpeech(2, 8000, "", "en"))
        client.send(wire.OpenSpeech(1, 8000, "", "en"))
        refusal = await client.receive()
        assert refusal.session == 1
        assert isinstance(refusal.error, EngineFull)


@in_virtual_time
async def test_a_full_worker_takes_no_placement_until_a_slot_is_free():
    async with serving("tts", ScriptedTextToSpeech(), slots=1) as server, FakeClient() as client:
        await client.open_voice(1)
        await client.place(2)
        await wait_until(lambda: client.announcements and client.announcements[-1].free == 0)
        assert client.received.empty()
        client.send(wire.Close(1))
        assert await client.receive() == wire.Offer(2)
        assert server.free == 0


@in_virtual_time
async def test_the_slots_of_a_client_that_falls_silent_become_free():
    async with serving("tts", ScriptedTextToSpeech(), slots=1) as server, FakeClient() as client:
        await client.open_voice(1)
        await wait_until(lambda: isinstance(server.links.sessions.get(1), ServedSpeech))
        # The links of the fake client have no session, so they send no beats.
        assert isinstance(await client.receive_error(), wire.SessionLost)
        await wait_until(lambda: server.free == 1)


# -- refusals ---------------------------------------------------------------------------------------------


@in_virtual_time
async def test_an_unexpected_message_ends_its_own_session_only():
    async with (
        serving("tts", ScriptedTextToSpeech(**QUICK)),
        started(RemoteTextToSpeech()) as tts,
        FakeClient() as client,
    ):
        speech = tts.open()
        await client.open_voice(1)
        client.send(wire.Push(1, b"\0\0"))
        assert isinstance(await client.receive_error(), wire.SessionLost)
        client.send(wire.OpenReply(2, [], False, False, [], False))
        assert "the worker of 'tts' cannot handle OpenReply" in str(await client.receive_error())
        assert await spoken_samples(speech, "Hello.") == HELLO_SAMPLES


@in_virtual_time
async def test_a_client_cannot_take_over_the_session_of_another():
    async with (
        serving("tts", ScriptedTextToSpeech(**QUICK)) as server,
        FakeClient() as client,
        FakeClient() as other,
    ):
        await client.open_voice(1)
        await wait_until(lambda: isinstance(server.links.sessions.get(1), ServedSpeech))
        other.worker = server.links.channel
        other.send(wire.OpenSpeech(1, 8000, "", "en"))
        assert "another client has a session" in str(await other.receive_error())
        client.send(wire.Speak(1, 1), wire.NoMoreText(1, 1))
        assert await client.receive() == wire.Done(1, 1)
        client.send(wire.Close(1))
        await wait_until(lambda: server.free == server.slots)


@in_virtual_time
async def test_a_worker_refuses_a_session_at_another_rate():
    async with serving("tts", ScriptedTextToSpeech()), FakeClient() as client:
        await client.place(1)
        await client.receive()
        client.send(wire.OpenSpeech(1, 24000, "", "en"))
        assert str(await client.receive_error()) == "the rate of this worker is 8000 Hz and not 24000 Hz"


@in_virtual_time
async def test_a_worker_sends_no_more_without_credit():
    async with serving("tts", ScriptedTextToSpeech(**QUICK)), FakeClient() as client:
        await client.open_voice(1)
        client.send(wire.Speak(1, 1))
        client.send(wire.Clause(1, 1, "x" * 125), wire.NoMoreText(1, 1))  # 5 s, 50 pieces
        pieces = [await client.receive() for _ in range(wire.WINDOW)]
        assert all(isinstance(piece, wire.Piece) for piece in pieces)
        await asyncio.sleep(0.1)
        assert client.received.empty()
        client.send(wire.Credit(1, 1, 18))
        *_, end = [await client.receive() for _ in range(19)]
        assert end == wire.Done(1, 1)
