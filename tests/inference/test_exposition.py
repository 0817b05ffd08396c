"""A process answers Prometheus at a port of its own, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference import exposition
from inference.loop_lag import watch_loop
from tests.metric_values import counting
from tests.real_services import reserve_port

BUILD = {"role": "worker", "version": "1.2.3", "revision": "", "profile": "scripted"}


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return answer.read().decode()


def serve(port: int) -> None:
    exposition.serve_metrics(host="127.0.0.1", port=port, **BUILD)


def test_a_process_says_what_it_is():
    port = reserve_port()
    serve(port)
    build = 'clientcaller_build_info{profile="scripted",revision="unknown",role="worker",version="1.2.3"} 1.0'
    assert build in scrape(port)


def test_without_a_port_nothing_listens(monkeypatch):
    monkeypatch.setattr(exposition, "_listen", lambda host, port: pytest.fail("it listens"))
    serve(0)


def test_a_port_that_is_taken_is_tried_again_and_stops_nothing(monkeypatch, caplog):
    monkeypatch.setattr(exposition, "BUSY_PORT_RETRY", 0.01)
    listening = threading.Event()
    listen = exposition._listen
    monkeypatch.setattr(exposition, "_listen", lambda host, port: (listen(host, port), listening.set()))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        serve(port)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert "METRICS_PORT" in caplog.text
    assert listening.wait(60)
    assert "clientcaller_build_info" in scrape(port)


class Slow(Collector):
    """A collector that takes as long as the test wants."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def collect(self) -> Iterator[Metric]:
        self.begun.set()
        assert self.may_end.wait(60)
        yield GaugeMetricFamily("slow", "It took long.", 1)


async def test_the_event_loop_goes_on_while_a_scrape_takes_long():
    port = reserve_port()
    serve(port)
    slow = Slow()
    slow.may_end.set()
    REGISTRY.register(slow)
    slow.begun.clear()
    slow.may_end.clear()
    try:
        scraping = asyncio.ensure_future(asyncio.to_thread(scrape, port))
        await asyncio.to_thread(slow.begun.wait, 60)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not scraping.done()
        slow.may_end.set()
        assert "slow 1.0" in await scraping
    finally:
        REGISTRY.unregister(slow)


async def test_a_loop_that_is_held_up_is_measured():
    late = counting("clientcaller_event_loop_lag_seconds_sum")
    looks = counting("clientcaller_event_loop_lag_seconds_count")
    watching = asyncio.ensure_future(watch_loop())
    await asyncio.sleep(0)
    threading.Event().wait(0.3)  # a blocking call, as a mistake would make one
    async with asyncio.timeout(60):
        while not looks():  # noqa: ASYNC110 (there is no event for it)
            await asyncio.sleep(0.01)
    watching.cancel()
    assert late() >= 0.15
