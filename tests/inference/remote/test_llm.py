"""A language model at a worker; in virtual time."""

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest

from inference.engines.remote import RemoteLanguageModel
from inference.engines.scripted import DEFAULT_REPLY, ScriptedLanguageModel
from inference.types import NO_TOOLS, ContextTooLarge, EngineError, EngineTimeout, Message, Tools
from tests.inference.contract import leaving_no_task
from tests.inference.remote.breakable import Network, PlacementLayer, StreamLayer
from tests.inference.remote.clients import MESSAGES, started
from tests.inference.remote.serving import replaced, serving, wait_until
from tests.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("memory_layers")


@in_virtual_time
async def test_a_slow_reader_gets_the_whole_reply():
    engine = ScriptedLanguageModel(replies=[" ".join(map(str, range(200)))], first_delay=0.0, token_delay=0.0)
    async with serving("llm", engine), started(RemoteLanguageModel()) as llm:
        reply = ""
        async with aclosing(llm.stream(MESSAGES)) as deltas:
            async for delta in deltas:
                reply += delta.text
                await asyncio.sleep(0)
        assert reply.split() == [str(number) for number in range(200)]


@in_virtual_time
async def test_the_worker_is_told_that_the_caller_has_finished():
    class Asked(ScriptedLanguageModel):
        def stream(self, messages, *, speculative=False, tools=NO_TOOLS):
            self.asked = [*messages]
            return super().stream(messages, speculative=speculative, tools=tools)

    engine = Asked()
    async with serving("llm", engine), started(RemoteLanguageModel()) as llm:
        for messages in (MESSAGES, [*MESSAGES, Message("finished", "")]):
            async with aclosing(llm.stream(messages, tools=Tools(may_wait=True))) as deltas:
                assert (await anext(deltas)).text
            assert engine.asked == messages


@in_virtual_time
async def test_a_request_that_cannot_be_encoded_is_an_engine_error_and_leaves_no_session():
    half_a_letter = [Message("user", "\ud800")]  # as JSON may contain it
    async with serving("llm", ScriptedLanguageModel()) as server, started(RemoteLanguageModel()) as llm:
        for _ in ("by a placement", "directly"):
            with pytest.raises(EngineError, match="cannot send this OpenReply"):
                await anext(llm.stream(half_a_letter))
            assert not llm.links.sessions
            async with aclosing(llm.stream(MESSAGES)) as deltas:
                assert (await anext(deltas)).text
        await wait_until(lambda: server.free == server.slots)


@in_virtual_time
async def test_a_conversation_that_is_larger_than_a_message_is_refused_by_the_client():
    async with serving("llm", ScriptedLanguageModel()), started(RemoteLanguageModel()) as llm:
        with pytest.raises(ContextTooLarge):
            await anext(llm.stream([Message("user", "x" * 2_000_000)]))
        assert (await anext(llm.stream(MESSAGES))).text


@in_virtual_time
async def test_a_language_model_that_never_answers_times_out():
    engine = ScriptedLanguageModel(stalls=[{"on": 1, "seconds": 30.0}])
    async with (
        leaving_no_task(),
        serving("llm", engine) as server,
        started(RemoteLanguageModel(answer_timeout=0.1)) as llm,
    ):
        with pytest.raises(EngineTimeout):
            await anext(llm.stream(MESSAGES))
        await wait_until(lambda: server.free == server.slots)


@in_virtual_time
async def test_a_reply_whose_worker_is_lost_is_finished_by_another_one():
    asked, network = [], Network()

    class Noting(ScriptedLanguageModel):
        def stream(self, messages, **options):
            asked.append([message.role for message in messages])
            return super().stream(messages, **options)

    async with AsyncExitStack() as stack:
        stack.enter_context(replaced(PlacementLayer(network), StreamLayer(network)))
        for _ in range(2):
            await stack.enter_async_context(serving("llm", Noting()))
        llm = await stack.enter_async_context(started(RemoteLanguageModel()))
        await wait_until(lambda: llm.describe().capacity == 256)
        async with aclosing(llm.stream(MESSAGES)) as deltas:
            text = "".join([(await anext(deltas)).text for _ in range(5)])
            network.freeze(llm.preferred_worker)
            text += "".join([delta.text async for delta in deltas])
        assert text == DEFAULT_REPLY
        assert asked == [["user"], ["user", "assistant", "broken-off"]]
