"""Every fault of a model server, or of the connection to it, becomes an error that says what is wrong."""

import asyncio
import ssl

import pytest
from aiohttp import web

from inference.chat.events import LONGEST_EVENT_BYTES
from inference.chat.options import ModelServerOptions
from inference.engines.openai_compatible import OpenAICompatibleLanguageModel
from inference.types import EngineError, EngineTimeout, TextDelta
from tests.inference.certificates import Authority
from tests.inference.model_server import DONE, ModelServer, event
from tests.inference.openai_compatible.helpers import HELLO, deltas_of, failure_of, hanging_after, parts


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls(authority):
    """The server's side: it presents a certificate of the authority and requires one of the client."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.load_cert_chain(authority.sign("server"))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_tls_server_is_reached_with_its_authority_and_a_client_certificate(connect, authority, tls):
    async with ModelServer().serving(tls) as server:
        ours = {"ca_file": str(authority.file), "client_cert_file": str(authority.sign("client"))}
        engine = connect(base_url=server.base_url, **ours)
        for _ in range(3):
            assert "".join(delta.text for delta in await deltas_of(engine)) == "You said: Hello?"
        assert len(server.connections) == 1
        for missing in ours:
            options = {**ours, missing: ""}
            assert isinstance(await failure_of(connect(base_url=server.base_url, **options)), EngineError)


def test_certificates_that_cannot_be_read_are_named_when_the_engine_is_made(tmp_path):
    (tmp_path / "empty.pem").touch()
    for options in ({"ca_file": "no/such/file.pem"}, {"client_cert_file": str(tmp_path / "empty.pem")}):
        with pytest.raises(EngineError, match=r"file\.pem|empty\.pem") as refusal:
            OpenAICompatibleLanguageModel(ModelServerOptions(**options))
        assert refusal.value.permanent


@pytest.mark.parametrize(
    ("status", "permanent"),
    [*((status, True) for status in (400, 401, 403, 404, 422)), *((status, False) for status in (408, 429, 500, 503))],
)
async def test_a_refusal_quotes_the_server_and_says_whether_a_retry_is_useful(server, connect, status, permanent):
    server.answer = lambda body: web.json_response({"error": {"message": "because"}}, status=status)
    error = await failure_of(connect())
    assert error.permanent is permanent
    assert str(status) in str(error)
    assert "because" in str(error)


async def test_a_redirect_is_not_followed_and_names_the_setting(server, connect):
    server.answer = lambda body: web.Response(status=308, headers={"Location": "https://new.example.com/v1?a=b"})
    error = await failure_of(connect())
    assert error.permanent
    assert "redirects to https://new.example.com/v1, which is not followed" in str(error)
    assert "Set OPENAI_BASE_URL" in str(error)


async def test_a_missing_model_says_how_to_get_it(server, connect):
    server.answer = lambda body: web.Response(status=404, text='model "gemma3:1b" not found')
    assert "ollama pull gemma3:1b" in str(await failure_of(connect()))


async def test_an_unreachable_server_is_named(connect, unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}/v1"
    error = await failure_of(connect(base_url=url))
    assert f"cannot reach the model server at {url}" in str(error)
    assert not error.permanent


async def test_an_invalid_base_url_is_a_permanent_error(connect):
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


async def test_a_server_that_does_not_stream_is_a_permanent_error(server, connect):
    server.answer = lambda body: web.json_response({"choices": [{"message": {"content": "Hello."}}]})
    error = await failure_of(connect())
    assert "does not stream" in str(error)
    assert error.permanent


async def test_a_connection_that_breaks_during_the_reply_is_an_error(server, connect):
    async def breaking():
        yield event("Hello ")
        next(iter(server.connections)).abort()

    server.answer = lambda body: breaking()
    assert not (await failure_of(connect())).permanent


async def test_no_first_text_in_time_is_an_error_whatever_else_arrives(server, connect):
    async def chatter():
        while True:
            yield b": keep-alive\n\n" + event(None, reasoning_content="Hmm.")
            await asyncio.sleep(0.01)

    server.answer = lambda body: chatter()
    assert "too slow" in str(await failure_of(connect(first_token_timeout=0.1)))
    await asyncio.wait_for(server.disconnected.wait(), 60)


async def test_single_bytes_do_not_count_as_text(server, connect):
    async def trickle():
        for byte in event("Hello, and welcome.") * 100:
            yield bytes([byte])
            await asyncio.sleep(0.01)

    server.answer = lambda body: trickle()
    engine = connect(first_token_timeout=0.1)
    with pytest.raises(EngineTimeout, match="first words"):
        await deltas_of(engine)


@pytest.mark.parametrize("noise", [b": keep-alive\n\n", event(""), event(None, reasoning_content="Hmm.")])
async def test_no_further_text_in_time_is_an_error_whatever_else_arrives(server, connect, noise):
    async def chatter():
        yield event("We open ")
        while True:
            yield noise
            await asyncio.sleep(0.01)

    server.answer = lambda body: chatter()
    deltas = connect(inter_token_timeout=0.1).stream([HELLO])
    assert await anext(deltas) == TextDelta("We open ")
    with pytest.raises(EngineTimeout, match="next words"):
        await anext(deltas)


async def test_a_reply_without_an_end_times_out(server, connect):
    async def dribble():
        while True:
            yield event("a")
            await asyncio.sleep(0.01)

    server.answer = lambda body: dribble()
    with pytest.raises(EngineTimeout, match="next words"):
        await deltas_of(connect(reply_timeout=0.1))
    await asyncio.wait_for(server.disconnected.wait(), 60)


async def test_a_reply_that_stops_is_an_error_after_its_text(server, connect):
    server.answer = lambda body: hanging_after(event("We open "))
    deltas = connect(inter_token_timeout=0.05).stream([HELLO])
    assert await anext(deltas) == TextDelta("We open ")
    with pytest.raises(EngineError, match="too slow"):
        await anext(deltas)


async def test_a_pause_of_the_reader_does_not_count_as_a_slow_server(server, connect):
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
