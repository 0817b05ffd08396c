"""
The words that Whisper recognises wrongly in this product, and in stock faster-whisper with the same weights.

    python -m tests.benchmarks.words --speech FOLDER --models FOLDER                    # tiny.en
    python -m tests.benchmarks.words --speech FOLDER --models FOLDER --model base --noises 3 --details words.jsonl
    python -m tests.benchmarks.words --speech FOLDER --models FOLDER --seeds 0 --suppression moderate
    python -m tests.benchmarks.words --models FOLDER --sounds                           # what is invented on a line

Recordings of people are recognised as a telephone transmits them: at full level, 20 dB quieter, in pink noise and in
the murmur of a cafe. faster-whisper has a beam of 1 and its default options on one thread. It decodes a doubtful text
again at random, so such recordings are decoded with several seeds: its figure is the mean of them, with the least and
the largest. The interval is that of the difference (95 %, bootstrap over recordings, each with all its noises and
seeds). The differences of two halves of the recordings stand beside it, so that what was tuned on one half can be
judged by the other. "Lost" are recordings without words here that faster-whisper recognises rightly with each seed.

``--suppression`` lets both hear the sound as the setting ``NOISE_SUPPRESSION`` leaves it. ``--details`` writes a line
for each decode; ``--sounds`` counts the sounds of a line (tones, signals, noise, music) to which words are invented,
with and without hotwords. Needs ``pip install -r requirements/stt.txt``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from rich.console import Console
from rich.table import Table

from inference.engines.whisper import FasterWhisperSpeechToText
from inference.types import Pcm
from inference.whisper.options import WhisperOptions
from inference.whisper.sound import BLOCK
from media.noise import LEVELS
from tests.benchmarks.turn_sounds import cafe
from tests.inference import line_sounds
from tests.inference.human_speech import Recording, by_telephone, recordings
from tests.inference.word_errors import NO_ERRORS, Errors, difference_interval, plain_words, word_errors
from tests.sounds import RATE_HZ, Sound, pink_noise

HOTWORDS = "Okafor, Mountain View"
CAFE_VOICES = ("google-samples__commercial_mono", "mfa__mfa_long", "openai-whisper__jfk", "mfa__mfa_internalsil")
"""The recordings that make the murmur of a cafe, if they are in the folder; each is longer than 10 s."""
LONGEST = 60
"""Seconds of that murmur; each recording gets a part of it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a recording sounds like."""

    name: str
    gain_db: float = 0.0
    noise: Callable[[int, int, Sequence[Recording]], Sound] | None = None
    """Makes noise of so many samples by a seed and the recordings."""
    snr_db: float = 10.0


def _pink(length: int, seed: int, people: Sequence[Recording]) -> Sound:
    return pink_noise(length, seed)


def _murmur(length: int, seed: int, people: Sequence[Recording]) -> Sound:
    voices = tuple(person.pcm.tobytes() for person in people if person.name in CAFE_VOICES)
    start = np.random.default_rng(seed).integers(0, LONGEST * RATE_HZ - length)
    return _cafe(voices)[start : start + length]


@cache
def _cafe(voices: tuple[bytes, ...]) -> Sound:
    return cafe([np.frombuffer(voice, np.int16).astype(float) for voice in voices], LONGEST, seed=1)


SETTINGS = (
    Setting("full level"),
    Setting("20 dB quieter", gain_db=-20.0),
    Setting("10 dB above pink noise", noise=_pink),
    Setting("10 dB above a cafe", noise=_murmur),
)


@dataclass(slots=True)
class Heard:
    """What was recognised of one recording in one setting, with all noises together."""

    name: str
    ours: Errors = NO_ERRORS
    theirs: tuple[Errors, ...] = ()
    """For each seed."""
    empty: int = 0
    """How often this engine found no words, ..."""
    their_empty: float = 0.0
    """... how often faster-whisper did, as the mean over the seeds, ..."""
    lost: int = 0
    """... and how often this engine found none where faster-whisper was right with each seed."""

    @property
    def half(self) -> int:
        return zlib.crc32(self.name.encode()) % 2


class Stock:
    """faster-whisper with a beam of 1 and its default options; it keeps its texts in a file if one is given."""

    def __init__(self, whisper: Any, *, model: str, seeds: int, kept: Path | None) -> None:
        self._whisper = whisper
        self._model = model
        self._seeds = seeds
        self._kept = kept
        self._known: dict[str, tuple[list[str], float]] = {}
        """For each sound: its texts, and the seconds of processor time that they took."""
        if kept is not None and kept.exists():
            self._known = {key: (texts, spent) for key, texts, spent in map(json.loads, kept.read_text().splitlines())}

    def texts(self, sound: Pcm) -> tuple[list[str], float]:
        """
        The text for each seed, and the processor time of the first.

        The sound is decoded only once if its text is not drawn at random.
        """
        key = f"{self._model} {self._seeds} {zlib.crc32(sound.tobytes())}"
        if key not in self._known and self._seeds:
            began = time.process_time()
            text, is_random = self._text(sound, 0)
            spent = time.process_time() - began
            texts = [text, *(self._text(sound, seed)[0] if is_random else text for seed in range(1, self._seeds))]
            self._known[key] = texts, spent
            if self._kept is not None:
                with self._kept.open("a") as file:
                    file.write(json.dumps([key, texts, spent]) + "\n")
        return self._known.get(key, ([], 0.0))

    def _text(self, sound: Pcm, seed: int) -> tuple[str, bool]:
        """The text, and whether another seed may give another one."""
        import ctranslate2

        ctranslate2.set_random_seed(seed)
        found, _ = self._whisper.transcribe(sound.astype(np.float32) / 32768, beam_size=1, language="en")
        segments = list(found)
        is_random = not segments or any(segment.temperature > 0 for segment in segments)
        return "".join(segment.text for segment in segments), is_random


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, help="the folder with recordings of people")
    parser.add_argument("--models", type=Path, required=True, help="the folder of models")
    parser.add_argument("--model", default="tiny.en", help="the model's folder in it (default: tiny.en)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--settings", nargs="+", choices=[each.name for each in SETTINGS], help="only these")
    parser.add_argument("--noises", type=int, default=1, help="noises for each recording (default: 1)")
    parser.add_argument("--every", type=int, default=1, help="take only each so many-th recording")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of faster-whisper (default: 5); 0 leaves it out")
    parser.add_argument("--suppression", default="off", choices=LEVELS, help="how much noise is suppressed before")
    parser.add_argument("--stock", type=Path, help="keep the texts of faster-whisper in this file, and use those there")
    parser.add_argument("--details", type=Path, help="write a line of JSON for each decode to this file")
    parser.add_argument("--sounds", action="store_true", help="count the sounds without words that become words")
    options = parser.parse_args()
    if not options.speech and not options.sounds:
        parser.error("give --speech, --sounds or both")
    console = Console(width=160)
    if options.speech:
        settings = [each for each in SETTINGS if not options.settings or each.name in options.settings]
        console.print(asyncio.run(compare(options, settings)))
    if options.sounds:
        console.print(asyncio.run(invented(options)))


async def started(options: argparse.Namespace, *, hotwords: str = "") -> FasterWhisperSpeechToText:
    folder = str(options.models / options.model)
    engine = FasterWhisperSpeechToText(
        WhisperOptions(model=folder, device=options.device, cpu_threads=1, partials=False, hotwords=hotwords)
    )
    await engine.start()
    return engine


async def recognise(engine: FasterWhisperSpeechToText, sound: Pcm) -> str:
    utterance = engine.open()
    for start in range(0, len(sound), BLOCK):
        utterance.push(sound[start : start + BLOCK])
    return (await utterance.finish()).text


async def compare(options: argparse.Namespace, settings: Sequence[Setting]) -> Table:
    """The word errors of both on the same recordings, a row for each setting."""
    engine = await started(options)
    assert engine._model is not None
    people = recordings(options.speech)[:: options.every]
    words = sum(len(plain_words(person.said)) for person in people)
    table = Table(title=f"{options.model} on {options.device}: {len(people)} recordings, {words} words; errors in %")
    for column in ("sound", "here (sub., del., ins.)", "empty, lost", "faster-whisper", "empty"):
        table.add_column(column, no_wrap=True)
    for column in ("difference (95 %)", "of the halves", "CPU s"):
        table.add_column(column, no_wrap=True)
    details = options.details.open("w") if options.details else None
    whisper = engine._model._whisper
    stock = Stock(whisper, model=options.model, seeds=options.seeds, kept=options.stock)
    for setting in settings:
        spent = [0.0, 0.0]
        heard = [await listen(engine, stock, setting, person, people, options, spent, details) for person in people]
        table.add_row(*row(setting, heard, spent))
    if details is not None:
        details.close()
    await engine.close()
    return table


async def listen(
    engine: FasterWhisperSpeechToText,
    stock: Stock,
    setting: Setting,
    person: Recording,
    people: Sequence[Recording],
    options: argparse.Namespace,
    spent: list[float],
    details: TextIO | None,
) -> Heard:
    """Let both recognise a recording in each noise. The seconds of processor time of both are added to ``spent``."""
    heard = Heard(person.name, theirs=(NO_ERRORS,) * options.seeds)
    for seed, sound in sounds_of(setting, person, people, options.noises, LEVELS[options.suppression]):
        began = time.process_time()
        text = await recognise(engine, sound)
        own = time.process_time() - began
        texts, theirs_spent = stock.texts(sound)
        spent[:] = spent[0] + own, spent[1] + theirs_spent
        ours, theirs = word_errors(person.said, text), [word_errors(person.said, other) for other in texts]
        is_empty = not plain_words(text)
        heard.ours += ours
        heard.theirs = tuple(one + other for one, other in zip(heard.theirs, theirs, strict=True))
        heard.empty += is_empty
        heard.their_empty += sum(not plain_words(other) for other in texts) / max(1, len(texts))
        heard.lost += is_empty and bool(texts) and not any(each.count for each in theirs)
        if details is not None:
            line = {"setting": setting.name, "noise": seed, "recording": person.name, "half": heard.half}
            line |= {"said": person.said, "here": text, "errors": ours.count, "words": ours.words}
            line |= {"stock": texts, "stock_errors": [each.count for each in theirs]}
            details.write(json.dumps(line) + "\n")
            details.flush()
    return heard


def sounds_of(
    setting: Setting, person: Recording, people: Sequence[Recording], noises: int, suppression: int = 0
) -> Iterator[tuple[int, Pcm]]:
    """The recording in this setting, in each noise, with its number; once if the setting has none."""
    if setting.noise is None:
        yield 0, by_telephone(person.pcm, gain_db=setting.gain_db, suppression=suppression)
        return
    make = setting.noise
    for number in range(noises):
        seed = zlib.crc32(f"{person.name} {number}".encode())
        yield (
            number,
            by_telephone(
                person.pcm,
                gain_db=setting.gain_db,
                noise=lambda length, seed=seed: make(length, seed, people),  # type: ignore[misc]
                snr_db=setting.snr_db,
                suppression=suppression,
            ),
        )


def row(setting: Setting, heard: Sequence[Heard], spent: Sequence[float]) -> list[str]:
    ours = sum((each.ours for each in heard), NO_ERRORS)
    cells = [
        setting.name,
        f"{ours.rate:.1f} ({ours.substituted} {ours.deleted} {ours.inserted})",
        f"{sum(each.empty for each in heard)}, {sum(each.lost for each in heard)}",
    ]
    if not heard[0].theirs:
        return [*cells, "", "", "", "", f"{spent[0]:.0f}"]
    rates = [sum(of_seed, NO_ERRORS).rate for of_seed in zip(*(each.theirs for each in heard), strict=True)]
    low, high = difference_interval(*zip(*map(equal_parts, heard), strict=True))
    halves = (f"{difference([each for each in heard if each.half == half]):+.1f}" for half in (0, 1))
    return [
        *cells,
        f"{np.mean(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})",
        f"{sum(each.their_empty for each in heard):.1f}",
        f"{difference(heard):+.1f} ({low:+.1f} to {high:+.1f})",
        ", ".join(halves),
        f"{spent[0]:.0f}, {spent[1]:.0f}",
    ]


def equal_parts(heard: Heard) -> tuple[Errors, Errors]:
    """The errors of both over all seeds of faster-whisper, so that they belong to equally many words."""
    return sum((heard.ours for _ in heard.theirs), NO_ERRORS), sum(heard.theirs, NO_ERRORS)


def difference(heard: Sequence[Heard]) -> float:
    """Points by which this engine has more errors than the mean over the seeds of faster-whisper."""
    ours, theirs = (sum(each, NO_ERRORS) for each in zip(*map(equal_parts, heard), strict=True))
    return ours.rate - theirs.rate


async def invented(options: argparse.Namespace) -> Table:
    """The sounds without words to which this engine invents words."""
    table = Table(title=f"{options.model}: words invented on a line without words")
    for column in ("hotwords", "sounds", "with words", "which"):
        table.add_column(column)
    for hotwords in ("", HOTWORDS):
        engine = await started(options, hotwords=hotwords)
        named = list(line_sounds.sounds())
        texts = {name: await recognise(engine, by_telephone(pcm)) for name, pcm in named}
        wrong = {name: text for name, text in texts.items() if plain_words(text)}
        table.add_row(hotwords or "none", str(len(named)), str(len(wrong)), "; ".join(map(": ".join, wrong.items())))
        await engine.close()
    return table


if __name__ == "__main__":
    main()
