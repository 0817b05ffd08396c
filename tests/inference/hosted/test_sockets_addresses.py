"""How the addresses of one pool share its sockets while an address cannot be reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from inference.hosted import socket
from inference.hosted.lease import Lease
from inference.hosted.sockets import SocketPool
from inference.types import EngineFull
from tests.inference.hosted.deepgram_service import DeepgramService
from tests.inference.hosted.elevenlabs_service import ElevenLabsService
from tests.inference.hosted.service import Socket
from tests.inference.hosted.speaking import say, until
from tests.inference.hosted.test_deepgram import A_TABLE, recognise
from tests.inference.hosted.test_deepgram import started as nova
from tests.inference.hosted.test_elevenlabs import started as elevenlabs
from tests.inference.hosted.test_sockets import Ear, EchoService, pool_of


class PartlyAway(EchoService):
    """Refuses handshakes whose query names one of these languages."""

    def __init__(self) -> None:
        super().__init__()
        self.away: dict[str, tuple[int, str, dict[str, str]]] = {}

    def refuse(self, request: web.Request) -> tuple[int, str, dict[str, str]] | None:
        return self.away.get(request.query.get("language", ""))


@pytest.fixture(autouse=True)
def long_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address is tried again while a test runs, unless somebody wants it."""
    monkeypatch.setattr(socket, "BACK_OFF", (600.0,))


@pytest.fixture
async def service() -> AsyncIterator[PartlyAway]:
    async with PartlyAway().serving() as serving:
        yield serving


AWAY = (503, "", {})


def take(pool: SocketPool, language: str = "", key: str = "") -> tuple[Lease, Ear]:
    ear = Ear()
    return pool.take(ear, key=key, url=f"{pool.plan.url}?language={language}" if language else ""), ear


async def echo(pool: SocketPool, language: str = "") -> Lease:
    """Take a socket and have it answer."""
    lease, ear = take(pool, language)
    lease.send('{"n": 1}')
    assert await ear.heard(1) == [{"n": 1}]
    return lease


def trying(pool: SocketPool) -> int:
    """The sockets that are connected, or try to be."""
    return sum(not each.is_parked for each in pool._sockets)


@pytest.mark.parametrize("limit", [1, 2])
async def test_sockets_that_wait_to_try_one_address_again_serve_another(service, limit):
    service.away = {"": AWAY}
    async with pool_of(service, warm=limit, limit=limit) as pool:
        await pool.start()
        leases = [await echo(pool, "de") for _ in range(limit)]
        with pytest.raises(EngineFull):
            take(pool, "de")
        for lease in leases:
            lease.release()


async def test_the_address_of_the_warm_sockets_gets_back_those_that_wait_to_try_another_one(service):
    service.away = {"de": AWAY, "fr": (400, "", {})}
    async with pool_of(service, warm=1, limit=1) as pool:
        await pool.start()
        for language in ("de", "fr"):
            _, ear = take(pool, language)
            await ear.lost()
            (await echo(pool)).release()


async def test_those_who_share_a_socket_need_only_one(service):
    service.away = {"": AWAY}
    async with pool_of(service, warm=2, limit=2, shares=3) as pool:
        await pool.start()
        pairs = [take(pool, "de", key) for key in ("one", "two", "three")]
        for key, (lease, ear) in zip(("one", "two", "three"), pairs, strict=True):
            lease.send(f'{{"key": "{key}"}}')
            assert await ear.heard(1) == [{"key": key}]
        assert [each.request.query_string for each in service.sockets] == ["language=de"]


async def test_who_waits_gets_the_socket_of_an_attempt_that_fails_meanwhile():
    class SilentAtFirst(PartlyAway):
        async def opened(self, socket: Socket) -> None:
            if socket.request.query_string:
                await socket.send({"ready": True})

    def is_ready(message: Any) -> bool:
        return "ready" in message

    service = SilentAtFirst()
    service.away = {"": AWAY}
    async with service.serving(), pool_of(service, warm=2, limit=2, is_ready=is_ready, connect_timeout=60.0) as pool:
        await pool.start()
        service.away = {}
        _, first = take(pool)
        await service.until(1)  # a socket is on the way to the first address, and the other one will be
        lease, ear = take(pool, "de")
        lease.send('{"n": 1}')
        service.sockets[0].abort()
        await first.lost()
        assert await ear.heard(1) == [{"n": 1}]


async def test_a_burst_that_failed_leaves_no_more_attempts_than_warm_sockets(service):
    service.away = {"": AWAY}
    async with pool_of(service, warm=1, limit=6) as pool:
        await pool.start()
        for ear in [take(pool)[1] for _ in range(6)]:
            await ear.lost()
        await until(lambda: trying(pool) == 1)
        service.away = {}
        await echo(pool)


async def test_the_warm_sockets_are_connected_again_once_an_address_is_back(service):
    service.away = {"": AWAY}
    async with pool_of(service, warm=2, limit=2) as pool:
        await pool.start()
        lease = await echo(pool, "de")
        service.away = {}
        lease.release(reuse=False)
        await echo(pool)


async def test_nova_recognises_another_language_while_the_usual_one_is_away():
    class EnglishIsAway(DeepgramService):
        def refuse(self, request: web.Request) -> tuple[int, str, dict[str, str]] | None:
            return AWAY if request.query.get("language") == "en" else super().refuse(request)

    async with EnglishIsAway().serving() as service, nova(service, warm=2, limit=2) as engine:
        assert (await recognise(engine, A_TABLE, language="de")).text == "one two three"


async def test_elevenlabs_speaks_with_another_voice_while_the_usual_one_is_away():
    class UsualVoiceIsAway(ElevenLabsService):
        def refuse(self, request: web.Request) -> tuple[int, str, dict[str, str]] | None:
            return AWAY if "/voice-a/" in request.path else None

    async with UsualVoiceIsAway().serving() as service, elevenlabs(service, warm=1, limit=1) as engine:
        assert await say(engine, "We open at ten.", voice="voice-b")
