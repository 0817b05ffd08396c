"""A worker among clients that stop, lie, fall silent and come too late; layers in memory, engines with scripts."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress

import numpy as np
import pytest
from channels.layers import channel_layers

from inference.engines.remote import RemoteLanguageModel, RemoteSpeechToText, RemoteTextToSpeech
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from inference.remote import placement, wire
from inference.remote import server as server_module
from inference.remote.links import Links
from inference.remote.server import Server
from inference.remote.waiting import cancel_and_wait
from inference.remote.worker import Worker
from inference.types import (
    ContextTooLarge,
    EngineError,
    EngineFull,
    EngineLoading,
    EngineTimeout,
    Message,
    NoWorker,
)
from tests.inference.contract import leaving_no_task
from tests.inference.serving import layers, serving, until

SECOND = np.full(8000, 1000, np.int16)
HELLO = [Message("user", "hello")]
QUICK = {"first_delay": 0.0, "chunk_delay": 0.0}


@pytest.fixture(autouse=True)
def on_layers():
    with layers() as made:
        yield made


@pytest.fixture
def on_redis(redis_server):
    """Where several workers read the same channel, which those in memory cannot serve."""
    with layers(redis_server.url) as made:
        yield made


@asynccontextmanager
async def started(engine):
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def clauses(*texts: str) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def spoken(speech, *texts: str) -> int:
    async with aclosing(speech.speak(clauses(*texts))) as chunks:
        return sum([len(chunk.pcm) async for chunk in chunks])


class Stranger:
    """A client that does only what it is told."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[wire.Message] = asyncio.Queue()
        self.news: list[wire.Announcement] = []
        self.worker = ""
        self.links = Links(
            channel_layers["stream"],
            "stranger",
            group="inference.tts",
            on_unknown_session=self._on_message,
            on_envelope=self.news.append,
        )

    def _on_message(self, peer: str, message: wire.Message) -> None:
        self.worker = peer
        self.heard.put_nowait(message)

    def tell(self, *messages: wire.Message) -> None:
        for message in messages:
            self.links.send(self.worker, message)

    async def place(self, session: int, *, until: dict[str, float] | None = None) -> None:
        placement = wire.Placement(self.links.channel, session, until or {})
        await channel_layers["default"].send("inference.tts", wire.pack(placement))

    async def hears(self) -> wire.Message:
        return await asyncio.wait_for(self.heard.get(), 5)


@pytest.fixture
async def stranger():
    made = Stranger()
    await made.links.open()
    yield made
    await made.links.close()


# -- places -----------------------------------------------------------------------------------------------


async def test_a_stale_placement_is_not_taken(stranger):
    async with serving("tts", ScriptedTextToSpeech()) as server:
        now = asyncio.get_running_loop().time()
        await stranger.place(1, until={server.links.channel: now - 0.01})
        await stranger.place(2, until={server.links.channel: now + 10})
        assert await stranger.hears() == wire.Offer(2)


async def test_a_placement_that_comes_twice_is_taken_once(stranger):
    async with serving("tts", ScriptedTextToSpeech(), slots=2) as server:
        await stranger.place(1)
        await stranger.place(1)
        await stranger.place(2)
        offers = [wire.Offer(1), wire.Offer(1), wire.Offer(2)]  # again, as the first may be lost
        assert [await stranger.hears() for _ in offers] == offers
        assert server.free == 0


async def test_of_two_workers_that_take_the_same_placement_one_is_declined(on_redis):
    """Channels' Redis layer may hand out a message twice when several read."""
    placements, _ = on_redis
    send = placements.send

    async def send_twice(channel, message):
        await send(channel, message)
        await send(channel, message)

    placements.send = send_twice
    engine = ScriptedTextToSpeech(**QUICK)
    async with serving("tts", engine) as one, serving("tts", engine) as other, started(RemoteTextToSpeech()) as tts:
        voices = [tts.open() for _ in range(5)]
        assert await asyncio.gather(*(spoken(voice, "Hello.") for voice in voices)) == [1920] * 5
        await until(lambda: one.free + other.free == 2 * 128 - 5)
        for voice in voices:
            await voice.close()
        await until(lambda: one.free + other.free == 2 * 128)


