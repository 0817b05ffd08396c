"""The client of a model server: what it sends, what it makes of any answer, and that closing it stops the server."""

import asyncio
import ssl
from contextlib import aclosing, closing

import pytest
from aiohttp import web

from inference.chat.events import LONGEST_EVENT_BYTES
from inference.chat.options import ModelServerOptions
from inference.chat.prompt import (
    GOODBYE,
    OPT_OUT,
    OPT_OUT_MARKER,
    PICKS_UP,
    TRANSFER,
    TRANSFER_MARKER,
)
from inference.engines import openai_compatible
from inference.engines.openai_compatible import OpenAICompatibleLanguageModel
from inference.requests import ToolRequests
from inference.types import ContextTooLarge, EngineError, EngineFull, EngineTimeout, Message, TextDelta, Tools
from tests.inference.certificates import Authority
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
        engines.append(OpenAICompatibleLanguageModel(ModelServerOptions(**{"base_url": server.base_url, **options})))
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


async def test_a_key_from_a_file_with_its_newline_is_a_key(server, connect):
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
def test_nothing_is_wasted_where_tokens_are_paid_for(options, wastes):
    assert OpenAICompatibleLanguageModel(ModelServerOptions(**options)).may_speculate is wastes


def test_an_unknown_server_is_refused_with_the_known_ones():
    with pytest.raises(EngineError, match="ollama, vllm, tensorrt-llm, openai, groq") as refusal:
        OpenAICompatibleLanguageModel(ModelServerOptions(server="vlm"))
    assert refusal.value.permanent


async def test_each_server_gets_the_fields_that_it_knows(server, connect):
    fields = {}
    for name in ("", "ollama", "vllm", "tensorrt-llm", "openai", "groq"):
        await deltas_of(connect(server=name))
        fields[name] = set(server.bodies[-1]) - {"model", "messages", "stream", "temperature"}
    assert fields == {
        "": {"max_tokens"},
        "ollama": {"max_tokens"},
        "vllm": {"max_tokens", "priority"},
        "tensorrt-llm": {"max_tokens"},
        "openai": {"max_completion_tokens"},
        "groq": {"max_completion_tokens"},
    }


async def test_a_field_that_a_model_refuses_can_be_left_out(server, connect):
    await deltas_of(connect(temperature=None, extra_body={"max_tokens": None, "top_p": 0.9}))
    assert set(server.bodies[0]) == {"model", "messages", "stream", "top_p", "max_tokens"}


async def test_a_real_turn_comes_first_and_warming_last(server, connect):
    engine = connect(server="vllm")
    await engine.warm([SYSTEM])
    await deltas_of(engine, speculative=True)
    await deltas_of(engine)
    assert [body["priority"] for body in server.bodies] == [10, 5, 0]


