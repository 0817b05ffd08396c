"""Addresses that are made from what an operator wrote."""

from __future__ import annotations

import pytest

from inference.hosted.addresses import http_url, websocket_url


@pytest.mark.parametrize(
    ("written", "http", "websocket"),
    [
        ("https://api.example.com/", "https://api.example.com", "wss://api.example.com"),
        ("ws://127.0.0.1:80", "http://127.0.0.1:80", "ws://127.0.0.1:80"),
        (" API.example.com ", "https://API.example.com", "wss://API.example.com"),
    ],
)
def test_an_address_serves_requests_and_sockets(written, http, websocket):
    assert http_url(written) == http
    assert websocket_url(written) == websocket


def test_the_values_of_a_query_may_be_those_of_json():
    query = {"model": "a b", "redact": ["pci", "ssn"], "mip_opt_out": True, "numerals": False, "rate": 8000, "no": None}
    assert websocket_url("x.io", "/v1", query.items()) == (
        "wss://x.io/v1?model=a%20b&redact=pci&redact=ssn&mip_opt_out=true&numerals=false&rate=8000"
    )
