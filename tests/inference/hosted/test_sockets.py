"""The pool of warm WebSockets, against a real server on this machine."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from inference.hosted import sockets
from inference.hosted.lease import Lease
from inference.hosted.plan import Plan, Received
from inference.hosted.sockets import SocketPool
from inference.types import EngineError, EngineFull, EngineTimeout, QuotaExhausted
from tests.inference.contract import leaving_no_task
from tests.inference.hosted.service import Service, Socket


class EchoService(Service):
    """Answers every message with itself."""

    async def handle(self, socket: Socket, message: Any) -> None:
        if message != {"say": "nothing"}:
            await socket.send(message)


class Ear:
    """A listener that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.error: EngineError | None = None
        self.news = asyncio.Event()

    def receive(self, message: Any) -> None:
        self.messages.append(message)
        self.news.set()

    def lose(self, error: EngineError) -> None:
        assert self.error is None
        self.error = error
        self.news.set()

    async def heard(self, count: int) -> list[Any]:
        """Return the messages once there are so many."""
        while len(self.messages) < count:
            assert self.error is None, self.error
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 30)
        return self.messages

    async def lost(self) -> EngineError:
        """Return the error with which the socket was lost."""
        while self.error is None:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 30)
        return self.error


def read(frame: str | bytes) -> Received | None:
    message = json.loads(frame) if isinstance(frame, str) else frame
    return Received(message, message.get("key") if isinstance(message, dict) else None)


@asynccontextmanager
async def pool_of(service: Service, **options: Any) -> AsyncIterator[SocketPool]:
    pool = SocketPool(
        Plan(**{"provider": "Echo Ltd", "url": service.ws_url + "/talk", "read": read, "key": "ECHO_KEY", **options})
    )
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture
async def service() -> AsyncIterator[EchoService]:
    async with EchoService().serving() as serving:
        yield serving


def take(pool: SocketPool, key: str = "") -> tuple[Lease, Ear]:
    ear = Ear()
    return pool.take(ear, key=key), ear


async def test_what_is_sent_comes_back_in_order_as_text_and_bytes(service):
    async with pool_of(service) as pool:
        await pool.start()
        lease, ear = take(pool)
        lease.send('{"a": 1}')
        lease.send(b"\x01\x02")
        lease.send('{"a": 2}')
        assert await ear.heard(3) == [{"a": 1}, b"\x01\x02", {"a": 2}]


async def test_sockets_are_connected_before_anybody_needs_them_and_replaced_when_taken(service):
    async with pool_of(service, warm=2) as pool:
        await pool.start()
        await service.until(2)
        take(pool)
        await service.until(3)
        assert len(service.sockets) == 3


async def test_a_released_socket_serves_the_next_and_a_spent_one_is_closed(service):
    async with pool_of(service, warm=0, limit=1) as pool:
        await pool.start()
        for number in range(2):
            lease, ear = take(pool)
            lease.send(f'{{"n": {number}}}')
            await ear.heard(1)
            lease.release()
        assert len(service.sockets) == 1
        lease, _ = take(pool)
        lease.release(reuse=False)
        lease, ear = take(pool)
        lease.send('{"n": 3}')
        await ear.heard(1)
        assert len(service.sockets) == 2
        assert service.sockets[0].gone.is_set()


async def test_nothing_is_received_after_a_release(service):
    async with pool_of(service, warm=0, limit=1) as pool:
        await pool.start()
        lease, ear = take(pool)
        lease.send('{"stale": 1}')
        lease.release()
        lease.send('{"ignored": 1}')
        after, later = take(pool)
        after.send('{"fresh": 1}')
        messages = await later.heard(1)
        assert ear.messages == []
        # A socket whose messages carry no key passes on what the one before is still sent: its user must drain it.
        assert messages[0] == {"stale": 1}


