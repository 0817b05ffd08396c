"""Where tokens are paid for, a reply is counted by the server's figures, or by an estimate if it is left."""

import json
from contextlib import aclosing

import pytest

from inference.types import EngineError
from inference.usage import UsageMeter, metering
from tests.inference.model_server import DONE, event
from tests.inference.openai_compatible.helpers import HELLO, SYSTEM, deltas_of, hanging_after, parts


def counted(**usage) -> bytes:
    return b"data: " + json.dumps({"id": "1", "choices": [], "usage": usage}).encode() + b"\n\n"


def reply_of(*texts: str, usage: bytes = b"") -> list[bytes]:
    return [*map(event, texts), event(finish_reason="stop"), usage, DONE]


@pytest.fixture
def meter():
    meter = UsageMeter()
    with metering(meter):
        yield meter


@pytest.mark.parametrize("server_name", ["openai", "groq"])
async def test_the_tokens_that_the_server_counted_are_those_of_the_call(server, connect, meter, server_name):
    usage = counted(prompt_tokens=120, completion_tokens=9, prompt_tokens_details={"cached_tokens": 100})
    server.answer = lambda body: parts(b"".join(reply_of("Hello", " there.", usage=usage)))
    await deltas_of(connect(server=server_name, model="fast"))
    assert server.bodies[0]["stream_options"] == {"include_usage": True}
    assert meter.as_json() == {
        "llm": {f"{server_name}/fast": {"input_tokens": 20, "cached_input_tokens": 100, "output_tokens": 9}}
    }


async def test_the_count_may_come_after_the_last_word_and_in_pieces(server, connect, meter):
    usage = counted(prompt_tokens=120, completion_tokens=9)
    server.answer = lambda body: parts(*reply_of("Hello."), usage[:20], usage[20:])
    await deltas_of(connect(server="openai", model="fast"))
    assert meter.as_json()["llm"]["openai/fast"] == {"input_tokens": 120, "output_tokens": 9}


async def test_a_reply_that_is_left_is_estimated_from_its_characters(server, connect, meter):
    server.answer = lambda body: hanging_after(event("Hello there. "))
    async with aclosing(connect(server="openai", model="fast").stream([SYSTEM, HELLO])) as deltas:
        await anext(deltas)
    read = sum(len(turn["content"]) for turn in server.bodies[0]["messages"])
    assert meter.as_json()["llm"]["openai/fast"] == {"input_tokens": -(-read // 4), "output_tokens": 4}


async def test_a_refused_request_costs_nothing(server, connect, meter):
    def refuse(body):
        from aiohttp import web

        return web.json_response({"error": {"message": "no"}}, status=400)

    server.answer = refuse
    with pytest.raises(EngineError):
        await deltas_of(connect(server="openai", model="fast"))
    assert meter.is_empty


async def test_own_hardware_costs_nothing(server, connect, meter):
    usage = counted(prompt_tokens=120, completion_tokens=9)
    server.answer = lambda body: parts(*reply_of("Hello.", usage=usage))
    await deltas_of(connect(server="vllm"))
    assert meter.is_empty


async def test_without_a_call_nothing_is_counted(server, connect):
    server.answer = lambda body: parts(*reply_of("Hello.", usage=counted(prompt_tokens=120, completion_tokens=9)))
    assert await deltas_of(connect(server="openai"))
