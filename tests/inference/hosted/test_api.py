"""Requests over HTTP to a hosted service, against a real server on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from inference.hosted.api import Api
from inference.hosted.refusals import closed, refusal
from inference.types import EngineError, EngineFull, EngineTimeout, QuotaExhausted
from tests.inference.hosted.service import Service


class Voices(Service):
    answer: web.Response | None = None

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/voices", self._voices)

    async def _voices(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.answer is None:
            await asyncio.Event().wait()
        assert self.answer is not None
        return self.answer


@pytest.fixture
async def service() -> AsyncIterator[Voices]:
    async with Voices().serving() as serving:
        yield serving


@pytest.fixture
async def api(service: Voices) -> AsyncIterator[Api]:
    made = Api("Voices Ltd", service.base_url + "/v1/", headers={"xi-api-key": "k"}, key="VOICES_KEY")
    yield made
    await made.close()
    await made.close()


async def test_json_is_decoded_and_the_headers_go_with_each_request(service, api):
    service.answer = web.json_response({"voices": ["anna"]})
    assert await api.get_json("/voices", language="en") == {"voices": ["anna"]}
    assert service.requests[0].headers["xi-api-key"] == "k"
    assert service.requests[0].query == {"language": "en"}


async def test_what_is_no_json_is_an_error(service, api):
    service.answer = web.Response(text="<html>")
    with pytest.raises(EngineError, match="not JSON"):
        await api.get_json("/voices")


async def test_an_answer_that_does_not_come_is_a_timeout(api):
    with pytest.raises(EngineTimeout, match=r"within 0\.1 s"):
        await api.get_json("/voices", patience=0.1)


async def test_a_refusal_says_what_was_asked_and_which_key_it_was(service, api):
    service.answer = web.Response(status=401, text='{"detail": "invalid_api_key"}')
    with pytest.raises(EngineError, match=r"Voices Ltd refused GET /voices with 401.*invalid_api_key.*VOICES_KEY"):
        await api.get_json("/voices")


async def test_a_server_that_is_away_is_no_permanent_error():
    async with Service().serving() as service:
        gone = service.base_url
    api = Api("Voices Ltd", gone)
    with pytest.raises(EngineError, match="cannot reach Voices Ltd") as raised:
        await api.get_json("/voices")
    assert not raised.value.permanent
    await api.close()


async def test_a_base_url_that_is_none_is_a_mistake():
    api = Api("Voices Ltd", "voices.example.com")
    with pytest.raises(EngineError, match="no http") as raised:
        await api.get_json("/voices")
    assert raised.value.permanent
    await api.close()


@pytest.mark.parametrize(
    ("status", "said", "kind", "permanent"),
    [
        (302, "<html>Moved", EngineError, True),
        (400, "bad language", EngineError, True),
        (401, "invalid_api_key", EngineError, True),
        (401, '{"status": "quota_exceeded"}', QuotaExhausted, False),
        (402, "", QuotaExhausted, False),
        (403, "INSUFFICIENT_PERMISSIONS", EngineError, True),
        (404, "", EngineError, True),
        (408, "", EngineError, False),
        (422, "", EngineError, True),
        (429, "too_many_concurrent_requests", EngineFull, False),
        (429, "You exceeded your current quota (insufficient_quota)", QuotaExhausted, False),
        (400, "billing_hard_limit_reached", QuotaExhausted, False),
        (
            429,
            "Rate limit reached for requests per min (RPM): Limit 3, Used 3. You can increase your rate limit by adding"
            " a payment method at https://platform.openai.com/account/billing.",
            EngineFull,
            False,
        ),
        (429, "exceeded call rate limit. Go to https://aka.ms/oai/quotaincrease to increase it.", EngineFull, False),
        (500, "", EngineError, False),
        (503, "", EngineError, False),
    ],
)
def test_what_a_refusal_means(status, said, kind, permanent):
    error = refusal("Voices Ltd", status, said)
    assert type(error) is kind
    assert error.permanent == permanent


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0.5", 0.5), ("900", 60), ("-3", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1), ("", 1)],
)
def test_a_service_that_is_full_says_when_to_come_back(header, seconds):
    error = refusal("Voices Ltd", 429, headers={"Retry-After": header})
    assert isinstance(error, EngineFull)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1011, "NET-0001", EngineError),
        (1013, "", EngineFull),
        (1008, "max_active_conversations", EngineFull),
        (1008, "quota_exceeded", QuotaExhausted),
        (None, "", EngineError),
    ],
)
def test_what_the_end_of_a_socket_means(code, reason, kind):
    assert type(closed("Voices Ltd", code, reason)) is kind


async def test_an_address_that_the_service_does_not_have_may_be_optional(service, api):
    for status in (404, 405, 501):
        service.answer = web.Response(status=status)
        assert await api.get_json("/voices", optional=True) is None
    service.answer = web.Response(status=401)
    with pytest.raises(EngineError):
        await api.get_json("/voices", optional=True)


async def test_a_refusal_quotes_nothing_that_is_private_and_says_what_to_do(service):
    service.answer = web.Response(status=404, text='{"input": "my name is Mary Harrington"}')
    api = Api("Voices Ltd", service.base_url + "/v1", advice={404: "Set TTS_MODEL."})
    with pytest.raises(EngineError, match=r"404.*Set TTS_MODEL\.") as raised:
        async with api.request("GET", "/voices", private=["My name is Mary Harrington."]):
            pass
    assert "Harrington" not in str(raised.value)
    await api.close()


async def test_no_message_shows_a_password_of_the_address():
    async with Service().serving() as service:
        gone = service.base_url.replace("://", "://user:secret@")
    api = Api("Voices Ltd", gone)
    with pytest.raises(EngineError) as raised:
        await api.get_json("/voices")
    assert "secret" not in str(raised.value)
    await api.close()


async def test_a_redirect_is_not_followed_with_the_key_and_says_where_it_leads(service, api):
    async with Voices().serving() as other:
        service.answer = web.Response(status=307, headers={"Location": f"{other.base_url}/v2/voices?signed=1"})
        with pytest.raises(EngineError, match=rf"{other.base_url}/v2/voices, which.*option base_url") as raised:
            await api.get_json("/voices")
        assert raised.value.permanent
        assert other.requests == []
