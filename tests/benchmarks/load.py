"""
Latency, barge-in and calls per core, measured from the other end of the line.

    python -m tests.benchmarks.load                      # 1, 10 and 60 calls, three runs each
    python -m tests.benchmarks.load --calls 10 --runs 5 --seconds 60 --server daphne
    python -m tests.benchmarks.load --calls 10 60 --early  # replies begun while the caller speaks: off and on
    python -m tests.benchmarks.load --calls 10 60 --engines hosted  # the engines of hosted services, too

With ``--early`` recognition gives partial transcripts, and every second caller goes on after words that might be all.
Each run is held with ``begin_early`` off and on.

With ``--engines hosted`` each run is held with scripted engines and with those of hosted services: Deepgram, OpenAI
and a voice. Imitations of the services (``tests/benchmarks/load_services.py``) run beside the callers and take as long
as the scripted engines. What is paid for is not asked on suspicion, so answers come later than with scripted engines.

The server runs on processor 0 with scripted engines, the callers run on processor 1. The engines
(``inference/engines/scripted.py``) would need 240 ms from the end of the caller's speech to the first sound if nothing
were done ahead. The phone measures everything except processor time and memory (``media/phone/measurements.py``). A run
counts only if the load generator was at most 20 ms late at p99.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
import django
import numpy as np

django.setup()

from django.conf import settings  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from inference.backends import make_engine  # noqa: E402
from inference.mulaw import decode_mulaw  # noqa: E402
from media.phone.caller import HangUp, Say, ScriptedCaller, Step, TalkOver, Wait, WaitForAgent  # noqa: E402
from media.phone.clips import Clip  # noqa: E402
from media.phone.frames import FRAME_BYTES  # noqa: E402
from media.phone.measurements import Measurements, measure, percentile  # noqa: E402
from media.phone.network import PhoneNetwork  # noqa: E402
from media.phone.ticker import Ticker  # noqa: E402
from media.reply import render  # noqa: E402
from tests.benchmarks.hosted_fakes import Fakes, Load, fakes  # noqa: E402
from tests.benchmarks.load_services import VOICES, hosted_environment  # noqa: E402

PUBLIC_URL = settings.PUBLIC_BASE_URL
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
"""The unit of processor time in ``/proc``."""
MURMURS_MS = (200, 300, 350)
"""Lengths of the murmurs, up to the longest that the agent should ignore."""
MAX_LATENESS = 0.02
"""Seconds at p99: a load generator that is later than a frame distorts what it measures."""
WARM_UP_SECONDS = 3.0
"""From the last call to the measurement, so that the start of the calls is not measured."""
READY_TIMEOUT = 60.0
"""Seconds until the server must be ready. Scripted engines load nothing."""
RESUMED_WITHIN = 0.5
"""Seconds: after a longer pause a murmur has stopped the agent."""
SPOOL_SECONDS = 2.0
"""Until the last turns are in the database."""
STEPS_PER_CALL = 400
"""More than any run takes; each is a second or more."""
ROOT = Path(__file__).resolve().parents[2]
SCRIPTED = {"ENGINES_PROFILE": "scripted", "ENGINES_OPTIONS": '{"stt": {"backchannel_below": 0.45}}'}
"""The environment that chooses the scripted engines."""
PRODUCTION = {
    "DEBUG": "0",
    "SECRET_KEY": "a-key-that-signs-what-lasts-for-one-run-of-a-benchmark",
    "TWILIO_ACCOUNT_SID": settings.TWILIO_ACCOUNT_SID,
    "TWILIO_AUTH_TOKEN": settings.TWILIO_AUTH_TOKEN,
}
"""What makes a server one of production. With ``DEBUG=1`` Django would keep thousands of each thread's last queries."""
EARLY_TRANSCRIPTS = (
    "what time do you open in the morning on the next Sunday?",
    "what time do you open?  and is there any parking for us?",
)
"""What recognition makes of the callers' words, by turns. At the second space it finds no new word for one step."""
VOICE_PEAK = 500
"""The scripted recogniser finds voice in frames whose peak is above this."""
EARLY_STEPS = 14
"""Words and steps without one until the second of them is settled; the first is one step earlier."""
SERVERS = {
    "product": "-m clientcaller.web.server --port {port}",
    "uvicorn": (
        "-m uvicorn {application} --host 127.0.0.1 --port {port} --loop uvloop --http httptools "
        "--ws websockets-sansio --ws-max-size 65536 --lifespan on --no-access-log --log-level warning"
    ),
    "daphne": "-m daphne -v 0 -b 127.0.0.1 -p {port} {application}",
}
APPLICATION, OBSERVED = "clientcaller.asgi:application", "tests.benchmarks.load_server:application"
"""What is served: the application alone, or with what this benchmark asks about its process."""
SETTLED = 10.0
"""Seconds in which everything that belonged to calls must have ended. What has not is a figure of the run."""


