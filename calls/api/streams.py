"""
Event streams: the timeline of a call as it grows, as server-sent events.

Each stream reads the database twice a second, so that any process can serve any call. Between these reads no connection
is open: all streams of a process read at the same instants, one after the other in one thread, and the last one closes
the connection.
"""

import asyncio
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
from calls.services import draining
from calls.status import TERMINAL

logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.5
"""Seconds between two reads of the database: how late a client may learn what happened."""
HEARTBEAT_INTERVAL = 15.0
"""Seconds without a message after which a comment is sent. Proxies close connections that are silent for longer."""
MAX_AGE = 3600.0
"""Seconds after which a stream ends, so that no forgotten client keeps one open. Others reconnect and miss nothing."""
MAX_STREAMS = 100
"""Streams of one process. All of them read in one thread, in which a read takes some milliseconds."""
MAX_STREAMS_PER_CLIENT = 25
"""Streams of one API key or operator, so that no client can take the places of all others."""
RETRY_AFTER = 10
"""Seconds that a client waits for another stream to end."""
RECONNECT_MS = 2000
"""Milliseconds after which a client reconnects when its stream ends."""

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Keep proxies from holding messages back; the second is nginx's."""
_REFUSED = re.compile(r"q *= *0(\.0*)?")
_RETRY = f"retry: {RECONNECT_MS}\n\n".encode()


class EventStreamRenderer(BaseRenderer):
    """Tells REST framework that a client may ask for this type. The view answers with the stream itself."""

    media_type = "text/event-stream"
    format = "sse"
    charset = None


def is_asked_for(accept: str) -> bool:
    """Whether an ``Accept`` header names a stream. One with wildcards does not, nor one that refuses it (``q=0``)."""
    for item in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        if media_type == EventStreamRenderer.media_type and not any(map(_REFUSED.fullmatch, parameters)):
            return True
    return False


# --- Streaming ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class EventStream:
    """The messages to one client, as an async iterable. ``close`` makes room for another stream."""

    call_id: UUID
    client: str
    """The API key or the operator who watches."""
    cursor: Cursor
    """The position up to which the client has read, in this stream and before."""
    sent: set[str] = field(default_factory=set)
    """The ids of the items that the client has read."""
    _seen: tuple[object, ...] = ()
    """The state of the call at the last read. If the next one finds the same, nothing has happened."""

    def close(self) -> None:
        _open.discard(self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        began = last_sent = time.monotonic()
        yield _RETRY
        # A process that shall end does not wait for its watchers: they connect to another one, and miss nothing.
        while not (self.cursor.over or draining.is_draining()) and time.monotonic() - began < MAX_AGE:
            messages = await _read_in_thread(self._new_messages)
            if messages is None:
                return
            for message in messages:
                yield message
                last_sent = time.monotonic()
            if time.monotonic() - last_sent >= HEARTBEAT_INTERVAL:
                yield b": still here\n\n"
                last_sent = time.monotonic()
            if not self.cursor.over:
                # All streams wake at the same instants, so that one connection serves them all.
                await asyncio.sleep(POLL_INTERVAL - time.monotonic() % POLL_INTERVAL)

    def all_at_once(self) -> bytes:
        """Return the messages so far, for a server that cannot keep a connection open. The client then asks again."""
        return _RETRY + b"".join(self._new_messages() or ())

    def _new_messages(self) -> list[bytes] | None:
        """Return the messages that were not sent yet, or ``None`` if the call was deleted."""
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
        # A row may become visible after one with a higher number. Therefore a stream remembers the ids that it has
        # sent, and only a client that reconnects depends on the numbers in the cursor.
        if not self.sent:
            self.sent = {item.id for item in items if self.cursor.includes(item)}
        for item in items:
            if item.id not in self.sent:
                self.sent.add(item.id)
                self.cursor.advance(item)
                data = DjangoJSONEncoder(ensure_ascii=False, separators=(",", ":")).encode(item.as_dict())
                yield f"event: {item.type}\nid: {self.cursor}\ndata: {data}\n\n".encode()


def stream(call: Call, *, client: str, last_event_id: str, can_wait: bool) -> HttpResponseBase:
    """
    Answer with what has happened to the call after ``last_event_id``.

    With ``can_wait``, the answer stays open for what happens next, which needs an ASGI server. ``client`` is who asks.
    """
    cursor = Cursor.read(last_event_id)
    if cursor.over:
        # The status 204 keeps a browser's EventSource from reconnecting.
        return HttpResponse(status=204)
    events = EventStream(call.pk, client, cursor)
    if not can_wait or draining.is_draining():
        return HttpResponse(events.all_at_once(), content_type="text/event-stream", headers=_HEADERS)
    if len(_open) >= MAX_STREAMS or sum(other.client == client for other in _open) >= MAX_STREAMS_PER_CLIENT:
        text = (
            f"Too many event streams are open: a server has at most {MAX_STREAMS}, and {MAX_STREAMS_PER_CLIENT} of one "
            f"key. Try again in {RETRY_AFTER} s."
        )
        raise Problem(503, "too-many-streams", text, headers={"Retry-After": str(RETRY_AFTER)})
    _open.add(events)
    _close_connections()
    return StreamingHttpResponse(events, content_type="text/event-stream", headers=_HEADERS)


_open: WeakSet[EventStream] = WeakSet()
"""The open streams. Weak, because ``close`` is never called for a client that disconnects before the first message."""


# --- The database, from a thread ---------------------------------------------------------------------------

_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-streams")
"""One thread, so that all streams of the process use one connection."""
_waiting = 0
"""Reads that are queued or running. The last one closes the connection."""
_count_lock = threading.Lock()


async def _read_in_thread(read: Callable[[], list[bytes] | None]) -> list[bytes] | None:
    """Call ``read`` in the thread that reads for all streams. Without a database it returns no messages."""
    global _waiting
    with _count_lock:
        _waiting += 1
    # Shielded, because it must run even if the client has disconnected: it decrements the counter.
    return await asyncio.shield(asyncio.get_running_loop().run_in_executor(_reader, _read_and_count, read))


def _read_and_count(read: Callable[[], list[bytes] | None]) -> list[bytes] | None:
    global _waiting
    try:
        return read()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("The database is unavailable, so event streams have no news until it is back: %s", error)
        return []
    finally:
        with _count_lock:
            _waiting -= 1
            last = _waiting == 0
        if last:
            _close_connections()


def _close_connections() -> None:
    """Close the database connections of the current thread, unless a transaction is open, as in tests."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
