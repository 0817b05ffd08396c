"""Sending one webhook over HTTP: where the connection goes, and what is told of the answer."""

import asyncio
import logging
import ssl
from contextlib import asynccontextmanager

import aiohttp
import pytest

from calls.models import WebhookDelivery, WebhookEndpoint
from calls.services import webhook_hosts, webhook_posting
from calls.services.webhook_posting import Client, describe, send
from calls.services.webhooks import make_secret
from tests.inference.certificates import Authority

NO_ADDRESS = "the host has no address that events may be sent to"


class Receiver:
    """Reads a request and sends each part of the answer, or waits for so many seconds."""

    def __init__(self, *answer: bytes | float) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.port = 0
        self._serving: list[asyncio.Task] = []

    async def serve(self, reader, writer):
        self._serving.append(asyncio.current_task())
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            for part in self.answer:
                if isinstance(part, float):
                    await asyncio.sleep(part)
                else:
                    writer.write(part)
        except asyncio.IncompleteReadError:  # the sender gave up
            pass
        finally:
            writer.close()

    async def end(self):
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


@asynccontextmanager
async def receiver(*answer: bytes | float, tls: ssl.SSLContext | None = None):
    receiver = Receiver(*answer)
    async with await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        try:
            yield receiver
        finally:
            await receiver.end()


def make_delivery(payload: object, **endpoint: str) -> WebhookDelivery:
    return WebhookDelivery(endpoint=WebhookEndpoint(**{"url": "https://e.com/", "secret": make_secret()} | endpoint),
                           payload=payload)  # fmt: skip


async def result_of(url: str) -> int | str:
    client = Client()
    try:
        return (await send(client.post, make_delivery({"n": 1}, url=url)))[0]
    finally:
        await client.close()


async def test_the_connection_goes_to_the_address_that_was_checked_and_names_the_host(names, settings):
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.0/8"]
    names["hooks.example.com"] = ["127.0.0.1"]
    async with receiver(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        assert await result_of(f"http://hooks.example.com:{server.port}/") == 204
    assert f"Host: hooks.example.com:{server.port}\r\n" in server.requests[0]


async def test_the_certificate_must_be_that_of_the_host(names, tmp_path, monkeypatch):
    names["hooks.example.com"] = names["other.example.com"] = ["127.0.0.1"]
    authority, tls = Authority(tmp_path), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority.sign("hooks.example.com"))
    trust = ssl.create_default_context(cafile=authority.file)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trust)
    async with receiver(b"HTTP/1.1 204 No Content\r\n\r\n", tls=tls) as server:
        assert await result_of(f"https://hooks.example.com:{server.port}/") == 204
        wrong = await result_of(f"https://other.example.com:{server.port}/")
    assert wrong == "the TLS certificate of the host is not valid"


async def test_a_name_is_looked_up_once_so_that_it_cannot_change_after_the_check(monkeypatch, settings):
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.2/32"]
    answers = iter(["127.0.0.2", "127.0.0.1", "127.0.0.1"])
    monkeypatch.setattr(webhook_hosts, "find_addresses", lambda *_: [(2, next(answers))])
    async with receiver(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        assert await result_of(f"http://rebinding.example.com:{server.port}/") == "could not connect"
    assert server.requests == []
    assert next(answers) == "127.0.0.1"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "inside.example.com", "nowhere.invalid", "2130706433"])
async def test_nothing_is_sent_to_a_host_that_is_not_allowed_and_the_log_names_the_address(
    host, names, settings, caplog
):
    settings.WEBHOOK_ALLOWED_HOSTS = []
    names["inside.example.com"] = ["93.184.215.14", "127.0.0.1"]
    async with receiver(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        with caplog.at_level(logging.WARNING):
            outcome = await result_of(f"http://{host}:{server.port}/")
    assert server.requests == []
    assert outcome == ("the address is not valid" if host == "2130706433" else NO_ADDRESS)
    assert ("its address " in caplog.text) == (host in ("127.0.0.1", "localhost", "inside.example.com"))


async def test_a_socket_is_made_for_checked_addresses_only(settings):
    resolver = webhook_hosts.CheckedResolver()
    resolver.check_literal("127.0.0.1")
    resolver.make_socket((2, 1, 6, "", ("127.0.0.1", 80))).close()
    with pytest.raises(webhook_hosts.HostNotAllowed):
        resolver.make_socket((2, 1, 6, "", ("127.0.0.2", 80)))


async def test_what_a_service_answers_is_not_told():
    async with receiver(b"SSH-2.0-OpenSSH_9.2 secret-banner\r\n") as server:
        assert await result_of(f"http://127.0.0.1:{server.port}/") == "the answer is not valid HTTP"
    async with receiver() as server:
        assert await result_of(f"http://127.0.0.1:{server.port}/") == "the connection ended before an answer"


@pytest.mark.parametrize(
    "error",
    [
        webhook_hosts.HostNotAllowed("10.0.0.1"),
        aiohttp.ServerDisconnectedError("10.0.0.1"),
        aiohttp.ClientPayloadError("10.0.0.1"),
        aiohttp.InvalidURL("http://10.0.0.1"),
        ConnectionRefusedError("10.0.0.1"),
        ssl.SSLError("10.0.0.1"),
        ValueError("10.0.0.1"),
        OSError("10.0.0.1"),
        RuntimeError("10.0.0.1"),
        asyncio.CancelledError("10.0.0.1"),
    ],
)
def test_no_text_of_an_error_is_stored(error):
    assert "10.0.0.1" not in describe(error)
    assert describe(error)


async def test_a_receiver_that_sends_its_head_byte_by_byte_times_out(monkeypatch):
    monkeypatch.setattr(webhook_posting, "TIMEOUT", 0.05)
    async with receiver(b"HTTP/1.1 204 No", 0.04, b" Content", 0.04, b"\r\n\r\n") as server:
        assert await result_of(f"http://127.0.0.1:{server.port}/") == "no answer within 0.05 s"


async def test_a_status_counts_even_if_the_body_never_comes(monkeypatch):
    monkeypatch.setattr(webhook_posting, "_BODY", 0.01)
    async with receiver(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", 30.0) as server:
        assert await result_of(f"http://127.0.0.1:{server.port}/") == 200


# --- Errors that nobody has foreseen ------------------------------------------------------------------------


async def accept(*_) -> int:
    return 204


def failing(error: BaseException):
    async def post(*_):
        raise error

    return post


@pytest.mark.parametrize(
    ("post", "delivery"),
    [
        (failing(RuntimeError("can't start new thread")), make_delivery({})),
        (failing(asyncio.CancelledError()), make_delivery({})),  # of something inside, and not of this delivery
        (accept, make_delivery({"n": object()})),
        (accept, make_delivery(dict.fromkeys([()]))),
    ],
)
async def test_an_error_that_nobody_has_foreseen_is_a_failed_attempt_and_logged(post, delivery, caplog):
    assert (await send(post, delivery))[0] == "an internal error of the sender"
    assert f"Delivery {delivery.pk} of a webhook failed" in caplog.text


async def test_half_a_surrogate_pair_is_sent_as_a_question_mark():
    bodies = []

    async def keep(_url, body, _headers):
        bodies.append(body)
        return 204

    assert (await send(keep, make_delivery({"name": "a\ud83db"})))[0] == 204
    assert bodies == [b'{"name":"a?b"}']


async def test_a_delivery_that_is_cancelled_ends():
    begun = asyncio.Event()

    async def hang(*_):
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(send(hang, make_delivery({})))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
