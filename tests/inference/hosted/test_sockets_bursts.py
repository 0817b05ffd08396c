"""Many who wait for sockets at once: what each handshake that fails costs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from inference.hosted import socket
from inference.hosted.lease import Lease
from inference.hosted.sockets import SocketPool
from inference.types import EngineError
from tests.inference.hosted.deepgram_service import DeepgramService
from tests.inference.hosted.service import Service
from tests.inference.hosted.speaking import until
from tests.inference.hosted.test_deepgram import A_TABLE, recognise
from tests.inference.hosted.test_deepgram import started as nova
from tests.inference.hosted.test_sockets import EchoService, pool_of

PASSING, WRONG, EMPTY = (503, "", {}), (400, "", {}), (402, "", {})


class _Slow(Service):
    """Refuses the handshakes with these numbers at once, and lets the others wait for ``handshake``."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: dict[int, tuple[int, str, dict[str, str]]] = {}

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self.refused.pop(len(self.requests) + 1, None)) is None:
            return await super()._accept(request)
        self.requests.append(request)
        return web.Response(status=refusal[0])


class SlowEcho(_Slow, EchoService):
    pass


class SlowDeepgram(_Slow, DeepgramService):
    pass


class Caller:
    """Takes a socket, and takes another one when it is lost, as an utterance does."""

    def __init__(self, pool: SocketPool, *, key: str = "", persists: bool = True) -> None:
        self.lost: list[EngineError] = []
        self._answered = asyncio.Event()
        self._pool, self._key, self._persists = pool, key, persists
        self._take()

    def _take(self) -> None:
        self.lease: Lease = self._pool.take(self, key=self._key)
        self.lease.send(f'{{"key": "{self._key}"}}')

    async def answered(self) -> None:
        await asyncio.wait_for(self._answered.wait(), 30)

    def receive(self, message: Any) -> None:
        self._answered.set()

    def lose(self, error: EngineError) -> None:
        self.lost.append(error)
        if self._persists:
            self._take()


@pytest.fixture(autouse=True)
def long_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address is tried again while a test runs, unless somebody wants it."""
    monkeypatch.setattr(socket, "BACK_OFF", (600.0,))


@pytest.fixture
async def service() -> AsyncIterator[SlowEcho]:
    async with SlowEcho().serving() as serving:
        yield serving


async def burst(pool: SocketPool, service: Any, callers: int, **options: Any) -> list[Caller]:
    """Have all sockets taken, and so many callers wait for others until all refusals of the service are used up."""
    await pool.start()
    await service.until(1)
    service.handshake.clear()
    # The first of them gets the warm socket of the pool.
    made = [Caller(pool, key=str(number), **options) for number in range(callers + pool.plan.shares)]
    await until(lambda: not service.refused and pool.error)
    return made[pool.plan.shares :]


@pytest.mark.parametrize("refused", [(2,), (2, 3, 4), (2, 5, 8), (2, 3, 4, 5, 6, 7, 8, 9, 10)])
async def test_each_failed_handshake_costs_at_most_one_of_those_who_wait(service, refused):
    service.refused = dict.fromkeys(refused, PASSING)
    async with pool_of(service, warm=1, limit=10) as pool:
        callers = await burst(pool, service, 7)
        assert sum(len(each.lost) for each in callers) <= len(refused)
        assert max(len(each.lost) for each in callers) <= 2, "nobody is taken each time"
        service.handshake.set()
        for each in callers:
            await each.answered()


async def test_a_socket_on_the_way_serves_as_many_as_share_it(service):
    service.refused = {2: PASSING}
    async with pool_of(service, warm=0, limit=3, shares=3) as pool:
        await pool.start()
        service.handshake.clear()
        callers = [Caller(pool, key=str(number), persists=False) for number in range(8)]
        await until(lambda: sum(len(each.lost) for each in callers))
        assert [len(each.lost) for each in callers] == [0, 0, 0, 1, 1, 0, 0, 0], "one socket is left for five"
        service.handshake.set()


@pytest.mark.parametrize("refusal", [WRONG, EMPTY], ids=["permanent", "quota"])
async def test_an_error_that_does_not_pass_is_told_to_all_who_wait(service, refusal):
    service.refused = {2: refusal}
    async with pool_of(service, warm=1, limit=10) as pool:
        callers = await burst(pool, service, 5, persists=False)
        assert [len(each.lost) for each in callers] == [1] * 5
        service.handshake.set()


async def test_nobody_waits_if_no_other_socket_is_on_the_way(service):
    service.refused = dict.fromkeys(range(2, 7), PASSING)
    async with pool_of(service, warm=1, limit=6) as pool:
        callers = await burst(pool, service, 5, persists=False)
        await until(lambda: all(each.lost for each in callers))
        service.handshake.set()


async def test_a_socket_that_failed_rests_while_others_are_on_the_way(service):
    """Else a service that refuses at once would be asked without pause while one handshake hangs."""
    service.refused = dict.fromkeys(range(2, 100), PASSING)
    del service.refused[3]
    async with pool_of(service, warm=0, limit=3) as pool:
        await pool.start()
        service.handshake.clear()
        callers = [Caller(pool, persists=False) for _ in range(3)]
        await until(lambda: sum(len(each.lost) for each in callers))
        await asyncio.sleep(0.05)
        assert len(service.requests) == 3
        service.handshake.set()
        await callers[2].answered()


async def test_utterances_that_begin_at_once_are_heard_although_some_handshakes_fail():
    async with SlowDeepgram().serving() as service, nova(service, warm=1, limit=40) as engine:
        service.refused = dict.fromkeys(range(len(service.requests) + 4, len(service.requests) + 7), PASSING)
        service.handshake.clear()
        said = [asyncio.create_task(recognise(engine, A_TABLE)) for _ in range(20)]
        await until(lambda: not service.refused)
        service.handshake.set()
        assert {(await each).text for each in said} == {"one two three"}
