"""One socket: what ends it, and that it can be connected again afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from inference.hosted import socket
from inference.types import EngineError
from tests.inference.contract import leaving_no_task
from tests.inference.hosted.speaking import until
from tests.inference.hosted.test_sockets import EchoService, pool_of, take


@pytest.fixture(autouse=True)
def no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "BACK_OFF", (0.01,))


class Mistaken:
    """A callback of a plan that fails the first time that it meets something."""

    def __init__(self, result: Any, times: int = 1) -> None:
        self._result = result
        self.left = times

    def __call__(self, message: Any = None) -> Any:
        if self.left and (message is None or message.get("strange")):
            self.left -= 1
            raise KeyError("type")
        return self._result


STRANGE = '{"strange": 1}'


@pytest.mark.parametrize("shares", [1, 2])
async def test_a_failure_that_cannot_be_judged_loses_the_socket_for_all_and_ends_nothing_else(shares, caplog):
    async with (
        EchoService().serving() as service,
        leaving_no_task(),
        pool_of(service, warm=1, limit=1, shares=shares, failure=Mistaken(None)) as pool,
    ):
        await pool.start()
        pairs = [take(pool, key) for key in "ab"[:shares]]
        pairs[0][0].send(STRANGE)
        for _, ear in pairs:
            assert "KeyError" in str(await ear.lost())
        assert pool.lost == 1
        lease, ear = take(pool)
        lease.send('{"n": 1}')
        assert await ear.heard(1) == [{"n": 1}]
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("callback", ["is_ready", "failure"])
async def test_a_greeting_that_cannot_be_judged_is_a_failed_attempt(callback, caplog):
    class Greeting(EchoService):
        async def opened(self, socket: Any) -> None:
            await socket.send({"strange": 1})

    plan = {"is_ready": lambda message: True, callback: Mistaken({"is_ready": True, "failure": None}[callback])}
    async with Greeting().serving() as service, pool_of(service, warm=1, limit=1, **plan) as pool:
        await pool.start()
        assert "KeyError" in str(pool.error)
        assert not pool.error.permanent
        lease, ear = take(pool)
        lease.send('{"n": 1}')
        while {"n": 1} not in ear.messages:
            await ear.heard(len(ear.messages) + 1)
    assert "KeyError" in caplog.text


async def test_a_callback_that_never_works_is_an_error_of_each_attempt_and_not_a_wait(caplog):
    class Greeting(EchoService):
        async def opened(self, socket: Any) -> None:
            await socket.send({"strange": 1})

    is_ready = Mistaken(True, times=10_000)
    async with Greeting().serving() as service, pool_of(service, warm=1, is_ready=is_ready) as pool:
        await pool.start()
        for _ in range(3):
            _, ear = take(pool)
            assert isinstance(await ear.lost(), EngineError)


async def test_notes_that_cannot_be_made_are_a_failed_attempt(caplog):
    async with EchoService().serving() as service, pool_of(service, warm=1, notes=Mistaken("notes")) as pool:
        await pool.start()
        await until(lambda: pool.error)
        lease, ear = take(pool)
        lease.send('{"n": 1}')
        assert await ear.heard(1) == [{"n": 1}]
        assert lease.notes == "notes"
    assert "KeyError" in caplog.text


async def test_a_frame_that_cannot_be_sent_loses_its_socket_and_no_later_one(caplog):
    async with EchoService().serving() as service, pool_of(service, warm=1, limit=1) as pool:
        await pool.start()
        lease, ear = take(pool)
        lease.send("\ud800")
        assert isinstance(await ear.lost(), EngineError)
        lease, ear = take(pool)
        lease.send('{"n": 1}')
        assert await ear.heard(1) == [{"n": 1}]


async def test_what_could_not_be_sent_on_a_socket_holds_up_no_later_one():
    """The service reads nothing more, says that it closes the socket, and keeps its end of the connection open."""
    async with EchoService().serving() as service, pool_of(service, warm=1, limit=1) as pool:
        await pool.start()
        lease, ear = take(pool)
        service.freeze()
        for _ in range(24):
            lease.send(bytes(1 << 20))  # more than the buffers of the system take
        closing = service.sockets[0].request.transport
        assert closing is not None
        closing.write(b"\x88\x02\x03\xf3")  # the frame that closes a socket, with code 1011
        assert "1011" in str(await ear.lost())
        lease, ear = take(pool)
        lease.send('{"n": 1}')
        assert await ear.heard(1) == [{"n": 1}]


@pytest.mark.parametrize(
    ("status", "target"),
    [(301, "{}/other?token=secret"), (302, "{}/n\u00fc"), (303, "/elsewhere"), (307, "http://[::1/x"), (308, "")],
)
async def test_a_redirect_is_not_followed_with_the_key(status, target):
    async with EchoService().serving() as other, EchoService().serving() as service:
        location = target.format(other.base_url)
        service.refusal = (status, "", {"Location": location} if location else {})
        async with pool_of(service, headers={"xi-api-key": "k"}, setting="ECHO_BASE_URL") as pool:
            with pytest.raises(EngineError, match=rf"with {status}\. .*Set ECHO_BASE_URL to the address") as raised:
                await pool.start()
        assert other.requests == []
        assert len(service.requests) == 1
    assert raised.value.permanent
    assert "secret" not in str(raised.value)
