"""The client of a model server: what it sends, what it makes of any answer, and that closing it stops the server."""

import asyncio
import json
from contextlib import aclosing

import pytest
from aiohttp import web

from inference.engines import openai_compatible
from inference.engines.openai_compatible import (
    GOODBYE,
    OPT_OUT,
    OPT_OUT_MARKER,
    PICKS_UP,
    TRANSFER,
    TRANSFER_MARKER,
    EventReader,
    MarkerFilter,
    OpenAICompatibleLanguageModel,
)
from inference.types import EngineError, Message, TextDelta, Tools
from tests.inference.model_server import DONE, ModelServer, event, replying

SYSTEM = Message("system", "You answer the telephone.")
HELLO = Message("user", "Hello?")


@pytest.fixture
async def server():
    async with ModelServer().serving() as server:
        yield server


@pytest.fixture
async def connect(server):
    """Make an engine that talks to ``server``; closed at the end."""
    engines = []

    def connect(**options):
        engines.append(OpenAICompatibleLanguageModel(**{"base_url": server.base_url, **options}))
        return engines[-1]

    yield connect
    for engine in engines:
        await engine.close()


async def deltas_of(engine, *messages: Message, **options) -> list[TextDelta]:
    async with aclosing(engine.stream(messages or [SYSTEM, HELLO], **options)) as deltas:
        return [delta async for delta in deltas]


async def failure_of(engine) -> EngineError:
    with pytest.raises(EngineError) as failure:
        await deltas_of(engine)
    return failure.value


async def parts(*given: bytes):
    for part in given:
        yield part


async def hanging_after(*given: bytes):
    for part in given:
        yield part
    await asyncio.Event().wait()


# What is sent


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


async def test_turns_alternate_and_a_user_begins_as_strict_templates_demand(server, connect):
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
def test_the_operator_says_whether_tokens_may_be_wasted(may):
    assert OpenAICompatibleLanguageModel(may_speculate=may).may_speculate is may


# What comes back


async def test_the_text_comes_as_the_server_sends_it(server, connect):
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


async def test_thinking_usage_comments_and_unknown_fields_are_left_aside(server, connect):
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


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_events_are_the_same_wherever_the_bytes_are_cut(newline):
    stream = (b": hi\n\n" + event("Grüß Gott, 電話 ☎") + b'data:{"a":\ndata: 1}\n\n' + DONE).replace(b"\n", newline)
    whole = EventReader().feed(stream)
    assert json.loads(whole[0])["choices"][0]["delta"]["content"] == "Grüß Gott, 電話 ☎"
    assert json.loads(whole[1]) == {"a": 1}
    assert whole[2:] == [b"[DONE]"]
    for cut in range(len(stream) + 1):
        reader = EventReader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == whole
    reader = EventReader()
    assert [payload for byte in stream for payload in reader.feed(bytes([byte]))] == whole


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


# The end of the call


@pytest.mark.parametrize("cut", range(len("Goodbye! [End_Call]") + 1))
async def test_the_marker_ends_the_call_and_is_not_spoken_wherever_it_is_cut(server, connect, cut):
    reply = "Goodbye! [End_Call]"
    server.answer = lambda body: replying(reply[:cut], reply[cut:])
    deltas = await deltas_of(connect())
    assert "".join(delta.text for delta in deltas) == "Goodbye! "
    assert [delta.end_call for delta in deltas].count(True) == 1
    assert deltas[-1] == TextDelta(end_call=True)


async def test_a_marker_alone_is_no_empty_reply(server, connect):
    server.answer = lambda body: replying(*"[END_CALL]")
    assert await deltas_of(connect()) == [TextDelta(end_call=True)]


@pytest.mark.parametrize("text", ["See [END", "[", "a [E] b [END CALL]", "[[END_CALL"])
def test_what_only_begins_like_the_marker_is_text(text):
    for size in (1, 2, len(text)):
        marker = MarkerFilter("[END_CALL]")
        pieces = [marker.feed(text[start : start + size]) for start in range(0, len(text), size)]
        assert "".join(pieces) + marker.rest() == text
        assert not marker.seen