async def test_a_place_that_is_offered_and_not_used_is_given_back(stranger, monkeypatch):
    monkeypatch.setattr(server_module, "OFFER_TIMEOUT", 0.05)
    async with serving("tts", ScriptedTextToSpeech(), slots=1) as server:
        await stranger.place(1)
        assert await stranger.hears() == wire.Offer(1)
        assert server.free == 0
        await stranger.place(2)
        assert await stranger.hears() == wire.Offer(2)
        stranger.tell(wire.OpenSpeech(2, 8000, "", "en"))
        stranger.tell(wire.OpenSpeech(1, 8000, "", "en"))
        refused = await stranger.hears()
        assert refused.session == 1
        assert isinstance(refused.error, EngineFull)


async def test_a_full_worker_takes_no_placement_until_a_place_is_free(stranger):
    async with serving("tts", ScriptedTextToSpeech(), slots=1) as server:
        await stranger.place(1)
        assert await stranger.hears() == wire.Offer(1)
        stranger.tell(wire.OpenSpeech(1, 8000, "", "en"))
        await stranger.place(2)
        await until(lambda: stranger.news and stranger.news[-1].free == 0)
        assert stranger.heard.empty()
        stranger.tell(wire.Close(1))
        assert await stranger.hears() == wire.Offer(2)
        assert server.free == 0


async def test_who_comes_when_all_are_full_is_told_at_once():
    async with serving("tts", ScriptedTextToSpeech(**QUICK), slots=1), started(RemoteTextToSpeech()) as tts:
        first, second = tts.open(), None
        await spoken(first, "Hello.")
        await until(lambda: tts.workers.slots and tts.workers.full)
        async with asyncio.timeout(0.4):
            second = tts.open()
            with pytest.raises(EngineFull):
                await spoken(second, "Hello.")
        await first.close()
        await until(lambda: not tts.workers.full)
        assert await spoken(second, "Hello.")


async def test_a_client_that_falls_silent_gives_its_places_back(stranger, monkeypatch):
    monkeypatch.setattr(server_module, "CLIENT_SILENT_BEATS", 2)
    async with serving("tts", ScriptedTextToSpeech(), slots=1) as server:
        await stranger.place(1)
        await stranger.hears()
        stranger.tell(wire.OpenSpeech(1, 8000, "", "en"))
        await until(lambda: 1 in server.links.sessions and type(server.links.sessions[1]).__name__ == "ServedSpeech")
        # Nothing keeps its links alive, as it has no session itself.
        assert isinstance((await stranger.hears()).error, wire.SessionLost)
        await until(lambda: server.free == 1)


# -- what is said -----------------------------------------------------------------------------------------


async def test_garbage_is_dropped_with_a_line_and_nobody_else_suffers(on_layers, caplog):
    placements, stream = on_layers
    caplog.set_level(logging.WARNING)
    async with serving("tts", ScriptedTextToSpeech(**QUICK)) as server, started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        for garbage in ({"type": "nonsense"}, {**wire.pack(wire.Placement("a", 1, {})), "version": 7}):
            await placements.send("inference.tts", garbage)
            await stream.send(server.links.channel, garbage)
            await stream.send(tts.links.channel, garbage)
        await placements.send("inference.tts", wire.pack(wire.Packet("a", 0, 0, [])))
        await stream.send(
            server.links.channel, wire.pack(wire.Packet("a", 0, 0, [wire.Piece(9, 1, b"", 0, exact=False)]))
        )
        assert await spoken(speech, "Hello.") == 1920
        assert await spoken(tts.open(), "Hello.") == 1920
    lines = [record.getMessage() for record in caplog.records]
    assert sum("does not belong to the protocol" in line for line in lines) == 3
    assert sum("protocol version 7" in line for line in lines) == 3
    assert sum("it is a Packet and not a Placement" in line for line in lines) == 1
    assert len(lines) == 7


async def test_a_message_out_of_place_costs_its_own_session_only(stranger):
    async with serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        await stranger.place(1)
        await stranger.hears()
        stranger.tell(wire.OpenSpeech(1, 8000, "", "en"), wire.Push(1, b"\0\0"))
        assert isinstance((await stranger.hears()).error, wire.SessionLost)
        stranger.tell(wire.OpenReply(2, [], False, False, [], False))
        refused = await stranger.hears()
        assert "the worker of 'tts' cannot handle OpenReply" in str(refused.error)
        assert await spoken(speech, "Hello.") == 1920


