"""
Turn-taking with real callers: people's recordings against real recognition, with what is heard around them.

    python -m tests.benchmarks.turns --speech FOLDER --models FOLDER           # every scene
    python -m tests.benchmarks.turns --speech FOLDER --models FOLDER --scenes clean "cafe, 10 dB" --seconds 60

Simulated telephones play the recordings as callers who ask, listen, interrupt, say "okay" or "yeah" over the agent,
cough, and speak to somebody else in the room. The server runs on one core with Whisper, a scripted language model and
eSpeak NG. Everything is measured from the other end of the line and from the callers' clean sound, before anything is
mixed into it (``media/phone/measurements.py``); the figures that the server stored are set beside them.

The definitions are those of published evaluations, as far as a scripted caller allows:

- reply latency, yield rate and yield latency, agent interruptions per turn, and selectivity for backchannels, vocal
  tics and speech that is not directed at the agent: τ-voice (sierra-research/tau2-bench, its evaluation of turns)
- a backchannel is passed over if the agent took no turn and was silent for at most 0.7 s: this project's own, stricter
  definition; τ-voice counts any overlap after which the agent goes on speaking
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

import numpy as np

from tests.benchmarks.load import PUBLIC_URL, Server, ms, serving  # sets Django up

from django.conf import settings  # isort: skip
from rich.console import Console
from rich.table import Table

from media.audio import encode_mulaw
from media.phone.caller import HangUp, Say, ScriptedCaller, Step, TalkOver, Wait, WaitForAgent
from media.phone.clips import Clip
from media.phone.frames import FRAME_BYTES
from media.phone.gateway import Gateway
from media.phone.impairments import Impairments, mix
from media.phone.leg import PhoneCall
from media.phone.measurements import CallerTurn, Measurements, Overlap, measure, percentile
from media.phone.network import PhoneNetwork
from tests.benchmarks.turn_sounds import ACTIVE_DBFS, at_level, cafe, cough, crying, hold_music, television
from tests.sounds import RATE_HZ, Sound, read

ASKS = (
    "google-samples__brooklyn",
    "azure-samples__whatstheweatherlike-mulaw",
    "google-samples__book_a_room",
    "google-samples__two_people",
    "google-samples__half_an_hour",
    "google-samples__mountain_view",
    "google-samples__230pm",
    "pocketsphinx__goforward",
    "pocketsphinx__cards_002",
    "pocketsphinx__sense_and_sensibility_01_austen_64kb-0930",
    "mfa__mfa_theother",
)
"""Recordings that are whole turns."""
INTERRUPTIONS = ASKS[:2]
BACKCHANNELS = (
    ("google-samples__commercial_mono", 18.36, 19.20),  # okay, great
    ("google-samples__commercial_mono", 28.82, 29.50),  # okay, sure
    ("google-samples__commercial_mono", 40.46, 41.12),  # thank you
    ("mfa__cold_corpus3", 5.36, 5.90),  # okay
    ("mfa__cold_corpus3", 18.28, 18.72),  # yeah
)
"""Recordings and the seconds that are cut from them."""
ASIDE = "google-samples__commercial_mono"
"""What the caller says to somebody else, turned away from the telephone."""
ASIDE_DB = -20.0
"""Its level, relative to the caller's words to the agent."""
PROGRAMME = (
    "pocketsphinx__sense_and_sensibility_01_austen_64kb-0870",
    "pocketsphinx__sense_and_sensibility_01_austen_64kb-0890",
    "mfa__acoustic_corpus",
    "mfa__cold_corpus3",
    "google-samples__commercial_mono",
)
"""The voices of a television and of a cafe."""
REPLIES = (
    "We are open from nine in the morning until six in the evening, and on Saturdays until two. There is parking "
    "behind the house, and the bus stops right at the door.",
    "That is no problem at all. We have a quiet room with a view of the garden, and breakfast is served from seven.",
    "It takes about twenty minutes from the station. Follow the river to the old bridge, and then turn left.",
)
PASSED_OVER_WITHIN = 0.7
"""Seconds of silence that a backchannel, a tic or an aside may cause."""
SCENE_SECONDS = 120.0
"""About eight turns of each call."""
CALLS = 3
"""Calls at once: as many as Whisper tiny.en serves on one core without a queue."""