async def test_listeners_that_share_a_socket_get_the_messages_with_their_key(service):
    async with pool_of(service, warm=1, limit=1, shares=3) as pool:
        await pool.start()
        (one, first), (two, second) = take(pool, "one"), take(pool, "two")
        two.send('{"key": "two"}')
        one.send('{"key": "one"}')
        one.send('{"key": "nobody"}')
        one.send('{"for": "all"}')
        assert await first.heard(2) == [{"key": "one"}, {"for": "all"}]
        assert await second.heard(2) == [{"key": "two"}, {"for": "all"}]
        assert len(service.sockets) == 1


async def test_more_than_the_limit_is_refused_as_full(service):
    async with pool_of(service, warm=1, limit=2) as pool:
        await pool.start()
        take(pool), take(pool)
        with pytest.raises(EngineFull, match="all 2 connections to Echo Ltd"):
            take(pool)


async def test_frames_wait_for_a_slow_handshake(service):
    async with pool_of(service, warm=1) as pool:
        await pool.start()
        service.handshake.clear()
        pairs = [take(pool) for _ in range(3)]
        for number, (lease, _) in enumerate(pairs):
            lease.send(f'{{"n": {number}}}')
        assert await pairs[0][1].heard(1) == [{"n": 0}]
        assert not pairs[2][0].connected
        service.handshake.set()
        for number, (_, ear) in enumerate(pairs):
            assert await ear.heard(1) == [{"n": number}]


@pytest.mark.parametrize(
    ("refusal", "error", "words"),
    [
        ((401, "bad key", {}), EngineError, "Check the key in ECHO_KEY"),
        ((403, "no such model", {}), EngineError, "the name of the model"),
        ((400, "bad language", {}), EngineError, "refused the connection with 400"),
        ((404, "", {}), EngineError, "404"),
    ],
)
async def test_a_refusal_that_does_not_pass_is_raised_at_the_start(service, refusal, error, words):
    service.refusal = refusal
    async with leaving_no_task(), pool_of(service) as pool:
        with pytest.raises(error, match=words) as raised:
            await pool.start()
        assert raised.value.permanent


async def test_a_service_that_is_away_at_the_start_is_used_when_it_comes_back(service):
    service.refusal = (503, "", {})
    async with pool_of(service) as pool:
        await pool.start()
        assert "503" in str(pool.error)
        service.refusal = None
        lease, ear = take(pool)
        lease.send('{"n": 1}')
        await ear.heard(1)
        assert pool.error is None


async def test_a_rate_limit_is_full_until_the_service_says(service):
    async with pool_of(service, warm=1) as pool:
        await pool.start()
        service.refusal = (429, "", {"Retry-After": "30"})
        take(pool)
        _, ear = take(pool)
        error = await ear.lost()
        assert isinstance(error, EngineFull)
        assert error.retry_after == 30
        assert "429" in str(pool.error)
        with pytest.raises(EngineFull):
            take(pool)


async def test_an_empty_account_is_an_exhausted_quota(service):
    async with pool_of(service, warm=1) as pool:
        await pool.start()
        service.refusal = (402, "", {})
        take(pool)
        _, ear = take(pool)
        assert isinstance(await ear.lost(), QuotaExhausted)


async def test_a_socket_that_dies_is_lost_at_once_and_replaced(service):
    async with pool_of(service, warm=1, limit=2) as pool:
        await pool.start()
        lease, ear = take(pool)
        lease.send('{"n": 1}')
        await ear.heard(1)
        service.sockets[0].abort()
        await ear.lost()
        assert not lease.open
        lease, ear = take(pool)
        lease.send('{"n": 2}')
        await ear.heard(1)
        assert pool.lost == 1


async def test_a_connection_that_breaks_while_something_is_sent_can_be_connected_again(service, monkeypatch):
    async with pool_of(service, warm=0, limit=1) as pool:
        await pool.start()
        broken, ear = take(pool)

        async def break_down(*_: Any) -> None:
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

        with monkeypatch.context() as patched:
            patched.setattr(aiohttp.ClientWebSocketResponse, "send_str", break_down)
            broken.send('{"n": 1}')
            assert "closing transport" in str(await ear.lost())
        lease, later = take(pool)
        lease.send('{"n": 2}')
        assert await later.heard(1) == [{"n": 2}]


