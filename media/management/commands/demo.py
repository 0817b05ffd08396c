"""
``manage.py demo``: a phone conversation with the real server, on this machine.

The command starts the server, calls it over the simulated telephone network and talks: several turns, one interruption,
one backchannel. It prints the conversation as it goes and the figures after it, and fails if something is missing.
"""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models.fields.files import FieldFile
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from calls.services import ensure_demo_login, find_call, printable
from calls.stages import STAGE_NAMES, STAGES
from inference.engines.espeak import EspeakTextToSpeech
from inference.management.options import interruptible
from inference.models.needs import lacks, models_of
from inference.types import EngineError
from media.management.local_server import running_server
from media.phone.caller import HangUp, Say, ScriptedCaller, Step, TalkOver, Wait, WaitForAgent, prepare
from media.phone.leg import PhoneCall
from media.phone.live import open_voice
from media.phone.measurements import Measurements, measure
from media.phone.network import PhoneNetwork
from media.phone.people import VOICE
from media.phone.twilio_errors import CLOSED_BY_APPLICATION

SCRIPT: list[Step] = [
    WaitForAgent(),
    Say("Hello, how are you today?"),
    WaitForAgent(),
    Say("What time do you open?"),
    WaitForAgent(),
    Say("Where are you located?"),
    WaitForAgent("start"),
    TalkOver("uh huh", after=0.9, backchannel=True),
    WaitForAgent(),
    Say("Tell me about yourself."),
    WaitForAgent("start"),
    TalkOver("How much does it cost?", after=2.2),
    WaitForAgent(),
    Say("Can you repeat that?"),
    WaitForAgent(),
    Wait(0.5),
    Say("Thank you, goodbye."),
    WaitForAgent(),
    Wait(6.0),
    HangUp(),
]
TALK = "talk"
"""The profile of small models with weights, all on this machine."""
TURNS_EXPECTED = 5
"""Of the seven in the script; a recogniser may miss one on a busy machine."""
RESUMED_WITHIN = 0.5
"""Seconds: after a longer pause a backchannel has stopped the agent."""
POLL_SECONDS = 0.2
"""Seconds between two looks into the database for new turns."""


class RecordedTurn(Protocol):
    """The part of a turn in the database that the demonstration shows."""

    pk: int
    number: int
    speaker: str
    said: str
    heard: str
    interrupted: bool
    stages: dict[str, float]
    response_latency: float | None


class Command(BaseCommand):
    help = "Hold a phone conversation with the real server on this machine, and show what was said and how fast."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=0, help="port of the server (default: any free port)")
        parser.add_argument("--voice", default=VOICE, help="the caller's eSpeak NG voice (default: %(default)s)")

    @interruptible
    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(soft_wrap=True, highlight=False)
        profile = choose_profile()
        console.print(
            f"[bold]Client Caller[/]: a phone conversation on this machine, with the engines of the {profile} profile"
            + (f" and {escape(settings.ENGINES_REPLACED)}" if settings.ENGINES_REPLACED else "")
        )
        for line in describe_choice(profile):
            console.print(line)
        with running_server("demo", port=options["port"], variables={"ENGINES_PROFILE": profile}) as url:
            call = asyncio.run(converse(console, url, options["voice"]))
        self._report(console, call, is_certain=profile == "laptop")

    def _report(self, console: Console, call: PhoneCall, *, is_certain: bool) -> None:
        """Print the figures that the server recorded, and those that the phone measured independently."""
        record = find_call(sid=call.sid)
        if record is None:
            raise CommandError("The call is not in the database; does the server use another one?")
        measured = measure(call.tape)
        turns: list[RecordedTurn] = list(record.turns.all())
        console.print()
        console.print(latency_table(turns))
        console.print(_describe_measurements(measured))
        username, password = ensure_demo_login()
        console.print()
        if record.recording:
            console.print(
                f"The server's recording (left: the caller, right: the agent): [bold]{_place_of(record.recording)}[/]"
            )
        console.print(f"The phone's recording and log of the same call: {_shorten(call.tape.directory)}")
        console.print("To see the call in the admin, run [bold]make run[/] and open")
        console.print(f"  http://127.0.0.1:8000/admin/calls/call/{record.pk}/change/")
        console.print(f"  user [bold]{username}[/], password [bold]{password}[/]")
        problems = list(_find_problems(turns, measured, recorded=bool(record.recording)))
        if problems and is_certain:
            raise CommandError("Something was missing from the demonstration:\n  - " + "\n  - ".join(problems))
        if problems:
            console.print("\nOf what the rules of the laptop profile do for certain, these models have left out:")
            console.print("  - " + "\n  - ".join(problems))
            return
        console.print(
            "\n[green]The demonstration is complete:[/] a conversation of several turns, an interruption that stopped "
            "the agent, and a backchannel that did not."
        )


def choose_profile() -> str:
    """The profile that the operator has set; else the models with weights, if all of them are here."""
    chosen: str = settings.ENGINES_PROFILE
    if settings.ENGINES_PROFILE_IS_SET or lacks(settings.ENGINES_PROFILES[TALK], settings.MODELS_FOLDER):
        return chosen
    return TALK


def describe_choice(profile: str) -> list[str]:
    """What a person should know of the engines that were chosen, and how to choose others."""
    if profile == TALK:
        models = ", ".join(model.about for model in models_of(settings.ENGINES_PROFILES[TALK], settings.MODELS_FOLDER))
        return [f"Their weights are on this machine: {models}.", "Without them: ENGINES_PROFILE=laptop make demo"]
    if profile == "laptop":
        return ["For a recogniser, a language model and a voice with weights: make talk"]
    return []


