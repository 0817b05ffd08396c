"""``manage.py say "text"``: speaks a text with the text-to-speech engine and prints how fast it was."""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from inference.backends import make_engine
from inference.checking import Trial, clauses_of, speak
from inference.management.options import add_profile, engines_of, interruptible
from inference.types import EngineError


class Command(BaseCommand):
    help = "Say a text with the text-to-speech engine, and write it to a WAV file."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("text", help="the text to say; - reads it from standard input")
        parser.add_argument("--voice", default="", help="a voice that the engine has (default: the engine's default)")
        parser.add_argument("--language", default="en", help="the language of the text (default: %(default)s)")
        add_profile(parser)
        parser.add_argument(
            "--out",
            type=Path,
            default=Path("say.wav"),
            metavar="FILE",
            help="the WAV file to write; an existing one is overwritten (default: %(default)s)",
        )
        parser.add_argument(
            "--clauses", action="store_true", help="pass the text to the engine clause by clause, as in a call"
        )

    @interruptible
    def handle(self, *, text: str, out: Path, **options: Any) -> None:
        if text == "-":
            text = sys.stdin.read()
        text = " ".join(text.split())
        if not text:
            raise CommandError("The text is empty.")
        if out.is_dir():
            raise CommandError(f"--out {out}: this is a folder")
        if not out.parent.is_dir():
            raise CommandError(f"--out {out}: there is no folder {out.parent}")
        try:
            said, loaded = asyncio.run(_say(text, **options))
        except EngineError as error:
            raise CommandError(str(error)) from error
        try:
            said.sound.save(out)
        except OSError as error:
            raise CommandError(f"Cannot write {out}: {error.strerror or error}") from error
        self.stdout.write(f"{out}: {said.sound.seconds:.2f} s of sound at {said.sound.rate_hz} Hz")
        self.stdout.write(
            f"first audio after {1000 * said.first:.0f} ms, all of it after {said.took:.2f} s: "
            f"real-time factor {said.took / said.sound.seconds:.3f} (loaded in {loaded:.1f} s)"
        )


async def _say(text: str, *, voice: str, language: str, profile: str, clauses: bool, **_: Any) -> tuple[Trial, float]:
    """Return what was said, and how many seconds loading took."""
    engine = make_engine("tts", engines_of(profile)["tts"])
    with Console(stderr=True).status(f"Loading {type(engine).__name__} ...") as status:
        try:
            begun = time.perf_counter()
            await engine.start()
            loaded = time.perf_counter() - begun
            said = await speak(
                engine,
                clauses_of(text) if clauses else [text],
                voice=voice,
                language=language,
                on_sound=lambda seconds: status.update(f"Speaking: {seconds:.1f} s of sound"),
            )
        finally:
            await engine.close()
    return said, loaded
