"""The thread that delivers webhooks, and what wakes and stops it."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery.signals import worker_shutting_down
from django.db import OperationalError

from calls import tasks
from calls.models import Agent, Call, WebhookDelivery
from calls.services import webhook_sender
from calls.services.webhook_delivery import Deliverer
from calls.services.webhook_sender import Sender
from calls.services.webhooks import make_endpoint

SOON = 30.0
"""Seconds in which a thread of a busy machine certainly gets its turn."""


class Receivers:
    """Answer at once with 204, but those at ``slow`` hosts only after ``release`` is set."""

    def __init__(self) -> None:
        self.begun = {"slow": threading.Event(), "quick": threading.Event()}
        self.release = threading.Event()

    async def __call__(self, url: str, *_: Any) -> int:
        host = url.split("/")[2].split(".")[0]
        self.begun[host].set()
        if host == "slow":
            await asyncio.to_thread(self.release.wait, SOON)
        return 204


@pytest.fixture
def receivers() -> Receivers:
    return Receivers()


@pytest.fixture
def sender(receivers) -> Iterator[Sender]:
    sender = Sender(Deliverer(receivers))
    yield sender
    receivers.release.set()
    sender.stop()
    sender.join()


@pytest.fixture
def announce(transactional_db):
    """Writes an event for the endpoint of a host."""
    agent = Agent.objects.get_or_create(name="front-desk")[0]
    call = Call.objects.create(direction="inbound", agent=agent)
    endpoints = {host: make_endpoint(url=f"https://{host}.example.com/") for host in ("slow", "quick")}

    def announce(host: str) -> WebhookDelivery:
        return WebhookDelivery.objects.create(endpoint=endpoints[host], call=call, event="call.ringing", payload={})

    return announce


def statuses() -> list[str]:
    return list(WebhookDelivery.objects.order_by("created_at").values_list("status", flat=True))


def test_a_receiver_that_hangs_delays_no_event_that_comes_meanwhile(sender, receivers, announce):
    announce("slow")
    sender.wake()
    assert receivers.begun["slow"].wait(SOON)
    announce("quick")
    sender.wake()
    assert receivers.begun["quick"].wait(SOON)  # while the other one still hangs
    receivers.release.set()
    sender.join()
    assert statuses() == ["delivered", "delivered"]


def test_a_sender_that_stops_ends_what_it_has_begun_and_begins_nothing_more(sender, receivers, announce):
    announce("slow")
    sender.wake()
    assert receivers.begun["slow"].wait(SOON)
    announce("quick")
    sender.stop()
    sender.wake()
    receivers.release.set()
    sender.join()
    assert statuses() == ["delivered", "waiting"]


@pytest.mark.parametrize(
    ("error", "line"),
    [(OperationalError("connection refused"), "the database is unavailable"), (RuntimeError("a bug"), "a bug")],
)
def test_a_run_that_fails_is_logged_and_the_next_wake_up_begins_anew(error, line, caplog):
    class Failing(Deliverer):
        runs = 0

        def run(self):
            self.runs += 1
            raise error

    failing = Failing()
    sender = Sender(failing)
    for runs in (1, 2):
        with caplog.at_level(logging.WARNING):
            sender.wake()
            sender.join()
        assert failing.runs == runs
    assert line in caplog.text


def test_a_wake_up_without_a_thread_to_start_leaves_the_next_one_its_chance(monkeypatch):
    class Counting(Deliverer):
        runs = 0

        def run(self):
            self.runs += 1

    def start(_):
        raise RuntimeError("can't start new thread")

    counting = Counting()
    sender = Sender(counting)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError):
            sender.wake()
    sender.wake()
    sender.join()
    assert counting.runs == 1


def test_the_task_only_wakes_the_sender_and_a_worker_that_ends_stops_it(monkeypatch):
    done = []
    monkeypatch.setattr(webhook_sender.sender, "wake", lambda: done.append("woken"))
    monkeypatch.setattr(webhook_sender.sender, "stop", lambda: done.append("stopped"))
    tasks.deliver_webhooks()
    worker_shutting_down.send(sender="celery@host", sig="SIGTERM", how="Warm", exitcode=0)
    assert done == ["woken", "stopped"]
