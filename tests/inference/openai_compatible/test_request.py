"""What is sent to a model server."""

import asyncio

import pytest
from aiohttp import web

from inference.chat.options import ModelServerOptions
from inference.chat.prompt import (
    GOODBYE,
    PICKS_UP,
)
from inference.chat.servers import SERVERS
from inference.engines.openai_compatible import OpenAICompatibleLanguageModel
from inference.types import ContextTooLarge, EngineError, EngineFull, EngineTimeout, Message, TextDelta
from tests.inference.model_server import replying
from tests.inference.openai_compatible.helpers import SYSTEM, deltas_of, hanging_after


async def test_the_request_is_a_plain_streamed_chat_completion(server, connect):
    await deltas_of(connect(model="gemma", temperature=0.1, max_tokens=7, end_call_marker=""))
    assert server.bodies == [
        {
            "model": "gemma",
            "temperature": 0.1,
            "max_tokens": 7,
            "stream": True,
            "messages": [
                {"role": "system", "content": "You answer the telephone."},
                {"role": "user", "content": "Hello?"},
            ],
        }
    ]
    assert "Authorization" not in server.headers[0]


async def test_the_newline_after_a_key_from_a_file_is_ignored(server, connect):
    await deltas_of(connect(api_key="secret\n"))
    assert server.headers[0]["Authorization"] == "Bearer secret"


async def test_a_key_and_further_fields_are_sent_when_given(server, connect):
    await deltas_of(connect(api_key="secret", extra_body={"seed": 3}))
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert server.bodies[0]["seed"] == 3


async def test_priority_is_sent_only_to_servers_that_know_it(server, connect):
    await deltas_of(connect(), speculative=True)
    engine = connect(priority=True)
    await deltas_of(engine, speculative=True)
    await deltas_of(engine)
    assert [body.get("priority") for body in server.bodies] == [None, 5, 0]


async def test_turns_alternate_and_a_user_begins_as_strict_templates_require(server, connect):
    messages = [
        SYSTEM,
        Message("assistant", "Good morning."),
        Message("user", "Hello."),
        Message("user", "What time"),
        Message("user", "do you open?"),
    ]
    await deltas_of(connect(), *messages)
    assert [(turn["role"], turn["content"]) for turn in server.bodies[0]["messages"]] == [
        ("system", f"{SYSTEM.content}\n\n{GOODBYE.format(marker='[END_CALL]')}"),
        ("user", PICKS_UP),
        ("assistant", "Good morning."),
        ("user", "Hello. What time do you open?"),
    ]


@pytest.mark.parametrize("may", [True, False])
def test_the_operator_decides_whether_to_speculate(may):
    assert OpenAICompatibleLanguageModel(ModelServerOptions(may_speculate=may)).may_speculate is may


@pytest.mark.parametrize(
    ("options", "wastes"),
    [
        ({}, True),
        ({"server": "vllm"}, True),
        ({"server": "openai", "base_url": "http://proxy/v1"}, False),
        ({"base_url": "https://api.openai.com/v1"}, False),
        ({"base_url": "https://api.groq.com/openai/v1"}, False),
        ({"base_url": "https://api.groq.com/openai/v1", "may_speculate": True}, True),
        ({"base_url": "http://[nonsense"}, True),
    ],
)
def test_there_is_no_speculation_where_tokens_are_paid_for(options, wastes):
    assert OpenAICompatibleLanguageModel(ModelServerOptions(**options)).may_speculate is wastes


def test_an_unknown_server_is_refused_with_a_list_of_the_known_ones():
    with pytest.raises(EngineError, match=r"ollama, llama\.cpp, vllm, tensorrt-llm, openai, groq") as refusal:
        OpenAICompatibleLanguageModel(ModelServerOptions(server="vlm"))
    assert refusal.value.permanent


async def test_each_kind_of_server_gets_the_fields_that_it_knows(server, connect):
    fields = {}
    for name in ("", "ollama", "vllm", "tensorrt-llm", "openai", "groq"):
        await deltas_of(connect(server=name))
        fields[name] = set(server.bodies[-1]) - {"model", "messages", "stream", "temperature"}
    assert fields == {
        "": {"max_tokens"},
        "ollama": {"max_tokens"},
        "vllm": {"max_tokens", "priority"},
        "tensorrt-llm": {"max_tokens"},
        "openai": {"max_completion_tokens", "tools", "stream_options"},
        "groq": {"max_completion_tokens", "tools", "stream_options"},
    }


async def test_a_field_that_a_model_refuses_can_be_left_out(server, connect):
    await deltas_of(connect(temperature=None, extra_body={"max_tokens": None, "top_p": 0.9}))
    assert set(server.bodies[0]) == {"model", "messages", "stream", "top_p", "max_tokens"}


async def test_a_real_turn_has_the_highest_priority_and_warming_the_lowest(server, connect):
    engine = connect(server="vllm")
    await engine.warm([SYSTEM])
    await deltas_of(engine, speculative=True)
    await deltas_of(engine)
    assert [body["priority"] for body in server.bodies] == [10, 5, 0]


