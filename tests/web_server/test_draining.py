"""A web server that is asked to end finishes its calls, and sends new ones elsewhere. Real processes behind a proxy."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

from django.conf import settings

from media.phone.answering import CarrierTiming
from media.phone.caller import HangUp, ScriptedCaller, Step, WaitForAgent
from media.phone.measurements import measure
from media.phone.network import PhoneNetwork
from media.phone.twilio_errors import CLOSED_BY_APPLICATION
from tests.media.whole_calls import ask
from tests.real_services import Process, migrate, process, process_env, reserve_port
from tests.web_server.balancer import balancer

OURS = "+15005550006"


@contextmanager
def web_server(port: int, env: dict[str, str]) -> Iterator[Process]:
    with process("make", "serve", f"PORT={port}", env=env) as server:
        yield server


def readiness(port: int) -> tuple[int, dict]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def scrape(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def scripted(*steps: Step) -> ScriptedCaller:
    return ScriptedCaller([*steps, HangUp()])


async def test_calls_end_by_themselves_or_go_on_elsewhere_and_new_ones_come_to_another_process(tmp_path):
    public, first_port, second_port = reserve_port(), reserve_port(), reserve_port()
    url = f"http://127.0.0.1:{public}"
    env = process_env(tmp_path, PUBLIC_BASE_URL=url, ENGINES_PROFILE="scripted")
    await asyncio.to_thread(migrate, env)
    async with AsyncExitStack() as stack:
        first = stack.enter_context(web_server(first_port, {**env, "DRAIN_LIMIT": "4"}))
        metrics_port = reserve_port()
        second = stack.enter_context(web_server(second_port, {**env, "METRICS_PORT": str(metrics_port)}))
        for server in (first, second):
            await asyncio.to_thread(server.wait_for, "Uvicorn running")
        await stack.enter_async_context(balancer(public, first_port, second_port))
        network = PhoneNetwork(
            app_url=url,
            account_sid=settings.TWILIO_ACCOUNT_SID,
            auth_token=settings.TWILIO_AUTH_TOKEN,
            timing=CarrierTiming(scale=0.3),
        )
        await stack.enter_async_context(network)
        # The first process has four seconds for its call, and the second one continues it then.
        steps = [WaitForAgent(), ask(), WaitForAgent(), WaitForAgent(), ask(), WaitForAgent()]
        early = await network.call_in(scripted(*steps), from_number="+12025550123", to_number=OURS)
        await asyncio.to_thread(first.wait_for, "turn 1, of the agent, has ended")
        first.signal(signal.SIGTERM)
        await asyncio.to_thread(first.wait_for, "waiting for 1 calls to end, for 4 s at most")
        steps = [WaitForAgent(), ask(), WaitForAgent()]
        late = await network.call_in(scripted(*steps), from_number="+12025550124", to_number=OURS)
        await asyncio.to_thread(first.wait_for, "stream 1 ended: drain")
        assert await asyncio.to_thread(first.wait) == -signal.SIGTERM
        # The second one waits for both calls, and for no connection without a call.
        await asyncio.to_thread(second.wait_for, "turn 1, of the agent, has ended")
        idle = stack.enter_context(socket.create_connection(("127.0.0.1", second_port)))
        second.signal(signal.SIGTERM)
        await asyncio.to_thread(second.wait_for, "waiting for 2 calls to end, for 900 s at most")
        status, answer = await asyncio.to_thread(readiness, second_port)
        assert (status, answer["problems"], answer["draining"]["calls"]) == (503, ["draining"], 2)
        metrics = await asyncio.to_thread(scrape, metrics_port)
        assert {"clientcaller_draining 1.0", "clientcaller_streams 2.0"} <= set(metrics.splitlines())
        await early.wait()
        await late.wait()
        assert await asyncio.to_thread(second.wait) == -signal.SIGTERM
        assert idle.recv(1) == b""
    assert "Drained: no call is left" in second.text
    for call, streams in ((early, 2), (late, 1)):
        measured = measure(call.tape)
        assert measured.errors == [CLOSED_BY_APPLICATION] * (streams - 1)
        assert len(measured.responses) == streams  # one question on each
        verbs = [event["verb"] for event in call.tape.events if event["event"] == "twiml"]
        assert verbs.count("Connect") == streams
        assert ("Redirect" in verbs) is (call is late)
