"""A worker loads its engines, serves them, and drains; in virtual time."""

import asyncio

import pytest

from inference.engines.remote import RemoteTextToSpeech
from inference.engines.scripted import ScriptedTextToSpeech
from inference.remote.worker import Worker
from inference.types import EngineError, NoWorker
from tests.inference.contract import leaving_no_task
from tests.inference.remote.clients import SENTENCE, spoken_samples, started, text_of
from tests.inference.remote.engines import LoadingTextToSpeech
from tests.inference.remote.serving import make_server, running_worker
from tests.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("memory_layers")


class MissingTextToSpeech(ScriptedTextToSpeech):
    async def start(self) -> None:
        raise EngineError("no such model", permanent=True)


class LockedTextToSpeech(LoadingTextToSpeech):
    """Cannot be closed while it loads, like some real engines."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def start(self) -> None:
        async with self.lock:
            await super().start()

    async def close(self) -> None:
        async with self.lock:
            await super().close()


@in_virtual_time
async def test_a_worker_that_is_stopped_waits_for_open_turns_only_as_long_as_it_may():
    engine = ScriptedTextToSpeech(first_delay=0.0, chunk_delay=0.5)
    async with running_worker(engine, drain=0.05) as (worker, task), started(RemoteTextToSpeech()) as tts:
        turn = tts.open().speak(text_of(SENTENCE))
        await anext(turn)
        worker.stop()
        with pytest.raises(NoWorker):  # another one would go on
            [chunk async for chunk in turn]
        await asyncio.wait_for(task, 2)


@in_virtual_time
async def test_an_engine_that_does_not_load_ends_the_worker_with_the_reason():
    server = make_server("tts", MissingTextToSpeech())
    async with leaving_no_task():
        with pytest.raises(EngineError, match="no such model"):
            await Worker([server]).run()


@in_virtual_time
async def test_an_engine_that_breaks_ends_its_worker_with_the_reason_and_its_sessions_at_once():
    """A broken engine would otherwise be the first to take new sessions, because it fails them at once."""
    engine = ScriptedTextToSpeech(first_delay=0.0, chunk_delay=0.5)
    server = make_server("tts", engine)
    async with leaving_no_task():
        running = asyncio.ensure_future(Worker([server]).run())
        tts = RemoteTextToSpeech()
        await tts.start()
        turn = tts.open().speak(text_of(SENTENCE))
        await anext(turn)
        engine.broken = "its thread has died"
        async with asyncio.timeout(0.45):
            with pytest.raises(NoWorker):  # another one would go on
                [chunk async for chunk in turn]
            with pytest.raises(EngineError, match="tts is broken: its thread has died"):
                await running
            with pytest.raises(NoWorker):
                await spoken_samples(tts.open(), "Hello.")
        await tts.close()


@in_virtual_time
async def test_an_engine_that_does_not_load_ends_the_worker_though_others_are_still_loading():
    servers = [make_server("tts", engine) for engine in (LockedTextToSpeech(), MissingTextToSpeech())]
    async with leaving_no_task(), asyncio.timeout(2):
        with pytest.raises(EngineError, match="no such model"):
            await Worker(servers).run()


@in_virtual_time
async def test_a_worker_is_ready_when_the_last_of_its_engines_is_loaded():
    slow, ready = LoadingTextToSpeech(), asyncio.Event()
    servers = [make_server("tts", ScriptedTextToSpeech()), make_server("stt", slow)]
    async with leaving_no_task(), asyncio.timeout(2):
        worker = Worker(servers, ready=ready.set)
        running = asyncio.ensure_future(worker.run())
        await servers[0].loaded.wait()
        assert not ready.is_set()
        slow.may_be_ready.set()
        await ready.wait()
        worker.stop()
        await running
