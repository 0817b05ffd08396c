"""
``manage.py talk``: fetch the weights, start the server with them and hold a conversation, on this machine alone.

The person speaks with the machine's microphone, or types where there is none. A scripted caller may take their place.
"""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from calls.services import find_call
from inference.management.options import local_path
from inference.models.catalogue import Model
from inference.models.choice import this_machine
from inference.models.hub import Hub
from inference.models.needs import lacks, models_of, name_of
from inference.models.progress import progress_on
from inference.models.source import check_folder
from inference.models.store import Store
from inference.types import EngineError
from media.management.commands.demo import TALK, converse, latency_table
from media.management.local_server import running_server
from media.phone.live import SoundError, load_sound
from media.phone.people import VOICE

LABELS = {"stt": "hears", "llm": "thinks", "tts": "speaks"}


class Command(BaseCommand):
    help = "Fetch the weights that fit this machine, start the server with them, and talk with it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        caller = parser.add_mutually_exclusive_group()
        caller.add_argument("--type", action="store_true", help="type what you say (where there is no microphone)")
        caller.add_argument("--script", type=Path, metavar="FILE", help="follow a script, as `manage.py phone` does")
        caller.add_argument(
            "--scripted", action="store_true", help="let the caller of `make demo` talk, and show figures"
        )
        parser.add_argument(
            "--from", dest="source", type=local_path, metavar="FOLDER", help="copy missing weights from FOLDER"
        )
        parser.add_argument("--port", type=int, default=0, help="port of the server (default: any free port)")

    def handle(self, *args: Any, source: Path | None, port: int, **options: Any) -> None:
        console = Console(file=cast(IO[str], self.stdout), highlight=False, soft_wrap=True)
        profile = settings.ENGINES_PROFILE if settings.ENGINES_PROFILE_IS_SET else TALK
        engines = settings.ENGINES_PROFILES[profile]
        console.print(f"[bold]Client Caller[/] on this machine ({this_machine()}), profile {profile}:")
        for kind, label in LABELS.items():
            console.print(f"  {label}: {name_of(engines[kind])}")
        try:
            fetch(models_of(engines, settings.MODELS_FOLDER), console, source)
            if missing := lacks(engines, settings.MODELS_FOLDER):
                raise CommandError(f"{', '.join(missing)} is missing. Packages: pip install -r requirements/talk.txt.")
            how = _caller_arguments(console, **options)
            console.print("Loading the models ...")
            with running_server("talk", port=port, variables={"ENGINES_PROFILE": profile}) as url:
                if options["scripted"]:
                    _show_scripted(console, url)
                else:
                    call_command("phone", "--url", url, *how, stdout=self.stdout)
        except EngineError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped.", returncode=130) from None


def fetch(models: Sequence[Model], console: Console, source: Path | None) -> None:
    """Fetch those of these models that are not here. Raises ``EngineError``."""
    store = Store(settings.MODELS_FOLDER, Hub(settings.MODELS_HUB, settings.MODELS_TOKEN), progress_on(console))
    wanted = [model for model in models if store.missing(model)]
    if not wanted:
        return
    if source is not None:
        check_folder(source)
    where = source or settings.MODELS_HUB
    console.print(f"Fetching {sum(model.size for model in wanted) / 1e6:.0f} MB of weights from {where}, once:")
    for model in wanted:
        console.print(f"  {model.name}: {model.about}. Licence of the weights: {model.licence}.", markup=False)
    for model in wanted:
        store.fetch(model, source=source)


def _caller_arguments(console: Console, *, type: bool, script: Path | None, scripted: bool, **_: Any) -> list[str]:
    """The options of ``manage.py phone`` for this caller. Raises ``CommandError`` if nobody can speak."""
    if script is not None:
        return ["--script", str(script)]
    if scripted:
        return []
    if not type:
        try:
            _find_devices()
        except SoundError as error:
            if not sys.stdin.isatty():
                raise CommandError(f"{error} Without a terminal, use --script FILE or --scripted.") from error
            console.print(f"[yellow]There is no microphone to talk with:[/] {error} So you type, and a voice says it.")
            type = True
    return ["--type"] if type else []


def _find_devices() -> None:
    """Raises ``SoundError`` if this machine has no microphone or no loudspeaker."""
    sound = load_sound()
    for kind, name in (("input", "microphone"), ("output", "loudspeaker")):
        try:
            sound.query_devices(kind=kind)
        except (sound.PortAudioError, ValueError) as error:
            raise SoundError(f"No {name} was found ({error}).") from error


def _show_scripted(console: Console, url: str) -> None:
    call = asyncio.run(converse(console, url, VOICE))
    record = find_call(sid=call.sid)
    if record is None:
        raise CommandError("The call is not in the database; does the server use another one?")
    turns = list(record.turns.all())
    latencies = sorted(turn.response_latency for turn in turns if turn.response_latency is not None)
    if not latencies:
        raise CommandError("The agent has not answered once. Its log is talk-server.log in VAR_DIR.")
    console.print()
    console.print(latency_table(turns))
    console.print(
        f"{len(latencies)} replies; response latency: p50 {1000 * latencies[len(latencies) // 2]:.0f} ms, slowest "
        f"{1000 * latencies[-1]:.0f} ms. The recording is in {call.tape.directory}."
    )
