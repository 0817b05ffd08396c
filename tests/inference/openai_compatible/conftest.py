"""A model server, and engines that are connected to it."""

import pytest

from inference.chat.options import ModelServerOptions
from inference.engines.openai_compatible import OpenAICompatibleLanguageModel
from tests.inference.model_server import ModelServer


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