async def test_the_operators_headers_are_sent_and_no_compression_is_accepted(server, connect):
    await deltas_of(connect(api_key="secret", headers={"X-Gate": "7", "Authorization": "Basic eA=="}))
    assert server.headers[0]["X-Gate"] == "7"
    assert server.headers[0]["Authorization"] == "Basic eA=="
    assert server.headers[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("options", [{}, {"max_concurrent": 4}])
def test_the_description_shows_no_password(options):
    described = OpenAICompatibleLanguageModel(
        ModelServerOptions(base_url="https://me:secret@gpu/v1/", model="llm", **options)
    ).describe()
    assert described.weights == "served by https://gpu/v1 as llm"
    assert described.device == "server"
    assert described.capacity == options.get("max_concurrent", 0)


def long_call(turns: int) -> list[Message]:
    spoken = [Message(("user", "assistant")[n % 2], f"number {n}: " + "words " * 20) for n in range(2 * turns - 1)]
    return [SYSTEM, *spoken]


async def test_the_oldest_turns_are_left_out_of_a_conversation_that_outgrows_the_context(server, connect):
    engine = connect(context_tokens=1000, max_tokens=100)
    for turns in (2, 40):
        await deltas_of(engine, *long_call(turns))
    short, long = ([turn["content"] for turn in body["messages"]] for body in server.bodies)
    assert len(short) == 4
    assert 4 < len(long) < 40
    assert long[0] == short[0]
    assert long[-1] == long_call(40)[-1].content


async def test_a_server_with_a_smaller_context_gets_a_shorter_conversation_from_then_on(server, connect, caplog):
    def answer(body):
        if len(body["messages"]) > 12:
            return web.Response(status=400, text="This model's maximum context length is 512 tokens.")
        return replying("Yes.")

    server.answer = answer
    engine = connect(context_tokens=8192)
    for turns in range(2, 30):
        assert await deltas_of(engine, *long_call(turns)) == [TextDelta("Yes.")]
    refused = [len(body["messages"]) for body in server.bodies if len(body["messages"]) > 12]
    assert 0 < len(refused) < 4
    assert "context_tokens" in caplog.text
    learned = len(server.bodies)
    for turns in range(2, 30):
        await deltas_of(engine, *long_call(turns))
    assert len(server.bodies) == learned + 28


async def test_requests_that_are_refused_together_reduce_the_context_once(server, connect):
    refused = []
    all_there = asyncio.Event()

    async def answer(body):
        refused.append(body)
        if len(refused) == 10:
            all_there.set()
        await all_there.wait()
        return web.Response(status=400, text="This model's maximum context length is 512 tokens.")

    server.answer = lambda body: answer(body) if len(body["messages"]) > 30 else replying("Yes.")
    engine = connect(context_tokens=8192)
    await asyncio.gather(*(deltas_of(engine, *long_call(20)) for _ in range(10)))
    assert len(refused) == 10
    server.bodies.clear()
    await deltas_of(engine, *long_call(10))
    assert len(server.bodies[0]["messages"]) == 20, "nothing of a shorter conversation is left out"


async def test_a_single_turn_that_is_too_large_is_an_error(server, connect):
    server.answer = lambda body: web.Response(status=400, text="This model's maximum context length is 512 tokens.")
    with pytest.raises(ContextTooLarge):
        await deltas_of(connect(), *long_call(10))
    assert [turn["role"] for turn in server.bodies[-1]["messages"]] == ["system", "user"]


async def test_a_refusal_that_comes_in_pieces_is_recognised(server, connect):
    async def answer(body):
        response = web.StreamResponse(status=400)
        await response.prepare(server.requests[-1])
        await response.write(b'{"error": {"message": "')
        await arrived.wait()
        await response.write(b"This model's maximum context length is 512 tokens." + b'"}}')
        return response

    arrived = asyncio.Event()
    server.answer = answer
    asyncio.get_running_loop().call_later(0.05, arrived.set)
    with pytest.raises(ContextTooLarge, match="512"):
        await deltas_of(connect())


async def test_a_refusal_without_an_end_is_recognised(server, connect):
    async def answer(body):
        response = web.StreamResponse(status=429)
        await response.prepare(server.requests[-1])
        await response.write(b"slow down")
        await asyncio.Event().wait()

    server.answer = answer
    with pytest.raises(EngineFull, match="slow down"):
        await deltas_of(connect())


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_server_on_a_processor_may_be_slower(server, connect, kind):
    """With 2 s between two tokens all of two parallel replies of llama.cpp on a busy machine were given up."""
    on_gpus = kind in ("vllm", "tensorrt-llm", "openai", "groq")
    facts = SERVERS[kind]
    assert (facts.first_token_timeout, facts.inter_token_timeout) == ((5.0, 2.0) if on_gpus else (15.0, 10.0))
    server.answer = lambda body: hanging_after()
    with pytest.raises(EngineTimeout, match="first words"):
        await deltas_of(connect(server=kind, first_token_timeout=0.01))
