"""
The course of a call as it happens: server-sent events, read from the database twice a second.

Any process can serve any call, and none holds a connection to the database while nothing happens: all streams of a
process ask at the same instants, one after the other on one connection, which is closed when the last has asked.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from weakref import WeakSet

from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, InterfaceError, connections
from django.db.models import Count
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.renderers import BaseRenderer

from calls.api.problems import Problem
from calls.api.timeline import Cursor, Item, timeline
from calls.models import Call
from calls.status import TERMINAL

logger = logging.getLogger(__name__)

POLL = 0.5
HEARTBEAT = 15.0
OLDEST = 3600.0
"""Seconds after which a stream ends; clients come again by themselves and miss nothing."""
MOST_STREAMS = 100
"""Of one process."""
RETRY_AFTER = 10

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStreamRenderer(BaseRenderer):
    """Lets REST framework know that this can be had."""

    media_type = "text/event-stream"
    format = "sse"
    charset = None


# --- Streaming ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class EventStream:
    """The messages of one client, as an async iterable. ``close`` gives its place back."""

    call_id: UUID
    cursor: Cursor
    sent: set[str] = field(default_factory=set)
    _seen: tuple[Any, ...] = ()

    def close(self) -> None:
        _open.discard(self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        began = spoken = time.monotonic()
        yield b"retry: 2000\n\n"
        while not self.cursor.over and time.monotonic() - began < OLDEST:
            messages = await _ask(self._news)
            if messages is None:
                return
            for message in messages:
                yield message
                spoken = time.monotonic()
            if time.monotonic() - spoken >= HEARTBEAT:
                yield b": still here\n\n"
                spoken = time.monotonic()
            if not self.cursor.over:
                # All streams at the same instants: then one connection serves them all.
                await asyncio.sleep(POLL - time.monotonic() % POLL)

    def all_at_once(self) -> bytes:
        """What there is now, for servers that cannot keep a connection open: clients then ask again."""
        return b"retry: 2000\n\n" + b"".join(self._news() or ())

    def _news(self) -> list[bytes] | None:
        """What has not been sent yet; ``None`` if the call is no more."""
        call = (
            Call.objects.select_related("agent")
            .annotate(turn_count=Count("turns", distinct=True), event_count=Count("events", distinct=True))
            .filter(pk=self.call_id)
            .first()
        )
        if call is None:
            return None
        attempts = tuple(call.attempts.values_list("number", "status"))
        seen = (call.status, call.attempts_made, call.recording.name, call.turn_count, call.event_count, attempts)
        if seen == self._seen and call.status not in TERMINAL:
            return []
        self._seen = seen
        return list(self._messages(timeline(call)[0]))

    def _messages(self, items: list[Item]) -> Iterator[bytes]:
        # Rows may become visible in another order than they are counted in: within one stream, what was sent is known
        # by name, and the cursor is for those who come again.
        heard = {item.id for item in items if self.cursor.has(item)} if not self.sent else self.sent
        self.sent |= heard
        for item in items:
            if item.id not in self.sent:
                self.sent.add(item.id)
                self.cursor.pass_by(item)
                data = _json(item.as_dict())
                yield f"event: {item.type}\nid: {self.cursor}\ndata: {data}\n\n".encode()


def stream(call: Call, *, last_event_id: str, can_wait: bool) -> HttpResponseBase:
    """Everything of the call from ``last_event_id`` on; ``can_wait``: and what is still to come."""
    cursor = Cursor.read(last_event_id)
    if cursor.over:
        # To a browser's EventSource this says that there is no need to come again.
        return HttpResponse(status=204)
    events = EventStream(call.pk, cursor)
    if not can_wait:
        return HttpResponse(events.all_at_once(), content_type="text/event-stream", headers=_HEADERS)
    if len(_open) >= MOST_STREAMS:
        text = f"{MOST_STREAMS} event streams are open already. Try again in {RETRY_AFTER} s."
        raise Problem(503, "too-many-streams", text, headers={"Retry-After": str(RETRY_AFTER)})
    _open.add(events)
    _let_go()
    return StreamingHttpResponse(events, content_type="text/event-stream", headers=_HEADERS)


_open: WeakSet[EventStream] = WeakSet()
"""Weak, because a client that leaves at once takes its stream along before anybody could close it."""


# --- The database, from a thread ---------------------------------------------------------------------------

_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-streams")
_waiting = 0
_count_lock = threading.Lock()


async def _ask(news: Callable[[], list[bytes] | None]) -> list[bytes] | None:
    """Run ``news`` in the one thread that reads for all streams. While the database is away, there are none."""
    global _waiting
    with _count_lock:
        _waiting += 1
    # Shielded, because it must run even if the client has left: it counts itself out.
    return await asyncio.shield(asyncio.get_running_loop().run_in_executor(_reader, _read, news))


def _read(news: Callable[[], list[bytes] | None]) -> list[bytes] | None:
    global _waiting
    try:
        return news()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("The streams of events wait for the database: %s", error)
        return []
    finally:
        with _count_lock:
            _waiting -= 1
            last = _waiting == 0
        if last:
            _let_go()


def _let_go() -> None:
    """Close this thread's connections to the database."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def _json(value: Any) -> str:
    return DjangoJSONEncoder(ensure_ascii=False, separators=(",", ":")).encode(value)
