"""Which hosts the server answers to, and what it says of the others."""

import logging

import pytest

from calls import hosts
from calls.seldom import Seldom
from calls.services import readiness

STRANGE = ["10.0.0.5:8100", "platform.internal", "a_b", "x" * 300, "evil\u2028.example", "[", ""]


@pytest.fixture(autouse=True)
def refused(settings, monkeypatch):
    settings.ALLOWED_HOSTS = ["phone.example.com"]
    monkeypatch.setattr(hosts, "_refused", Seldom(hosts.logger, lines=1))


@pytest.fixture
def ready(monkeypatch, db):
    monkeypatch.setattr(readiness, "_checks", [])


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("host", STRANGE)
@pytest.mark.parametrize("path", ["/healthz", "/healthz/", "/readyz", "/readyz/"])
def test_probes_are_answered_whatever_their_host(client, ready, caplog, path, host, method):
    response = getattr(client, method)(path, HTTP_HOST=host)
    assert (response.status_code, bool(response.content)) == (200, method == "get")
    assert caplog.text == ""


@pytest.mark.parametrize("host", ["10.0.0.5:8100", "evil.example", "[", "phone.example.com.evil.example"])
@pytest.mark.parametrize("path", ["/", "/admin/", "/api/calls/", "/twilio/voice", "/healthzz", "//healthz"])
def test_other_addresses_are_refused_at_a_host_that_is_not_allowed(client, path, host):
    assert client.get(path, HTTP_HOST=host).status_code == 400


def test_a_refused_host_is_logged_with_what_to_set_and_is_printable(client, caplog):
    client.get("/admin/", HTTP_HOST="evil.example\r\n\x1b[31mERROR all is lost" + "x" * 300)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "'evil.example\\r\\n\\x1b[31mERROR all is lostxxx" in record.getMessage()
    assert "ALLOWED_HOSTS" in record.getMessage()
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 300
    client.get("/admin/", HTTP_HOST="other.example")
    assert len(caplog.records) == 1
