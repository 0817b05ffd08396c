"""``manage.py runworker stt tts``: serve engines of this machine to web processes elsewhere, through Redis."""

import asyncio
import signal
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from inference.backends import make_engine
from inference.remote.placement import RemoteEngine
from inference.remote.server import KINDS, Server
from inference.remote.worker import Worker
from inference.types import EngineError


class Command(BaseCommand):
    help = (
        "Serve engines of this machine to processes that run with ENGINES_PROFILE=remote. Engines are loaded first; "
        "SIGTERM lets open sessions end, a second one does not."
    )
    # It needs neither database nor URLs: a GPU worker has none.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "engines", nargs="+", metavar="ENGINE", help=f"which of {', '.join(KINDS)}; normally one to a process"
        )
        parser.add_argument(
            "--slots", type=_at_least(1, int), default=0, help="sessions at once (default: what the engine says)"
        )
        parser.add_argument(
            "--drain", type=_at_least(0, float), default=30.0, help="seconds that open sessions may take to end"
        )
        parser.add_argument("--layer", default="default", help="the channel layer for placements (default: default)")

    def handle(self, *, engines: list[str], slots: int, drain: float, layer: str, **options: Any) -> None:
        if unknown := [name for name in engines if name not in KINDS]:
            raise CommandError(f"There is no engine {', '.join(map(repr, unknown))}; there are: {', '.join(KINDS)}")
        if not settings.REDIS_URL:
            raise CommandError("Set REDIS_URL to the Redis that the web processes use: a worker is reached through it.")
        placements, stream = get_channel_layer(layer), get_channel_layer("stream")
        if placements is None:
            raise CommandError(f"CHANNEL_LAYERS has no {layer!r}; it has: {', '.join(settings.CHANNEL_LAYERS)}")
        try:
            made = {name: make_engine(name, settings.ENGINES[name]) for name in engines}
            if any(isinstance(engine, RemoteEngine) for engine in made.values()):
                raise CommandError("ENGINES_PROFILE=remote asks workers; a worker needs engines, as in gpu or cpu.")
            servers = [
                Server(name, engine, placements=placements, stream=stream, slots=slots) for name, engine in made.items()
            ]
            asyncio.run(_run(Worker(servers, drain=drain)))
        except EngineError as error:
            raise CommandError(f"The engine cannot be served: {error}") from error


async def _run(worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    try:
        await worker.run()
    finally:
        # A thread that loads a model cannot be stopped, only the process.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _at_least(least: int, kind: type) -> Any:
    def parse(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no number") from None
        if not least <= number < float("inf"):
            raise ArgumentTypeError(f"it must be at least {least}")
        return number

    return parse