async def test_a_session_is_not_taken_over_by_somebody_else(stranger):
    other = Stranger()
    await other.links.open()
    async with serving("tts", ScriptedTextToSpeech(**QUICK)) as server:
        await stranger.place(1)
        await stranger.hears()
        stranger.tell(wire.OpenSpeech(1, 8000, "", "en"))
        await until(lambda: 1 in server.links.sessions and type(server.links.sessions[1]).__name__ == "ServedSpeech")
        other.worker = server.links.channel
        other.tell(wire.OpenSpeech(1, 8000, "", "en"))
        assert "another client has a session" in str((await other.hears()).error)
        stranger.tell(wire.Speak(1, 1), wire.NoMoreText(1, 1))
        assert await stranger.hears() == wire.Done(1, 1)
        stranger.tell(wire.Close(1))
        await until(lambda: server.free == server.slots)
    await other.links.close()


async def test_a_worker_at_another_rate_refuses(stranger):
    async with serving("tts", ScriptedTextToSpeech()):
        await stranger.place(1)
        await stranger.hears()
        stranger.tell(wire.OpenSpeech(1, 24000, "", "en"))
        assert str((await stranger.hears()).error) == "the rate of this worker is 8000 Hz and not 24000 Hz"


async def test_a_worker_at_another_rate_is_left_alone(caplog):
    async with serving("tts", ScriptedTextToSpeech()), started(RemoteTextToSpeech(rate_hz=24000)) as tts:
        await until(lambda: "Not using a worker" in caplog.text)
        with pytest.raises(NoWorker):
            await spoken(tts.open(), "Hello.")
    assert caplog.text.count("its rate is 8000 Hz and not 24000 Hz") == 1


class Lossy:
    """A layer that loses the packets for which ``loses`` says so."""

    def __init__(self, layer) -> None:
        self._layer = layer
        self.loses = lambda packet: False

    def __getattr__(self, name):
        return getattr(self._layer, name)

    async def send(self, channel, message):
        if not self.loses(wire.unpack(message)):
            await self._layer.send(channel, message)


@pytest.fixture
def lossy(on_layers):
    made = Lossy(on_layers[1])
    channel_layers.set("stream", made)
    return made


def containing(kind, which=2):
    """Loses one packet with a message of this kind, the second."""
    seen = 0

    def loses(packet):
        nonlocal seen
        seen += any(isinstance(message, kind) for message in packet.messages)
        return seen == which and any(isinstance(message, kind) for message in packet.messages)

    return loses


async def test_sound_that_was_lost_is_never_missing_in_silence(lossy):
    engine = ScriptedTextToSpeech(first_delay=0.0, chunk_delay=0.01)
    async with serving("tts", engine) as server, started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        lossy.loses = containing(wire.Piece)
        with pytest.raises(EngineError, match="lost on the way"):
            await spoken(speech, "A sentence that takes a while to be spoken.")
        await until(lambda: server.free == server.slots)
        lossy.loses = lambda packet: False
        assert await spoken(speech, "Hello.") == 1920


async def test_the_last_message_is_missed_as_well(lossy):
    async with serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech()) as tts:
        lossy.loses = lambda packet: any(isinstance(message, wire.Done) for message in packet.messages)
        async with asyncio.timeout(1):
            with pytest.raises(EngineError, match="lost on the way"):
                await spoken(tts.open(), "Hello.")


async def test_an_offer_that_was_lost_is_made_again(lossy, monkeypatch):
    monkeypatch.setattr(placement, "PLACE_AGAIN", 0.05)
    lost = []

    def lose_the_first(packet):
        if offers := any(isinstance(message, wire.Offer) for message in packet.messages):
            lost.append(packet)
        return offers and len(lost) == 1

    lossy.loses = lose_the_first
    async with serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech()) as tts:
        async with asyncio.timeout(1):
            assert await spoken(tts.open(), "Hello.") == 1920
    assert lost


async def test_a_question_that_was_lost_is_missed_though_its_worker_serves_others(lossy):
    """It came directly, so that the worker knows nothing of it and cannot say that it was lost."""
    engine = ScriptedLanguageModel(replies=["word " * 10], first_delay=0.0, token_delay=0.01)
    async with serving("llm", engine) as server, started(RemoteLanguageModel()) as llm:

        async def ask() -> None:
            async with aclosing(llm.stream(HELLO)) as deltas:
                [delta async for delta in deltas]

        async def keep_asking() -> None:
            while True:
                with suppress(EngineError):
                    await asyncio.gather(ask(), asyncio.sleep(0.05))

        await ask()
        lossy.loses = containing(wire.OpenReply, which=1)
        async with asyncio.timeout(3):
            lost = asyncio.ensure_future(ask())
            await asyncio.sleep(0.01)
            others = [asyncio.ensure_future(keep_asking()) for _ in range(2)]
            await lost
        await cancel_and_wait(*others)
        await until(lambda: server.free == server.slots)


