"""
Whole calls with real weights: people's recordings call, and the server hears, thinks and speaks with real models.

    make test-real SPEECH=folder MODELS=folder
    python -m tests.benchmarks.real_calls --speech folder --models folder --calls 3

``folder`` of the models has ``tiny.en`` (Whisper for CTranslate2), a GGUF file in ``gemma3-270m`` and a Piper voice in
``piper-joe``. Calls are held one after another, each with a conversation of five turns and one interruption, first with
the language model and then with the rules of the front desk, which never say anything odd. The figures come from the
tape of the phone and from the server's records. What the caller heard is recognised from the tape and compared with
what the server noted as heard.

It ends with status 1 if the conversation did not work: a turn without an answer, an interruption that did not stop the
agent, a gap in its voice, an error of the stream, or text that no caller should hear. Times never decide that, because
the machine may be busy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sqlite3
import statistics
import sys
import tempfile
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.load import PUBLIC_URL, SPOOL_SECONDS, combine, serving  # first: it sets Django up

from django.conf import settings  # isort: skip
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from calls.stages import STAGES
from inference.engines.whisper import FasterWhisperSpeechToText
from inference.resampling import resample
from inference.types import Pcm
from inference.whisper.options import WhisperOptions
from media.phone.caller import HangUp, Say, ScriptedCaller, Step, TalkOver, Wait, WaitForAgent
from media.phone.clips import Clip
from media.phone.measurements import Measurements, measure, percentile
from media.phone.network import PhoneNetwork
from media.phone.twilio_errors import CLOSED_BY_APPLICATION
from tests.inference.word_errors import NO_ERRORS, Errors, word_errors

TURNS = (
    "azure-samples__whatstheweatherlike-mulaw",
    "google-samples__book_a_room",
    "google-samples__brooklyn",
    "speechbrain__spk2_snt4",
    "google-samples__two_people",
)
"""What the caller says, by the names of the recordings."""
INTERRUPTION = "pocketsphinx__goforward"
"""What the caller says over the reply to the third turn."""
TALK_OVER_AFTER = 0.6
"""Seconds of the reply before the interruption."""
NOBODY_SAYS = re.compile(r"<[^>]*>|\[[A-Z_ ]+\]|^\s*(?:user|model|assistant|system)\s*:|```|\*\*", re.I | re.M)
"""Markers, roles, tags and markdown. They are for machines, so a caller must never hear them."""
MOST_WRONG_WORDS = 25.0
"""Per cent of the words that the server noted as heard and that are not found on the tape. Whisper tiny.en errs in some
of Piper's words by itself, and in more of a sentence that was cut off."""
TELEPHONE_HZ = 8000
MOST_TALKING_ON = 1.5
"""Seconds that the agent may speak on after the caller has begun to interrupt it. Whisper needs a moment for the words.
A reply that ends by itself sooner needs no interruption."""
LOG_LINES = 20
"""Lines of the server's log that are shown."""