@dataclass(frozen=True)
class Scene:
    """What is heard around the callers, and what their line does to them."""

    gain_db: float = 0.0
    """Of the callers."""
    around: str = ""
    """The sound around them, a key of ``Sounds.around``."""
    around_db: float = 0.0
    """Its level relative to that of a caller at 0 dB."""
    echo_db: float | None = None
    echo_delay: float = 0.06
    loss: float = 0.0


SCENES = {
    "clean": Scene(),
    "20 dB softer": Scene(gain_db=-20.0),
    "television, 32 dB below": Scene(around="television", around_db=-32.0),
    "television, 26 dB below": Scene(around="television", around_db=-26.0),
    "television, 20 dB below": Scene(around="television", around_db=-20.0),
    "cafe, 10 dB below": Scene(around="cafe", around_db=-10.0),
    "hold music, 20 dB below": Scene(around="music", around_db=-20.0),
    "crying child, 20 dB below": Scene(around="crying", around_db=-20.0),
    "echo, -30 dB after 60 ms": Scene(echo_db=-30.0),
    "echo, -20 dB after 250 ms": Scene(echo_db=-20.0, echo_delay=0.25),
    "1 % of the frames lost": Scene(loss=0.01),
    "3 % of the frames lost": Scene(loss=0.03),
}


# -- the callers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sounds:
    """Everything that is played."""

    asks: list[Sound]
    interruptions: list[Sound]
    backchannels: list[Sound]
    coughs: list[Sound]
    asides: list[Sound]
    around: dict[str, Sound]


def make_sounds(folder: Path, seconds: float) -> Sounds:
    def speech(name: str, begin: float = 0.0, end: float = 60.0) -> Sound:
        whole = read(folder / f"{name}.wav").astype(np.float64)
        return at_level(whole[int(begin * RATE_HZ) : int(end * RATE_HZ)], ACTIVE_DBFS)

    programme = [speech(name) for name in PROGRAMME]
    return Sounds(
        asks=[speech(name) for name in ASKS],
        interruptions=[speech(name) for name in INTERRUPTIONS],
        backchannels=[speech(*cut) for cut in BACKCHANNELS],
        coughs=[cough(seed) for seed in range(3)],
        asides=[at_level(speech(ASIDE, begin, begin + 1.5), ACTIVE_DBFS + ASIDE_DB) for begin in (8.0, 21.0, 33.0)],
        around={
            "television": television(programme, seconds, 1),
            "cafe": cafe(programme, seconds, 2),
            "music": hold_music(seconds),
            "crying": crying(seconds, 3),
        },
    )


