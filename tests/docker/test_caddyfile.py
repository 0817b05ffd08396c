"""The real Caddy with docker/Caddyfile, in front of doubles of the web processes and of real ones."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from clientcaller.web import bodies
from media.errors import MediaError
from media.phone.caller import HangUp, ScriptedCaller, WaitForAgent
from media.phone.network import PhoneNetwork
from media.phone.serving import stop_server
from tests.media.whole_calls import ask, callback_statuses
from tests.real_services import ROOT, reserve_port
from tests.web_server.balancer import CADDYFILE, authority, caddy_program, caddy_proxy
from tests.web_server.deployment import deployment, kill_in_answer, silence_after

MOST_BYTES, MOST_CALLBACK_BYTES = bodies.MOST_BYTES, bodies.MOST_FORM_BYTES
"""The largest bodies that Caddy passes on: as large as those that a web process takes."""


@dataclass
class WebProcess:
    """Answers as a web process does, and keeps what it was asked."""

    port: int
    ready: bool = True
    asked: list[web.Request] = field(default_factory=list)
    probed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at each probe."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/readyz":
            self.probed.set()
            return web.Response(status=200 if self.ready else 503)
        await request.read()
        self.asked.append(request)
        return web.Response(text=str(self.port))

    async def probe(self) -> None:
        """Return once Caddy has heard the answer to a probe."""
        for _ in range(2):  # when the second one begins, the first has been answered
            self.probed.clear()
            await self.probed.wait()


class Site:
    """Caddy, and what it passes on to."""

    def __init__(self, url: str, client: aiohttp.ClientSession, first: WebProcess, second: WebProcess) -> None:
        self.url, self.first, self.second = url, first, second
        self._client = client

    async def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        method = "GET" if body is None else "POST"
        url = URL(self.url + path, encoded=True)
        async with self._client.request(method, url, data=body and io.BytesIO(body), headers=headers) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def a_site(folder: Path, *, ready: tuple[bool, bool] = (True, True)) -> AsyncIterator[Site]:
    url = f"https://localhost:{reserve_port()}"
    processes = [WebProcess(reserve_port(), ready=is_ready) for is_ready in ready]
    async with AsyncExitStack() as stack:
        for process in processes:
            await start(process, stack)
        ports = (process.port for process in processes)
        caddy = caddy_proxy(caddy_program(), folder, url, *ports)
        await asyncio.to_thread(stack.enter_context, caddy)
        context = ssl.create_default_context(cafile=str(authority(folder)))
        connector = aiohttp.TCPConnector(ssl=context)
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Site(url, client, *processes)


async def start(process: WebProcess, stack: AsyncExitStack) -> None:
    application = web.Application(client_max_size=2 * MOST_BYTES)
    application.router.add_route("*", "/{path:.*}", process.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(stop_server, runner)
    await web.TCPSite(runner, "127.0.0.1", process.port).start()


def test_the_page_on_updates_shows_the_whole_file():
    page = (ROOT / "docs" / "updating.md").read_text()
    assert f"```\n{CADDYFILE.read_text()}```\n" in page


async def test_caddy_passes_on_what_is_for_everybody_and_nothing_else(tmp_path):
    async with a_site(tmp_path) as site:
        for path in ("/metrics", "/metrics/", "/METRICS", "/%6detrics", "//metrics", "/x/../metrics", "/metrics?a=b"):
            assert (path, (await site.ask(path))[0]) == (path, 404)
        assert not site.first.asked

        # The path, the query and the slash at the end are signed by Twilio, so they stay as they are.
        signed = "/twilio/voice/?a=%2F%20+b&a=&CallSid=CA1"
        forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example"}
        assert await site.ask(signed, b"To=%2B1", **forged) == (200, str(site.first.port))
        seen = site.first.asked[-1]
        assert seen.raw_path == signed
        assert seen.headers["Host"] == URL(site.url).authority
        assert seen.headers["X-Forwarded-For"] == "127.0.0.1"
        assert seen.headers["X-Forwarded-Proto"] == "https"
        assert seen.headers["X-Forwarded-Host"] == URL(site.url).authority

        assert (await site.ask("/api/calls/", bytes(MOST_BYTES)))[0] == 200
        assert (await site.ask("/twilio/voice/", bytes(MOST_CALLBACK_BYTES)))[0] == 200
        count = len(site.first.asked)
        assert (await site.ask("/api/calls/", bytes(MOST_BYTES + 1)))[0] == 413
        assert (await site.ask("/twilio/voice/", bytes(MOST_CALLBACK_BYTES + 1)))[0] == 413
        assert (await site.ask("/", Cookie="x" * 200_000))[0] == 431
        assert len(site.first.asked) == count


async def test_requests_go_to_a_process_that_is_ready_and_to_any_if_none_is(tmp_path):
    async with a_site(tmp_path, ready=(False, True)) as site:
        await site.first.probe()
        assert await site.ask("/twilio/voice/", b"To=1") == (200, str(site.second.port))
        site.second.ready = False
        await site.second.probe()
        answers = {await site.ask("/twilio/voice/", b"To=2") for _ in range(4)}
        assert answers == {(200, str(site.first.port)), (200, str(site.second.port))}
        bodies_seen = [await request.text() for request in (*site.first.asked, *site.second.asked)]
        assert bodies_seen == ["To=2", "To=2", "To=1", "To=2", "To=2"]
        assert (await site.ask("/healthz"))[0] == 200


async def test_a_call_through_the_tls_of_caddy_outlives_the_web_process_that_carries_it(tmp_path):
    async with deployment(tmp_path, caddy=caddy_program()) as here:
        # The caller waits for longer than the kill takes, and hears that the conversation goes on.
        steps = [WaitForAgent(), ask(), WaitForAgent(quiet=2.0), ask(), WaitForAgent(), HangUp()]
        here.callers.append(ScriptedCaller(steps))
        call = await here.call_in(here.callers[-1])
        killed_at = await kill_in_answer(here, call)
        await here.network.wait_until_idle()
        assert here.dropped() == 0
        assert silence_after(call, killed_at) > 0.0
        assert callback_statuses(here.network) <= {200, 204}
        streams = [event["url"] for event in call.tape.events if event["event"] == "stream_start"]
        assert len(streams) == 2
        assert here.url.startswith("https://")
        assert all(url.startswith(here.url.replace("https", "wss")) for url in streams)


def test_a_file_that_is_no_certificate_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(MediaError, match=r"ca\.pem cannot be read as the certificate of an authority"):
        PhoneNetwork(app_url="https://localhost", ca_file=tmp_path / "ca.pem")
