"""
How often Whisper's partial transcripts would begin a reply before the caller pauses, and what they cost.

    python -m tests.benchmarks.early_partials --speech FOLDER --model FOLDER/tiny.en
    python -m tests.benchmarks.early_partials --speech FOLDER --model FOLDER/tiny.en --steps 0.3

Recordings of people that are whole turns are recognised piece by piece, as fast as the processor can, in one thread. A
partial is at hand when the sound that it needs has come and the processor time of its pass is over, as if each caller
had a core of their own. A reply is begun by settled words that the endpointing judges to be whole (``begin_early``).

- begun: replies begun before the caller's last loud sample and 0.15 s, when recognition is asked for the words anyway
- in time: recordings whose last such reply answers the words of the final transcript
- ahead: by how much those came before the final transcript, median
- partials / finals: processor time of the partials, as a multiple of that of the finals
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from inference.engines.whisper import FasterWhisperSpeechToText
from inference.mulaw import encode_mulaw
from inference.resampling import Resampler
from inference.types import Transcript
from inference.whisper.options import WhisperOptions
from media.phone.clips import Clip
from media.turns.endpointing import Endpointing
from media.turns.lexicon import words_of
from media.turns.speculating import MOST_EARLY
from tests.benchmarks.partials import settle
from tests.benchmarks.turn_scenes import ASKS
from tests.sounds import RATE_HZ, read

PIECE = RATE_HZ // 10
ASKED_AFTER = 0.15
"""Seconds from the last loud sample to the question for the words: 0.08 s of silence, and the delay of its notice."""
PRE_ROLL = np.zeros(int(0.3 * RATE_HZ), np.int16)


@dataclass
class Figures:
    """What the recordings have shown with one step between partials."""

    recordings: int = 0
    begun: int = 0
    ahead: list[float] = field(default_factory=list)
    partials_cpu: float = 0.0
    finals_cpu: float = 0.0


async def listen(engine: FasterWhisperSpeechToText, path: Path, figures: Figures) -> None:
    pcm = np.concatenate([PRE_ROLL, read(path)])
    stopped = Clip.of(encode_mulaw(pcm)).last_loud / RATE_HZ
    end = stopped + ASKED_AFTER
    pcm = np.concatenate([pcm, np.zeros(RATE_HZ, np.int16)])[: int(end * RATE_HZ)]
    came: list[Transcript] = []
    heard: list[tuple[float, Transcript]] = []
    utterance = engine.open(on_partial=came.append)
    resampler = Resampler(RATE_HZ, engine.rate_hz)
    free_at = 0.0
    for start in range(0, len(pcm), PIECE):
        piece = pcm[start : start + PIECE]
        now = (start + len(piece)) / RATE_HZ
        utterance.hurried = now >= free_at  # a pass has not ended yet: no other begins
        before = time.process_time()
        utterance.push(resampler.push(piece))
        await settle(utterance)
        spent = time.process_time() - before
        figures.partials_cpu += spent
        if spent > 0.02:
            free_at = max(free_at, now) + spent
        heard += [(max(free_at, now), transcript) for transcript in came]
        came.clear()
    before = time.process_time()
    final = await utterance.finish()
    spent = time.process_time() - before
    figures.finals_cpu += spent
    figures.recordings += 1
    note_replies(heard, final, end, end + spent, figures)


def note_replies(
    heard: list[tuple[float, Transcript]], final: Transcript, end: float, answered: float, figures: Figures
) -> None:
    """Note what these partials, each with the second at which it is at hand, begin before the second ``end``."""
    endpointing = Endpointing()
    begun: tuple[float, tuple[str, ...]] | None = None
    starts, last = 0, ""
    for at, transcript in heard:
        words = words_of(transcript.text)
        if at >= end:
            break
        if begun is not None and begun[1] != words:
            begun = None
        agreed = transcript.settled or transcript.text == last
        last = transcript.text
        whole = endpointing.judge(transcript.text, stop_counts=transcript.stop_counts).complete
        if begun is None and agreed and whole and starts < MOST_EARLY:
            begun = (at, words)
            starts += 1
    figures.begun += starts
    if begun is not None and begun[1] == words_of(final.text):
        figures.ahead.append(answered - begun[0])


async def measure(options: argparse.Namespace, step: float) -> Figures:
    engine = FasterWhisperSpeechToText(
        WhisperOptions(model=str(options.model), cpu_threads=1, partial_seconds=step, unhurried_partial_seconds=60.0)
    )
    await engine.start()
    figures = Figures()
    try:
        for name in ASKS:
            await listen(engine, options.speech / f"{name}.wav", figures)
    finally:
        await engine.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="the folder with the recordings of people")
    parser.add_argument("--model", type=Path, required=True, help="the folder of the model")
    parser.add_argument("--steps", type=float, nargs="+", default=[0.6, 0.4, 0.3, 0.2], help="seconds between partials")
    options = parser.parse_args()
    table = Table(title=f"{options.model.name}, {len(ASKS)} recordings that are whole turns")
    for name in ("a partial every", "begun", "in time", "thrown away", "ahead ms", "partials / finals"):
        table.add_column(name, justify="right")
    for step in options.steps:
        figures = asyncio.run(measure(options, step))
        hits = len(figures.ahead)
        table.add_row(
            f"{step:g} s",
            str(figures.begun),
            f"{hits} of {figures.recordings}",
            f"{figures.begun - hits} of {figures.begun}",
            f"{1000 * statistics.median(figures.ahead):.0f}" if figures.ahead else "-",
            f"{figures.partials_cpu / figures.finals_cpu:.1f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
