"""
Imitations of the hosted services, in a process of their own, for benchmarks.

    python -m tests.benchmarks.hosted_fakes --pace 0.02 --cpu 1
    python -m tests.benchmarks.hosted_fakes --load

It prints the addresses as one line of JSON. For each further line on its input it prints the times at which it has sent
something since the last one, on the clock that all processes share (``time.monotonic``). It ends with its input.

With ``--load`` the services are those of ``tests/benchmarks/load_services.py``. A line on the input is then answered
with how much of what was asked is still going on at each, and how late the answers were at p99 since the last line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from aiohttp import web

from tests.benchmarks import load_services
from tests.inference.hosted.aura_service import AuraService
from tests.inference.hosted.cartesia_service import CartesiaService
from tests.inference.hosted.deepgram_service import DeepgramService
from tests.inference.hosted.elevenlabs_service import ElevenLabsService
from tests.inference.hosted.flux_tts_service import FluxService
from tests.inference.hosted.openai_service import OpenAIService
from tests.inference.hosted.service import Socket

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {
    "deepgram": DeepgramService,
    "openai": OpenAIService,
    "cartesia": CartesiaService,
    "aura": AuraService,
    "flux-tts": FluxService,
    "elevenlabs": ElevenLabsService,
}


@dataclass(frozen=True)
class Load:
    """What the services of ``--load`` tell."""

    running: dict[str, int]
    """How much of what was asked is still going on at each service."""
    lateness: float
    """Seconds, at p99."""


class Fakes:
    """The process, as the benchmark sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.urls: dict[str, str] = json.loads(process.stdout.readline())
        """The address of each service, by its name in ``SERVICES``."""

    def sent(self) -> list[float]:
        """The times at which something was sent since this was asked last. Blocks for a moment."""
        times: list[float] = self._ask()
        return times

    def load(self) -> Load:
        """What the services of ``--load`` tell. Blocks for a moment."""
        return Load(**self._ask())

    def _ask(self) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def fakes(*, pace: float = 0.0, cpu: int | None = None, load: bool = False) -> Iterator[Fakes]:
    """Serve while the block runs. ``pace`` is the pause after each message; ``cpu`` is the processor to run on."""
    command = [sys.executable, "-m", "tests.benchmarks.hosted_fakes", "--pace", str(pace), *(["--load"] * load)]
    if cpu is not None:
        command += ["--cpu", str(cpu)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Fakes(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def note_times(sent: list[float], pace: float) -> None:
    """Note when each message and each piece of a body is sent, and pause after it."""

    def noted(send: Any, pause: float) -> Any:
        async def send_and_note(self: Any, message: Any) -> Any:
            sent.append(time.monotonic())
            answer = await send(self, message)
            if pause:
                await asyncio.sleep(pause)
            return answer

        return send_and_note

    Socket.send = noted(Socket.send, pace)  # type: ignore[method-assign]
    web.StreamResponse.write = noted(web.StreamResponse.write, pace)  # type: ignore[method-assign]
    # An answer that is sent as a whole: between its head and its body there is no pause.
    web.Response.prepare = noted(web.Response.prepare, 0.0)  # type: ignore[method-assign]


async def serve(pace: float) -> None:
    sent: list[float] = []
    note_times(sent, pace)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        urls = {}
        for name, service in SERVICES.items():
            urls[name] = (await stack.enter_async_context(service().serving())).base_url
        print(json.dumps(urls), flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(sent), flush=True)
            sent.clear()


async def serve_load() -> None:
    delays = load_services.Delays()
    loop = asyncio.get_running_loop()
    services = {name: service(delays) for name, service in load_services.SERVICES.items()}
    async with AsyncExitStack() as stack:
        for service in services.values():
            await stack.enter_async_context(service.serving())
        print(json.dumps({name: service.base_url for name, service in services.items()}), flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            running = {name: service.running for name, service in services.items()}
            late = float(np.percentile(delays.lateness, 99)) if delays.lateness else 0.0
            print(json.dumps({"running": running, "lateness": late}), flush=True)
            delays.lateness.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pace", type=float, default=0.0, help="seconds after each message")
    parser.add_argument("--cpu", type=int, help="the processor to run on")
    parser.add_argument("--load", action="store_true", help="the services of the load benchmark")
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    if options.load:
        uvloop.run(serve_load())
    else:
        asyncio.run(serve(options.pace))


if __name__ == "__main__":
    main()
