"""
What words while a caller speaks (partials) cost beside the final ones, and how long an answer waits behind them.

    python -m tests.benchmarks.partials --speech FOLDER --models FOLDER                 # tiny.en
    python -m tests.benchmarks.partials --speech FOLDER --models FOLDER --model base

Recordings of people are pushed in pieces of 0.1 s, as the session does it. Each partial is complete before the next
piece, so none is left out: this is the most that partials can cost. Processor time of all threads, on a processor. The
finals are those of the same recordings without partials, one for each. "Agent silent" has the step of
``unhurried_partial_seconds``, "overlap" that of ``partial_seconds``.

For the last table a snapshot is asked for just after a partial has begun, and without a partial, by turns. These are
seconds of the clock, so the machine must be quiet; ``taskset -c 0`` shows what it is on one core.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from inference.engines.whisper import FasterWhisperSpeechToText
from inference.types import Pcm
from inference.whisper.mel import RATE_HZ
from inference.whisper.options import WhisperOptions
from inference.whisper.transcription import WhisperTranscription
from tests.inference.human_speech import by_telephone, recordings

PIECE = RATE_HZ // 10
LENGTHS = ((0, 3), (3, 6), (6, 12), (12, 60))
"""Seconds: the recordings are grouped by their length."""
WAITS = 15
"""Snapshots behind a partial, and as many without one."""


@dataclass(slots=True)
class Cost:
    """Of the recordings of one group."""

    recordings: int = 0
    seconds: float = 0.0
    finals: float = 0.0
    """Seconds of processor time, ..."""
    unhurried: float = 0.0
    hurried: float = 0.0
    """... and those of the partials alone."""
    unhurried_passes: int = 0
    hurried_passes: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="the folder with recordings of people")
    parser.add_argument("--models", type=Path, required=True, help="the folder of models")
    parser.add_argument("--model", default="tiny.en", help="the model's folder in it (default: tiny.en)")
    options = parser.parse_args()
    console = Console(width=120)
    for table in asyncio.run(measure(options)):
        console.print(table)


async def measure(options: argparse.Namespace) -> list[Table]:
    engine = FasterWhisperSpeechToText(
        WhisperOptions(model=str(options.models / options.model), device="cpu", cpu_threads=1)
    )
    await engine.start()
    sounds = [by_telephone(person.pcm) for person in recordings(options.speech)]
    tables = [await costs(engine, sounds, options.model), await waits(engine, sounds, options.model)]
    await engine.close()
    return tables


async def costs(engine: FasterWhisperSpeechToText, sounds: Sequence[Pcm], model: str) -> Table:
    groups = {length: Cost() for length in LENGTHS}
    for sound in sounds:
        seconds = len(sound) / RATE_HZ
        group = next(group for (_, longest), group in groups.items() if seconds < longest)
        finals, _ = await cost(engine, sound, partials=False)
        unhurried, passes = await cost(engine, sound, hurried=False)
        hurried, hurried_passes = await cost(engine, sound, hurried=True)
        group.recordings += 1
        group.seconds += seconds
        group.finals += finals
        group.unhurried += unhurried - finals
        group.hurried += hurried - finals
        group.unhurried_passes += passes
        group.hurried_passes += hurried_passes
    table = Table(title=f"{model}: processor time of partials, for each second of sound, beside that of finals")
    for column in ("length of the sound", "recordings", "finals", "agent silent", "of finals", "overlap", "of finals"):
        table.add_column(column, justify="right")
    whole = Cost(*(sum(values) for values in zip(*map(_values, groups.values()), strict=True)))
    for name, group in [*((f"{low} to {high} s", groups[low, high]) for low, high in LENGTHS), ("all", whole)]:
        if group.recordings:
            table.add_row(name, *row(group))
    return table


def _values(group: Cost) -> tuple[float, ...]:
    return tuple(getattr(group, name) for name in Cost.__slots__)  # type: ignore[attr-defined]


def row(group: Cost) -> list[str]:
    cells = [str(group.recordings), f"{1000 * group.finals / group.seconds:.0f} ms"]
    pairs = (group.unhurried, group.unhurried_passes), (group.hurried, group.hurried_passes)
    for spent, passes in pairs:
        each = f"{1000 * spent / group.seconds:.0f} ms, {passes / group.recordings:.1f} each"
        cells += [each, f"{100 * spent / group.finals:.0f} %"]
    return cells


async def cost(
    engine: FasterWhisperSpeechToText, sound: Pcm, *, partials: bool = True, hurried: bool = True
) -> tuple[float, int]:
    """The processor time from the first piece to the final words, and the number of partials."""
    passes, began = 0, time.process_time()
    utterance = engine.open(on_partial=(lambda partial: None) if partials else None)
    utterance.hurried = hurried
    for start in range(0, len(sound), PIECE):
        utterance.push(sound[start : start + PIECE])
        passes += await settle(utterance)
    await utterance.finish()
    return time.process_time() - began, passes


async def settle(utterance: WhisperTranscription) -> int:
    """Wait until the utterance is not being recognised; returns whether it was, as a number."""
    has_waited = 0
    while (job := utterance.running or utterance.waiting) is not None:
        has_waited = 1
        await asyncio.wait([job.done])
        await asyncio.sleep(0)
    return has_waited


async def waits(engine: FasterWhisperSpeechToText, sounds: Sequence[Pcm], model: str) -> Table:
    """How long a snapshot takes while a partial is being made, and without one."""
    table = Table(title=f"{model}: from the request to the answer, median and largest of {WAITS}")
    for column in ("sound before it", "as a partial begins", "without a partial"):
        table.add_column(column, justify="right")
    long = np.concatenate([sound for sound in sounds if len(sound) > 6 * RATE_HZ])
    for seconds in (2, 5, 10):
        times: dict[bool, list[float]] = {True: [], False: []}
        for number in range(2 * WAITS):
            sound = long[number * RATE_HZ // 2 :][: seconds * RATE_HZ + PIECE]
            times[number % 2 == 0].append(await wait(engine, sound, behind=number % 2 == 0))
        cells = (f"{1000 * statistics.median(each):.0f}, {1000 * max(each):.0f} ms" for each in times.values())
        table.add_row(f"{seconds} s", *cells)
    return table


async def wait(engine: FasterWhisperSpeechToText, sound: Pcm, *, behind: bool) -> float:
    """Seconds from the request for a snapshot to the answer; ``behind``: a partial began just before."""
    utterance = engine.open(on_partial=(lambda partial: None) if behind else None)
    utterance.push(sound[:-PIECE])
    assert (utterance.running is not None) == behind
    utterance.push(sound[-PIECE:])
    began = time.perf_counter()
    await utterance.snapshot()
    answer = time.perf_counter() - began
    await settle(utterance)
    utterance.cancel()
    return answer


if __name__ == "__main__":
    main()
