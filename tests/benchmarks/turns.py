"""
Turn-taking with real callers: people's recordings against real recognition, with what is heard around them.

    python -m tests.benchmarks.turns --speech FOLDER --models FOLDER             # every scene, in virtual time
    python -m tests.benchmarks.turns --speech FOLDER --models FOLDER --real-time
    python -m tests.benchmarks.turns --speech FOLDER --models FOLDER --scenes clean "cafe, 10 dB below" --seconds 60

Simulated telephones play the recordings as callers who ask, listen, interrupt, say "okay" or "yeah" over the agent,
cough, and speak to somebody else in the room (``turn_scenes.py``). The agent works with Whisper, a scripted language
model and eSpeak NG. Everything is measured from the other end of the line and from the callers' clean sound, before
anything is mixed into it (``turn_figures.py`` has the definitions); the figures that were stored are set beside them.

In virtual time all of it runs in this process, without a network and a database, and recognition takes the processor
time of one core (``virtual_calls.py``): a scene lasts as long as its work, and its figures hardly depend on what else
the machine does. In real time a server runs on one core and the callers on another, both of which must be idle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.benchmarks.load import PUBLIC_URL, Server, serving  # sets Django up

from django.conf import settings  # isort: skip
from rich.console import Console
from rich.table import Table

from calls.services import facts
from inference.engines.whisper import FasterWhisperSpeechToText
from inference.whisper.options import WhisperOptions
from media.phone.gateway import Gateway
from media.phone.leg import PhoneCall
from media.phone.measurements import measure
from media.phone.network import PhoneNetwork
from media.phone.tape import Tape
from tests.benchmarks import virtual_calls
from tests.benchmarks.turn_figures import FIGURES, CallFigures, RecordedTurn, Result
from tests.benchmarks.turn_picture import draw
from tests.benchmarks.turn_scenes import REPLIES, SCENES, Scene, Sounds, make_callers, make_sounds

SCENE_SECONDS = 120.0
"""About eight turns of each call."""
CALLS = 3
"""Calls at once: as many as Whisper tiny.en serves on one core without a queue."""
ALL = "all of them"
"""The name of the column with the calls of all scenes."""


# -- in virtual time ----------------------------------------------------------------------------------


def hold_virtual_calls(sounds: Sounds, scene: Scene, seconds: float, model: Path, calls: int = CALLS) -> Result:
    callers = make_callers(sounds, scene, calls, seconds=seconds)
    whisper = partial(FasterWhisperSpeechToText, WhisperOptions(model=str(model), device="cpu", cpu_threads=1))
    held, _ = virtual_calls.hold_calls(callers, stt=whisper, replies=REPLIES, impairments=scene.impairments)
    return Result([figures_of(call) for call in held])


def figures_of(call: virtual_calls.VirtualCall) -> CallFigures:
    first = next(fact for fact in call.facts if isinstance(fact, facts.StreamStarted))

    def on_tape(moment: datetime) -> float:
        return call.started_at + (moment - first.at).total_seconds()

    record = [
        RecordedTurn(
            turn.speaker,
            on_tape(turn.started_at),
            on_tape(turn.ended_at or turn.started_at),
            turn.interrupted,
            turn.heard,
            {name: value for name, value in turn.stages.items() if value is not None},
        )
        for turn in call.facts
        if isinstance(turn, facts.TurnEnded)
    ]
    return CallFigures(measure(call.tape), _length(call.tape), record)


def _length(tape: Tape) -> float:
    return float(tape.events[-1]["at"])


# -- in real time -------------------------------------------------------------------------------------


def hold_real_calls(sounds: Sounds, scene: Scene, seconds: float, model: Path) -> Result:
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.turns_settings",
        "TURNS_MODEL": str(model.absolute()),
        "TURNS_REPLIES": json.dumps(REPLIES),
    }
    with (
        tempfile.TemporaryDirectory() as directory,
        serving("uvicorn", Path(directory), calls=CALLS, environment=environment) as server,
    ):
        tapes = asyncio.run(_call_server(server, sounds, scene, seconds))
        return _read_records(tapes, Path(directory) / "db.sqlite3")


async def _call_server(server: Server, sounds: Sounds, scene: Scene, seconds: float) -> list[Tape]:
    async with PhoneNetwork(
        app_url=server.url,
        public_url=PUBLIC_URL,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
        gateway_factory=lambda party, tape: Gateway(party, tape=tape, impairments=scene.impairments),
    ) as network:
        lines: list[PhoneCall] = []
        for caller in make_callers(sounds, scene, CALLS):
            lines.append(await network.call_in(caller, from_number="+12025550123", to_number="+15005550006"))
            await asyncio.sleep(0.7)
        await asyncio.sleep(seconds)
        for line in lines:
            line.hang_up()
        await asyncio.gather(*(line.wait() for line in lines))
        return [line.tape for line in lines]


def _read_records(tapes: list[Tape], database: Path) -> Result:
    result = []
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        calls = [row[0] for row in connection.execute("SELECT id FROM calls_call ORDER BY created_at")]
        for call, tape in zip(calls, tapes, strict=True):
            began = datetime.fromisoformat(tape.events[0]["started_at"])
            rows = connection.execute(
                "SELECT speaker, started_at, coalesce(ended_at, started_at), interrupted, heard, stages "
                "FROM calls_turn WHERE call_id = ? ORDER BY number, started_at, id",
                (call,),
            ).fetchall()
            record = [
                RecordedTurn(speaker, _since(began, start), _since(began, end), bool(broken), heard, json.loads(stages))
                for speaker, start, end, broken, heard, stages in rows
            ]
            result.append(CallFigures(measure(tape), _length(tape), record))
    return Result(result)


def _since(began: datetime, moment: str) -> float:
    return (datetime.fromisoformat(moment).replace(tzinfo=UTC) - began).total_seconds()


# -- the report ---------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="the folder with the recordings of people")
    parser.add_argument("--models", type=Path, required=True, help="the folder with the models")
    parser.add_argument("--model", default="tiny.en", help="the Whisper model in it (default: %(default)s)")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES), metavar="SCENE")
    parser.add_argument("--seconds", type=float, default=SCENE_SECONDS, help="of each scene (default: %(default)g)")
    parser.add_argument("--real-time", action="store_true", help="call a server, on idle cores, in real time")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the figures into this file")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown, a row for each scene")
    options = parser.parse_args()
    if options.real_time:
        os.sched_setaffinity(0, {1} if (os.cpu_count() or 1) > 1 else {0})
    hold = hold_real_calls if options.real_time else hold_virtual_calls
    console = Console(width=200)
    sounds = make_sounds(options.speech, options.seconds)
    results = {}
    for name in options.scenes:
        results[name] = result = hold(sounds, SCENES[name], options.seconds, options.models / options.model)
        console.print(f"{name}: " + ", ".join(f"{figure} {show(result)}" for figure, show in FIGURES.items()))
    if len(results) > 1:
        results[ALL] = Result([call for result in results.values() for call in result.calls])
    title = f"{options.model}, {CALLS} calls at once, {options.seconds:g} s each, "
    title += "in real time" if options.real_time else "in virtual time"
    if options.markdown:
        print_markdown(results, title)
    else:
        print_table(console, results, title)
    if options.picture:
        options.picture.write_text(draw(results, title), encoding="utf-8")


def print_table(console: Console, results: dict[str, Result], title: str) -> None:
    table = Table(title=title)
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for figure, show in FIGURES.items():
        table.add_row(figure, *(show(result) for result in results.values()))
    console.print(table)


def print_markdown(results: dict[str, Result], title: str) -> None:
    print(f"{title}\n\n| | {' | '.join(FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
    for name, result in results.items():
        print(f"| {name} | {' | '.join(show(result) for show in FIGURES.values())} |")


if __name__ == "__main__":
    main()