async def test_an_utterance_of_which_some_was_lost_is_heard_again_from_its_start(lossy):
    class Counting(ScriptedSpeechToText):
        def open(self, **options):
            self.utterances = [*getattr(self, "utterances", []), super().open(**options)]
            return self.utterances[-1]

    engine = Counting(final_delay=0.001)
    async with serving("stt", engine), started(RemoteSpeechToText()) as stt:
        utterance = stt.open()
        lossy.loses = containing(wire.Push)
        for piece in np.array_split(SECOND, 10):
            utterance.push(piece)
            await asyncio.sleep(0.005)
        assert (await utterance.finish()).samples == len(SECOND)
    assert len(engine.utterances) == 2


async def test_without_credit_a_worker_sends_no_more(stranger):
    async with serving("tts", ScriptedTextToSpeech(**QUICK)):
        await stranger.place(1)
        await stranger.hears()
        stranger.tell(wire.OpenSpeech(1, 8000, "", "en"), wire.Speak(1, 1))
        stranger.tell(wire.Clause(1, 1, "x" * 125), wire.NoMoreText(1, 1))  # 5 s, 50 pieces
        pieces = [await stranger.hears() for _ in range(wire.WINDOW)]
        assert all(isinstance(piece, wire.Piece) for piece in pieces)
        await asyncio.sleep(0.1)
        assert stranger.heard.empty()
        stranger.tell(wire.Credit(1, 1, 18))
        *_, end = [await stranger.hears() for _ in range(19)]
        assert end == wire.Done(1, 1)


async def test_a_slow_reader_gets_everything():
    engine = ScriptedLanguageModel(replies=[" ".join(map(str, range(200)))], first_delay=0.0, token_delay=0.0)
    async with serving("llm", engine), started(RemoteLanguageModel()) as llm:
        said = ""
        async with aclosing(llm.stream(HELLO)) as deltas:
            async for delta in deltas:
                said += delta.text
                await asyncio.sleep(0)
        assert said.split() == [str(number) for number in range(200)]


async def test_a_chunk_too_long_for_one_message_is_cut():
    engine = ScriptedTextToSpeech(**QUICK, chunk_seconds=20.0, rate_hz=24000)
    async with serving("tts", engine), started(RemoteTextToSpeech()) as tts:
        chunks = [chunk async for chunk in tts.open().speak(clauses("x" * 500))]
    assert sum(len(chunk.pcm) for chunk in chunks) == 480_000
    assert [chunk.text_end for chunk in chunks] == [0, 0, 0, 500]


async def test_what_was_heard_reaches_the_engine_for_the_last_turn_only():
    class Remembering(ScriptedTextToSpeech):
        def open(self, **options):
            voice = super().open(**options)
            voice.heard = heard.append
            return voice

    heard = []
    async with serving("tts", Remembering(**QUICK)), started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        speech.heard(5)
        assert await spoken(speech, "Hello.")
        speech.heard(700)
        await until(lambda: heard)
        assert await spoken(speech, "Goodbye.")
        assert heard == [700]


async def test_a_voice_that_hears_the_caller_is_told_what_was_said_and_one_that_does_not_is_not():
    for hears in (True, False):
        engine = ScriptedTextToSpeech(**QUICK, hears_caller=hears)
        async with serving("tts", engine), started(RemoteTextToSpeech()) as tts:
            assert tts.hears_caller == hears
            speech = tts.open()
            assert await spoken(speech, "Hello.")
            speech.caller_said("Are you open?", SECOND, 8000)
            speech.caller_said("What a long story.", np.tile(SECOND, 60), 8000)
            assert await spoken(speech, "Yes.")
            told = [(text, len(pcm), rate_hz) for text, pcm, rate_hz in engine.caller_said]
            longest = wire.MAX_SOUND_BYTES // 2
            assert told == ([("Are you open?", 8000, 8000), ("What a long story.", longest, 8000)] if hears else [])


