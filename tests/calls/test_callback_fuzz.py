"""Random requests to the callbacks: none is answered with a 5xx, and only one that Twilio has signed changes a row."""

from collections import Counter

import pytest
from asgiref.sync import sync_to_async

from calls import waking
from calls.models import CallEvent
from clientcaller.web.handler import Handler
from tests.calls.odd_requests import fingerprint, make_calls_and_requests, send_to
from tests.thorough import size

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = size(400, 1000)
"""Requests for each seed: enough for every kind of forgery some forty times, or some hundred, in a second or two."""


@pytest.fixture
def odd_requests(settings, monkeypatch, request):
    """Random requests by the seed that the test names, and the calls that some of them are about."""
    monkeypatch.setattr(waking, "_send", lambda *_: None)
    settings.ALLOWED_HOSTS = ["phone.example.com"]
    settings.CALLING_HOURS = {"*": "00:00-24:00"}
    settings.CALLS_PER_SECOND = 100.0
    settings.MAX_LIVE_CALLS = settings.OUTBOUND_MAX_CALLS = 20
    settings.TWILIO_PHONE_NUMBER = "+15005550006"
    return make_calls_and_requests(seed=request.param)


@pytest.mark.parametrize("odd_requests", [1], indirect=True)
async def test_without_a_valid_signature_nothing_changes(odd_requests):
    application, answers = Handler(), Counter()
    before = await sync_to_async(fingerprint)()
    for _ in range(COUNT):
        request = odd_requests.forged()
        status = await send_to(application, request)
        assert status in (400, 403, 404, 405), request
        answers[status] += 1
    assert await sync_to_async(fingerprint)() == before
    assert answers[403] > COUNT / 2


@pytest.mark.parametrize("odd_requests", [2, 3], indirect=True)
async def test_every_signed_request_is_answered(odd_requests):
    application, answers = Handler(), Counter()
    before = await sync_to_async(CallEvent.objects.count)()
    for _ in range(COUNT // 2):
        request = odd_requests.signed()
        status = await send_to(application, request)
        assert status in (200, 204, 403), request
        answers[status] += 1
    # If most were refused, this would test the signature only.
    assert answers[200] + answers[204] > 0.8 * COUNT / 2
    assert await sync_to_async(CallEvent.objects.count)() > before + COUNT / 20
