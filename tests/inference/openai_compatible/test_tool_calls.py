"""Requests by tool calls where the server takes them, and by markers elsewhere."""

import pytest
from aiohttp import web

from inference.requests import ToolRequests
from inference.types import EngineError, TextDelta, Tools
from tests.inference.model_server import DONE, event, replying
from tests.inference.openai_compatible.helpers import SYSTEM, deltas_of, failure_of, parts

TOOLS = Tools(("sales", "support"), opt_out=True)
END = ToolRequests(end_call=True)


def call(name: str | None, arguments: str = "", index: int = 0) -> bytes:
    """A piece of a tool call."""
    return event(None, tool_calls=[{"index": index, "function": {"name": name, "arguments": arguments}}])


async def test_the_functions_of_the_call_are_described_instead_of_markers(server, connect):
    engine = connect(tool_calls=True)
    await deltas_of(engine, tools=TOOLS)
    await deltas_of(engine)
    described, fewer = (body["tools"] for body in server.bodies)
    functions = {tool["function"]["name"]: tool["function"]["parameters"]["properties"] for tool in described}
    assert functions == {
        "end_call": {},
        "transfer_call": {"target": {"type": "string", "enum": ["sales", "support"]}},
        "do_not_call": {},
    }
    assert [tool["function"]["name"] for tool in fewer] == ["end_call"]
    assert all(body["messages"][0]["content"] == SYSTEM.content for body in server.bodies)


async def test_warming_and_asking_begin_alike(server, connect):
    engine = connect(tool_calls=True)
    await engine.warm([SYSTEM], tools=TOOLS)
    await deltas_of(engine, tools=TOOLS)
    warmed, asked = server.bodies
    assert warmed["tools"] == asked["tools"]
    assert warmed["messages"][0] == asked["messages"][0]


async def test_without_an_end_call_marker_the_model_has_no_function_to_end_the_call(server, connect):
    server.answer = lambda body: parts(event("Bye."), call("end_call"), DONE)
    engine = connect(tool_calls=True, end_call_marker="")
    assert await deltas_of(engine) == [TextDelta("Bye.")]
    assert "tools" not in server.bodies[0]


@pytest.mark.parametrize(
    ("pieces", "requests"),
    [
        ([call("end_call", "{}")], END),
        ([call("transfer_call", '{"tar'), call(None, 'get": "support"}')], ToolRequests(transfer="support")),
        ([call("do_not_call"), call("end_call", "{}", 1)], ToolRequests(end_call=True, opt_out=True)),
        ([event("end_call", tool_calls=[{"function": {"name": "end_call"}}])], END),
        ([event("[END_CALL]")], END),
        ([event('end_call({"a": 1})')], END),
        ([event(None, function_call={"name": "end_call", "arguments": "{}"})], END),
    ],
)
async def test_what_is_called_is_requested_and_not_spoken(server, connect, pieces, requests):
    """livekit/agents#4999, agents-js#1339: the text beside a call may be the call once more."""
    server.answer = lambda body: parts(event("Goodbye. "), *pieces, event(finish_reason="tool_calls"), DONE)
    deltas = await deltas_of(connect(tool_calls=True), tools=TOOLS)
    assert deltas == [TextDelta("Goodbye. "), TextDelta(requests=requests)]


async def test_a_call_without_words_is_no_empty_reply_and_an_unknown_one_is(server, connect):
    server.answer = lambda body: parts(call("end_call"), event(finish_reason="tool_calls"), DONE)
    assert await deltas_of(connect(tool_calls=True)) == [TextDelta(requests=END)]
    server.answer = lambda body: parts(call("get_weather"), event(finish_reason="tool_calls"), DONE)
    assert "empty" in str(await failure_of(connect(tool_calls=True)))


@pytest.mark.parametrize(
    "said",
    [
        "registry.ollama.ai/library/gemma3:1b does not support tools",
        '\\"auto\\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
    ],
)
async def test_a_server_that_refuses_tool_calls_is_asked_with_markers_from_then_on(server, connect, caplog, said):
    """ollama#9680, langchain4j#3475."""

    def answer(body):
        if "tools" in body:
            return web.Response(status=400, text=f'{{"error": {{"message": "{said}"}}}}')
        return replying("Goodbye. [END_CALL]")

    server.answer = answer
    engine = connect(tool_calls=True)
    for _ in range(2):
        assert await deltas_of(engine) == [TextDelta("Goodbye. "), TextDelta(requests=END)]
    assert ["tools" in body for body in server.bodies] == [True, False, False]
    assert "[END_CALL]" in server.bodies[-1]["messages"][0]["content"]
    assert "takes no tool calls" in caplog.text


async def test_a_refusal_about_tools_is_an_error_where_none_were_sent(server, connect):
    server.answer = lambda body: web.Response(status=400, text="bad tools")
    with pytest.raises(EngineError, match="bad tools"):
        await deltas_of(connect())
    assert len(server.bodies) == 1


async def test_a_reply_that_was_cut_says_so(server, connect):
    server.answer = lambda body: parts(event("We open at"), event(finish_reason="length"), DONE)
    deltas = await deltas_of(connect())
    assert "".join(delta.text for delta in deltas) == "We open at"
    assert deltas[-1].is_cut
    server.answer = lambda body: parts(event("We open.<end_of_turn>And"), event(finish_reason="length"), DONE)
    assert not any(delta.is_cut for delta in await deltas_of(connect()))