# -- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [EngineFull("no slot"), ContextTooLarge("too long"), EngineTimeout("too late")])
async def test_errors_of_the_engine_cross_as_what_they_are(error):
    class Refusing(ScriptedTextToSpeech):
        def open(self, **options):
            raise error

    async with serving("tts", Refusing()) as server, started(RemoteTextToSpeech()) as tts:
        with pytest.raises(type(error), match=str(error)) as raised:
            await spoken(tts.open(), "Hello.")
        assert raised.value.permanent == error.permanent
        await until(lambda: server.free == server.slots)


async def test_an_unknown_voice_is_refused_by_the_first_turn_where_the_workers_do_not_tell():
    async with serving("tts", ScriptedTextToSpeech()), started(RemoteTextToSpeech()) as tts:
        with pytest.raises(EngineError, match="no scripted voice 'bass'") as refusal:
            await spoken(tts.open(voice="bass"), "Hello.")
        assert refusal.value.permanent


async def test_a_turn_that_fails_leaves_the_voice_to_the_next():
    engine = ScriptedTextToSpeech(**QUICK, failures=[{"on": 1, "at": "middle", "permanent": True}])
    async with serving("tts", engine) as server, started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        with pytest.raises(EngineError, match="as its script says") as failure:
            await spoken(speech, "A sentence of some length.")
        assert failure.value.permanent
        assert await spoken(speech, "Hello.") == 1920
        assert server.free == server.slots - 1


async def test_an_engine_that_meets_the_unexpected_says_so_and_the_worker_goes_on(caplog):
    class Broken(ScriptedSpeechToText):
        def open(self, **options):
            utterance = super().open(**options)
            utterance.snapshot = self.snapshot
            return utterance

        async def snapshot(self):
            raise ZeroDivisionError("a bug")

    async with serving("stt", Broken(final_delay=0.001)), started(RemoteSpeechToText()) as stt:
        utterance = stt.open()
        with pytest.raises(EngineError, match="ZeroDivisionError: a bug"):
            await utterance.snapshot()
        assert (await utterance.finish()).text
    assert "unexpected error in a session" in caplog.text


async def test_a_listener_that_fails_does_not_disturb_the_utterance(caplog):
    def fail(words):
        raise ZeroDivisionError("a bug")

    engine = ScriptedSpeechToText(final_delay=0.001, partials=True)
    async with serving("stt", engine), started(RemoteSpeechToText()) as stt:
        utterance = stt.open(on_partial=fail)
        for _ in range(5):
            utterance.push(SECOND)
            await utterance.snapshot()
        assert (await utterance.finish()).samples == 5 * len(SECOND)
    assert "error in handling a partial transcript" in caplog.text


async def test_what_cannot_be_sent_is_an_error_of_the_engine_and_leaves_no_session():
    broken_letter = [Message("user", "\ud800")]  # half of a letter, as JSON may have it
    async with serving("llm", ScriptedLanguageModel()) as server, started(RemoteLanguageModel()) as llm:
        for _ in ("by the queue", "directly"):
            with pytest.raises(EngineError, match="cannot send this OpenReply"):
                await anext(llm.stream(broken_letter))
            assert not llm.links.sessions
            async with aclosing(llm.stream(HELLO)) as deltas:
                assert (await anext(deltas)).text
        await until(lambda: server.free == server.slots)


async def test_a_conversation_larger_than_a_message_is_refused_here():
    async with serving("llm", ScriptedLanguageModel()), started(RemoteLanguageModel()) as llm:
        with pytest.raises(ContextTooLarge):
            await anext(llm.stream([Message("user", "x" * 2_000_000)]))
        assert (await anext(llm.stream(HELLO))).text


@pytest.mark.parametrize("alias", ["stt", "llm", "tts"])
async def test_a_silent_engine_is_not_waited_for_for_ever(alias):
    stall = [{"on": 1, "seconds": 30.0}]
    match alias:
        case "stt":
            engine, remote = ScriptedSpeechToText(stalls=stall), RemoteSpeechToText(answer_timeout=0.1)
        case "llm":
            engine, remote = ScriptedLanguageModel(stalls=stall), RemoteLanguageModel(answer_timeout=0.1)
        case _:
            engine, remote = ScriptedTextToSpeech(stalls=stall), RemoteTextToSpeech(answer_timeout=0.1)
    async with leaving_no_task(), serving(alias, engine) as server, started(remote):
        match alias:
            case "stt":
                answer = remote.open().finish()
            case "llm":
                answer = anext(remote.stream(HELLO))
            case _:
                answer = spoken(voice := remote.open(), "Hello.")
        with pytest.raises(EngineTimeout):
            await answer
        if alias == "tts":
            await voice.close()
        await until(lambda: server.free == server.slots)


