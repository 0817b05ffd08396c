"""
Two web servers behind a proxy, a Celery worker and the telephone network. A test can kill or restart each of them.

The answers of the agent are numbered, so that they tell whether it remembers what was said before.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from media.phone.answering import CarrierTiming
from media.phone.caller import HangUp, ScriptedCaller, WaitForAgent
from media.phone.leg import PhoneCall
from media.phone.network import PhoneNetwork
from tests.calls.installation import ACCOUNT_SID, AUTH_TOKEN, WORKER, ask_database
from tests.media.whole_calls import ask
from tests.real_services import ROOT, START_TIMEOUT, Process, migrate, process, process_env, reserve_port
from tests.web_server.balancer import authority, balancer, caddy_proxy

OURS = "+15005550006"
ANSWERS = [f"This is my answer number {number}." for number in ("one", "two", "three", "four", "five")]
DRAINED_WITHIN = 180.0
"""Seconds for the calls of a web server to end by themselves."""
IN_ANSWER = 0.5
"""Seconds of an answer that are heard before the kill. The question before it is stored by then."""
LOOK_INTERVAL = 0.1
"""Seconds between two looks at whether a web server is ready."""
CADDY_LOOKS = 2.0
"""Seconds in which Caddy has noticed that the servers are ready: it looks once a second."""
SCRIPTED = {"ENGINES_PROFILE": "scripted", "ENGINES_OPTIONS": json.dumps({"llm": {"replies": ANSWERS}})}
"""The settings of the engines."""
ENGINE_WORKER = {"DJANGO_SETTINGS_MODULE": "clientcaller.pod", **SCRIPTED}
ENGINES = ("stt", "llm", "tts")
ANSWERS_AFTER = 0.3
"""Seconds until those who are called answer."""


@dataclass
class Deployment:
    """Everything that runs. ``webs`` and ``workers`` are the processes of now, by the order in which they began."""

    url: str
    """The public address."""
    network: PhoneNetwork
    ports: tuple[int, int]
    env: Mapping[str, str]
    callers: list[ScriptedCaller] = field(default_factory=list)
    """The people of all calls, in and out."""
    webs: dict[int, Process] = field(default_factory=dict)
    """The web servers, by port."""
    workers: list[Process] = field(default_factory=list)
    engine_workers: list[Process] = field(default_factory=list)
    code: Path = ROOT
    """The version of the project that processes begin with."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start_web(self, port: int) -> None:
        web = self.webs[port] = self._start(f"-m clientcaller.web.server --port {port}")
        await asyncio.to_thread(web.wait_for, "Uvicorn running")

    async def restart_web(self, port: int) -> None:
        """End a web server as a service manager does, and start another one, until it is ready."""
        self.webs[port].signal(signal.SIGTERM)
        await asyncio.to_thread(self.webs[port].wait, timeout=DRAINED_WITHIN)
        await self.start_web(port)
        await asyncio.to_thread(wait_until_ready, f"http://127.0.0.1:{port}/readyz")

    async def start_worker(self) -> None:
        name = f"--hostname worker-{len(self.workers)}@%h"
        worker = self._start(f"{WORKER.replace('WARNING', 'INFO')} {name}")
        self.workers.append(worker)
        await asyncio.to_thread(worker.wait_for, "ready")

    async def restart_worker(self) -> None:
        self.workers[-1].signal(signal.SIGTERM)
        await asyncio.to_thread(self.workers[-1].wait, timeout=DRAINED_WITHIN)
        await self.start_worker()

    async def start_engine_worker(self) -> None:
        worker = self._start(f"manage.py runworker {' '.join(ENGINES)}", **ENGINE_WORKER)
        self.engine_workers.append(worker)
        for _ in ENGINES:
            await asyncio.to_thread(worker.wait_for, "loaded on")

    async def replace_engine_worker(self) -> None:
        """Start another one, and end the one before."""
        await self.start_engine_worker()
        old = self.engine_workers[-2]
        old.signal(signal.SIGTERM)
        await asyncio.to_thread(old.wait, timeout=DRAINED_WITHIN)

    def _start(self, command: str, **more: str) -> Process:
        env = {**self.env, "PYTHONPATH": str(self.code), **more}
        return self._stack.enter_context(process(sys.executable, *command.split(), env=env, cwd=self.code))

    def people(self, questions: int) -> None:
        """Let everybody who is called answer and ask so many questions."""
        self.network.on_dial("*", lambda: self.person(questions), after=ANSWERS_AFTER)

    def person(self, questions: int) -> ScriptedCaller:
        """Someone who asks so many questions and hears each answer."""
        steps = [WaitForAgent(), *(step for _ in range(questions) for step in (ask(), WaitForAgent())), HangUp()]
        person = ScriptedCaller(steps)
        self.callers.append(person)
        return person

    async def call_in(self, person: ScriptedCaller) -> PhoneCall:
        return await self.network.call_in(person, from_number="+12025550123", to_number=OURS)

    def dialled(self) -> Counter[str]:
        """How often each number was dialled."""
        calls = self.network.calls.values()
        return Counter(call.request.to_number for call in calls if call.direction == "outbound-api")

    def on_line(self) -> int:
        """How many calls are connected to an agent."""
        return sum(call.status == "in-progress" for call in self.network.calls.values())

    def dropped(self) -> int:
        """The people who were cut off, or to whom the agent did not answer."""
        return sum(not person.hung_up or bool(person.gave_up) for person in self.callers)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            urlopen(url, timeout=5).close()
            return
        except OSError:  # not 200, or no answer
            if time.monotonic() > deadline:
                raise
        time.sleep(LOOK_INTERVAL)