@dataclass(slots=True)
class Result:
    """The calls with one language model."""

    name: str
    measured: Measurements = field(default_factory=Measurements)
    stages: dict[str, list[float]] = field(default_factory=dict)
    """The parts of the response latency on record, in seconds."""
    heard: Errors = NO_ERRORS
    """The words on the tape against those that are on record as heard."""
    spoken: list[str] = field(default_factory=list)
    """What the caller heard of each turn, by the server's record."""
    recognised: list[str] = field(default_factory=list)
    """What the server understood of the caller's turns."""
    differing: list[tuple[str, str]] = field(default_factory=list)
    """Of each call with too many wrong words: what is on record as heard, and what was recognised on the tape."""
    talked_on: int = 0
    """How often the agent spoke on although the caller interrupted it."""
    gave_up: int = 0
    """How often the caller waited in vain for the agent."""
    log: list[str] = field(default_factory=list)
    """The warnings and errors that the server logged."""

    @property
    def problems(self) -> Iterator[str]:
        measured = self.measured
        unanswered = sum(turn.response is None and not turn.cut_in for turn in measured.turns)
        if unanswered:
            yield f"{unanswered} of {len(measured.turns)} turns got no answer"
        if self.gave_up:
            yield f"the caller waited {self.gave_up} times in vain"
        if self.talked_on:
            yield f"the agent spoke on {self.talked_on} times although the caller interrupted it"
        if measured.gaps:
            yield f"the agent's voice had {len(measured.gaps)} gaps"
        if errors := [code for code in measured.errors if code != CLOSED_BY_APPLICATION]:
            yield f"the carrier reported errors: {errors}"
        if self.heard.rate > MOST_WRONG_WORDS:
            yield f"{self.heard.rate:.0f} % of the words on record as heard are not on the tape"
        for record, tape in self.differing:
            yield f"on record {record!r}, on the tape {tape!r}"
        for text in self.spoken:
            if NOBODY_SAYS.search(text):
                yield f"the caller heard {text!r}"


def conversation(speech: Path) -> list[Step]:
    """One call: five turns, the third reply is interrupted."""
    clips = [Clip.load(speech / f"{name}.wav") for name in TURNS]
    steps: list[Step] = [WaitForAgent(timeout=30)]
    for number, clip in enumerate(clips):
        steps.append(Say(clip))
        if number == 2:
            steps += [
                WaitForAgent("start", timeout=30),
                TalkOver(Clip.load(speech / f"{INTERRUPTION}.wav"), TALK_OVER_AFTER),
            ]
        steps.append(WaitForAgent(timeout=30))
    return [*steps, Wait(0.5), HangUp()]


def environment(models: Path, llm: str) -> dict[str, str]:
    """The settings of the server: one short name for each engine, and where its weights are."""
    return {
        "STT_ENGINE": "whisper",
        "WHISPER_MODEL": str(models / "tiny.en"),
        "LLM_ENGINE": llm,
        "TTS_ENGINE": "piper",
        "TTS_MODEL": str(models / "piper-joe"),
        **({"LLM_MODEL": str(models / "gemma3-270m")} if llm == "llama-cpp" else {}),
    }


async def hold_calls(url: str, speech: Path, tapes: Path, calls: int) -> tuple[list[Path], int]:
    """Hold the calls one after another. Return the folders of their tapes and how often a caller waited in vain."""
    gave_up = 0
    async with PhoneNetwork(
        app_url=url,
        public_url=PUBLIC_URL,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
        tape_directory=tapes,
    ) as network:
        found = []
        for _ in range(calls):
            caller = ScriptedCaller(conversation(speech))
            call = await network.call_in(caller, from_number="+12025550123", to_number="+15005550006")
            await call.wait()
            await network.wait_until_idle()
            gave_up += len(caller.gave_up)
            assert call.tape.directory is not None
            found.append(call.tape.directory)
        await asyncio.sleep(SPOOL_SECONDS)
    return found, gave_up