Script = Callable[[dict[str, Clip], int], Iterator[Step]]
"""Makes an endless conversation of the caller of this number."""


@dataclass(frozen=True)
class Observed:
    """What ``tests/benchmarks/load_server.py`` tells of its process."""

    tasks: dict[str, int]
    """The number of tasks by the name of what they run."""
    lost: int
    """Sockets to services that were lost in use."""


def resident_mb(pid: int) -> float:
    """The resident memory of a process now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@dataclass(frozen=True)
class Server:
    """The server under test."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    @property
    def memory_mb(self) -> float:
        """Resident memory now."""
        return resident_mb(self.process.pid)

    def observe(self) -> Observed:
        """What the process tells about itself, if it is that of ``OBSERVED``."""
        with urlopen(f"{self.url}/benchmark", timeout=30) as answer:
            return Observed(**json.load(answer))


@contextmanager
def serving(
    kind: str,
    directory: Path,
    *,
    calls: int,
    environment: Mapping[str, str] = SCRIPTED,
    cores: str = "0",
    application: str = APPLICATION,
) -> Iterator[Server]:
    """Run the server on these cores, with room for this many calls, and with a database in ``directory``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "VAR_DIR": str(directory),
        "MAX_LIVE_CALLS": str(calls + 5),
        "LOG_LEVEL": "WARNING",
        "DATABASE_URL": "",
        **PRODUCTION,
        **environment,
    }
    python = ["taskset", "-c", cores, sys.executable]
    (directory / "db.sqlite3").write_bytes(_new_database())
    log = directory / "server.log"
    with log.open("wb") as output:
        command = [*python, *SERVERS[kind].format(port=port, application=application).split()]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        _await_ready(process, url, log)
        yield Server(process, url, log)
    finally:
        process.terminate()
        process.wait(30)


@cache
def _new_database() -> bytes:
    """The file of a database with all tables. It is made once, because that takes seconds."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "VAR_DIR": directory, "DATABASE_URL": "", "ENGINES_PROFILE": "scripted"}
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        return (Path(directory) / "db.sqlite3").read_bytes()


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urlopen(f"{url}/readyz", timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"The server did not start. The end of {log}:\n{log.read_text(errors='replace')[-2000:]}")


# -- the callers ------------------------------------------------------------------------------------


