"""What comes back from a model server, and what of it is spoken."""

import asyncio

import pytest

from inference.chat.prompt import (
    OPT_OUT,
    OPT_OUT_MARKER,
    TRANSFER,
    TRANSFER_MARKER,
    WAIT_MARKER,
)
from inference.requests import ToolRequests
from inference.types import FINISHED, Message, TextDelta, Tools
from tests.inference.model_server import DONE, event, replying
from tests.inference.openai_compatible.helpers import HELLO, SYSTEM, deltas_of, failure_of, parts


async def test_each_piece_of_text_comes_when_the_server_sends_it(server, connect):
    released = asyncio.Event()

    async def answer():
        yield event("We open ")
        await released.wait()
        yield event("at nine.")
        yield DONE

    server.answer = lambda body: answer()
    deltas = connect().stream([HELLO])
    assert (await anext(deltas)).text == "We open "
    released.set()
    assert [delta async for delta in deltas] == [TextDelta("at nine.")]


async def test_reasoning_usage_comments_and_unknown_fields_are_ignored(server, connect):
    noise = [
        b": keep-alive\n\n",
        b"id: 7\nevent: message\nretry: 10\n",
        event(None, role="assistant", reasoning_content="Hmm.", thinking="Hmm."),
        event("Hello."),
        b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n',
        b'data: {"choices": [{"index": 0, "delta": null, "finish_reason": "stop"}], "new": [1]}\n\n',
    ]
    server.answer = lambda body: parts(*noise)
    assert await deltas_of(connect()) == [TextDelta("Hello.")]


async def test_reasoning_without_its_beginning_is_spoken_once_at_most(server, connect):
    """antirez/ds4#678: the server writes the beginning, and the client sees only the end."""
    engine = connect()
    server.answer = lambda body: replying("The user wants hours.", "</think>", "We open at nine.")
    said = ["".join(delta.text for delta in await deltas_of(engine)) for _ in range(3)]
    assert said == ["The user wants hours.\nWe open at nine.", "We open at nine.", "We open at nine."]
    server.answer = lambda body: parts(event("The user wants", finish_reason="length"), DONE)
    assert "empty reply" in str(await failure_of(engine))
    server.answer = lambda body: replying("We open ", "at nine.")
    assert await deltas_of(engine) == [TextDelta("We open at nine.")]
    assert await deltas_of(engine) == [TextDelta("We open "), TextDelta("at nine.")]


async def test_a_reply_that_arrives_byte_by_byte_is_whole(server, connect):
    text = "Grüß Gott ☎"
    server.answer = lambda body: parts(*(bytes([byte]) for byte in event(text) + DONE))
    assert await deltas_of(connect()) == [TextDelta(text)]


async def test_the_connection_is_used_again_after_a_whole_reply(server, connect):
    engine = connect()
    for _ in range(3):
        await deltas_of(engine)
    assert len(server.connections) == 1


async def test_after_closing_the_engine_can_be_used_again(server, connect):
    engine = connect()
    first = await deltas_of(engine)
    await engine.close()
    assert await deltas_of(engine) == first


@pytest.mark.parametrize("cut", range(len("Goodbye! [End_Call]") + 1))
async def test_the_marker_ends_the_call_and_is_not_spoken_wherever_it_is_cut(server, connect, cut):
    reply = "Goodbye! [End_Call]"
    server.answer = lambda body: replying(reply[:cut], reply[cut:])
    deltas = await deltas_of(connect())
    assert "".join(delta.text for delta in deltas) == "Goodbye! "
    assert [delta.requests.end_call for delta in deltas].count(True) == 1
    assert deltas[-1] == TextDelta(requests=ToolRequests(end_call=True))


async def test_a_marker_without_words_is_not_an_empty_reply(server, connect):
    server.answer = lambda body: replying(*"[END_CALL]")
    assert await deltas_of(connect()) == [TextDelta(requests=ToolRequests(end_call=True))]


