"""Fixtures of the tests of calls: our account at Twilio, and calls as Twilio has them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from calls import services
from tests.calls.twilio_double import ACCOUNT_SID, AUTH_TOKEN, BASE_URL, Twilio, token_in


@pytest.fixture(autouse=True)
def _our_account(settings: Any) -> None:
    settings.TWILIO_ACCOUNT_SID = ACCOUNT_SID
    settings.TWILIO_AUTH_TOKENS = [AUTH_TOKEN]
    settings.PUBLIC_BASE_URL = BASE_URL
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.MAX_LIVE_CALLS = 3
    settings.STREAM_TOKEN_TTL = 30.0


@pytest.fixture
def twilio(client: Client) -> Twilio:
    """One call as Twilio has it."""
    return Twilio(client)


@pytest.fixture
def new_call(client: Client) -> Callable[[], Twilio]:
    return lambda: Twilio(client)


@pytest.fixture
def connected(twilio: Twilio, db: None) -> services.StreamClaim:
    """A call whose first stream has opened."""
    claim = services.claim_stream(token=token_in(twilio.rings()), process="web-1")
    assert claim is not None
    return claim