async def converse(console: Console, url: str, voice: str) -> PhoneCall:
    """Call the server, talk and hang up; print what is said meanwhile."""
    try:
        async with open_voice(EspeakTextToSpeech(), voice=voice) as speak:
            steps = await prepare(SCRIPT, speak)
    except EngineError as error:
        raise CommandError(f"There is no voice for the caller: {error}") from error
    caller = ScriptedCaller(steps)
    async with PhoneNetwork(
        app_url=url,
        public_url=settings.PUBLIC_BASE_URL,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
        tape_directory=Path(settings.VAR_DIR) / "tapes",
    ) as network:
        console.print("Calling the server ...\n")
        call = await network.call_in(caller, from_number="+12025550123", to_number=settings.TWILIO_PHONE_NUMBER)
        call.tape.on_event = partial(_print_speech, console)
        printer = asyncio.ensure_future(_print_turns(console, call))
        await call.wait()
        await network.wait_until_idle()
        await asyncio.sleep(5 * POLL_SECONDS)  # until the last turns are printed
        printer.cancel()
        await asyncio.gather(printer, return_exceptions=True)
    return call


def _print_speech(console: Console, event: dict[str, Any]) -> None:
    """Print what the caller says as soon as they begin to."""
    if event["event"] == "caller_speech_start":
        note = {"say": "", "talk over": " [yellow](over the agent)[/]", "backchannel": " [yellow](a backchannel)[/]"}
        console.print(f"  [cyan]caller[/]  {event['clip']}{note[event['kind']]}")


async def _print_turns(console: Console, call: PhoneCall) -> None:
    """Print each turn when the server has written it to the database, which it does as soon as the turn is over."""
    seen: set[int] = set()
    while True:
        await _print_new_turns(console, call, seen)
        await asyncio.sleep(POLL_SECONDS)


async def _print_new_turns(console: Console, call: PhoneCall, seen: set[int]) -> None:
    for turn in await asyncio.to_thread(_find_turns, call.sid):
        if turn.pk in seen:
            continue
        seen.add(turn.pk)
        if turn.speaker == "caller":
            console.print(f"          [dim]understood as: {escape(printable(turn.said))}[/]")
            continue
        latency = f" [dim]({turn.response_latency * 1000:.0f} ms)[/]" if turn.response_latency is not None else ""
        cut = " [yellow](interrupted)[/]" if turn.interrupted else ""
        console.print(f"  [green]agent[/]   {escape(printable(turn.heard))}{cut}{latency}")


def _find_turns(sid: str) -> list[RecordedTurn]:
    record = find_call(sid=sid)
    return list(record.turns.all()) if record is not None else []


def latency_table(turns: Sequence[RecordedTurn]) -> Table:
    title = "Response latency in ms: from the caller's last voiced sample to the first audible one of the reply"
    table = Table(title=title, box=SIMPLE, title_justify="left", padding=(0, 1), pad_edge=False)
    for heading in ("turn", *(stage.heading for stage in STAGES), "total", "heard"):
        table.add_column(heading, justify="right", no_wrap=True)
    for turn in turns:
        stages = turn.stages
        if "response_latency" not in stages:
            continue
        row = [f"{stages.get(name, 0) * 1000:.0f}" for name in (*STAGE_NAMES, "response_latency", "heard_latency")]
        table.add_row(str(turn.number), *row)
    return table


def _describe_measurements(measured: Measurements) -> str:
    parts = []
    if measured.responses:
        ordered = sorted(measured.responses)
        middle = ordered[len(ordered) // 2] * 1000
        parts.append(f"median response {middle:.0f} ms, slowest {ordered[-1] * 1000:.0f} ms")
    parts += [
        f"the agent stopped {overlap.clear_after * 1000:.0f} ms after being interrupted"
        for overlap in measured.interruptions
        if overlap.clear_after is not None
    ]
    parts.append(f"{len(measured.gaps)} gaps in the agent's speech, {measured.cut_ins} cut-ins")
    return "Measured independently by the phone: " + "; ".join(parts) + "."


def _find_problems(turns: list[RecordedTurn], measured: Measurements, *, recorded: bool) -> Iterator[str]:
    answered = [turn for turn in turns if turn.speaker == "agent" and turn.response_latency is not None]
    if len(answered) < TURNS_EXPECTED:
        yield f"{len(answered)} turns were answered; at least {TURNS_EXPECTED} were expected"
    if not any(turn.interrupted for turn in turns):
        yield "no turn of the agent was interrupted"
    if not any(overlap.clear_after is not None for overlap in measured.interruptions):
        yield "the interruption did not stop the agent"
    backchannels = measured.backchannels
    if not backchannels:
        yield "no backchannel was heard"
    if any(overlap.resumed_after is None or overlap.resumed_after > RESUMED_WITHIN for overlap in backchannels):
        yield "a backchannel stopped the agent"
    if measured.gaps:
        yield f"the agent's voice had {len(measured.gaps)} gaps"
    if errors := [code for code in measured.errors if code != CLOSED_BY_APPLICATION]:
        yield f"the carrier reported errors: {errors}"
    if not recorded:
        yield "there is no recording"


def _shorten(path: Path | None) -> str:
    if path is None:
        return "(none)"
    return str(path.relative_to(settings.BASE_DIR)) if path.is_relative_to(settings.BASE_DIR) else str(path)


def _place_of(recording: FieldFile) -> str:
    """The file of a recording, or its name where it can only be read through the storage."""
    try:
        return _shorten(Path(recording.path))
    except NotImplementedError:  # it is encrypted, or on another machine
        return recording.name or ""