@pytest.mark.parametrize(
    ("reply", "said", "asks"),
    [
        ("One moment. [TRANSFER sales]", "One moment. ", {"transfer": "sales"}),
        ("[transfer: the night porter] Bye!", " Bye!", {"transfer": "the night porter"}),
        ('Sure. [Transfer "sales"]', "Sure. ", {"transfer": "sales"}),
        ("Sure. [TRANSFER sales", "Sure. ", {"transfer": "sales"}),
        ("Sure. [TRANSFER]", "Sure. ", {"transfer": "sales"}),
        ("[DO_NOT_CALL]", "", {"opt_out": True}),
        ("I will. [do_not_call] Bye. [END_CALL]", "I will.  Bye. ", {"opt_out": True, "end_call": True}),
        ("Call [TRANSFERS] or [sales] or [DO NOT CALL]?", "Call [TRANSFERS] or [sales] or [DO NOT CALL]?", {}),
        ("An [TRANSFER of [a] kind", "An [TRANSFER of [a] kind", {}),
    ],
)
async def test_no_marker_is_spoken_and_each_is_understood_wherever_it_is_cut(server, connect, reply, said, asks):
    engine = connect()
    for size in (1, 2, 3, 7, len(reply)):
        pieces = [reply[start : start + size] for start in range(0, len(reply), size)]
        server.answer = lambda body, pieces=pieces: replying(*pieces)
        deltas = await deltas_of(engine, tools=Tools(("sales", "support"), opt_out=True))
        assert "".join(delta.text for delta in deltas) == said
        assert deltas[-1] == TextDelta(**asks) if asks else not any(delta.transfer for delta in deltas)


async def test_the_model_is_told_only_of_the_tools_that_it_has(server, connect):
    tools = Tools(("sales", "the night porter"), opt_out=True)
    engine = connect()
    for given in (Tools(), tools, Tools(opt_out=True), Tools(("sales",))):
        await deltas_of(engine, tools=given)
    transfer = TRANSFER.format(names="sales, the night porter", marker=TRANSFER_MARKER)
    opt_out = OPT_OUT.format(marker=OPT_OUT_MARKER)
    systems = [body["messages"][0]["content"].split("\n\n")[2:] for body in server.bodies]
    assert systems == [[], [transfer, opt_out], [opt_out], [TRANSFER.format(names="sales", marker=TRANSFER_MARKER)]]


async def test_what_was_warmed_is_what_the_request_begins_with(server, connect):
    engine = connect()
    tools = Tools(("sales",), opt_out=True)
    await engine.warm([SYSTEM], tools=tools)
    await deltas_of(engine, SYSTEM, HELLO, tools=tools)
    warmed, asked = (body["messages"] for body in server.bodies)
    assert warmed[0] == asked[0]


async def test_without_a_marker_nothing_is_asked_and_nothing_is_held_back(server, connect):
    server.answer = lambda body: replying("[END_CALL]")
    assert await deltas_of(connect(end_call_marker=""), HELLO) == [TextDelta("[END_CALL]")]
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "Hello?"}]


# Cancelling


async def test_closing_the_stream_stops_the_server_at_once(server, connect):
    server.answer = lambda body: hanging_after(event("We "), event("open "))
    deltas = connect().stream([HELLO])
    await anext(deltas)
    await deltas.aclose()
    await asyncio.wait_for(server.abandoned.wait(), 5)


async def test_cancelling_before_the_first_token_stops_the_server_at_once(server, connect):
    server.answer = lambda body: hanging_after(event("", role="assistant"))
    reading = asyncio.ensure_future(deltas_of(connect()))
    await server.asked.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.wait_for(server.abandoned.wait(), 5)


# When things break


@pytest.mark.parametrize(
    ("status", "permanent"),
    [*((status, True) for status in (400, 401, 403, 404, 422)), *((status, False) for status in (408, 429, 500, 503))],
)
async def test_a_refusal_says_what_the_server_said_and_whether_to_try_again(server, connect, status, permanent):
    server.answer = lambda body: web.json_response({"error": {"message": "because"}}, status=status)
    error = await failure_of(connect())
    assert error.permanent is permanent
    assert str(status) in str(error)
    assert "because" in str(error)


async def test_a_missing_model_says_how_to_get_it(server, connect):
    server.answer = lambda body: web.Response(status=404, text='model "gemma3:1b" not found')
    assert "ollama pull gemma3:1b" in str(await failure_of(connect()))


async def test_a_server_that_is_not_there_is_named(connect, unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}/v1"
    error = await failure_of(connect(base_url=url))
    assert f"cannot reach the model server at {url}" in str(error)
    assert not error.permanent


