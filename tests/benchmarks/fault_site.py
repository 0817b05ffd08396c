"""
What the fault benchmark breaks: Redis, workers and a web process on this machine, and the callers who talk to them.

The caller asks one question. The answer says each word of ``tests/word_tones.py`` once, so that the phone knows what
was said twice or left out.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from django.conf import settings

from media.phone.caller import HangUp, Say, ScriptedCaller, Wait, WaitForAgent
from media.phone.clips import Clip
from media.phone.leg import PhoneCall
from media.phone.network import PhoneNetwork
from tests.benchmarks.fault_line import Line
from tests.real_services import Process, RedisServer, process, process_env, reserve_port
from tests.word_tones import Run, Told, judge, reply, runs_of

SECONDS_PER_CHARACTER = 0.04
VOICED = 2.0
"""Seconds of voice: recognition takes an utterance with less for a murmur, so that lost sound shows."""
OPTIONS: dict[str, dict[str, Any]] = {
    "stt": {"backchannel_below": VOICED},
    "llm": {"replies": [reply()]},
    # Little faster than it is heard, so that hardly anything is left to play when it stops.
    "tts": {"chunk_delay": 0.095, "seconds_per_character": SECONDS_PER_CHARACTER},
}
WORKER = {
    "DJANGO_SETTINGS_MODULE": "clientcaller.pod",
    "ENGINES_PROFILE": "scripted",
    "TTS_ENGINE": "tests.word_tones.WordTonesTextToSpeech",
}
QUIET = 6.0
"""Seconds of the agent's silence after which the caller hangs up: longer than any gap that is measured."""
READY_TIMEOUT = 60.0
ALIASES = ("stt", "llm", "tts")


def worker_environment(folder: Path, redis_url: str) -> dict[str, str]:
    return process_env(folder, redis_url=redis_url, ENGINES_OPTIONS=json.dumps(OPTIONS), **WORKER)


def is_failover(line: str) -> bool:
    """Whether this line of a log says that a worker was left."""
    return " sessions with " in line and ": lost " in line


@dataclass
class Call:
    """One call: its line, and what its caller does and hears."""

    line: PhoneCall
    caller: ScriptedCaller
    faults: list[float] = field(default_factory=list)
    """Seconds into what the caller has heard at which a fault began."""

    def times(self, event: str) -> list[float]:
        return [each["at"] for each in self.line.tape.events if each["event"] == event]

    @property
    def asking(self) -> bool:
        return len(self.times("caller_speech_start")) > len(self.times("caller_speech_end"))

    @property
    def answered(self) -> bool:
        """The answer has begun to sound."""
        asked = self.times("caller_speech_end")
        return bool(asked) and any(at > asked[-1] for at in self.times("agent_speech_start"))

    @property
    def kept(self) -> bool:
        """Whether the caller was on the line until they hung up themselves."""
        return self.caller.hung_up and not self.caller.gave_up and len(self.times("stream_start")) == 1

    @property
    def runs(self) -> list[Run]:
        assert self.caller.heard is not None
        return runs_of(bytes(self.caller.heard))

    def told(self) -> Told:
        return judge(self.runs, seconds_per_character=SECONDS_PER_CHARACTER)

    @property
    def asked_until(self) -> float:
        """Seconds into what the caller has heard at which they have ended their question."""
        ended, begun = self.times("caller_speech_end"), self.times("stream_start")
        return ended[-1] - begun[0] if ended and begun else float("-inf")

    def response(self) -> float:
        """Seconds from the caller's last sound to the first word of the answer."""
        return self.told().first - self.asked_until

    def bridged(self) -> float:
        """Seconds of fillers in that time."""
        until = self.told().first
        return sum(run.sounded for run in self.runs if not run.word and self.asked_until < run.start < until)


class Site:
    """
    Everything that may break. One worker process serves all engines, until another one is started.

    With ``lines`` all processes reach Redis over a line that can be cut.
    """

    def __init__(self, folder: Path, stack: ExitStack, *, lines: bool = False) -> None:
        self.folder = folder
        self.redis = RedisServer()
        stack.callback(self.redis.stop)
        self._stack = stack
        self._has_lines = lines
        self.workers: list[Process] = []
        """The workers that run, the oldest first."""
        self.worker_lines: list[Line] = []
        """The line of each worker to Redis, if there are lines."""
        self.web_lines: list[Line] = []
        self.start_worker()
        self.port = reserve_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.web = self._start_web()

    def start_worker(self) -> Process:
        """Start a worker, and wait until it serves."""
        environment = worker_environment(self.folder, self._redis_url(self.worker_lines))
        started = self._stack.enter_context(
            process(sys.executable, "manage.py", "runworker", *ALIASES, env=environment)
        )
        for _ in ALIASES:
            started.wait_for("loaded on")
        self.workers.append(started)
        return started

    @property
    def failovers(self) -> int:
        """How often the web process has left a worker that it took for dead."""
        return sum(map(is_failover, self.web.lines))

    def end_worker(self, worker: Process) -> None:
        """End it in an orderly way, unless it is dead: it must not be missed by the calls that begin next."""
        line = self.worker_lines.pop(self.workers.index(worker)) if self.worker_lines else None
        self.workers.remove(worker)
        if worker.running:
            for each in (signal.SIGCONT, signal.SIGTERM, signal.SIGTERM):
                worker.signal(each)
            worker.wait()
        worker.end()
        if line is not None:
            line.close()

    def _redis_url(self, lines: list[Line]) -> str:
        """Where a process finds Redis: over a new line, which is added to ``lines``, if there are lines."""
        if not self._has_lines:
            return self.redis.url
        lines.append(Line(self.redis.port))
        self._stack.callback(lines[-1].close)
        return f"redis://127.0.0.1:{lines[-1].port}/0"

    def _start_web(self) -> Process:
        environment = process_env(
            self.folder,
            redis_url=self._redis_url(self.web_lines),
            ENGINES_PROFILE="remote",
            MAX_LIVE_CALLS="100",
            LOG_LEVEL="INFO",
            PUBLIC_BASE_URL=settings.PUBLIC_BASE_URL,
        )
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            env=environment,
            cwd=Path(__file__).parents[2],
            check=True,
        )
        command = f"-m uvicorn clientcaller.asgi:application --host 127.0.0.1 --port {self.port} --no-access-log"
        web = self._stack.enter_context(
            process(
                sys.executable, *command.split(), "--ws", "websockets-sansio", "--log-level", "warning", env=environment
            )
        )
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline and web.running:
            with suppress(URLError, OSError):
                urlopen(f"{self.url}/readyz", timeout=5).close()
                return web
            time.sleep(0.1)
        raise SystemExit(f"The web process did not start. It wrote:\n{web.text}")

    def network(self) -> PhoneNetwork:
        return PhoneNetwork(
            app_url=self.url,
            public_url=settings.PUBLIC_BASE_URL,
            account_sid=settings.TWILIO_ACCOUNT_SID,
            auth_token=settings.TWILIO_AUTH_TOKEN,
        )


async def call_in(network: PhoneNetwork, question: Clip) -> Call:
    """Begin a call with one question."""
    caller = ScriptedCaller([WaitForAgent(), Wait(0.2), Say(question), WaitForAgent(quiet=QUIET), HangUp()])
    caller.heard = bytearray()
    line = await network.call_in(caller, from_number="+12025550123", to_number="+15005550006")
    return Call(line, caller)


async def until(condition: Any, *, within: float = 60.0) -> None:
    """Wait for what happens on the line, which has no event to await."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
