"""Event streams: a client gets what happens to a call when it happens, once, and can reconnect."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.test import AsyncClient
from django.utils import timezone

from calls.api import streams, timeline
from calls.models import Call, CallEvent, Turn
from calls.services import draining, facts, record_fact
from calls.services.reports import record_status
from tests.calls.api.conftest import START

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def _fast_reads(monkeypatch):
    monkeypatch.setattr(streams, "POLL_INTERVAL", 0.01)
    yield
    # PostgreSQL cannot drop the test database while the threads of the views and of the streams have a connection.
    await sync_to_async(connections.close_all)()
    await asyncio.wrap_future(streams._reader.submit(connections.close_all))


class Watcher:
    """A client that opens streams and reads them message by message."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def open(self, call: Call, last: str = "", accept: str = "text/event-stream"):
        headers = {"Authorization": f"Bearer {self._secret}", "Accept": accept}
        if last:
            headers["Last-Event-ID"] = last
        response = await AsyncClient().get(f"/api/calls/{call.pk}/events/", headers=headers)
        if response.streaming:
            self._body: AsyncIterator[bytes] = aiter(response)
        self.response = response
        return response

    async def read(self) -> dict[str, str] | None:
        """Return the next message that has an event, or ``None`` at the end of the stream."""
        async for part in self._body:
            fields = dict(line.split(": ", 1) for line in part.decode().strip().splitlines())
            if "event" in fields:
                return fields
        return None

    async def read_all(self) -> list[dict[str, str]]:
        found = []
        while (message := await self.read()) is not None:
            found.append(message)
        return found

    async def disconnect(self) -> None:
        await self._body.aclose()
        await sync_to_async(self.response.close)()


@pytest.fixture
async def watcher(key):
    async with asyncio.timeout(60):
        yield Watcher(key[1])
    assert not streams._open


def types(messages: list[dict[str, str]]) -> list[str]:
    return [message["event"] for message in messages]


def data(message: dict[str, str]) -> dict:
    return json.loads(message["data"])


async def test_the_stream_of_an_ended_call_has_its_whole_timeline(watcher, talked):
    response = await watcher.open(talked)
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")
    assert response["Cache-Control"] == "no-cache"
    messages = await watcher.read_all()
    await watcher.disconnect()
    assert types(messages) == [
        *("event", "event", "turn", "event", "turn", "turn"),
        *("attempt", "attempt", "status", "end"),
    ]
    assert len({message["id"] for message in messages}) == len(messages)
    assert data(messages[-1])["data"] == {"status": "completed", "end_reason": "caller-hung-up", "duration": 20.0}


async def test_a_stream_sends_what_happens_when_it_happens(watcher, make_call):
    call = await sync_to_async(make_call)(status="ringing", attempts_made=0, streams=1, record=False)
    await watcher.open(call)
    first = await watcher.read()
    assert (first["event"], data(first)["data"]["status"]) == ("status", "ringing")

    now = timezone.now()
    await sync_to_async(record_fact)(facts.EventNoted(call_id=call.pk, kind="key", at=now, data={"key": "5"}))
    message = await watcher.read()
    assert (message["event"], data(message)["data"]["kind"]) == ("event", "key")

    turn = facts.TurnEnded(call_id=call.pk, number=1, speaker="caller", said="Hello?", heard="Hello?", started_at=now)
    await sync_to_async(record_fact)(turn)
    message = await watcher.read()
    assert (message["event"], data(message)["data"]["heard"]) == ("turn", "Hello?")

    await sync_to_async(record_status)(sid=call.sid, status="in-progress")
    assert types([await watcher.read(), await watcher.read()]) == ["event", "status"]

    await sync_to_async(record_status)(sid=call.sid, status="completed")
    assert types([await watcher.read(), await watcher.read()]) == ["event", "status"]
    # The timeline ends only when the last facts of the media stream are written.
    await sync_to_async(CallEvent.objects.create)(call=call, kind="stream-ended", at=now, fact_id="3")
    assert types(await watcher.read_all()) == ["event", "end"]
    await watcher.disconnect()


async def test_a_client_that_reconnects_continues_after_the_last_message(watcher, talked):
    await watcher.open(talked)
    everything = await watcher.read_all()
    await watcher.disconnect()
    for index in range(len(everything) - 1):
        await watcher.open(talked, last=everything[index]["id"])
        assert await watcher.read_all() == everything[index + 1 :]
        await watcher.disconnect()
    assert (await watcher.open(talked, last=everything[-1]["id"])).status_code == 204


@pytest.mark.parametrize("last", ["nonsense", "e1.t1", "e99999999999999999999.t1.a1-x.s1-x"])
async def test_with_an_invalid_last_id_the_stream_starts_at_the_beginning(watcher, talked, last):
    await watcher.open(talked, last=last)
    assert len(await watcher.read_all()) == 10
    await watcher.disconnect()


async def test_a_row_that_becomes_visible_late_is_sent(watcher, make_call):
    """Rows are numbered before they are committed: number 7 may be seen before number 6."""
    call = await sync_to_async(make_call)(status="in-progress")
    await watcher.open(call)
    assert (await watcher.read())["event"] == "status"
    for number in (7_000_000, 6_000_000):
        await sync_to_async(Turn.objects.create)(
            pk=number, call=call, number=1, speaker="caller", started_at=START, fact_id=str(number)
        )
        assert data(await watcher.read())["id"] == f"turn-{number}"
    await watcher.disconnect()


