"""Fixtures of the tests of calls: our account at Twilio, and calls as Twilio has them."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from calls import services
from calls.services import webhook_hosts
from tests.calls.twilio_double import ACCOUNT_SID, AUTH_TOKEN, BASE_URL, Twilio, token_in


@pytest.fixture(autouse=True)
def _our_account(settings: Any) -> None:
    settings.TWILIO_ACCOUNT_SID = ACCOUNT_SID
    settings.TWILIO_AUTH_TOKENS = [AUTH_TOKEN]
    settings.PUBLIC_BASE_URL = BASE_URL
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.MAX_LIVE_CALLS = 3
    settings.STREAM_TOKEN_TTL = 30.0


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """
    The addresses of names, without a name server. The names below ``example.com`` have an address on the internet
    unless a test gives them others; no other names exist.
    """
    known: dict[str, list[str]] = {}
    find = webhook_hosts.find_addresses

    def find_addresses(host: str, port: int, family: int = socket.AF_UNSPEC) -> Any:
        if f".{host}".endswith(".example.com"):
            known.setdefault(host, ["93.184.215.14"])
        if host in known:
            return [entry for address in known[host] for entry in find(address, port, family)]
        if host[0].isalpha() and ":" not in host and host.rstrip(".") != "localhost":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return find(host, port, family)

    monkeypatch.setattr(webhook_hosts, "find_addresses", find_addresses)
    return known


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
