"""Speech to text by a worker; in virtual time."""

import asyncio

import pytest

from inference.engines.remote import RemoteSpeechToText
from inference.engines.scripted import ScriptedSpeechToText
from inference.types import EngineError, EngineTimeout
from tests.inference.contract import leaving_no_task
from tests.inference.remote.breakable import Network, PlacementLayer, StreamLayer
from tests.inference.remote.clients import SECOND, started
from tests.inference.remote.serving import replaced, serving, wait_until
from tests.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("memory_layers")


@in_virtual_time
async def test_an_unexpected_error_of_the_engine_fails_one_request_and_the_utterance_goes_on(caplog):
    class Defective(ScriptedSpeechToText):
        def open(self, **options):
            utterance = super().open(**options)
            utterance.snapshot = self.snapshot
            return utterance

        async def snapshot(self):
            raise ZeroDivisionError("a defect")

    async with serving("stt", Defective(final_delay=0.001)), started(RemoteSpeechToText()) as stt:
        utterance = stt.open()
        with pytest.raises(EngineError, match="ZeroDivisionError: a defect"):
            await utterance.snapshot()
        assert (await utterance.finish()).text
    assert "unexpected error in a session" in caplog.text


@in_virtual_time
async def test_an_error_in_handling_a_partial_does_not_disturb_the_utterance(caplog):
    def fail(words):
        raise ZeroDivisionError("a defect")

    engine = ScriptedSpeechToText(final_delay=0.001, partials=True)
    async with serving("stt", engine), started(RemoteSpeechToText()) as stt:
        utterance = stt.open(on_partial=fail)
        for _ in range(5):
            utterance.push(SECOND)
            await utterance.snapshot()
        assert (await utterance.finish()).samples == 5 * len(SECOND)
    assert "error in handling a partial transcript" in caplog.text


@in_virtual_time
async def test_the_words_to_expect_cross_the_wire():
    opened = []

    class Recording(ScriptedSpeechToText):
        def open(self, **options):
            opened.append(options["keyterms"])
            return super().open(**options)

    async with serving("stt", Recording(final_delay=0.001)), started(RemoteSpeechToText()) as stt:
        await stt.open(keyterms=("Okafor", "x" * 300)).finish()
        await stt.open(keyterms=["x"] * 300).finish()
        await stt.open().finish()
    assert opened[0] == ["Okafor", "x" * 200]
    assert [len(terms) for terms in opened] == [2, 200, 0]


@in_virtual_time
async def test_the_languages_that_may_be_spoken_and_the_one_that_was_found_cross_the_wire():
    opened = []

    class Recording(ScriptedSpeechToText):
        def open(self, **options):
            opened.append(options)
            return super().open(**options)

    async with serving("stt", Recording(found=["de"], partials=True)), started(RemoteSpeechToText()) as stt:
        words = await stt.open(language="en", others=("de", "es")).finish()
    assert (words.language, words.language_probability) == ("de", 1.0)
    assert (opened[0]["language"], opened[0]["others"]) == ("en", ["de", "es"])


@in_virtual_time
async def test_a_recogniser_that_never_answers_times_out():
    engine = ScriptedSpeechToText(stalls=[{"on": 1, "seconds": 30.0}])
    async with (
        leaving_no_task(),
        serving("stt", engine) as server,
        started(RemoteSpeechToText(answer_timeout=0.1)) as stt,
    ):
        with pytest.raises(EngineTimeout):
            await stt.open().finish()
        await wait_until(lambda: server.free == server.slots)


@in_virtual_time
async def test_the_recogniser_learns_whether_words_are_urgent():
    paces = []

    class Paced(ScriptedSpeechToText):
        def open(self, **options):
            utterance = super().open(**options)
            utterance.hurried = True
            utterance.push = lambda pcm: paces.append(utterance.hurried)
            return utterance

    async with serving("stt", Paced(final_delay=0.001)), started(RemoteSpeechToText()) as stt:
        utterance = stt.open()
        for hurried in (True, False, True):
            utterance.hurried = hurried
            utterance.push(SECOND)
            await utterance.snapshot()
        assert paces == [True, False, True]
        await utterance.finish()


@in_virtual_time
async def test_an_utterance_that_is_cancelled_while_it_is_placed_leaves_no_slot_taken():
    async with (
        leaving_no_task(),
        serving("stt", ScriptedSpeechToText(), slots=128) as server,
        started(RemoteSpeechToText()) as stt,
    ):
        for turns_of_the_loop in range(60):
            utterance = stt.open()
            utterance.push(SECOND)
            for _ in range(turns_of_the_loop):  # so that it is cancelled at every point of its placement
                await asyncio.sleep(0)
            utterance.cancel()
        await wait_until(lambda: server.free == server.slots and not stt._waiting)


@in_virtual_time
async def test_a_worker_that_takes_over_hears_all_of_the_sound_before_it_is_asked_for_the_words():
    """The caller has paused, so that no more sound follows."""
    network, engine = Network(), ScriptedSpeechToText(final_delay=0.0)
    with replaced(PlacementLayer(network), StreamLayer(network)):
        async with serving("stt", engine), serving("stt", engine), started(RemoteSpeechToText()) as stt:
            await wait_until(lambda: len(stt.workers.all_news) == 2)
            utterance = stt.open()
            utterance.push(SECOND)
            await utterance.snapshot()
            (first,) = stt.links.sessions.values()
            network.freeze(first.peer)
            assert (await utterance.snapshot()).samples == len(SECOND)
            (second,) = stt.links.sessions.values()
            assert second.peer != first.peer
            utterance.cancel()


@in_virtual_time
async def test_an_utterance_waits_for_its_only_worker_while_that_is_late():
    network = Network()
    with replaced(PlacementLayer(network), StreamLayer(network)):
        async with serving("stt", ScriptedSpeechToText()) as server, started(RemoteSpeechToText()) as stt:
            utterance = stt.open()
            utterance.push(SECOND)
            await wait_until(lambda: stt.links.sessions)
            network.freeze(server.links.channel)
            asyncio.get_running_loop().call_later(1.0, network.continue_all)
            words = asyncio.ensure_future(utterance.snapshot())
            await asyncio.sleep(0.9)
            later = stt.open()  # it does not fail at once either
            later.push(SECOND)
            assert (await words).samples == (await later.finish()).samples == len(SECOND)
            utterance.cancel()
            await wait_until(lambda: server.free == server.slots)