async def test_a_text_that_takes_its_time_is_no_silence_of_the_voice():
    async def hesitating():
        yield "Well. "
        await asyncio.sleep(0.3)
        yield "Yes."

    async with serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech(answer_timeout=0.1)) as tts:
        chunks = [chunk async for chunk in tts.open().speak(hesitating())]
    assert chunks[-1].text_end == len("Well. Yes.")


# -- workers come and go ----------------------------------------------------------------------------------


class Slow(ScriptedTextToSpeech):
    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.may_load = asyncio.Event()

    async def start(self) -> None:
        await self.may_load.wait()


async def serve(server: Server) -> None:
    with pytest.raises(asyncio.CancelledError):
        await server.serve()


async def test_loading_is_told_apart_from_nobody(on_layers):
    placements, stream = on_layers
    with pytest.raises(NoWorker, match="in this process; set REDIS_URL to use workers elsewhere"):
        await RemoteTextToSpeech(start_timeout=0.05).start()
    engine = Slow(**QUICK)
    server = Server("tts", engine, placements=placements, stream=stream)
    task = asyncio.ensure_future(server.serve())
    with pytest.raises(EngineLoading):
        await RemoteTextToSpeech(start_timeout=0.3).start()
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        speech = tts.open()
        with pytest.raises(EngineLoading):
            await spoken(speech, "Hello.")
        engine.may_load.set()
        await until(lambda: server.state == "ready" and tts.describe().capacity)
        assert await spoken(speech, "Hello.") == 1920
        assert tts.describe().capacity == 128
    await server.close()
    await asyncio.gather(task, return_exceptions=True)


async def test_nothing_works_before_start_and_after_close():
    async with serving("tts", ScriptedTextToSpeech(**QUICK)):
        tts = RemoteTextToSpeech()
        with pytest.raises(EngineError, match=r"not known before start\(\)"):
            tts.open()
        async with started(tts):
            speech = tts.open()
        with pytest.raises(EngineError, match="not started, or was closed"):
            await spoken(speech, "Hello.")
        async with started(tts):
            assert await spoken(tts.open(), "Hello.") == 1920


@asynccontextmanager
async def working(*engines, drain: float = 5.0):
    """``Worker`` as the command runs it, with one text to speech for each engine."""
    servers = [
        Server("tts", engine, placements=channel_layers["default"], stream=channel_layers["stream"])
        for engine in engines
    ]
    made = Worker(servers, drain=drain)
    task = asyncio.ensure_future(made.run())
    await until(lambda: all(server.state == "ready" for server in servers))
    yield made, task
    made.stop()
    made.stop()
    await task


async def test_a_worker_that_is_stopped_lets_a_turn_end_and_the_next_one_is_spoken_elsewhere(on_redis):
    engine = ScriptedTextToSpeech(first_delay=0.0, chunk_delay=0.01)
    async with working(engine) as (first, task), started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        turn = speech.speak(clauses("A sentence that takes a while to be spoken."))
        said = len((await anext(turn)).pcm)
        first.stop()
        async with serving("tts", engine):
            said += sum([len(chunk.pcm) async for chunk in turn])
            assert said == 43 * 320
            await asyncio.wait_for(task, 2)  # nobody spoke any more: it did not wait for the call to end
            assert await spoken(speech, "Hello.") == 1920
            await speech.close()


async def test_a_worker_that_is_stopped_waits_no_longer_than_it_may():
    engine = ScriptedTextToSpeech(first_delay=0.0, chunk_delay=0.5)
    async with working(engine, drain=0.05) as (stopped, task), started(RemoteTextToSpeech()) as tts:
        turn = tts.open().speak(clauses("A sentence that takes a while to be spoken."))
        await anext(turn)
        stopped.stop()
        with pytest.raises(EngineError, match="the worker was stopped"):
            [chunk async for chunk in turn]
        await asyncio.wait_for(task, 2)