@pytest.mark.parametrize(
    ("reply", "said", "asks"),
    [
        ("One moment. [TRANSFER sales]", "One moment. ", {"transfer": "sales"}),
        ("[transfer: the night porter] Bye!", "Bye!", {"transfer": "the night porter"}),
        ('Sure. [Transfer "sales"]', "Sure. ", {"transfer": "sales"}),
        ("Sure. [TRANSFER sales", "Sure. ", {"transfer": "sales"}),
        ("Sure. [TRANSFER]", "Sure. ", {"transfer": "sales"}),
        ("[DO_NOT_CALL]", "", {"opt_out": True}),
        ("I will. [do_not_call] Bye. [END_CALL]", "I will.  Bye. ", {"opt_out": True, "end_call": True}),
        ("Call [sales] or *do not call* [us]?", "Call [sales] or *do not call* [us]?", {}),
        ("An [TRANSFER of [a] kind", "An [TRANSFER of [a] kind", {}),
    ],
)
async def test_no_marker_is_spoken_and_each_is_recognised_wherever_it_is_cut(server, connect, reply, said, asks):
    engine = connect()
    for size in (1, 2, 3, 7, len(reply)):
        pieces = [reply[start : start + size] for start in range(0, len(reply), size)]
        server.answer = lambda body, pieces=pieces: replying(*pieces)
        deltas = await deltas_of(engine, tools=Tools(("sales", "support"), opt_out=True))
        assert "".join(delta.text for delta in deltas) == said
        assert deltas[-1] == TextDelta(requests=ToolRequests(**asks)) if asks else not any(d.requests for d in deltas)


async def test_the_prompt_describes_only_the_tools_of_the_call(server, connect):
    tools = Tools(("sales", "the night porter"), opt_out=True)
    engine = connect()
    for given in (Tools(), tools, Tools(opt_out=True), Tools(("sales",))):
        await deltas_of(engine, tools=given)
    transfer = TRANSFER.format(names="sales, the night porter", marker=TRANSFER_MARKER)
    opt_out = OPT_OUT.format(marker=OPT_OUT_MARKER)
    systems = [body["messages"][0]["content"].split("\n\n")[2:] for body in server.bodies]
    assert systems == [[], [transfer, opt_out], [opt_out], [TRANSFER.format(names="sales", marker=TRANSFER_MARKER)]]


async def test_a_request_begins_with_what_was_warmed(server, connect):
    engine = connect()
    tools = Tools(("sales",), opt_out=True)
    await engine.warm([SYSTEM], tools=tools)
    await deltas_of(engine, SYSTEM, HELLO, tools=tools)
    warmed, asked = (body["messages"] for body in server.bodies)
    assert warmed[0] == asked[0]


async def test_without_an_end_call_marker_the_prompt_has_none_and_the_call_is_not_ended(server, connect):
    server.answer = lambda body: replying("Goodbye. ", "[END_CALL]")
    assert await deltas_of(connect(end_call_marker=""), HELLO) == [TextDelta("Goodbye. ")]
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "Hello?"}]


async def test_a_request_to_wait_ends_the_reply(server, connect):
    server.answer = lambda body: replying("[", "WAIT", "]", " Go on", ".")
    assert await deltas_of(connect(), tools=Tools(may_wait=True)) == [TextDelta(requests=ToolRequests(wait=True))]


async def test_the_request_to_wait_is_a_marker_also_where_requests_are_tool_calls(server, connect):
    """Some servers send a call only when it is complete; the first letters of a marker tell that no words come."""
    await deltas_of(connect(tool_calls=True), tools=Tools(may_wait=True))
    (body,) = server.bodies
    assert [tool["function"]["name"] for tool in body["tools"]] == ["end_call"]
    assert WAIT_MARKER in body["messages"][0]["content"]


async def test_the_request_to_a_model_that_must_answer_differs_in_its_last_words_alone(server, connect):
    engine, tools = connect(), Tools(may_wait=True)
    await deltas_of(engine, SYSTEM, HELLO, tools=tools, speculative=True)
    await deltas_of(engine, SYSTEM, HELLO, Message("finished", ""), tools=tools)
    asked, told = (body["messages"] for body in server.bodies)
    assert told[:-1] == asked[:-1]
    assert told[-1]["content"] == f"{asked[-1]['content']} {FINISHED}"