async def test_a_close_code_is_in_the_error(service):
    async with pool_of(service) as pool:
        await pool.start()
        lease, ear = take(pool)
        lease.send('{"n": 1}')
        await ear.heard(1)
        await service.sockets[0].close(1011, "NET-0001")
        assert "1011 (NET-0001)" in str(await ear.lost())


async def test_an_answer_that_is_owed_and_does_not_come_loses_the_socket(service):
    async with pool_of(service, warm=1) as pool:
        await pool.start()
        lease, ear = take(pool)
        lease.send('{"say": "nothing"}')
        lease.expect(0.3)
        assert isinstance(await ear.lost(), EngineTimeout)
        await service.until(2)


async def test_nothing_is_lost_while_the_service_owes_nothing(service):
    async with pool_of(service, warm=1) as pool:
        await pool.start()
        lease, ear = take(pool)
        lease.expect(0.2)
        lease.send('{"n": 1}')
        await ear.heard(1)
        lease.expect_nothing()
        silent, other = take(pool)
        silent.expect(0.3)
        await other.lost()
        assert ear.error is None


async def test_of_several_on_a_socket_that_lives_only_the_one_without_an_answer_is_lost(service):
    async with pool_of(service, warm=1, limit=1, shares=2) as pool:
        await pool.start()
        (one, first), (two, second) = take(pool, "one"), take(pool, "two")
        one.expect(0.3)

        async def chat() -> None:
            for number in range(1, 10_000):
                two.send('{"key": "two"}')
                await second.heard(number)

        chatting = asyncio.ensure_future(chat())
        assert isinstance(await first.lost(), EngineTimeout)
        chatting.cancel()
        assert second.error is None
        # The room that it had may never become free at the server: nobody else is sent there.
        with pytest.raises(EngineFull):
            take(pool)
        two.release()
        await service.until(2)


async def test_a_frozen_server_is_found_out_although_its_connection_stands(service):
    async with pool_of(service, warm=1, limit=2, ping_every=0.2) as pool:
        await pool.start()
        _, ear = take(pool)
        service.freeze()
        assert isinstance(await ear.lost(), EngineTimeout)


async def test_an_idle_socket_is_kept_alive_and_renewed(service):
    async with pool_of(service, warm=1, keep_alive='{"keep": 1}', keep_alive_every=0.2, renew_after=0.7) as pool:
        await pool.start()
        await service.until(2)
        assert {"keep": 1} in service.sockets[0].received


async def test_pings_do_not_take_the_place_of_keep_alive(service):
    async with pool_of(service, warm=1, keep_alive='{"keep": 1}', keep_alive_every=0.4, ping_every=0.1) as pool:
        await pool.start()
        lease, ear = take(pool)
        assert await ear.heard(2) == [{"keep": 1}, {"keep": 1}]
        lease.release()


async def test_a_socket_that_is_in_use_is_not_renewed(service):
    async with pool_of(service, warm=0, limit=2, renew_after=0.2) as pool:
        await pool.start()
        lease, ear = take(pool)
        other, lost = take(pool)
        other.expect(0.6)
        await lost.lost()
        lease.send('{"n": 1}')
        await ear.heard(1)


class GreetingService(EchoService):
    """Wants a hello before it is ready."""

    answer: Any = {"ready": True}

    async def handle(self, socket: Socket, message: Any) -> None:
        await socket.send(self.answer if message == {"hello": 1} else message)


async def test_a_socket_is_used_when_the_server_says_that_it_is_ready():
    async with (
        GreetingService().serving() as service,
        pool_of(service, hello=('{"hello": 1}',), is_ready=lambda message: "ready" in message) as pool,
    ):
        await pool.start()
        lease, ear = take(pool)
        lease.send('{"n": 1}')
        assert await ear.heard(1) == [{"n": 1}]
        assert service.sockets[0].received[0] == {"hello": 1}


