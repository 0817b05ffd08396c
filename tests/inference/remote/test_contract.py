"""The remote engines keep the contract of engines in the same process, on a real Redis and in memory."""

import pytest
import pytest_asyncio

from inference.engines.remote import RemoteLanguageModel, RemoteSpeechToText, RemoteTextToSpeech
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText
from tests.inference.contract import LanguageModelContract, SpeechToTextContract, TextToSpeechContract
from tests.inference.remote.engines import ListingTextToSpeech
from tests.inference.remote.serving import layers, serving


@pytest.fixture(scope="class", params=["redis", "memory"])
def class_layers(request, redis_server):
    with layers(redis_server.url if request.param == "redis" else ""):
        yield


class TestRemoteSpeechToText(SpeechToTextContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls, class_layers):
        engine = ScriptedSpeechToText(final_delay=0.001, partials=True, backchannel_below=0.8)
        async with serving("stt", engine):
            yield RemoteSpeechToText


class TestRemoteLanguageModel(LanguageModelContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls, class_layers):
        async with serving("llm", ScriptedLanguageModel(first_delay=0.001, token_delay=0.0005)):
            yield RemoteLanguageModel


class TestRemoteTextToSpeech(TextToSpeechContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls, class_layers):
        async with serving("tts", ListingTextToSpeech(first_delay=0.001, chunk_delay=0.0005)):
            yield RemoteTextToSpeech