async def test_an_engine_that_does_not_load_ends_the_worker_with_the_reason():
    class Missing(ScriptedTextToSpeech):
        async def start(self) -> None:
            raise EngineError("no such model", permanent=True)

    server = Server("tts", Missing(), placements=channel_layers["default"], stream=channel_layers["stream"])
    async with leaving_no_task():
        with pytest.raises(EngineError, match="no such model"):
            await Worker([server]).run()


async def test_an_engine_that_breaks_ends_its_worker_with_the_reason_and_its_sessions_at_once():
    """It would be the first to take whatever comes, and fail it."""
    engine = ScriptedTextToSpeech(first_delay=0.0, chunk_delay=0.5)
    server = Server("tts", engine, placements=channel_layers["default"], stream=channel_layers["stream"])
    async with leaving_no_task():
        working = asyncio.ensure_future(Worker([server]).run())
        tts = RemoteTextToSpeech()
        await tts.start()
        turn = tts.open().speak(clauses("A sentence that takes a while to be spoken."))
        await anext(turn)
        engine.broken = "its thread has died"
        async with asyncio.timeout(0.45):
            with pytest.raises(EngineError, match="the worker was stopped"):
                [chunk async for chunk in turn]
            with pytest.raises(EngineError, match="tts is broken: its thread has died"):
                await working
            with pytest.raises(NoWorker):
                await spoken(tts.open(), "Hello.")
        await tts.close()


async def test_an_engine_that_does_not_load_does_not_wait_for_others_that_would():
    class Missing(ScriptedTextToSpeech):
        async def start(self) -> None:
            raise EngineError("no such model", permanent=True)

    class Locked(Slow):
        """As engines are that must not be closed while they load."""

        def __init__(self) -> None:
            super().__init__()
            self.lock = asyncio.Lock()

        async def start(self) -> None:
            async with self.lock:
                await super().start()

        async def close(self) -> None:
            async with self.lock:
                await super().close()

    both = [
        Server("tts", engine, placements=channel_layers["default"], stream=channel_layers["stream"])
        for engine in (Locked(), Missing())
    ]
    async with leaving_no_task(), asyncio.timeout(2):
        with pytest.raises(EngineError, match="no such model"):
            await Worker(both).run()


async def test_who_comes_while_a_worker_leaves_is_served_by_another_at_once(on_redis):
    engine = ScriptedLanguageModel(first_delay=0.0, token_delay=0.0)
    async with serving("llm", engine), started(RemoteLanguageModel()) as llm:
        async with serving("llm", engine) as leaving:
            llm.preferred_worker = leaving.links.channel
            await until(lambda: llm.workers.has_free_slot(leaving.links.channel))
            await leaving.links.close()  # it hears nothing any more, and has not said so yet
            reply = llm.stream(HELLO)
            first = asyncio.ensure_future(anext(reply))
            await until(lambda: llm.links.sessions)
        async with asyncio.timeout(0.5):
            assert (await first).text
        await reply.aclose()


async def test_what_is_served_does_not_change_with_the_number_of_workers(on_redis):
    async with AsyncExitStack() as stack:
        said = set()
        async with serving("tts", ScriptedTextToSpeech()) as one:
            tts = await stack.enter_async_context(started(RemoteTextToSpeech()))
            said.add(tts.describe().weights)
            assert one.engine.describe().weights in tts.describe().weights
            async with serving("tts", ScriptedTextToSpeech()):
                await until(lambda: tts.describe().capacity == 256)
                said.add(tts.describe().weights)
        await until(lambda: tts.describe().capacity == 0)
        assert said == {tts.describe().weights}


async def test_a_worker_with_other_voices_is_believed():
    class Outspoken(ScriptedTextToSpeech):
        @property
        def voice_names(self):
            return self._voices

    async with AsyncExitStack() as stack:
        async with serving("tts", Outspoken(**QUICK, voices=["ann"])):
            tts = await stack.enter_async_context(started(RemoteTextToSpeech()))
            with pytest.raises(EngineError, match="no worker has the voice 'bob'; they have: ann"):
                tts.open(voice="bob")
        await until(lambda: not tts.describe().capacity)
        async with serving("tts", Outspoken(**QUICK, voices=["bob"])):
            await until(lambda: tts.describe().capacity)
            assert await spoken(tts.open(voice="bob"), "Hello.") == 1920
            with pytest.raises(EngineError, match="no worker has the voice 'ann'; they have: bob"):
                tts.open(voice="ann")