def read_records(database: Path, result: Result) -> list[str]:
    """Add the stages and texts on record to the result. Return what was heard in each call, in order."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT call_id, speaker, said, heard, stages FROM calls_turn JOIN calls_call ON calls_call.id = call_id "
            "ORDER BY calls_call.created_at, number"
        ).fetchall()
    heard: dict[str, list[str]] = {}
    for call, speaker, said, part, stages in rows:
        if speaker == "caller":
            result.recognised.append(said)
            continue
        heard.setdefault(str(call), []).append(part)
        result.spoken.append(part)
        found = json.loads(stages)
        if "response_latency" in found:
            for name, seconds in found.items():
                result.stages.setdefault(name, []).append(seconds)
    return [" ".join(parts) for parts in heard.values()]


def talks_on(measured: Measurements) -> int:
    """How often the agent spoke on for long although the caller interrupted it."""
    return sum(
        end - overlap.started_at > MOST_TALKING_ON
        for overlap in measured.interruptions
        for begin, end in measured.agent_speech
        if begin <= overlap.started_at < end
    )


async def recognise_agent(models: Path, tapes: Sequence[Path]) -> list[str]:
    """Recognise what the caller's ear got of the agent, stretch by stretch, with tiny.en."""
    engine = FasterWhisperSpeechToText(WhisperOptions(model=str(models / "tiny.en"), device="cpu", partials=False))
    await engine.start()
    texts = []
    for folder in tapes:
        sound = _right_channel(folder / "call.wav")
        words = []
        for begin, end in measure(folder).agent_speech:
            piece = sound[max(0, int((begin - 0.2) * TELEPHONE_HZ)) : int((end + 0.2) * TELEPHONE_HZ)]
            utterance = engine.open()
            utterance.push(resample(piece, TELEPHONE_HZ, engine.rate_hz))
            words.append((await utterance.finish()).text)
        texts.append(" ".join(words))
    await engine.close()
    return texts


def _right_channel(path: Path) -> Pcm:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)[:, 1]


def run(models: Path, speech: Path, llm: str, calls: int) -> Result:
    result = Result(llm)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with serving("uvicorn", directory, calls=calls, environment=environment(models, llm), cores="0-255") as server:
            tapes, result.gave_up = asyncio.run(hold_calls(server.url, speech, directory / "tapes", calls))
            result.log = server.log.read_text(errors="replace").splitlines()
        each = [measure(tape) for tape in tapes]
        result.measured = combine(each)
        result.talked_on = sum(map(talks_on, each))
        noted = read_records(directory / "db.sqlite3", result)
        for record, tape in zip(noted, asyncio.run(recognise_agent(models, tapes)), strict=True):
            errors = word_errors(record, tape)
            result.heard += errors
            if errors.rate > MOST_WRONG_WORDS:
                result.differing.append((record, tape))
    return result


def show(console: Console, results: Sequence[Result]) -> None:
    table = Table(box=SIMPLE, title="p50 / p95 in ms", title_justify="left")
    for heading in (
        "",
        "turns",
        "response at the phone",
        *(stage.heading for stage in STAGES),
        "agent stops",
        "gaps",
        "words",
    ):
        table.add_column(heading)
    for result in results:
        measured = result.measured
        stops = [overlap.silent_after for overlap in measured.interruptions if overlap.silent_after is not None]
        table.add_row(
            result.name,
            str(len(measured.turns)),
            _spread(measured.responses),
            *(_spread(result.stages.get(stage.name, [])) for stage in STAGES),
            _spread(stops),
            str(len(measured.gaps)),
            f"{result.heard.rate:.1f} % of {result.heard.words} differ",
        )
    console.print(table)
    for result in results:
        console.print(f"[bold]{result.name}[/] understood: {' | '.join(result.recognised)}")
        console.print(f"[bold]{result.name}[/] said: {' | '.join(result.spoken)}")
        for problem in result.problems:
            console.print(f"[red]{result.name}: {problem}[/]")
        for line in result.log[-LOG_LINES:]:
            console.print(line, style="dim", markup=False)


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "-"
    return f"{1000 * statistics.median(seconds):.0f} / {1000 * percentile(seconds, 0.95):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="folder with the recordings of people")
    parser.add_argument("--models", type=Path, required=True, help="folder with tiny.en, gemma3-270m and piper-joe")
    parser.add_argument("--calls", type=int, default=3, help="calls with each language model (default: %(default)s)")
    parser.add_argument("--llm", nargs="+", default=["llama-cpp", "receptionist"], help="the language models to use")
    options = parser.parse_args()
    models, speech = options.models.resolve(), options.speech.resolve()
    results = [run(models, speech, llm, options.calls) for llm in options.llm]
    show(Console(width=200), results)
    if any(list(result.problems) for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
