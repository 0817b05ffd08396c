"""The engine starts, and warms the server's prefix cache."""

import pytest
from aiohttp import web

from inference.engines import openai_compatible
from inference.types import EngineError, Message
from tests.inference.model_server import replying
from tests.inference.openai_compatible.helpers import HELLO, SYSTEM, deltas_of


async def test_start_has_the_server_load_the_model(server, connect):
    await connect().start()
    assert [body["max_tokens"] for body in server.bodies] == [1]


async def test_start_raises_permanent_errors_and_logs_the_others(server, connect, caplog):
    server.answer = lambda body: web.Response(status=503, text="overloaded")
    await connect().start()
    assert "503" in caplog.text
    server.answer = lambda body: web.Response(status=404, text="no such model")
    with pytest.raises(EngineError, match="ollama pull"):
        await connect().start()


async def test_warming_requests_one_token_and_never_fails(server, connect, caplog):
    engine = connect()
    await engine.warm([SYSTEM])
    assert server.bodies[0]["max_tokens"] == 1
    assert [turn["role"] for turn in server.bodies[0]["messages"]] == ["system", "user"]
    server.answer = lambda body: web.Response(status=401)
    await engine.warm([SYSTEM])
    assert "401" in caplog.text


async def test_start_waits_for_a_server_that_is_loading_its_model(server, connect, monkeypatch, caplog):
    monkeypatch.setattr(openai_compatible, "LOADING_PAUSE", 0)
    loading = web.Response, {"status": 503, "text": '{"error": {"message": "Loading model"}}'}
    server.answer = lambda body: replying("Hi") if len(server.bodies) > 3 else loading[0](**loading[1])
    await connect().start()
    assert len(server.bodies) == 4
    assert not caplog.records
    server.answer = lambda body: loading[0](**loading[1])
    await connect(load_timeout=0.3).start()
    assert "Loading model" in caplog.text


async def test_warming_after_the_agents_turn_ends_with_the_beginning_of_the_callers(server, connect):
    engine = connect()
    said = [SYSTEM, HELLO, Message("assistant", "Good morning.")]
    await engine.warm(said)
    await deltas_of(engine, *said, Message("user", "What time is it?"))
    warmed, asked = (body["messages"] for body in server.bodies)
    assert warmed[:-1] == asked[:-1]
    assert warmed[-1]["role"] == "user"


async def test_where_tokens_are_paid_for_only_the_connection_is_opened(server, connect):
    engine = connect(server="openai", api_key="secret")
    await engine.start()
    await engine.warm([SYSTEM])
    assert server.bodies == []
    assert server.models_requests == 1
    assert server.headers[0]["Authorization"] == "Bearer secret"
    await deltas_of(engine)
    assert len(server.connections) == 1


@pytest.mark.parametrize(("status", "permanent"), [(401, True), (403, True), (302, False), (404, False), (500, False)])
async def test_a_refused_key_is_found_at_the_start_without_a_completion(server, connect, status, permanent):
    server.models_status = status
    engine = connect(warm=False)
    if permanent:
        with pytest.raises(EngineError, match=str(status)):
            await engine.start()
    else:
        await engine.start()
    assert server.bodies == []
    assert server.models_requests == 1
