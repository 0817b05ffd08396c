"""
A phone conversation with the real server, end to end, on this machine.

Starts the server, dials it over the simulated telephone network, and talks: several turns, one interruption, one
murmur. Prints the conversation as it goes and the figures after it, and fails if what it promises did not happen.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from calls.services import ensure_demo_login, find_call
from calls.stages import STAGE_NAMES, STAGES
from inference.backends import make_engine
from inference.types import EngineError
from media.phone.caller import HangUp, Say, ScriptedCaller, Step, TalkOver, Wait, WaitForAgent, prepare
from media.phone.leg import PhoneCall
from media.phone.measurements import Measurements, measure
from media.phone.network import PhoneNetwork
from media.phone.people import VOICE
from media.reply import render

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
TURNS_PROMISED = 5
READY_WITHIN = 90.0
CLOSED_ON_PURPOSE = 31921


class Command(BaseCommand):
    help = "Hold a phone conversation with the real server on this machine, and show what was said and how fast."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=0, help="where the server listens (default: any free port)")
        parser.add_argument("--voice", default=VOICE, help="espeak-ng voice of the caller (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(soft_wrap=True, highlight=False)
        port = options["port"] or _free_port()
        console.print(
            f"[bold]Client Caller[/] — a phone conversation on this machine, engines: {settings.ENGINES_PROFILE}"
        )
        server, log = _start_server(port)
        try:
            _await_ready(server, port, log)
            call = asyncio.run(_converse(console, port, options["voice"]))
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
        self._report(console, call)

    def _report(self, console: Console, call: PhoneCall) -> None:
        """Figures from the books of the server, and independently from the tape of the phone."""
        record = find_call(sid=call.sid)
        if record is None:
            raise CommandError("The call is not in the database.")
        measured = measure(call.tape)
        turns = list(record.turns.all())
        console.print()
        console.print(_latency_table(turns))
        console.print(_tape_line(measured))
        username, password = ensure_demo_login()
        console.print()
        if record.recording:
            console.print(
                f"Recording (left: the caller, right: the agent): [bold]{_short(Path(record.recording.path))}[/]"
            )
        console.print(f"The phone's own tape of the same call: {_short(call.tape.directory)}")
        console.print("To read the call in the admin: [bold]make run[/], then")
        console.print(f"  http://127.0.0.1:8000/admin/calls/call/{record.pk}/change/")
        console.print(f"  user [bold]{username}[/], password [bold]{password}[/]")
        problems = list(_broken_promises(turns, measured, recorded=bool(record.recording)))
        if problems:
            raise CommandError("The demonstration did not show what it should:\n  - " + "\n  - ".join(problems))
        console.print(
            "\n[green]All of it happened:[/] a conversation of several turns, an interruption that stopped the agent, "
            "and a murmur that did not."
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start_server(port: int) -> tuple[subprocess.Popen[bytes], Path]:
    log = Path(settings.VAR_DIR) / "demo-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-u",
        "-m",
        "daphne",
        "-v",
        "0",
        "-b",
        "127.0.0.1",
        "-p",
        str(port),
        "clientcaller.asgi:application",
    ]
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=settings.BASE_DIR, stdout=output, stderr=output)
    return server, log


def _await_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up = time.monotonic() + READY_WITHIN
    while time.monotonic() < give_up:
        if server.poll() is not None:
            raise CommandError(f"The server stopped at its start; its last words:\n{_last_words(log)}")
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise CommandError(f"The server was not ready within {READY_WITHIN:.0f} s; its last words:\n{_last_words(log)}")


def _last_words(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


async def _converse(console: Console, port: int, voice: str) -> PhoneCall:
    """Dial, talk, hang up; prints what is said on the way."""
    tts = make_engine("tts", {"BACKEND": "inference.engines.espeak.EspeakTextToSpeech"})

    async def speak(text: str) -> bytes:
        return await render(text, tts=tts, voice=voice, language="en")

    try:
        await tts.start()
        steps = await prepare(SCRIPT, speak)
    except EngineError as error:
        raise CommandError(f"The caller has no voice: {error}") from error
    finally:
        await tts.close()
    caller = ScriptedCaller(steps)
    async with PhoneNetwork(
        app_url=f"http://127.0.0.1:{port}",
        public_url=settings.PUBLIC_BASE_URL,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
        tape_directory=Path(settings.VAR_DIR) / "tapes",
    ) as network:
        console.print("The phone rings ...\n")
        call = await network.call_in(caller, from_number="+12025550123", to_number=settings.TWILIO_PHONE_NUMBER)
        call.tape.on_event = partial(_print_speech, console)
        printer = asyncio.ensure_future(_print_turns(console, call))
        await call.wait()
        await network.wait_until_idle()
        await asyncio.sleep(1.0)
        printer.cancel()
        await asyncio.gather(printer, return_exceptions=True)
    return call


def _print_speech(console: Console, event: dict[str, Any]) -> None:
    """What the caller says, in the moment in which he begins to."""
    if event["event"] == "caller_speech_start":
        how = {"say": "", "talk over": " [yellow](over the agent)[/]", "backchannel": " [yellow](only a murmur)[/]"}
        console.print(f"  [cyan]caller[/]  {event['clip']}{how[event['kind']]}")


async def _print_turns(console: Console, call: PhoneCall) -> None:
    """Follow the books of the server: each turn is written as soon as it is over."""
    seen: set[int] = set()
    while True:
        await _print_new(console, call, seen)
        await asyncio.sleep(0.2)


async def _print_new(console: Console, call: PhoneCall, seen: set[int]) -> None:
    for turn in await asyncio.to_thread(_turns_of, call.sid):
        if turn.pk in seen:
            continue
        seen.add(turn.pk)
        if turn.speaker == "caller":
            console.print(f"          [dim]understood: {turn.said}[/]")
            continue
        latency = f" [dim]({turn.response_latency * 1000:.0f} ms)[/]" if turn.response_latency is not None else ""
        cut = " [yellow]— interrupted[/]" if turn.interrupted else ""
        console.print(f"  [green]agent[/]   {turn.heard}{cut}{latency}")


def _turns_of(sid: str) -> list[Any]:
    record = find_call(sid=sid)
    return list(record.turns.all()) if record is not None else []


def _latency_table(turns: list[Any]) -> Table:
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


def _tape_line(measured: Measurements) -> str:
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
    parts.append(f"{len(measured.gaps)} gaps in its speech, {measured.cut_ins} cut-ins")
    return "Measured by the phone, independently: " + "; ".join(parts) + "."


def _broken_promises(turns: list[Any], measured: Measurements, *, recorded: bool) -> Any:
    answered = [turn for turn in turns if turn.speaker == "agent" and turn.response_latency is not None]
    if len(answered) < TURNS_PROMISED:
        yield f"{len(answered)} turns were answered; {TURNS_PROMISED} were promised"
    if not any(turn.interrupted for turn in turns):
        yield "no turn of the agent was interrupted"
    if not any(overlap.clear_after is not None for overlap in measured.interruptions):
        yield "the interruption did not stop the agent"
    murmurs = measured.backchannels
    if not murmurs:
        yield "no murmur was heard"
    if any(overlap.resumed_after is None or overlap.resumed_after > 0.5 for overlap in murmurs):
        yield "a murmur stopped the agent"
    if measured.gaps:
        yield f"the agent's voice had {len(measured.gaps)} gaps"
    if complaints := [code for code in measured.errors if code != CLOSED_ON_PURPOSE]:
        yield f"the carrier complained: {complaints}"
    if not recorded:
        yield "there is no recording"


def _short(path: Path | None) -> str:
    if path is None:
        return "(none)"
    return str(path.relative_to(settings.BASE_DIR)) if path.is_relative_to(settings.BASE_DIR) else str(path)
