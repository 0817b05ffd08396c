"""
Deepgram's own SDK against the Deepgram of these tests, so that not only our engines say what it is like.

The SDK takes any message for what it expects. So the messages are also checked against its types, without fields that
these do not have.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it uses the legacy client of websockets
    import websockets.legacy.client  # noqa: F401
    from deepgram import AsyncDeepgramClient
    from deepgram.environment import DeepgramClientEnvironment
    from deepgram.listen.v1 import client as v1_client
    from deepgram.listen.v1 import types as v1
    from deepgram.listen.v2 import client as v2_client
    from deepgram.listen.v2 import types as v2

from inference.deepgram.account import DeepgramOptions
from inference.deepgram.flux import FORCE_END_TURN
from inference.deepgram.nova import FINALIZE, KEEP_ALIVE, NovaExchange
from inference.engines.deepgram import DeepgramSpeechToText
from inference.engines.deepgram_flux import DeepgramFluxSpeechToText
from inference.mulaw import encode_mulaw
from tests.inference.hosted.deepgram_service import KEY, DeepgramService, say

TYPES_V1 = {
    "Results": v1.ListenV1Results,
    "Metadata": v1.ListenV1Metadata,
    "Error": v1.ListenV1Error,
    "ConfigureSuccess": v1.ListenV1ConfigureSuccess,
}
TYPES_V2 = {
    "Connected": v2.ListenV2Connected,
    "TurnInfo": v2.ListenV2TurnInfo,
    "Warning": v2.ListenV2Warning,
    "Error": v2.ListenV2FatalError,
    "ConfigureSuccess": v2.ListenV2ConfigureSuccess,
}
SOUND = encode_mulaw(np.concatenate([say("one", "two"), say("")]))


def unknown_fields(model: BaseModel, where: str = "") -> Iterator[str]:
    yield from (f"{where}.{name}" for name in model.model_extra or {})
    for name in type(model).model_fields:
        for each in value if isinstance(value := getattr(model, name), list) else [value]:
            if isinstance(each, BaseModel):
                yield from unknown_fields(each, f"{where}.{name}")


@pytest.fixture
async def service() -> AsyncIterator[DeepgramService]:
    async with DeepgramService().serving() as service:
        yield service


@pytest.fixture
async def client(service: DeepgramService) -> AsyncIterator[Any]:
    environment = DeepgramClientEnvironment(
        base=service.base_url, production=service.ws_url, agent=service.ws_url, agent_rest=service.base_url
    )
    client = AsyncDeepgramClient(api_key=KEY, environment=environment)
    yield client
    await client._client_wrapper.httpx_client.httpx_client.aclose()


def checked(service: DeepgramService, types: dict[str, Any]) -> list[str]:
    """Check each message that the service sends. Return the kinds that were sent, as they come."""
    kinds: list[str] = []

    def edit(message: dict[str, Any]) -> list[Any]:
        kinds.append(message["type"])
        assert list(unknown_fields(types[message["type"]].model_validate(message))) == []
        return [message]

    service.edit = edit
    return kinds


async def test_the_sdk_recognises_by_nova(service, client):
    kinds = checked(service, TYPES_V1)
    options = {"model": "nova-3", "language": "en", "encoding": "mulaw", "sample_rate": 8000, "interim_results": True}
    async with client.listen.v1.connect(**options) as connection:
        await connection.send_media(SOUND)
        await connection.send_finalize()
        results = await connection.recv()
        assert results.channel.alternatives[0].transcript == "one two"
        assert results.from_finalize
        await connection.send_configure(v1.ListenV1Configure(keyterms=["Aachen"]))
        assert (await connection.recv()).keyterms == ["Aachen"]
        await connection.send_keep_alive()
        await connection.send_close_stream()
        assert [message.type async for message in connection] == ["Metadata"]
    assert kinds == ["Results", "ConfigureSuccess", "Metadata"]
    assert service.violations == []


async def test_the_sdk_recognises_by_flux(service, client):
    kinds = checked(service, TYPES_V2)
    options = {"model": "flux-general-en", "encoding": "mulaw", "sample_rate": 8000, "eot_threshold": 1.0}
    async with client.listen.v2.connect(**options) as connection:
        await connection.send_media(SOUND)
        await connection.send_force_end_turn()
        messages = [await connection.recv() for _ in range(5)]
        assert (messages[-1].event, messages[-1].trigger) == ("EndOfTurn", "manual")
        assert messages[-1].transcript == "one two"
        await connection.send_force_end_turn()
        assert (await connection.recv()).code == "FORCE_END_TURN_NO_ACTIVE_TURN"
        await connection.send_configure(v2.ListenV2Configure(keyterms=["Aachen"]))
        assert (await connection.recv()).keyterms == ["Aachen"]
        await connection.send_close_stream()
    assert set(kinds) == {"Connected", "TurnInfo", "Warning", "ConfigureSuccess"}
    assert service.violations == []


async def test_the_sdk_gets_the_list_of_models(service, client):
    models = await client.manage.v1.models.list()
    assert {"nova-3", "flux-general-en"} <= {model.canonical_name for model in models.stt if model}


@pytest.mark.parametrize("message", ['{"type":"Nonsense"}', '{"type":"KeepAlive","now":1}'])
async def test_what_is_wrong_is_answered_as_the_types_of_the_sdk_say(service, client, message):
    kinds = checked(service, TYPES_V2)
    async with client.listen.v2.connect(model="flux-general-en", encoding="mulaw", sample_rate=8000) as connection:
        await connection._send(message)
        assert [each.type async for each in _until_closed(connection)] == ["Connected", "Error"]
    assert kinds == ["Connected", "Error"]
    assert service.violations


async def _until_closed(connection: Any) -> AsyncIterator[Any]:
    try:
        async for message in connection:
            yield message
    except Exception as error:
        assert type(error).__name__ == "ConnectionClosedError"  # noqa: PT017


@pytest.mark.parametrize(
    ("sent", "model"),
    [
        (FINALIZE, v1.ListenV1Finalize),
        (KEEP_ALIVE, v1.ListenV1KeepAlive),
        (NovaExchange(keyterms=["Aachen"]).begin()[0], v1.ListenV1Configure),
        (NovaExchange(keyterms=["Aachen"]).begin()[0], v2.ListenV2Configure),
        (FORCE_END_TURN, v2.ListenV2ForceEndTurn),
    ],
)
def test_what_the_engines_send_are_messages_of_the_sdk(sent, model):
    message = model.model_validate_json(sent)
    assert list(unknown_fields(message)) == []


@pytest.mark.parametrize(
    ("engine", "client_module", "model"),
    [
        (DeepgramSpeechToText, v1_client, "nova-3"),
        (DeepgramFluxSpeechToText, v2_client, "flux-general-multi"),
    ],
)
def test_the_addresses_have_only_parameters_of_the_sdk(engine, client_module, model):
    client = client_module.AsyncV1Client if client_module is v1_client else client_module.AsyncV2Client
    known = set(inspect.signature(client.connect).parameters)
    made = engine(DeepgramOptions(api_key=KEY, model=model, keyterms=["Aachen"]))
    for choice in (made._languages.choose("en"), made._languages.choose("en", ["de"])):
        query = made._url(choice).partition("?")[2]
        assert {each.partition("=")[0] for each in query.split("&")} <= known
