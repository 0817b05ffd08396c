"""Messages wait for the socket in order, until they are dropped."""

from __future__ import annotations

import asyncio

from media.outbox import MAX_UNSENT, Outbox


async def test_messages_leave_in_the_order_in_which_they_came():
    outbox = Outbox(on_overflow=lambda: None)
    waiting = asyncio.ensure_future(outbox.get())
    await asyncio.sleep(0)
    for message in ("first", "second"):
        outbox.put(message)
    assert [await waiting, await outbox.get()] == ["first", "second"]


async def test_clearing_drops_what_waits_and_keeps_what_comes_after():
    outbox = Outbox(on_overflow=lambda: None)
    outbox.put("dropped")
    outbox.clear()
    outbox.put("kept")
    assert await outbox.get() == "kept"


async def test_a_socket_that_takes_nothing_is_reported_once_its_messages_are_too_many():
    overflows: list[str] = []
    outbox = Outbox(on_overflow=lambda: overflows.append("overflow"))
    for _ in range(MAX_UNSENT):
        outbox.put("frame")
    assert overflows == []
    outbox.put("frame")
    assert overflows == ["overflow"]
    outbox.put("after")
    assert await outbox.get() == "after"