async def test_the_stream_of_a_call_ends_even_if_its_last_facts_never_arrive(watcher, talked):
    def lose_last_facts():
        CallEvent.objects.filter(kind="stream-ended").delete()
        Call.objects.update(ended_at=timezone.now() - timedelta(seconds=timeline.SETTLE_TIME + 1))

    await sync_to_async(lose_last_facts)()
    await watcher.open(talked)
    assert types(await watcher.read_all())[-1] == "end"
    await watcher.disconnect()


async def test_a_silent_stream_sends_a_heartbeat(watcher, make_call, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_INTERVAL", 0.0)
    await watcher.open(await sync_to_async(make_call)(status="in-progress"))
    await watcher.read()
    assert await anext(watcher._body) == b": still here\n\n"
    await watcher.disconnect()


async def test_a_stream_ends_at_its_maximum_age(watcher, make_call, monkeypatch):
    await watcher.open(await sync_to_async(make_call)(status="in-progress"))
    assert (await watcher.read())["event"] == "status"
    monkeypatch.setattr(streams, "MAX_AGE", 0.0)
    assert await watcher.read_all() == []
    await watcher.disconnect()


async def test_deleting_a_call_ends_its_streams(watcher, make_call):
    call = await sync_to_async(make_call)(status="in-progress")
    await watcher.open(call)
    await watcher.read()
    await sync_to_async(call.delete)()
    assert await watcher.read() is None
    await watcher.disconnect()


@pytest.mark.parametrize("limit", ["MAX_STREAMS", "MAX_STREAMS_PER_CLIENT"])
async def test_the_number_of_streams_is_limited(watcher, key, make_call, monkeypatch, limit):
    monkeypatch.setattr(streams, limit, 1)
    call = await sync_to_async(make_call)(status="in-progress")
    await watcher.open(call)
    second = Watcher(key[1])
    response = await second.open(call)
    assert (response.status_code, response.json()["code"]) == (503, "too-many-streams")
    assert int(response["Retry-After"]) > 0
    await watcher.disconnect()
    assert (await second.open(call)).status_code == 200
    await second.disconnect()


async def test_streams_end_when_their_process_drains(watcher, make_call):
    """Their clients then connect to another process."""
    call = await sync_to_async(make_call)(status="in-progress")
    await watcher.open(call)
    await watcher.read()
    draining.begin()
    try:
        assert await watcher.read() is None
        await watcher.disconnect()
        assert not (await watcher.open(call)).streaming
    finally:
        draining.reset()


async def test_head_opens_no_stream_and_takes_the_place_of_none(watcher, key, make_call, monkeypatch):
    monkeypatch.setattr(streams, "MAX_STREAMS", 1)
    call = await sync_to_async(make_call)(status="in-progress")
    headers = {"Authorization": f"Bearer {key[1]}", "Accept": "text/event-stream"}
    for _ in range(3):
        response = await AsyncClient().head(f"/api/calls/{call.pk}/events/", headers=headers)
        assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")
        assert not response.streaming
        assert not streams._open
    assert (await watcher.open(call)).streaming
    await watcher.disconnect()


async def test_a_stream_survives_an_outage_of_the_database(watcher, make_call, monkeypatch, caplog):
    call = await sync_to_async(make_call)(status="in-progress")
    await watcher.open(call)
    await watcher.read()
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def unavailable(*_):
        loop.call_soon_threadsafe(failed.set)
        raise OperationalError("connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(streams.EventStream, "_new_messages", unavailable)
        waiting = asyncio.create_task(watcher.read())
        await failed.wait()
    await sync_to_async(CallEvent.objects.create)(call=call, kind="key", at=START, fact_id="1")
    assert (await waiting)["event"] == "event"
    assert "The database is unavailable" in caplog.text
    await watcher.disconnect()


async def test_a_stream_has_no_database_connection_between_two_reads(watcher, make_call):
    await watcher.open(await sync_to_async(make_call)(status="in-progress"))
    await watcher.read()

    def is_closed() -> bool:
        return connections["default"].connection is None

    assert await asyncio.wrap_future(streams._reader.submit(is_closed))
    await watcher.disconnect()


async def test_a_stream_needs_a_key(make_call):
    call = await sync_to_async(make_call)(status="in-progress")
    response = await Watcher("cc_nonsense").open(call)
    assert (response.status_code, response["Content-Type"]) == (401, "application/problem+json")


async def test_as_json_the_timeline_so_far_is_returned(watcher, talked):
    response = await watcher.open(talked, accept="application/json")
    body = response.json()
    assert body["over"] is True
    assert [item["id"].partition("-")[0] for item in body["results"]][-2:] == ["status", "end"]
    assert len(body["results"]) == 10


def test_a_wsgi_server_returns_the_timeline_so_far(api, make_call):
    response = api.get(f"/api/calls/{make_call(status='in-progress').pk}/events/", HTTP_ACCEPT="text/event-stream")
    assert response.status_code == 200
    assert b"event: status" in response.content