def script(sounds: Sounds, scene: Scene, number: int) -> Iterator[Step]:
    """An endless conversation in which each kind of overlap comes every fifth turn."""

    def clip(sound: Sound, name: str) -> Clip:
        return Clip.of(_mulaw(sound * 10 ** (scene.gain_db / 20)), name=name)

    yield WaitForAgent()
    yield Wait(0.4 + 0.37 * number)
    for turn in count(number):
        yield Say(clip(sounds.asks[turn % len(sounds.asks)], "ask"))
        yield WaitForAgent("start", timeout=6.0)
        after = 1.0 + 0.2 * (turn % 4)
        match turn % 5:
            case 0:
                sound = sounds.backchannels[turn // 5 % len(sounds.backchannels)]
                yield TalkOver(clip(sound, "backchannel"), after=after, backchannel=True, timeout=6.0)
            case 1:
                sound = sounds.interruptions[turn // 5 % len(sounds.interruptions)]
                yield TalkOver(clip(sound, "interruption"), after=after, timeout=6.0)
            case 2:
                sound = sounds.coughs[turn // 5 % len(sounds.coughs)]
                yield TalkOver(clip(sound, "tic"), after=after, backchannel=True, timeout=6.0)
            case 3:
                sound = sounds.asides[turn // 5 % len(sounds.asides)]
                yield TalkOver(clip(sound, "aside"), after=after, backchannel=True, timeout=6.0)
        yield WaitForAgent(quiet=1.2, timeout=15.0)
        yield Wait(0.3)


class CallerSomewhere(ScriptedCaller):
    """A caller with a sound around them."""

    def __init__(self, steps: Sequence[Step], scene: Scene, around: bytes, *, offset: int) -> None:
        super().__init__(steps, echo_db=scene.echo_db, echo_delay=scene.echo_delay)
        self._around = around
        self._at = offset * FRAME_BYTES

    def next_frame(self) -> bytes:
        frame = super().next_frame()
        if not self._around:
            return frame
        self._at = (self._at + FRAME_BYTES) % len(self._around)
        return mix(frame, self._around[self._at : self._at + FRAME_BYTES])


def _mulaw(sound: Sound) -> bytes:
    return encode_mulaw(sound.clip(-32768, 32767).astype(np.int16))


# -- a scene ------------------------------------------------------------------------------------------


@dataclass
class Stored:
    """Figures of the server beside those of the tape, in seconds: pairs of both."""

    response_latency: list[tuple[float, float]] = field(default_factory=list)
    heard_latency: list[tuple[float, float]] = field(default_factory=list)
    barge_in_stop: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Result:
    """A scene as it went."""

    measured: list[Measurements]
    turns_stored: int = 0
    """The caller's turns on record."""
    stored: Stored = field(default_factory=Stored)

    @property
    def turns(self) -> list[CallerTurn]:
        return [turn for part in self.measured for turn in part.turns]

    def overlaps(self, clip: str) -> list[Overlap]:
        """The overlaps of one kind whose effect the tape still shows."""
        found = [overlap for part in self.measured for overlap in part.overlaps if overlap.clip == clip]
        return [one for one in found if one.resumed_after is not None or one.watched_for > PASSED_OVER_WITHIN]


async def hold_calls(server: Server, sounds: Sounds, scene: Scene, seconds: float) -> Result:
    around = sounds.around.get(scene.around)
    background = b"" if around is None else _mulaw(around * 10 ** (scene.around_db / 20))
    background = background[: len(background) // FRAME_BYTES * FRAME_BYTES]
    async with PhoneNetwork(
        app_url=server.url,
        public_url=PUBLIC_URL,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
        gateway_factory=lambda party, tape: Gateway(party, tape=tape, impairments=Impairments(loss=scene.loss)),
    ) as network:
        lines: list[PhoneCall] = []
        for number in range(CALLS):
            steps = [*islice(script(sounds, scene, number), 200), HangUp()]
            caller = CallerSomewhere(steps, scene, background, offset=101 * number)
            lines.append(await network.call_in(caller, from_number="+12025550123", to_number="+15005550006"))
            await asyncio.sleep(0.7)
        await asyncio.sleep(seconds)
        for line in lines:
            line.hang_up()
        await asyncio.gather(*(line.wait() for line in lines))
        return Result([measure(line.tape) for line in lines])


def add_stored(result: Result, database: Path) -> None:
    """Set the figures on record beside those of the tapes: the nth response of a call beside its nth."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        calls = [row[0] for row in connection.execute("SELECT id FROM calls_call ORDER BY created_at")]
        for call, measured in zip(calls, result.measured, strict=True):
            rows = connection.execute(
                "SELECT speaker, stages FROM calls_turn WHERE call_id = ? ORDER BY number, started_at, id", (call,)
            ).fetchall()
            result.turns_stored += sum(speaker == "caller" for speaker, _ in rows)
            stages = [json.loads(text) for _, text in rows]
            for name, pairs, taped in (
                ("response_latency", result.stored.response_latency, measured.responses),
                ("heard_latency", result.stored.heard_latency, measured.heard),
                (
                    "barge_in_stop",
                    result.stored.barge_in_stop,
                    [one.clear_after for one in measured.interruptions if one.clear_after is not None],
                ),
            ):
                pairs += pair([stage[name] for stage in stages if name in stage], taped)


def pair(stored: list[float], taped: list[float]) -> list[tuple[float, float]]:
    """
    Pair the figures in their order; where their numbers differ, leave out those that make the pairs differ most.

    A cut-in or a turn that the agent took by itself is on one side only.
    """
    short, long = sorted((stored, taped), key=len)
    best = [[0.0] * (len(long) + 1)] + [[float("inf")] * (len(long) + 1) for _ in short]
    for i, one in enumerate(short, 1):
        for j, other in enumerate(long, 1):
            best[i][j] = min(best[i][j - 1], best[i - 1][j - 1] + abs(one - other))
    pairs, i, j = [], len(short), len(long)
    while i:
        if best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((short[i], long[j]) if short is stored else (long[j], short[i]))
    return pairs[::-1]


# -- the figures --------------------------------------------------------------------------------------


def _share(good: int, whole: int) -> str:
    return f"{100 * good / whole:.0f} % of {whole}" if whole else "-"


def _passed_over(overlaps: Sequence[Overlap]) -> str:
    good = sum(one.resumed_after is not None and one.resumed_after <= PASSED_OVER_WITHIN for one in overlaps)
    return _share(good, len(overlaps))


def _both(values: Sequence[float]) -> str:
    return f"{ms(percentile(values, 0.5)):.0f} / {ms(percentile(values, 0.95)):.0f}" if values else "-"


def _difference(pairs: Sequence[tuple[float, float]]) -> str:
    """The differences between stored and taped, in milliseconds: their median and the size that 95 % do not exceed."""
    if not pairs:
        return "-"
    differences = [ms(stored - taped) for stored, taped in pairs]
    return f"{statistics.median(differences):+.0f} / {percentile([abs(value) for value in differences], 0.95):.0f}"


COLUMNS = {
    "turns": lambda result: str(len(result.turns)),
    "reply latency p50 / p95 ms": lambda result: _both([r for part in result.measured for r in part.responses]),
    "without an answer": lambda result: str(
        sum(turn.response is None and not turn.cut_in and turn.clip == "ask" for turn in result.turns)
    ),
    "agent interrupts": lambda result: _share(sum(turn.cut_in for turn in result.turns), len(result.turns)),
    "yields": lambda result: _share(
        sum(one.clear_after is not None for one in result.overlaps("interruption")),
        len(result.overlaps("interruption")),
    ),
    "yield latency p50 / p95 ms": lambda result: _both(
        [one.silent_after for one in result.overlaps("interruption") if one.silent_after is not None]
    ),
    "backchannels": lambda result: _passed_over(result.overlaps("backchannel")),
    "tics": lambda result: _passed_over(result.overlaps("tic")),
    "asides": lambda result: _passed_over(result.overlaps("aside")),
    "turns on record": lambda result: str(result.turns_stored),
    "response_latency": lambda result: _difference(result.stored.response_latency),
    "heard_latency": lambda result: _difference(result.stored.heard_latency),
    "barge_in_stop": lambda result: _difference(result.stored.barge_in_stop),
}
"""The last three: stored less taped, median and the size at p95, in milliseconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="the folder with the recordings of people")
    parser.add_argument("--models", type=Path, required=True, help="the folder with the models")
    parser.add_argument("--model", default="tiny.en", help="the Whisper model in it (default: %(default)s)")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES), metavar="SCENE")
    parser.add_argument("--seconds", type=float, default=SCENE_SECONDS, help="of each scene (default: %(default)g)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {1} if (os.cpu_count() or 1) > 1 else {0})
    console = Console(width=200)
    sounds = make_sounds(options.speech, options.seconds)
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.turns_settings",
        "TURNS_MODEL": str((options.models / options.model).absolute()),
        "TURNS_REPLIES": json.dumps(REPLIES),
    }
    results = {}
    for name in options.scenes:
        with (
            tempfile.TemporaryDirectory() as directory,
            serving("uvicorn", Path(directory), calls=CALLS, environment=environment) as server,
        ):
            result = asyncio.run(hold_calls(server, sounds, SCENES[name], options.seconds))
            add_stored(result, Path(directory) / "db.sqlite3")
        results[name] = result
        console.print(f"{name}: " + ", ".join(f"{column} {show(result)}" for column, show in COLUMNS.items()))
    table = Table(title=f"{options.model}, {CALLS} calls at once, {options.seconds:g} s each")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for column, show in COLUMNS.items():
        table.add_row(column, *(show(result) for result in results.values()))
    console.print(table)


if __name__ == "__main__":
    main()
