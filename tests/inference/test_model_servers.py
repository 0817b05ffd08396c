"""
The client with a real model server: ``transformers serve`` in its own process, with a real but tiny Gemma 3.

The server is used as installed, except that it prints a line when it drops a request whose client has disconnected.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import aclosing
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest

from inference.chat.options import ModelServerOptions
from inference.engines.openai_compatible import OpenAICompatibleLanguageModel
from inference.types import EngineError, EngineTimeout, Message
from tests.inference.contract import LanguageModelContract
from tests.inference.tiny_gemma import ANSWERS, COUNT, OTHERWISE, make_tiny_gemma
from tests.real_services import Process

for package in ("transformers", "accelerate", "fastapi"):
    pytest.importorskip(package, reason="transformers[serving] and accelerate are needed (requirements/dev.txt)")

PROGRAM = """
import sys, torch
from transformers.cli.serving.utils import CBStreamer
from transformers.cli.transformers import main

torch.set_num_threads(1)
cancel = CBStreamer.cancel

def cancel_and_print(self):
    cancel(self)
    print(f"{self._request_id} dropped after {self.total_tokens} tokens", flush=True)

CBStreamer.cancel = cancel_and_print
sys.argv = ["transformers", *sys.argv[1:]]
main()
"""
START_TIMEOUT = 120.0
"""Importing torch and transformers takes 5 s here, and more on a busy machine."""
SYSTEM = Message("system", "You answer the telephone.")
OPENING = Message("user", "What time do you open?")
WHERE = Message("user", "Where are you?")
ENDLESS = Message("user", "Please count.")
"""The reply to it never ends."""


class TransformersServe:
    """The server's process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.model = str(make_tiny_gemma(folder))
        self.port = port
        self.process: Process | None = None

    def start(self) -> None:
        """Start the server and wait until it serves. Does nothing if it is running."""
        if self.process is not None and self.process.running:
            return
        self.end()
        offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        # Small batches: with the default, the first request takes 12 s to allocate its buffers.
        batches = ("--continuous-batching", "--cb-num-blocks", "256", "--cb-max-batch-tokens", "256")
        address = ("--device", "cpu", "--host", "127.0.0.1", "--port", str(self.port))
        self.process = Process(
            *(sys.executable, "-c", PROGRAM, "serve", self.model, *address, *batches),
            env={**os.environ, **offline},
        )
        self.process.wait_for("Uvicorn running", timeout=START_TIMEOUT)
        with urlopen(f"http://127.0.0.1:{self.port}/health", timeout=START_TIMEOUT) as health:
            assert health.status == 200

    def kill(self) -> None:
        assert self.process is not None
        self.process.signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        if self.process is not None:
            self.process.end()

    def engine(self, **options) -> OpenAICompatibleLanguageModel:
        url = f"http://127.0.0.1:{self.port}/v1"
        return OpenAICompatibleLanguageModel(
            ModelServerOptions(base_url=url, model=self.model, first_token_timeout=30.0, **options)
        )


@pytest.fixture(scope="session")
def process_of_the_session(tmp_path_factory, unused_tcp_port_factory):
    server = TransformersServe(tmp_path_factory.mktemp("gemma"), unused_tcp_port_factory())
    yield server
    server.end()


@pytest.fixture
def server(process_of_the_session):
    process_of_the_session.start()
    return process_of_the_session


@pytest.fixture
async def connect(server):
    engines = []

    def connect(**options):
        engines.append(server.engine(**options))
        return engines[-1]

    yield connect
    for engine in engines:
        await engine.close()


async def reply_to(engine, *messages: Message, **options) -> str:
    async with aclosing(engine.stream([SYSTEM, *messages], **options)) as deltas:
        return await read_rest(deltas)


async def read_rest(deltas) -> str:
    return "".join([delta.text async for delta in deltas])


class TestTransformersServe(LanguageModelContract):
    reads_notes = False  # it has learnt single words and knows none of the note

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, process_of_the_session):
        process_of_the_session.start()
        return partial(process_of_the_session.engine)


async def test_the_model_answers_the_last_question_of_any_conversation(connect):
    engine = connect()
    await engine.start()
    history: list[Message] = []
    for question, key in ((OPENING, "time"), (WHERE, "Where"), (OPENING, "time")):
        await engine.warm([SYSTEM, *history])
        history.append(question)
        reply = await reply_to(engine, *history)
        assert reply == ANSWERS[key]
        history.append(Message("assistant", reply))
    assert await reply_to(engine, Message("user", "Hm.")) == OTHERWISE


async def test_words_arrive_one_by_one(connect):
    deltas = [delta.text async for delta in connect().stream([SYSTEM, OPENING])]
    assert deltas[:3] == ["We ", "open ", "at "]


async def test_many_replies_are_streamed_at_once_while_another_continues(connect):
    engine = connect(max_tokens=5000, reply_timeout=60.0)
    async with aclosing(engine.stream([ENDLESS])) as endless:
        await anext(endless)
        replies = await asyncio.gather(*(reply_to(engine, question) for question in (OPENING, WHERE) * 8))
        assert replies == [ANSWERS["time"], ANSWERS["Where"]] * 8
        assert (await anext(endless)).text


async def test_the_reply_ends_at_the_limit_of_tokens(connect):
    assert await reply_to(connect(max_tokens=5), ENDLESS) == ANSWERS[COUNT][: len("Certainly 1 2 3 4")]


async def test_the_server_drops_a_request_whose_reply_is_closed(server, connect):
    engine = connect(max_tokens=5000, headers={"X-Request-ID": "unwanted"})
    async with aclosing(engine.stream([ENDLESS])) as endless:
        await anext(endless)
    dropped = await asyncio.to_thread(server.process.wait_for, r"unwanted dropped after (\d+) tokens")
    assert int(dropped[1]) < 5000
    assert await reply_to(connect(), OPENING) == ANSWERS["time"]


async def test_the_error_about_a_refused_field_says_what_to_do(connect):
    with pytest.raises(EngineError, match='"priority" to false') as refusal:
        await connect(server="vllm").start()
    assert refusal.value.permanent


async def test_a_server_that_cannot_list_its_models_can_be_used(connect):
    """Without a network this server answers ``/v1/models`` with status 500."""
    engine = connect(warm=False)
    await engine.start()
    assert await reply_to(engine, OPENING) == ANSWERS["time"]


async def test_killing_the_server_fails_its_reply_at_once_and_a_restarted_server_is_used_again(server, connect):
    engine = connect(max_tokens=5000, inter_token_timeout=60.0)
    async with aclosing(engine.stream([ENDLESS])) as endless:
        await anext(endless)
        await asyncio.to_thread(server.kill)
        with pytest.raises(EngineError) as failure:
            await asyncio.wait_for(read_rest(endless), 60)
    assert not isinstance(failure.value, EngineTimeout)
    assert not failure.value.permanent
    with pytest.raises(EngineError, match="cannot reach"):
        await reply_to(engine, OPENING)
    await asyncio.to_thread(server.start)
    assert await reply_to(engine, OPENING) == ANSWERS["time"]