async def test_headers_of_the_operator_are_sent_and_nothing_is_to_be_compressed(server, connect):
    await deltas_of(connect(api_key="secret", headers={"X-Gate": "7", "Authorization": "Basic eA=="}))
    assert server.headers[0]["X-Gate"] == "7"
    assert server.headers[0]["Authorization"] == "Basic eA=="
    assert server.headers[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("options", [{}, {"max_concurrent": 4}])
def test_it_is_described_without_its_password(options):
    described = OpenAICompatibleLanguageModel(
        ModelServerOptions(base_url="https://me:secret@gpu/v1/", model="llm", **options)
    ).describe()
    assert described.weights == "served by https://gpu/v1 as llm"
    assert described.device == "server"
    assert described.capacity == options.get("max_concurrent", 0)


# The context


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


async def test_a_server_with_less_room_than_was_thought_gets_a_shorter_conversation_from_then_on(
    server, connect, caplog
):
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


async def test_requests_that_are_refused_together_teach_it_once(server, connect):
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


async def test_what_is_too_large_by_itself_is_an_error(server, connect):
    server.answer = lambda body: web.Response(status=400, text="This model's maximum context length is 512 tokens.")
    with pytest.raises(ContextTooLarge):
        await deltas_of(connect(), *long_call(10))
    assert [turn["role"] for turn in server.bodies[-1]["messages"]] == ["system", "user"]


async def test_a_refusal_that_comes_in_pieces_is_understood(server, connect):
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


async def test_a_refusal_without_an_end_is_understood_nevertheless(server, connect):
    async def answer(body):
        response = web.StreamResponse(status=429)
        await response.prepare(server.requests[-1])
        await response.write(b"slow down")
        await asyncio.Event().wait()

    server.answer = answer
    with pytest.raises(EngineFull, match="slow down"):
        await deltas_of(connect())


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
    assert [delta.requests.end_call for delta in deltas].count(True) == 1
    assert deltas[-1] == TextDelta(requests=ToolRequests(end_call=True))


async def test_a_marker_alone_is_no_empty_reply(server, connect):
    server.answer = lambda body: replying(*"[END_CALL]")
    assert await deltas_of(connect()) == [TextDelta(requests=ToolRequests(end_call=True))]


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
        assert deltas[-1] == TextDelta(requests=ToolRequests(**asks)) if asks else not any(d.requests for d in deltas)


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


@pytest.fixture
async def silent():
    """A port where connections are taken and nothing is ever said; yields its number and who came."""
    came: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()

    async def hold(reader, writer):
        came.put_nowait(reader)
        with closing(writer):
            await released.wait()

    released = asyncio.Event()
    async with await asyncio.start_server(hold, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1], came
        released.set()


async def read_to_its_end(came):
    """Everything that one connection brought, once it is closed."""
    return await asyncio.wait_for((await came.get()).read(), 5)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cancelling_while_connecting_or_waiting_leaves_no_connection(connect, silent, scheme):
    port, came = silent
    reading = asyncio.ensure_future(deltas_of(connect(base_url=f"{scheme}://127.0.0.1:{port}/v1")))
    reader = await came.get()
    came.put_nowait(reader)
    await reader.read(1)  # under TLS: in the middle of the handshake
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await read_to_its_end(came)


async def test_a_handshake_that_hangs_is_given_up(connect, silent):
    port, came = silent
    engine = connect(base_url=f"https://127.0.0.1:{port}/v1", connect_timeout=0.1)
    with pytest.raises(EngineTimeout, match="cannot reach"):
        await deltas_of(engine)
    await read_to_its_end(came)


async def test_a_reply_that_has_turned_into_something_else_is_broken_off(server, connect):
    server.answer = lambda body: hanging_after(event("We open at nine."), event("<end_of_turn>\nuser"))
    assert [delta.text for delta in await deltas_of(connect())] == ["We open at nine."]
    await asyncio.wait_for(server.abandoned.wait(), 5)


# Who goes first


async def test_a_real_turn_takes_the_place_of_a_speculative_one_which_is_asked_again(server, connect):
    server.answer = lambda body: hanging_after()
    engine = connect(max_concurrent=1)
    guess = asyncio.ensure_future(deltas_of(engine, Message("user", "guess"), speculative=True))
    await server.asked.wait()
    server.answer = lambda body: replying(body["messages"][-1]["content"])
    assert await asyncio.wait_for(deltas_of(engine, Message("user", "real")), 5) == [TextDelta("real")]
    await asyncio.wait_for(server.abandoned.wait(), 5)
    assert await asyncio.wait_for(guess, 5) == [TextDelta("guess")]
    assert [body["messages"][-1]["content"] for body in server.bodies] == ["guess", "real", "guess"]


async def test_a_reply_that_has_begun_is_not_taken_away(server, connect):
    released = asyncio.Event()

    async def answer():
        yield event("We open")
        await released.wait()
        yield event(" at nine.") + DONE

    server.answer = lambda body: answer()
    engine = connect(max_concurrent=1)
    guess = engine.stream([HELLO], speculative=True)
    assert (await anext(guess)).text == "We open"
    real = asyncio.ensure_future(deltas_of(engine, Message("user", "real")))
    await asyncio.sleep(0)
    released.set()
    assert [delta.text async for delta in guess] == [" at nine."]
    assert "".join(delta.text for delta in await asyncio.wait_for(real, 5)) == "We open at nine."


async def test_warming_gives_way_and_is_left_out_where_there_is_no_room(server, connect):
    server.answer = lambda body: hanging_after()
    engine = connect(max_concurrent=1)
    warming = asyncio.ensure_future(engine.warm([SYSTEM]))
    await server.asked.wait()
    server.answer = lambda body: hanging_after(event("We"))
    real = engine.stream([HELLO])
    assert (await asyncio.wait_for(anext(real), 5)).text == "We"
    await asyncio.wait_for(warming, 5)
    await engine.warm([SYSTEM])
    assert len(server.bodies) == 2
    await real.aclose()


async def test_a_full_queue_is_an_error_in_time(server, connect):
    server.answer = lambda body: hanging_after(event("We"))
    engine = connect(
        max_concurrent=1, first_token_timeout=2.0
    )  # for the second one; the server answers the first at once
    first = engine.stream([HELLO])
    await anext(first)
    with pytest.raises(EngineFull, match="all 1 slots"):
        await deltas_of(engine)
    await first.aclose()
    server.answer = lambda body: replying("Yes.")
    assert await deltas_of(engine) == [TextDelta("Yes.")]


async def test_a_server_that_asks_for_peace_gets_it_from_all_but_real_turns(server, connect):
    server.answer = lambda body: web.Response(status=429, headers={"Retry-After": "30"}, text="slow down")
    engine = connect()
    with pytest.raises(EngineFull, match="slow down"):
        await deltas_of(engine)
    with pytest.raises(EngineFull, match="no request"):
        await deltas_of(engine, speculative=True)
    await engine.warm([SYSTEM])
    assert len(server.bodies) == 1
    server.answer = lambda body: replying("Yes.")
    assert await deltas_of(engine) == [TextDelta("Yes.")]


# With TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls(authority):
    """The server's side: it shows a certificate of the authority and wants one of the same."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.load_cert_chain(authority.sign("server"))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_server_with_tls_is_reached_with_its_authority_and_our_certificate(connect, authority, tls):
    async with ModelServer().serving(tls) as server:
        ours = {"ca_file": str(authority.file), "client_cert_file": str(authority.sign("client"))}
        engine = connect(base_url=server.base_url, **ours)
        for _ in range(3):
            assert "".join(delta.text for delta in await deltas_of(engine)) == "You said: Hello?"
        assert len(server.connections) == 1
        for missing in ours:
            options = {**ours, missing: ""}
            assert isinstance(await failure_of(connect(base_url=server.base_url, **options)), EngineError)


def test_certificates_that_cannot_be_read_are_named_at_once(tmp_path):
    (tmp_path / "empty.pem").touch()
    for options in ({"ca_file": "no/such/file.pem"}, {"client_cert_file": str(tmp_path / "empty.pem")}):
        with pytest.raises(EngineError, match=r"file\.pem|empty\.pem") as refusal:
            OpenAICompatibleLanguageModel(ModelServerOptions(**options))
        assert refusal.value.permanent


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
        ([event(""), event(finish_reason="content_filter"), DONE], "empty reply (content_filter)"),
        ([event("<end_of_turn>"), DONE], "empty reply"),
        ([event(" \n"), DONE], "empty reply"),
        ([b"data: " + b"x" * (LONGEST_EVENT_BYTES + 1)], "more than"),
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


async def test_trickling_bytes_are_no_words(server, connect):
    async def trickle():
        for byte in event("Hello, and welcome.") * 100:
            yield bytes([byte])
            await asyncio.sleep(0.01)

    server.answer = lambda body: trickle()
    engine = connect(first_token_timeout=0.1)
    with pytest.raises(EngineTimeout, match="first words"):
        await deltas_of(engine)


@pytest.mark.parametrize("noise", [b": keep-alive\n\n", event(""), event(None, reasoning_content="Hmm.")])
async def test_no_next_word_in_time_is_an_error_whatever_else_arrives(server, connect, noise):
    async def chatter():
        yield event("We open")
        while True:
            yield noise
            await asyncio.sleep(0.01)

    server.answer = lambda body: chatter()
    deltas = connect(inter_token_timeout=0.1).stream([HELLO])
    assert await anext(deltas) == TextDelta("We open")
    with pytest.raises(EngineTimeout, match="next words"):
        await anext(deltas)


async def test_a_reply_that_never_comes_to_its_end_is_given_up(server, connect):
    async def dribble():
        while True:
            yield event("a")
            await asyncio.sleep(0.01)

    server.answer = lambda body: dribble()
    with pytest.raises(EngineTimeout, match="next words"):
        await deltas_of(connect(reply_timeout=0.1))
    await asyncio.wait_for(server.abandoned.wait(), 5)


async def test_a_reply_that_stops_is_an_error_after_its_words(server, connect):
    server.answer = lambda body: hanging_after(event("We open"))
    deltas = connect(inter_token_timeout=0.05).stream([HELLO])
    assert await anext(deltas) == TextDelta("We open")
    with pytest.raises(EngineError, match="too slow"):
        await anext(deltas)


async def test_a_reader_that_pauses_is_no_slow_server(server, connect):
    deltas = connect(inter_token_timeout=2.0).stream([HELLO])
    text = (await anext(deltas)).text
    await asyncio.sleep(2.1)
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
        engine = OpenAICompatibleLanguageModel(ModelServerOptions(base_url=f"http://127.0.0.1:{port}/v1"))
        for _ in range(3):
            assert await deltas_of(engine) == [TextDelta("Hello.")]
        await engine.close()


# Starting and warming


async def test_starting_has_the_server_load_the_model(server, connect):
    await connect().start()
    assert [body["max_tokens"] for body in server.bodies] == [1]


async def test_starting_raises_what_is_permanent_and_logs_what_may_pass(server, connect, caplog):
    server.answer = lambda body: web.Response(status=503, text="overloaded")
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


async def test_a_server_that_loads_its_model_is_waited_for(server, connect, monkeypatch, caplog):
    monkeypatch.setattr(openai_compatible, "LOADING_PAUSE", 0)
    loading = web.Response, {"status": 503, "text": '{"error": {"message": "Loading model"}}'}
    server.answer = lambda body: replying("Hi") if len(server.bodies) > 3 else loading[0](**loading[1])
    await connect().start()
    assert len(server.bodies) == 4
    assert not caplog.records
    server.answer = lambda body: loading[0](**loading[1])
    await connect(load_timeout=0.3).start()
    assert "Loading model" in caplog.text


async def test_warming_after_the_agents_turn_ends_where_the_callers_begins(server, connect):
    engine = connect()
    said = [SYSTEM, HELLO, Message("assistant", "Good morning.")]
    await engine.warm(said)
    await deltas_of(engine, *said, Message("user", "What time is it?"))
    warmed, asked = (body["messages"] for body in server.bodies)
    assert warmed[:-1] == asked[:-1]
    assert warmed[-1]["role"] == "user"


async def test_where_tokens_are_paid_for_only_the_connection_is_made_ready(server, connect):
    engine = connect(server="openai", api_key="secret")
    await engine.start()
    await engine.warm([SYSTEM])
    assert server.bodies == []
    assert server.models_asked == 1
    assert server.headers[0]["Authorization"] == "Bearer secret"
    await deltas_of(engine)
    assert len(server.connections) == 1


@pytest.mark.parametrize(("status", "permanent"), [(401, True), (403, True), (302, False), (404, False), (500, False)])
async def test_a_refused_key_is_known_at_the_start_without_a_single_token(server, connect, status, permanent):
    server.models_status = status
    engine = connect(warm=False)
    if permanent:
        with pytest.raises(EngineError, match=str(status)):
            await engine.start()
    else:
        await engine.start()
    assert server.bodies == []
    assert server.models_asked == 1
