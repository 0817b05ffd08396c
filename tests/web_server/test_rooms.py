"""Views run in a fixed number of threads, in turns between clients, and what finds no room is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async

from clientcaller.web.rooms import NoRoom, Room


class Views:
    """Views that run until they are let go. Notes which have begun, and how many at once."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._go = threading.Semaphore(0)

    async def respond(self, name: str) -> str:
        return await sync_to_async(self._view)(name)

    def let_go(self, count: int) -> None:
        self._go.release(count)

    def _view(self, name: str) -> str:
        with self._lock:
            self.begun.append(name)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        self._go.acquire()
        with self._lock:
            self._now -= 1
        return f"answer to {name} in {threading.current_thread().name}"


@pytest.fixture
async def views() -> AsyncIterator[Views]:
    views = Views()
    yield views
    views.let_go(1000)


def room(*, threads: int = 2, most_waiting: int = 100, patience: float = 60.0) -> Room:
    return Room("test", threads=threads, most_waiting=most_waiting, patience=patience)


def ask(room: Room, views: Views, *names: str) -> dict[str, asyncio.Task[str]]:
    """Ask for a view under each name, of the client that its first letter stands for."""
    return {
        name: asyncio.ensure_future(room.run(lambda name=name: views.respond(name), client=name[0])) for name in names
    }


async def test_no_more_views_run_than_there_are_threads_and_their_connections_belong_to_these(views):
    tasks = ask(room(threads=3), views, *(f"a{number}" for number in range(20)))
    views.let_go(20)
    answers = await asyncio.gather(*tasks.values())
    assert views.most_at_once <= 3
    assert {answer.partition(" in ")[2] for answer in answers} == {f"http-test-{number}_0" for number in range(3)}


async def test_clients_take_turns_however_many_requests_one_of_them_sends(views):
    tasks = ask(room(threads=1), views, *(f"a{number}" for number in range(9)), "b0", "c0", "b1")
    views.let_go(12)
    await asyncio.gather(*tasks.values())
    assert views.begun[:6] == ["a0", "a1", "b0", "c0", "a2", "b1"]


async def test_a_full_queue_refuses_the_client_that_has_most_in_it(views):
    here = room(threads=1, most_waiting=4)
    crowd = ask(here, views, "a0", "a1", "a2", "a3", "a4")
    await asyncio.sleep(0)
    more = ask(here, views, "a5", "b0", "c0")
    await asyncio.sleep(0.01)
    refused = [name for name, task in (crowd | more).items() if task.done()]
    assert refused == ["a3", "a4", "a5"]  # the crowd's own last one, then two that had a place
    views.let_go(8)
    results = await asyncio.gather(*crowd.values(), *more.values(), return_exceptions=True)
    assert sum(isinstance(result, NoRoom) for result in results) == 3
    assert {"b0", "c0"} <= set(views.begun)


async def test_a_request_that_has_waited_too_long_is_refused_and_leaves_no_trace(views):
    here = room(threads=1, patience=0.01)
    (first, second) = ask(here, views, "a0", "a1").values()
    with pytest.raises(NoRoom):
        await second
    views.let_go(2)
    await first
    await ask(here, views, "a2")["a2"]
    assert views.begun == ["a0", "a2"]


async def test_the_thread_of_a_client_that_has_left_counts_until_its_view_has_ended(views):
    here = room(threads=1)
    left, waiting = ask(here, views, "a0", "b0").values()
    while not views.begun:  # noqa: ASYNC110 (it begins in a thread)
        await asyncio.sleep(0.001)
    left.cancel()
    await asyncio.sleep(0.01)
    assert (left.done(), views.begun) == (False, ["a0"])
    views.let_go(2)
    await waiting
    with pytest.raises(asyncio.CancelledError):
        await left


async def test_a_client_that_leaves_while_it_waits_gives_its_place_to_the_next(views):
    here = room(threads=1, most_waiting=1)
    first, second = ask(here, views, "a0", "a1").values()
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    third = ask(here, views, "a2")["a2"]
    views.let_go(2)
    await asyncio.gather(first, third)
    assert views.begun == ["a0", "a2"]


async def test_a_view_that_fails_gives_its_thread_back():
    here = room(threads=1)

    async def fail() -> None:
        raise ValueError("the view's own")

    for _ in range(3):
        with pytest.raises(ValueError, match="the view's own"):
            await here.run(fail, client="a")
