"""The engine starts, and warms the server's prefix cache."""

from datetime import UTC, datetime, timedelta

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
    await connect(load_timeout=1.0).start()
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


def models(*entries: dict) -> dict:
    return {"object": "list", "data": [{"object": "model", **entry} for entry in entries]}


async def test_a_model_that_a_paid_server_does_not_have_is_found_at_the_start(server, connect):
    server.models = models({"id": "gpt-6-luna"}, {"id": "gpt-6-luna-mini"}, {"id": "text-embedding-4"})
    with pytest.raises(EngineError, match=r"has no model gpt-4o.*LLM_MODEL.*gpt-6-luna.*/v1/models lists all") as error:
        await connect(server="openai", model="gpt-4o").start()
    assert error.value.permanent
    assert server.bodies == []
    await connect(server="openai", model="gpt-6-luna").start()


async def test_a_model_that_only_the_list_does_not_name_is_used(server, connect):
    server.models = models({"id": "gpt-6-luna"})
    server.single_models = {"ft:gpt-6-luna:hotel"}
    await connect(server="openai", model="ft:gpt-6-luna:hotel").start()


async def test_a_model_that_groq_has_switched_off_is_found_at_the_start(server, connect):
    server.models = models({"id": "llama-3.3-70b-versatile", "active": False})
    with pytest.raises(EngineError, match="no longer serves") as error:
        await connect(server="groq", model="llama-3.3-70b-versatile").start()
    assert error.value.permanent


@pytest.mark.parametrize(
    ("days", "as_time", "warned"),
    [(59, False, "in 59 days"), (59, True, "in 59 days"), (-3, False, "off on"), (61, False, ""), (61, True, "")],
)
async def test_the_operator_is_warned_before_a_model_is_switched_off(server, connect, caplog, days, as_time, warned):
    end = datetime.now(UTC).date() + timedelta(days)
    moment = datetime(end.year, end.month, end.day, tzinfo=UTC).timestamp()
    server.models = models({"id": "gpt-4.1", "shutdown_date": moment if as_time else end.isoformat()})
    await connect(server="openai", model="gpt-4.1").start()
    assert bool(caplog.text) == bool(warned)
    assert warned in caplog.text


@pytest.mark.parametrize("listed", [{}, [], {"data": None}, {"data": ["gpt-4.1"]}, {"data": [{"id": 7}]}, None])
async def test_a_list_of_models_that_cannot_be_read_is_ignored(server, connect, listed, caplog):
    server.models = listed
    await connect(server="openai", model="gpt-4.1").start()
    assert not caplog.text


@pytest.mark.parametrize("date", ["soon", "", 0, -1, 1e300, [], None])
async def test_a_date_that_cannot_be_read_is_ignored(server, connect, date, caplog):
    server.models = models({"id": "gpt-4.1", "shutdown_date": date})
    await connect(server="openai", model="gpt-4.1").start()
    assert not caplog.text