async def test_a_server_that_never_is_ready_is_away(service):
    async with pool_of(service, is_ready=lambda message: False, connect_timeout=0.3) as pool:
        await pool.start()
        assert "did not accept a connection within 0.3 s" in str(pool.error)


def failure(message: Any) -> EngineError | None:
    return EngineError("Echo Ltd has no such voice", permanent=True) if "error" in message else None


async def test_a_failure_in_place_of_the_greeting_is_raised_at_the_start():
    service = GreetingService()
    service.answer = {"error": 1}
    async with (
        service.serving(),
        pool_of(service, hello=('{"hello": 1}',), is_ready=lambda message: True, failure=failure) as pool,
    ):
        with pytest.raises(EngineError, match="no such voice"):
            await pool.start()


async def test_a_failure_of_the_socket_loses_it_for_all_who_share_it(service):
    async with pool_of(service, warm=1, shares=2, limit=1, failure=failure) as pool:
        await pool.start()
        (one, first), (_, second) = take(pool, "one"), take(pool, "two")
        one.send('{"error": 1}')
        assert "no such voice" in str(await first.lost())
        assert "no such voice" in str(await second.lost())


async def test_messages_that_cannot_be_read_and_listeners_that_fail_end_nothing(service, caplog):
    async with pool_of(service) as pool:
        await pool.start()
        lease, ear = take(pool)
        failed = asyncio.Event()

        def fail(message: Any) -> None:
            failed.set()
            raise ZeroDivisionError

        ear.receive, receive = fail, ear.receive  # type: ignore[method-assign]
        lease.send('"a text that has no keys"')
        lease.send('{"n": 1}')
        lease.send(b"\xff")
        await failed.wait()
        ear.receive = receive  # type: ignore[method-assign]
        lease.send('{"n": 2}')
        while {"n": 2} not in ear.messages:
            ear.news.clear()
            await ear.news.wait()
        assert ear.error is None
    assert "A listener of a socket failed" in caplog.text


async def test_a_service_that_closes_each_new_socket_is_not_asked_without_pause():
    class Closing(Service):
        async def opened(self, socket: Socket) -> None:
            await socket.close(1008, "no")

    async with Closing().serving() as service, pool_of(service, warm=1, limit=3) as pool:
        await pool.start()
        _, ear = take(pool)
        await ear.lost()
        await asyncio.sleep(0.3)
        assert len(service.sockets) < 8
        assert "1008 (no)" in str(pool.error)


async def test_closing_the_pool_loses_every_socket_and_leaves_no_task(service):
    async with leaving_no_task():
        async with pool_of(service, warm=1, limit=2) as pool:
            await pool.start()
            await pool.start()
            service.handshake.clear()
            (_, first), (waiting, second) = take(pool), take(pool)
            assert not waiting.connected
        assert "was closed" in str(first.error)
        assert "was closed" in str(second.error)
        with pytest.raises(EngineError, match="not started"):
            take(pool)
        service.handshake.set()


async def test_an_address_that_nobody_serves_is_away_and_one_that_is_none_is_a_mistake():
    async with Service().serving() as service:
        gone = service.ws_url
    pool = SocketPool(Plan(provider="Echo Ltd", url=gone, read=read))
    await pool.start()
    assert "cannot reach Echo Ltd" in str(pool.error)
    await pool.close()
    with pytest.raises(EngineError, match="no address") as raised:
        await SocketPool(Plan(provider="Echo Ltd", url="echo.example.com", read=read)).start()
    assert raised.value.permanent


async def test_a_key_that_no_header_can_have_is_a_mistake_and_is_not_quoted(service):
    async with pool_of(service, headers={"Authorization": "Bearer secret\nkey"}) as pool:
        async with asyncio.timeout(30):
            with pytest.raises(EngineError, match="check both") as raised:
                await pool.start()
    assert raised.value.permanent
    assert "secret" not in str(raised.value)