@asynccontextmanager
async def deployment(
    folder: Path,
    *,
    database_url: str = "",
    redis_url: str = "",
    outbound: int = 0,
    caddy: Path | None = None,
    code: Path = ROOT,
    remote: bool = False,
    **more: str,
) -> AsyncIterator[Deployment]:
    """
    Start the web servers, behind a proxy. ``more`` are further settings. Everything ends with the block.

    So many ``outbound`` calls are due at once, and then there is a worker as well. ``caddy`` is the program that is the
    proxy, if any. The network then calls through its TLS. ``code`` is the folder of the version that runs. With
    ``remote``, the engines run in a worker of their own, which needs Redis.
    """
    public, *ports = reserve_port(), reserve_port(), reserve_port()
    url = f"http://127.0.0.1:{public}" if caddy is None else f"https://localhost:{public}"
    async with AsyncExitStack() as stack:
        if caddy is not None:
            stack.enter_context(caddy_proxy(caddy, folder, url, *ports))
            more = {"TRUST_X_FORWARDED_PROTO": "1", **more}
        network = PhoneNetwork(
            app_url=url,
            account_sid=ACCOUNT_SID,
            auth_token=AUTH_TOKEN,
            calls_per_second=100.0,
            # Caddy needs a real second to notice that a server ends.
            timing=CarrierTiming(scale=0.3 if caddy is None else 1.0),
            ca_file=None if caddy is None else authority(folder),
        )
        await stack.enter_async_context(network)
        env = process_env(
            folder,
            database_url=database_url,
            redis_url=redis_url,
            **{
                "PUBLIC_BASE_URL": url,
                "TWILIO_API_BASE_URL": network.rest_url,
                **({"ENGINES_PROFILE": "remote"} if remote else SCRIPTED),
                "ATTEMPTS_PER_NUMBER_AND_DAY": "10",
                **more,
            },
        )
        begin_env = {**env, "PYTHONPATH": str(code)}
        await asyncio.to_thread(migrate, begin_env, cwd=code)
        here = Deployment(url, network, (ports[0], ports[1]), env, code=code)
        if caddy is None:
            await stack.enter_async_context(balancer(public, *ports))
        async with here._stack:
            here.people(questions=1)
            if remote:
                await here.start_engine_worker()
            await asyncio.gather(*map(here.start_web, ports))
            if caddy is not None:
                await asyncio.sleep(CADDY_LOOKS)
            if outbound:
                placing = asyncio.to_thread(ask_database, begin_env, "place", str(outbound), cwd=code)
                await asyncio.gather(here.start_worker(), placing)
            yield here


async def kill_in_answer(here: Deployment, call: PhoneCall, *, answer: int = 1) -> float:
    """
    Kill the web server of this call in this answer of the agent. Returns when, on the tape of the call.

    The call must be with the first server.
    """
    begun = asyncio.Event()
    questions = 0

    def note(event: dict[str, object]) -> None:
        nonlocal questions
        # The greeting may have a pause, so that beginnings of the agent's speech are not counted.
        questions += event["event"] == "caller_speech_end"
        if event["event"] == "agent_speech_start" and questions >= answer:
            begun.set()

    call.tape.on_event = note
    await begun.wait()
    await asyncio.sleep(IN_ANSWER)
    here.webs[here.ports[0]].signal(signal.SIGKILL)
    return call.tape.seconds(time.monotonic())


def silence_after(call: PhoneCall, at: float) -> float:
    """Seconds from ``at`` on the tape of a call to the first sound of the agent on a later stream."""
    begun = min(event["at"] for event in call.tape.events if event["event"] == "stream_start" and event["at"] > at)
    sounds = (event["at"] for event in call.tape.events if event["event"] == "agent_audio_received")
    return min(sound for sound in sounds if sound > begun) - at