async def test_a_base_url_that_is_none_is_a_permanent_error(connect):
    error = await failure_of(connect(base_url="localhost:11434"))
    assert "localhost:11434" in str(error)
    assert error.permanent


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([b"data: {nonsense\n\n"], "no chat completion"),
        ([b'data: {"choices": 3}\n\n'], "no chat completion"),
        ([b'data: "\xff"\n\n'], "no chat completion"),
        ([event("Hello "), b'data: {"error": {"message": "out of memory"}}\n\n'], "out of memory"),
        ([b'data: {"error": "out of memory"}\n\n'], "out of memory"),
        ([b'data: {"object": "error", "message": "out of memory"}\n\n'], "out of memory"),
        ([event("Hello ")], "broke off"),
        ([], "broke off"),
        ([event(""), event(finish_reason="stop"), DONE], "empty reply"),
        ([event(" \n"), DONE], "empty reply"),
        ([b"data: " + b"x" * (openai_compatible.LONGEST_EVENT_BYTES + 1)], "more than"),
    ],
)
async def test_a_broken_reply_is_an_error_that_says_so(server, connect, answer, message):
    server.answer = lambda body: parts(*answer)
    error = await failure_of(connect())
    assert message in str(error)
    assert not error.permanent


async def test_a_server_that_does_not_stream_is_no_use(server, connect):
    server.answer = lambda body: web.json_response({"choices": [{"message": {"content": "Hello."}}]})
    error = await failure_of(connect())
    assert "does not stream" in str(error)
    assert error.permanent


async def test_a_connection_that_breaks_in_mid_reply_is_an_error(server, connect):
    async def breaking():
        yield event("Hello ")
        next(iter(server.connections)).abort()

    server.answer = lambda body: breaking()
    assert not (await failure_of(connect())).permanent


async def test_no_first_word_in_time_is_an_error_whatever_else_arrives(server, connect):
    async def chatter():
        while True:
            yield b": keep-alive\n\n" + event(None, reasoning_content="Hmm.")
            await asyncio.sleep(0.01)

    server.answer = lambda body: chatter()
    assert "too slow" in str(await failure_of(connect(first_token_timeout=0.1)))
    await asyncio.wait_for(server.abandoned.wait(), 5)


async def test_a_reply_that_stops_is_an_error_after_its_words(server, connect):
    server.answer = lambda body: hanging_after(event("We open"))
    deltas = connect(inter_token_timeout=0.05).stream([HELLO])
    assert await anext(deltas) == TextDelta("We open")
    with pytest.raises(EngineError, match="too slow"):
        await anext(deltas)


async def test_a_reader_that_pauses_is_no_slow_server(server, connect):
    deltas = connect(inter_token_timeout=0.2).stream([HELLO])
    text = (await anext(deltas)).text
    await asyncio.sleep(0.3)
    assert text + "".join([delta.text async for delta in deltas]) == "You said: Hello?"


async def test_a_whole_reply_does_not_wait_for_a_server_that_keeps_the_response_open(server, connect):
    server.answer = lambda body: hanging_after(event("Hello."), event(finish_reason="stop"))
    assert await deltas_of(connect()) == [TextDelta("Hello.")]


async def test_a_pooled_connection_that_the_server_has_closed_is_replaced():
    """The server answers one request per connection and drops the next one unanswered, as on an idle timeout."""

    async def serve(reader, writer):
        for answered in (True, False):
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
            await reader.readexactly(length)
            if answered:
                body = event("Hello.") + DONE
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        engine = OpenAICompatibleLanguageModel(base_url=f"http://127.0.0.1:{port}/v1")
        for _ in range(3):
            assert await deltas_of(engine) == [TextDelta("Hello.")]
        await engine.close()


# Starting and warming


async def test_starting_has_the_server_load_the_model(server, connect):
    await connect().start()
    assert [body["max_tokens"] for body in server.bodies] == [1]


async def test_starting_raises_what_is_permanent_and_logs_what_may_pass(server, connect, caplog):
    server.answer = lambda body: web.Response(status=503, text="loading")
    await connect().start()
    assert "503" in caplog.text
    server.answer = lambda body: web.Response(status=404, text="no such model")
    with pytest.raises(EngineError, match="ollama pull"):
        await connect().start()


async def test_warming_asks_for_one_token_and_never_fails(server, connect, caplog):
    engine = connect()
    await engine.warm([SYSTEM])
    assert server.bodies[0]["max_tokens"] == 1
    assert [turn["role"] for turn in server.bodies[0]["messages"]] == ["system", "user"]
    server.answer = lambda body: web.Response(status=401)
    await engine.warm([SYSTEM])
    assert "401" in caplog.text


async def test_where_warming_is_off_nothing_is_sent(server, connect):
    engine = connect(warm=False)
    await engine.start()
    await engine.warm([SYSTEM])
    assert server.bodies == []
