"""The state of engines, workers and slots is read when Prometheus asks."""

from __future__ import annotations

from inference.engine_collector import EngineCollector
from inference.engines.fallback import FallbackSpeechToText
from inference.engines.remote import RemoteTextToSpeech
from inference.engines.scripted import ScriptedTextToSpeech
from tests.inference.remote.clients import started
from tests.inference.remote.serving import layers, serving, wait_until
from tests.metric_values import counting
from tests.virtual_time import in_virtual_time

SCRIPTED = "inference.engines.scripted.ScriptedSpeechToText"


def samples(collector: EngineCollector, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by those of its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for metric in collector.collect()
        for sample in metric.samples
        if sample.name == f"clientcaller_{name}"
    }


class Queueing:
    """An engine that lets requests wait."""

    queued = 3


async def test_requests_that_wait_are_counted_over_the_engines_of_a_kind():
    collector = EngineCollector()
    collector.watch({"llm": Queueing(), "tts": object()})
    assert samples(collector, "engine_queue") == {("llm",): 3}
    collector.forget()
    assert samples(collector, "engine_queue") == {}


async def test_each_engine_of_a_fallback_has_its_state_and_its_requests():
    engines = [{"BACKEND": SCRIPTED, "NAME": "first"}, {"BACKEND": SCRIPTED, "NAME": "second"}]
    fallback = FallbackSpeechToText(engines=engines)
    await fallback.start()
    collector = EngineCollector()
    collector.watch({"stt": fallback})
    first, second = (member.name for member in fallback.members)
    fallback.members[0].counts.failed = 2
    fallback.members[1].started = False
    assert samples(collector, "engine_usable") == {("stt", first): 1, ("stt", second): 0}
    assert samples(collector, "engine_requests_total")["stt", first, "failed"] == 2
    await fallback.close()


class Voice:
    """A voice that counts how its clauses ended, as that on a GPU does."""

    counts = {"end": 10, "babble": 1, "unheard": 5}


async def test_the_guards_of_a_voice_are_counted_by_known_names():
    collector = EngineCollector()
    collector.watch({"tts": Voice()})
    clauses = samples(collector, "voice_clauses_total")
    assert (clauses["end",], clauses["babble",], clauses["too-long",]) == (10, 1, 0)
    assert ("unheard",) not in clauses


@in_virtual_time
async def test_a_web_process_and_a_worker_tell_of_the_same_slots():
    placed = counting("clientcaller_placement_wait_seconds_count", engine="tts")
    served = counting("clientcaller_worker_sessions_total", engine="tts")
    web, worker = EngineCollector(), EngineCollector()
    with layers():
        async with serving("tts", ScriptedTextToSpeech(), slots=2) as server, started(RemoteTextToSpeech()) as tts:
            web.watch({"tts": tts})
            worker.watch_servers([server])
            speech = tts.open()
            await wait_until(lambda: samples(web, "known_worker_slots") == {("tts", "free"): 1, ("tts", "used"): 1})
            assert samples(worker, "worker_slots") == {("tts", "free"): 1, ("tts", "used"): 1}
            assert samples(web, "known_workers")["tts", "ready"] == 1
            assert samples(web, "redis_silent") == {("tts",): 0}
            assert samples(worker, "worker_draining") == {("tts",): 0}
            assert (placed(), served()) == (1, 1)
            await speech.close()
