"""Which hosts the server answers to, and what it says of the others."""

import logging

import pytest

from calls import hosts
from calls.hosts import LOG_AGAIN, RefusedHosts
from calls.services import readiness

STRANGE = ["10.0.0.5:8100", "platform.internal", "a_b", "x" * 300, "evil\u2028.example", "[", ""]


@pytest.fixture(autouse=True)
def refused(settings, monkeypatch):
    settings.ALLOWED_HOSTS = ["phone.example.com"]
    monkeypatch.setattr(hosts, "_refused", RefusedHosts())


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


def test_a_flood_of_refused_hosts_is_one_line_in_a_while_with_their_number(caplog):
    refused = RefusedHosts()
    for count in range(1000):
        refused.note(f"host-{count}.example", now=count / 1000)
    assert [record.getMessage().split("'")[1] for record in caplog.records] == ["host-0.example"]
    refused.note("last.example", now=LOG_AGAIN)
    assert "'last.example', and 999 requests for it or other hosts" in caplog.records[-1].getMessage()
    refused.note("next.example", now=2 * LOG_AGAIN)
    assert "'next.example'. Add its name" in caplog.records[-1].getMessage()
