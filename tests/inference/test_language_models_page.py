"""
Each example of docs/language-models.md makes an engine that a server of that kind answers.

The stand-ins take and refuse the fields that the documentation of the servers names. They are no proof that a real
server agrees.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clientcaller.profiles import engine_profiles
from inference.backends import make_engine
from inference.chat.servers import kind_of
from inference.types import EngineError
from tests.inference.model_server import DONE, ModelServer, event
from tests.inference.openai_compatible.helpers import deltas_of

PAGE = Path(__file__).parents[2] / "docs" / "language-models.md"
COMMON = {"model", "messages", "stream", "temperature"}
WORDS = ("Good ", "morning.")


def examples() -> dict[str, dict[str, str]]:
    """The environment of each example, by its heading."""
    sections = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    blocks = {title: re.search(r"```sh\n(.*?)```", text, re.S) for title, text in sections}
    return {
        title: dict(line.split("=", 1) for line in block[1].splitlines()) for title, block in blocks.items() if block
    }


def refuse(status: int, message: str, code: str = "") -> web.Response:
    return web.json_response({"error": {"message": message, "code": code or status}}, status=status)


async def words(body: dict[str, Any], *before: bytes, usage: bool = False) -> AsyncIterator[bytes]:
    yield event("", role="assistant")
    for part in before:
        yield part
    for word in WORDS:
        yield event(word)
    yield event(finish_reason="stop")
    if usage and body.get("stream_options"):
        yield b'data: {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 2}}\n\n'
    yield DONE


def strict(known: set[str], *before: bytes, usage: bool = False) -> Callable[[dict[str, Any]], Any]:
    """A server that refuses what it does not know."""

    def answer(body: dict[str, Any]) -> Any:
        if unknown := set(body) - COMMON - known:
            return refuse(400, f"Unsupported parameters: {unknown}")
        if not {*known} & {"max_tokens", "max_completion_tokens"} & set(body):
            return refuse(400, "The length of the reply is not limited.")
        return words(body, *before, usage=usage)

    return answer


def openai(body: dict[str, Any]) -> Any:
    if "max_tokens" in body:
        return refuse(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    if "temperature" in body:
        return refuse(400, "Unsupported value: 'temperature' does not support 0.7 with this model.")
    if body.get("reasoning_effort") != "none":
        return thought_only(body)
    return strict({"max_completion_tokens", "reasoning_effort", "stream_options", "tools"}, usage=True)(body)


async def thought_only(body: dict[str, Any]) -> AsyncIterator[bytes]:
    yield event("", role="assistant")
    yield event(finish_reason="length")


def groq(body: dict[str, Any]) -> Any:
    if body["max_completion_tokens"] < 500:
        return thought_only(body)
    thoughts = event(None, reasoning="The caller says hello, so I say hello.")
    return strict({"max_completion_tokens", "reasoning_effort", "stream_options", "tools"}, thoughts)(body)


def qwen(body: dict[str, Any]) -> Any:
    """It ignores ``enable_thinking``, as some images do, and writes its thoughts into the reply."""
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    known = {"max_tokens", "priority", "stream_options", "chat_template_kwargs", "top_p", "top_k"}
    return strict(known, event("<think>\nThe caller"), event(" says hello.\n</think>\n\n"), usage=True)(body)


def llama_cpp(body: dict[str, Any]) -> Any:
    """It sends comments so that nobody closes the connection."""
    return strict({"max_tokens", "stream_options", "id_slot", "cache_prompt"}, b":\n\n", b": ping\n\n", usage=True)(
        body
    )


SERVERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "llama.cpp's server": llama_cpp,
    "Ollama": strict({"max_tokens"}),
    "vLLM": strict({"max_tokens", "priority", "stream_options"}, usage=True),
    "Qwen3 8B on vLLM": qwen,
    "TensorRT-LLM": strict({"max_tokens"}),
    "OpenAI": openai,
    "Groq": groq,
}
KEYS = {"OpenAI": "sk-your-key", "Groq": "gsk_your-key"}


def test_every_example_has_a_server_to_be_tried_with():
    assert set(examples()) == set(SERVERS)


@pytest.fixture
async def server():
    async with ModelServer().serving() as server:
        yield server


@pytest.fixture
async def engine(server, title, monkeypatch, tmp_path):
    """The engine of an example, connected to a server of that kind."""
    environment = examples()[title]
    monkeypatch.setattr(os, "environ", {"VAR_DIR": str(tmp_path), **environment})
    profiles = engine_profiles("")
    setting = profiles.settings["scripted"]["llm"]
    assert not profiles.missing["scripted"]
    options = setting["OPTIONS"]
    kind = kind_of(options.get("server", ""), options["base_url"])
    server.answer = SERVERS[title]
    server.models = {"object": "list", "data": [{"id": environment["LLM_MODEL"]}]}
    server.properties = {"total_slots": 4, "default_generation_settings": {"n_ctx": 4096}}
    there = {"OPTIONS": {**options, "base_url": server.base_url, "server": kind}}
    engine = make_engine("llm", {**setting, **there})
    yield engine
    await engine.close()


@pytest.mark.parametrize("title", SERVERS)
async def test_an_example_starts_and_gets_a_reply_at_the_first_try(server, engine, title):
    await engine.start()
    warmed = len(server.bodies)
    for _ in range(2):
        assert "".join(delta.text for delta in await deltas_of(engine)) == "".join(WORDS)
    assert len(server.bodies) == warmed + 2
    assert all(body["model"] == examples()[title]["LLM_MODEL"] for body in server.bodies)
    keys = {headers.get("Authorization") for headers in server.headers}
    assert keys == ({f"Bearer {KEYS[title]}"} if title in KEYS else {None})
    assert bool(warmed) == (title not in KEYS)


@pytest.mark.parametrize("title", SERVERS)
async def test_a_server_without_the_model_is_found_at_the_start(server, engine, title):
    server.models = {"object": "list", "data": [{"id": "another-model"}]}
    server.answer = lambda body: refuse(404, f"The model `{body['model']}` does not exist.", "model_not_found")
    with pytest.raises(EngineError, match=r"set LLM_MODEL .*/v1/models") as error:
        await engine.start()
    assert error.value.permanent