async def test_a_placement_that_was_lost_is_sent_again(on_layers, monkeypatch):
    monkeypatch.setattr(placement, "PLACE_AGAIN", 0.05)
    placements, _ = on_layers
    send, lost = placements.send, []

    async def lose_the_first(channel, message):
        if lost:
            await send(channel, message)
        lost.append(message)

    placements.send = lose_the_first
    async with serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech()) as tts:
        assert await spoken(tts.open(), "Hello.") == 1920


async def test_a_language_model_goes_to_its_worker_directly_and_to_another_when_that_is_full(on_redis):
    placements, _ = on_redis
    sends = []
    send = placements.send

    async def counted(channel, message):
        sends.append(channel)
        await send(channel, message)

    placements.send = counted
    engine = ScriptedLanguageModel(replies=["word " * 100], first_delay=0.0, token_delay=0.0)
    async with serving("llm", engine, slots=1) as one, started(RemoteLanguageModel()) as llm:
        for _ in range(3):
            async with aclosing(llm.stream(HELLO)) as deltas:
                assert [delta async for delta in deltas]
            await until(lambda: one.free == 1 and llm.workers.has_free_slot(one.links.channel))
        assert len(sends) == 1
        async with serving("llm", engine, slots=1) as other:
            await until(lambda: llm.workers.has_free_slot(other.links.channel))
            async with aclosing(llm.stream(HELLO)) as held:
                await anext(held)
                async with aclosing(llm.stream(HELLO)) as deltas:
                    assert [delta async for delta in deltas]
            assert llm.preferred_worker == other.links.channel


async def test_utterances_that_are_given_up_at_once_leave_no_place_taken():
    async with (
        leaving_no_task(),
        serving("stt", ScriptedSpeechToText(), slots=128) as server,
        started(RemoteSpeechToText()) as stt,
    ):
        for turns in range(60):
            utterance = stt.open()
            utterance.push(SECOND)
            for _ in range(turns):  # cancelled at every point of its placement
                await asyncio.sleep(0)
            utterance.cancel()
        await until(lambda: server.free == server.slots and not stt._waiting)


async def test_turns_that_are_cancelled_at_every_point_leave_the_voice_usable():
    async with leaving_no_task(), serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        for turns in range(60):
            task = asyncio.ensure_future(spoken(speech, "Hello. ", "And goodbye."))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert await spoken(speech, "Hello.") == 1920
        await speech.close()


async def test_whatever_is_lost_on_the_way_nobody_hears_half_of_it_and_no_place_stays_taken(lossy):
    """One in fifty packets, on both ways, while thirty talk at once."""
    lots, whole = random.Random(7), Counter()

    async def hear(stt):
        utterance = stt.open()
        for piece in np.array_split(SECOND, 5):
            utterance.push(piece)
            await asyncio.sleep(0)
        return (await utterance.finish()).samples == len(SECOND)

    async def answer(llm):
        async with aclosing(llm.stream(HELLO)) as deltas:
            return len([delta async for delta in deltas]) == 30

    async def say(tts):
        speech = tts.open()
        try:
            return await spoken(speech, "Hello. ", "And goodbye.") == 19 * 320
        finally:
            await speech.close()

    async def talk(use, engine):
        for _ in range(6):
            try:
                assert await use(engine)
                whole[use.__name__] += 1
            except EngineError:
                whole["failed"] += 1
            await asyncio.sleep(lots.random() * 0.02)

    async with (
        serving("stt", ScriptedSpeechToText(final_delay=0.001)) as hearing,
        serving("llm", ScriptedLanguageModel(first_delay=0.001, token_delay=0.0)) as thinking,
        serving("tts", ScriptedTextToSpeech(**QUICK)) as speaking,
        started(RemoteSpeechToText()) as stt,
        started(RemoteLanguageModel()) as llm,
        started(RemoteTextToSpeech()) as tts,
    ):
        lossy.loses = lambda packet: lots.random() < 0.02
        async with asyncio.TaskGroup() as talks:
            for _ in range(10):
                for use, engine in ((hear, stt), (answer, llm), (say, tts)):
                    talks.create_task(talk(use, engine))
        lossy.loses = lambda packet: False
        for server in (hearing, thinking, speaking):
            await until(lambda server=server: server.free == server.slots)
    assert min(whole[name] for name in ("hear", "answer", "say", "failed")) > 0
