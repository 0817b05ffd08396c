"""Watching a call: what happens comes as it happens, once, and can be taken up again."""

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
from calls.services import facts, record_fact, record_status
from tests.calls.api.conftest import START

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def _soon(monkeypatch):
    monkeypatch.setattr(streams, "POLL_INTERVAL", 0.01)
    yield
    # The thread of the views keeps a connection, which PostgreSQL minds when the database is dropped.
    await sync_to_async(connections.close_all)()
    await asyncio.wrap_future(streams._reader.submit(connections.close_all))


class Watcher:
    """A client that reads a stream message by message."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def opens(self, call: Call, last: str = "", accept: str = "text/event-stream"):
        headers = {"Authorization": f"Bearer {self._secret}", "Accept": accept}
        if last:
            headers["Last-Event-ID"] = last
        response = await AsyncClient().get(f"/api/calls/{call.pk}/events/", headers=headers)
        if response.streaming:
            self._body: AsyncIterator[bytes] = aiter(response)
        self.response = response
        return response

    async def hears(self) -> dict[str, str] | None:
        """The next message with an event; ``None`` at the end."""
        async for part in self._body:
            fields = dict(line.split(": ", 1) for line in part.decode().strip().splitlines())
            if "event" in fields:
                return fields
        return None

    async def hears_all(self) -> list[dict[str, str]]:
        found = []
        while (message := await self.hears()) is not None:
            found.append(message)
        return found

    async def leaves(self) -> None:
        await self._body.aclose()
        await sync_to_async(self.response.close)()


@pytest.fixture
async def watcher(key):
    async with asyncio.timeout(20):
        yield Watcher(key[1])
    assert not streams._open


def types(messages: list[dict[str, str]]) -> list[str]:
    return [message["event"] for message in messages]


def data(message: dict[str, str]) -> dict:
    return json.loads(message["data"])


async def test_the_course_of_a_call_that_is_over(watcher, talked):
    response = await watcher.opens(talked)
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")
    assert response["Cache-Control"] == "no-cache"
    messages = await watcher.hears_all()
    await watcher.leaves()
    assert types(messages) == [
        *("event", "event", "turn", "event", "turn", "turn"),
        *("attempt", "attempt", "status", "end"),
    ]
    assert len({message["id"] for message in messages}) == len(messages)
    assert data(messages[-1])["data"] == {"status": "completed", "end_reason": "caller-hung-up", "duration": 20.0}


async def test_what_happens_comes_as_it_happens(watcher, make_call):
    call = await sync_to_async(make_call)(status="ringing", attempts_made=0, streams=1, record=False)
    await watcher.opens(call)
    first = await watcher.hears()
    assert (first["event"], data(first)["data"]["status"]) == ("status", "ringing")

    now = timezone.now()
    await sync_to_async(record_fact)(facts.EventNoted(call_id=call.pk, kind="key", at=now, data={"key": "5"}))
    message = await watcher.hears()
    assert (message["event"], data(message)["data"]["kind"]) == ("event", "key")

    turn = facts.TurnEnded(call_id=call.pk, number=1, speaker="caller", said="Hello?", heard="Hello?", started_at=now)
    await sync_to_async(record_fact)(turn)
    message = await watcher.hears()
    assert (message["event"], data(message)["data"]["heard"]) == ("turn", "Hello?")

    await sync_to_async(record_status)(sid=call.sid, status="in-progress")
    assert types([await watcher.hears(), await watcher.hears()]) == ["event", "status"]

    await sync_to_async(record_status)(sid=call.sid, status="completed")
    assert types([await watcher.hears(), await watcher.hears()]) == ["event", "status"]
    # The books are closed only when the stream's last facts are written.
    await sync_to_async(CallEvent.objects.create)(call=call, kind="stream-ended", at=now, fact_id="3")
    assert types(await watcher.hears_all()) == ["event", "end"]
    await watcher.leaves()


async def test_a_client_that_comes_again_goes_on_where_it_was(watcher, talked):
    await watcher.opens(talked)
    everything = await watcher.hears_all()
    await watcher.leaves()
    for heard in range(len(everything) - 1):
        await watcher.opens(talked, last=everything[heard]["id"])
        assert await watcher.hears_all() == everything[heard + 1 :]
        await watcher.leaves()
    assert (await watcher.opens(talked, last=everything[-1]["id"])).status_code == 204


@pytest.mark.parametrize("last", ["nonsense", "e1.t1", "e99999999999999999999.t1.a1-x.s1-x"])
async def test_a_last_id_of_somebody_else_begins_at_the_beginning(watcher, talked, last):
    await watcher.opens(talked, last=last)
    assert len(await watcher.hears_all()) == 10
    await watcher.leaves()


async def test_a_row_that_becomes_visible_late_is_not_lost(watcher, make_call):
    """Rows are numbered before they are committed: number 7 may be seen before number 6."""
    call = await sync_to_async(make_call)(status="in-progress")
    await watcher.opens(call)
    assert (await watcher.hears())["event"] == "status"
    for number in (7_000_000, 6_000_000):
        await sync_to_async(Turn.objects.create)(
            pk=number, call=call, number=1, speaker="caller", started_at=START, fact_id=str(number)
        )
        assert data(await watcher.hears())["id"] == f"turn-{number}"
    await watcher.leaves()


async def test_a_call_whose_last_facts_never_come_ends_all_the_same(watcher, talked):
    def lost():
        CallEvent.objects.filter(kind="stream-ended").delete()
        Call.objects.update(ended_at=timezone.now() - timedelta(seconds=timeline.SETTLE_TIME + 1))

    await sync_to_async(lost)()
    await watcher.opens(talked)
    assert types(await watcher.hears_all())[-1] == "end"
    await watcher.leaves()


async def test_a_quiet_call_has_a_heartbeat(watcher, make_call, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_INTERVAL", 0.0)
    await watcher.opens(await sync_to_async(make_call)(status="in-progress"))
    await watcher.hears()
    assert await anext(watcher._body) == b": still here\n\n"
    await watcher.leaves()


async def test_a_stream_ends_when_it_is_old(watcher, make_call, monkeypatch):
    monkeypatch.setattr(streams, "MAX_AGE", 0.05)
    await watcher.opens(await sync_to_async(make_call)(status="in-progress"))
    assert types(await watcher.hears_all()) == ["status"]
    await watcher.leaves()


async def test_a_call_that_is_deleted_ends_its_streams(watcher, make_call):
    call = await sync_to_async(make_call)(status="in-progress")
    await watcher.opens(call)
    await watcher.hears()
    await sync_to_async(call.delete)()
    assert await watcher.hears() is None
    await watcher.leaves()


async def test_the_streams_of_a_process_are_counted(watcher, key, make_call, monkeypatch):
    monkeypatch.setattr(streams, "MAX_STREAMS", 1)
    call = await sync_to_async(make_call)(status="in-progress")
    await watcher.opens(call)
    late = Watcher(key[1])
    response = await late.opens(call)
    assert (response.status_code, response.json()["code"]) == (503, "too-many-streams")
    assert int(response["Retry-After"]) > 0
    await watcher.leaves()
    assert (await late.opens(call)).status_code == 200
    await late.leaves()


async def test_a_stream_outlives_an_absence_of_the_database(watcher, make_call, monkeypatch, caplog):
    call = await sync_to_async(make_call)(status="in-progress")
    await watcher.opens(call)
    await watcher.hears()
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def unavailable(*_):
        loop.call_soon_threadsafe(failed.set)
        raise OperationalError("connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(streams.EventStream, "_new_messages", unavailable)
        waiting = asyncio.create_task(watcher.hears())
        await failed.wait()
    await sync_to_async(CallEvent.objects.create)(call=call, kind="key", at=START, fact_id="1")
    assert (await waiting)["event"] == "event"
    assert "The database is unavailable" in caplog.text
    await watcher.leaves()


async def test_between_its_questions_a_stream_holds_no_connection(watcher, make_call):
    await watcher.opens(await sync_to_async(make_call)(status="in-progress"))
    await watcher.hears()

    def is_closed() -> bool:
        return connections["default"].connection is None

    assert await asyncio.wrap_future(streams._reader.submit(is_closed))
    await watcher.leaves()


async def test_without_a_key_there_is_no_stream(make_call):
    call = await sync_to_async(make_call)(status="in-progress")
    response = await Watcher("cc_nonsense").opens(call)
    assert (response.status_code, response["Content-Type"]) == (401, "application/problem+json")


async def test_json_tells_what_there_is(watcher, talked):
    response = await watcher.opens(talked, accept="application/json")
    body = response.json()
    assert body["over"] is True
    assert [item["id"].partition("-")[0] for item in body["results"]][-2:] == ["status", "end"]
    assert len(body["results"]) == 10


def test_a_server_that_cannot_wait_gives_what_there_is(api, make_call):
    response = api.get(f"/api/calls/{make_call(status='in-progress').pk}/events/", HTTP_ACCEPT="text/event-stream")
    assert response.status_code == 200
    assert b"event: status" in response.content