async def test_a_pool_that_is_closed_while_it_starts_ends_its_start(service):
    service.handshake.clear()
    async with pool_of(service) as pool:
        starting = asyncio.create_task(pool.start())
        await asyncio.sleep(0)  # it waits for the first socket now
        await pool.close()
        async with asyncio.timeout(30):
            await starting
    service.handshake.set()


async def test_another_address_is_connected_when_it_is_asked_for_and_stays_warm(service):
    async with pool_of(service, warm=1) as pool:
        await pool.start()
        german = pool.plan.url + "?language=de"
        ear = Ear()
        lease = pool.take(ear, url=german)
        lease.send('{"n": 1}')
        await ear.heard(1)
        await service.until(3)
        assert [socket.request.query_string for socket in service.sockets] == ["", "language=de", "language=de"]
        again = Ear()
        lease = pool.take(again, url=german)
        assert lease.connected
        assert take(pool)[0].connected


async def test_an_idle_socket_of_another_address_makes_room(service):
    async with pool_of(service, warm=1, limit=1) as pool:
        await pool.start()
        ear = Ear()
        lease = pool.take(ear, url=pool.plan.url + "?language=de")
        lease.send('{"n": 1}')
        await ear.heard(1)
        assert service.sockets[0].gone.is_set()


async def test_an_address_that_is_refused_costs_nobody_else(service):
    async with pool_of(service, warm=1) as pool:
        await pool.start()
        await service.until(1)
        klingon = pool.plan.url + "?language=tlh"
        service.refusal = (400, "", {})
        ear = Ear()
        pool.take(ear, url=klingon)
        assert (await ear.lost()).permanent
        with pytest.raises(EngineError, match="400"):
            pool.take(Ear(), url=klingon)
        service.refusal = None
        assert pool.error is None
        lease, other = take(pool)
        lease.send('{"n": 1}')
        await other.heard(1)


async def test_a_refusal_that_comes_late_is_not_remembered_for_ever(service, monkeypatch):
    monkeypatch.setattr(sockets, "RECENT", 0.0)
    url = service.ws_url + "/other"
    async with pool_of(service, warm=0) as pool:
        await pool.start()
        service.handshake.clear()
        ear = Ear()
        pool.take(ear, url=url)
        await asyncio.sleep(0.3)  # nobody has asked for the address recently any more
        service.refusal = (403, "", {})
        service.handshake.set()
        assert (await ear.lost()).permanent
        service.refusal = None
        later = Ear()
        pool.take(later, url=url).send('{"n": 1}')
        assert await later.heard(1) == [{"n": 1}]


async def test_a_spent_socket_is_replaced_while_it_is_being_closed(service):
    async with pool_of(service, warm=1, limit=2) as pool:
        await pool.start()
        service.freeze()
        lease, _ = take(pool)
        lease.release(reuse=False)
        await service.until(2)


async def test_who_waits_for_a_socket_gets_one_that_is_released(service):
    async with pool_of(service, warm=1) as pool:
        await pool.start()
        lease, _ = take(pool)
        service.handshake.clear()
        lease.send('{"n": 1}')
        waiting, ear = take(pool)
        waiting.send('{"n": 2}')
        assert not waiting.connected
        lease.release()
        assert waiting.connected
        assert {"n": 2} in await ear.heard(2)
        service.handshake.set()


async def test_a_process_that_was_busy_does_not_take_it_for_silence_of_the_service():
    async with EchoService().serving_elsewhere() as service, pool_of(service, warm=1) as pool:
        await pool.start()
        lease, ear = take(pool)
        for number in range(3):
            lease.send(f'{{"n": {number}}}')
            lease.expect(0.3)
            await asyncio.sleep(0)
            time.sleep(0.6)  # noqa: ASYNC251 (it is the point of the test)
            assert len(await ear.heard(number + 1)) == number + 1