def early_environment(clip: Clip, *, begin_early: bool) -> dict[str, str]:
    """Recognition whose partial transcripts are whole just before the end of this clip."""
    blocks = decode_mulaw(clip.audio)[: len(clip.audio) // FRAME_BYTES * FRAME_BYTES].reshape(-1, FRAME_BYTES)
    voiced = float(np.count_nonzero(blocks.max(axis=1) > VOICE_PEAK) * 0.02)
    step = voiced / (EARLY_STEPS + 0.5)
    stt = {"partials": True, "transcripts": EARLY_TRANSCRIPTS, "seconds_per_word": step}
    return {
        "ENGINES_PROFILE": "scripted",
        "ENGINES_OPTIONS": json.dumps({"stt": stt}),
        "CONVERSATION": json.dumps({"begin_early": begin_early}),
    }


async def make_clips() -> dict[str, Clip]:
    """Synthesise what the callers say, with the voice of the ``laptop`` profile."""
    tts = make_engine("tts", {"BACKEND": "inference.engines.espeak.EspeakTextToSpeech"})
    await tts.start()
    try:
        texts = {
            "question": "What time do you open?",
            "interruption": "No I mean on Sunday mornings.",
            "murmur": "mm",
            "long question": "Will you let me know when you are all available again on Monday morning?",
        }
        clips = {
            name: Clip.of(await render(text, tts=tts, voice="", language="en"), name=name)
            for name, text in texts.items()
        }
    finally:
        await tts.close()
    murmur = clips["murmur"]
    for length_ms in MURMURS_MS:
        voiced = murmur.audio[murmur.first_loud : murmur.first_loud + length_ms * 8]
        clips[f"murmur {length_ms}"] = Clip.of(voiced, name="murmur")
    return clips


def script(clips: dict[str, Clip], number: int) -> Iterator[Step]:
    """An endless conversation of questions. The caller murmurs over every third reply and interrupts another third."""
    yield WaitForAgent()
    yield Wait((number * 0.37) % 3.0)
    turn = number
    while True:
        yield Say(clips["question"])
        match turn % 3:
            case 0:
                yield WaitForAgent("start")
                length_ms = MURMURS_MS[turn // 3 % len(MURMURS_MS)]
                yield TalkOver(clips[f"murmur {length_ms}"], after=1.0, backchannel=True)
            case 1:
                yield WaitForAgent("start")
                yield TalkOver(clips["interruption"], after=1.3)
        yield WaitForAgent(quiet=0.6)
        yield Wait(0.2 + 0.1 * (turn % 4))
        turn += 1


def early_script(clips: dict[str, Clip], number: int) -> Iterator[Step]:
    """An endless conversation of questions, without overlaps."""
    yield WaitForAgent()
    yield Wait((number * 0.37) % 3.0)
    while True:
        yield Say(clips["long question"])
        yield WaitForAgent(quiet=0.6)
        yield Wait(0.2)


@dataclass(frozen=True)
class Run:
    """What one run measured."""

    calls: int
    measured: Measurements
    lateness: float
    """Of the load generator: seconds at p99."""
    cpu_ms: float
    """Processor time of the server for one call and second."""
    memory_mb: float
    """Resident memory of the server at the end of the measurement."""
    failed: int
    """How many calls got no reply at all."""
    variant: str = ""
    """What else was set: ``begun early`` or ``hosted engines``."""
    speculations: tuple[int, int, int] = (0, 0, 0)
    """The callers' turns on record, and of the replies that were begun before their ends, those used and wasted."""
    lost: int = 0
    """Sockets to services that were lost in use."""
    tasks_left: int = 0
    """Tasks that there were not before the calls, and work of the services that was neither ended nor cancelled."""
    services_late: float = 0.0
    """Of the imitations of services: seconds at p99."""

    @property
    def counts(self) -> bool:
        """Whether the load generator was fast enough for the figures to mean something."""
        return self.lateness <= MAX_LATENESS


async def measure_calls(
    server: Server, clips: dict[str, Clip], *, calls: int, seconds: float, conversation: Script = script
) -> Run:
    """Let this many callers talk to the server, and measure them for this long."""
    steps = [[*islice(conversation(clips, number), STEPS_PER_CALL), HangUp()] for number in range(calls)]
    callers = [ScriptedCaller(script) for script in steps]
    async with PhoneNetwork(
        app_url=server.url,
        public_url=PUBLIC_URL,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
    ) as network:
        lines = []
        for caller in callers:
            lines.append(await network.call_in(caller, from_number="+12025550123", to_number="+15005550006"))
            await asyncio.sleep(min(0.1, 3.0 / calls))  # callers do not call at the same instant
        await asyncio.sleep(WARM_UP_SECONDS)
        lateness = Ticker.shared().lateness
        lateness.clear()
        began, cpu = time.monotonic(), server.cpu_seconds
        await asyncio.sleep(seconds)
        spent, cpu = time.monotonic() - began, server.cpu_seconds - cpu
        late = percentile(list(lateness), 0.99)
        memory = server.memory_mb
        for line in lines:
            line.hang_up()
        await asyncio.gather(*(line.wait() for line in lines))
    measured = [measure(line.tape) for line in lines]
    failed = sum(not part.responses for part in measured)
    return Run(calls, combine(measured), late, cpu / spent / calls * 1000, memory, failed)


def count_speculations(database: Path) -> tuple[int, int, int]:
    """Return the callers' turns on record, and the replies to them that were used and thrown away."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        columns = "count(*), coalesce(sum(speculation_hits), 0), coalesce(sum(speculation_waste), 0)"
        turns, hits, waste = connection.execute(f"SELECT {columns} FROM calls_turn WHERE speaker = 'caller'").fetchone()
    return turns, hits, waste


# -- the figures ------------------------------------------------------------------------------------


def combine(parts: list[Measurements]) -> Measurements:
    """Combine the measurements of many calls."""
    return Measurements(
        turns=[turn for part in parts for turn in part.turns],
        overlaps=[overlap for part in parts for overlap in part.overlaps],
        gaps=[gap for part in parts for gap in part.gaps],
        agent_seconds=sum(part.agent_seconds for part in parts),
        unresolved_marks=sum(part.unresolved_marks for part in parts),
        errors=[code for part in parts for code in part.errors],
    )


def ms(seconds: float) -> float:
    return seconds * 1000


FIGURES = {
    "response p50 ms": lambda run: ms(percentile(run.measured.responses, 0.5)),
    "response p95 ms": lambda run: ms(percentile(run.measured.responses, 0.95)),
    "turns": lambda run: len(run.measured.responses),
    "barge-in p50 ms": lambda run: ms(percentile(clears(run), 0.5)),
    "barge-in p95 ms": lambda run: ms(percentile(clears(run), 0.95)),
    "interruptions": lambda run: len(clears(run)),
    "murmurs kept %": lambda run: 100 * murmurs_kept(run),
    "gaps over 20 ms": lambda run: len(run.measured.gaps),
    "cut-ins": lambda run: run.measured.cut_ins,
    "carrier errors": lambda run: len(run.measured.errors),
    "CPU ms per call and second": lambda run: run.cpu_ms,
    "server memory MB": lambda run: run.memory_mb,
    "generator late p99 ms": lambda run: ms(run.lateness),
    "calls without an answer": lambda run: run.failed,
}


EARLY_FIGURES = {
    "shortest response ms": lambda run: ms(min(run.measured.responses)),
    "replies begun for each turn": lambda run: sum(run.speculations[1:]) / max(1, run.speculations[0]),
    "of these thrown away %": lambda run: 100 * run.speculations[2] / max(1, sum(run.speculations[1:])),
}
"""Further figures with ``--early``."""
HOSTED_FIGURES = {
    "tasks left": lambda run: run.tasks_left,
    "sockets lost": lambda run: run.lost,
    "services late p99 ms": lambda run: ms(run.services_late),
}
"""Further figures with ``--engines hosted``."""


def clears(run: Run) -> list[float]:
    """Return the seconds from each interruption to the ``clear`` that it caused."""
    return [overlap.clear_after for overlap in run.measured.interruptions if overlap.clear_after is not None]


def murmurs_kept(run: Run) -> float:
    """
    Return the share of the murmurs after which the agent went on, or resumed in time.

    A murmur right before the end of the run does not count if the agent had not resumed by then.
    """
    murmurs = [
        overlap
        for overlap in run.measured.backchannels
        if overlap.resumed_after is not None or overlap.watched_for > RESUMED_WITHIN
    ]
    good = sum(overlap.resumed_after is not None and overlap.resumed_after <= RESUMED_WITHIN for overlap in murmurs)
    return good / len(murmurs) if murmurs else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--calls", type=int, nargs="+", default=[1, 10, 60], help="calls at once, one set of runs for each"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each set (default: %(default)d)")
    parser.add_argument(
        "--seconds", type=float, default=40.0, help="seconds of conversation to measure (default: %(default)g)"
    )
    parser.add_argument("--server", choices=SERVERS, default="uvicorn", help="ASGI server (default: %(default)s)")
    variants = parser.add_mutually_exclusive_group()
    variants.add_argument("--early", action="store_true", help="hold each run with begin_early off and on")
    variants.add_argument(
        "--engines", choices=("scripted", "hosted"), default="scripted", help="hosted: hold each run with both"
    )
    parser.add_argument("--voice", choices=VOICES, default="cartesia", help="hosted voice (default: %(default)s)")
    parser.add_argument("--profile", type=Path, help="profile the server with py-spy (to be installed) into this file")
    options = parser.parse_args()
    os.sched_setaffinity(0, {1} if (os.cpu_count() or 1) > 1 else {0})
    clips = asyncio.run(make_clips())
    runs: list[Run] = []
    console = Console(width=140)
    for _, (calls, variant) in product(range(options.runs), plans(options)):
        run = hold(console, options, clips, calls, variant)
        middle, slow = (FIGURES[f"response {name} ms"](run) for name in ("p50", "p95"))
        console.print(
            f"{name_of(calls, variant)}: p50 {middle:.0f} ms, p95 {slow:.0f} ms, "
            f"{run.cpu_ms:.1f} ms CPU per call and second, generator late {ms(run.lateness):.1f} ms"
            + ("" if run.counts else "  [red](does not count: the load generator was late)[/]")
        )
        runs.append(run)
    print_report(console, options, runs)


EARLY, HOSTED = "begun early", "hosted engines"


def plans(options: argparse.Namespace) -> list[tuple[int, str]]:
    """The number of calls and the variant of each run."""
    variants = ["", EARLY] if options.early else ["", HOSTED] if options.engines == "hosted" else [""]
    return list(product(options.calls, variants))


def name_of(calls: int, variant: str) -> str:
    return f"{calls} calls" + (f", {variant}" if variant else "")


def hold(console: Console, options: argparse.Namespace, clips: dict[str, Clip], calls: int, variant: str) -> Run:
    """Hold one run with a server of its own."""
    services = fakes(load=True) if variant == HOSTED else nullcontext()
    with tempfile.TemporaryDirectory() as directory, services as running:
        environment = dict(SCRIPTED)
        if running is not None:
            environment = hosted_environment(running.urls, options.voice, calls)
        elif options.early:
            environment = early_environment(clips["long question"], begin_early=variant == EARLY)
        with serving(
            options.server, Path(directory), calls=calls, environment=environment, application=OBSERVED
        ) as server:
            profiler = None
            if options.profile:
                command = ["py-spy", "record", "-d", str(int(options.seconds)), "-o", str(options.profile)]
                profiler = subprocess.Popen([*command, "--format", "raw", "-p", str(server.process.pid)])
            conversation = early_script if options.early else script
            before = server.observe()
            run = asyncio.run(
                measure_calls(server, clips, calls=calls, seconds=options.seconds, conversation=conversation)
            )
            if options.early:
                time.sleep(SPOOL_SECONDS)
                run = replace(run, speculations=count_speculations(Path(directory) / "db.sqlite3"))
            run = replace(run, variant=variant, **what_is_left(console, server, before, running))
            if profiler:
                profiler.wait()
            if run.failed or run.measured.errors:
                console.print(server.log.read_text(errors="replace")[-3000:], markup=False)
    return run


def what_is_left(console: Console, server: Server, before: Observed, services: Fakes | None) -> dict[str, Any]:
    """Wait for what belonged to the calls to end. Return the figures of what has not, and of the services."""
    deadline = time.monotonic() + SETTLED
    load: Load | None = services.load() if services is not None else None
    late = load.lateness if load is not None else 0.0
    while True:
        after = server.observe()
        left = +(Counter(after.tasks) - Counter(before.tasks))
        if services is not None:
            left += Counter({f"work of {name}": count for name, count in services.load().running.items()})
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    if left:
        console.print(f"Left {SETTLED:g} s after the calls: {dict(left)}", markup=False)
    return {"tasks_left": left.total(), "lost": after.lost, "services_late": late}


def print_report(console: Console, options: argparse.Namespace, runs: list[Run]) -> None:
    engines = "scripted engines" if options.engines == "scripted" else f"scripted and hosted engines ({options.voice})"
    table = Table(title=f"{options.server}, {engines}, one core for the server; medians of the runs that count")
    table.add_column("")
    good = {plan: [run for run in runs if (run.calls, run.variant) == plan and run.counts] for plan in plans(options)}
    for plan, counted in good.items():
        table.add_column(f"{name_of(*plan)} ({len(counted)} of {options.runs} runs)", justify="right")
    further = EARLY_FIGURES if options.early else HOSTED_FIGURES if options.engines == "hosted" else {}
    for name, figure in {**FIGURES, **further}.items():
        values = [statistics.median(map(figure, counted)) if counted else float("nan") for counted in good.values()]
        table.add_row(name, *(f"{value:.1f}".removesuffix(".0") for value in values))
    console.print(table)
    if options.engines == "hosted":
        console.print("Hosted engines are paid for: no reply is begun before the caller has certainly finished.")
    least, most = min(options.calls), max(options.calls)
    if most > least and good[least, ""] and good[most, ""]:
        memory = {calls: statistics.median(run.memory_mb for run in good[calls, ""]) for calls in (least, most)}
        console.print(f"Memory per further call: {(memory[most] - memory[least]) / (most - least):.2f} MB")


if __name__ == "__main__":
    main()
