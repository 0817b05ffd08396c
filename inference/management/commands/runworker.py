"""``manage.py runworker stt tts``: serves engines of this machine to web processes elsewhere, through Redis."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from inference.backends import make_engine
from inference.engine_collector import engine_collector
from inference.exposition import serve_metrics
from inference.garbage import freeze_loaded
from inference.loop_lag import watch_loop
from inference.remote.placement import RemoteEngine, get_layer
from inference.remote.server import KINDS, Server
from inference.remote.worker import Worker
from inference.types import EngineError

ALIVE_INTERVAL = 5.0
"""Seconds. The health check of the image allows three times as many."""

Number = TypeVar("Number", int, float)


class Command(BaseCommand):
    help = (
        "Serve engines of this machine to processes that run with ENGINES_PROFILE=remote. The engines are loaded "
        "first. SIGTERM stops the worker after its open sessions have ended; a second SIGTERM stops it at once."
    )
    # A worker needs neither database nor URLs, and a GPU machine has none.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "engines", nargs="+", metavar="ENGINE", help=f"one or more of {', '.join(KINDS)}; usually one to a process"
        )
        parser.add_argument(
            "--slots",
            type=_at_least(1, int),
            default=0,
            help="sessions that are served at once (default: the limit of the engine)",
        )
        parser.add_argument(
            "--drain",
            type=_at_least(0, float),
            default=30.0,
            help="seconds that open sessions may take to end (default: 30)",
        )
        parser.add_argument(
            "--alive",
            type=Path,
            metavar="FILE",
            help="touch this file every 5 s once the engines are loaded, for probes",
        )
        parser.add_argument(
            "--layer", default="default", help="alias of the channel layer for placements (default: default)"
        )

    def handle(
        self, *, engines: list[str], slots: int, drain: float, layer: str, alive: Path | None = None, **options: Any
    ) -> None:
        if unknown := [name for name in engines if name not in KINDS]:
            raise CommandError(f"There is no engine {', '.join(map(repr, unknown))}. Choose from: {', '.join(KINDS)}.")
        if not settings.REDIS_URL:
            raise CommandError("REDIS_URL is not set. Set it to the Redis that the web processes use.")
        try:
            placements, stream = get_layer(layer), get_layer("stream")
            made = {name: make_engine(name, settings.ENGINES[name]) for name in engines}
            if any(isinstance(engine, RemoteEngine) for engine in made.values()):
                raise CommandError(
                    "A worker cannot use ENGINES_PROFILE=remote, which asks workers. Choose another one, as gpu or "
                    "cpu, or single engines (STT_ENGINE, LLM_ENGINE, TTS_ENGINE)."
                )
            servers = [
                Server(name, engine, placements=placements, stream=stream, slots=slots, pulse=True)
                for name, engine in made.items()
            ]
            serve_metrics(role="worker", **settings.METRICS)
            asyncio.run(run_worker(Worker(servers, drain=drain, ready=freeze_loaded), alive))
        except EngineError as error:
            raise CommandError(f"Cannot serve the engines: {error}") from error


async def run_worker(worker: Worker, alive: Path | None = None) -> None:
    loop = asyncio.get_running_loop()
    engine_collector.watch_servers(worker.servers)
    watching = [asyncio.ensure_future(watch_loop())]
    if alive is not None:
        watching.append(asyncio.ensure_future(show_life(alive, worker.servers)))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    try:
        await worker.run()
    finally:
        for task in watching:
            task.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    if not all(server.loaded.is_set() for server in worker.servers):
        # A thread that still loads a model cannot be stopped otherwise, and asyncio would wait for it.
        signal.raise_signal(signal.SIGTERM)


async def show_life(file: Path, servers: Sequence[Server]) -> None:
    """Touch a file while the event loop runs, from when the engines are loaded."""
    for server in servers:
        await server.loaded.wait()
    while True:
        await asyncio.to_thread(file.touch)
        await asyncio.sleep(ALIVE_INTERVAL)


def _at_least(least: float, kind: type[Number]) -> Callable[[str], Number]:
    def parse(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not a number") from None
        if not least <= number < float("inf"):
            raise ArgumentTypeError(f"it must be at least {least}")
        return number

    return parse
