"""
A voice whose words can be told apart at the other end of the line: each word of a list is a tone of its own.

With it a test knows which words a caller has heard, how often and when, without recognition.
"""

from __future__ import annotations

import asyncio
import re
import signal
import threading
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inference.engines.scripted import ScriptedSpeech, ScriptedTextToSpeech
from inference.mulaw import decode_mulaw
from inference.resuming import UNDERSTOOD
from inference.types import AudioChunk, Pcm

WORDS = (
    "apples basket candle dinner engine farmer garden hammer island jacket kettle ladder marble needle orange pepper "
    "quartz rocket saddle turnip urchin velvet window yellow zipper"
).split()
SENTENCES = 3
LOWEST_HZ, STEP_HZ, OTHER_HZ = 600, 100, 350
"""The tone of the first word, the distance to the next one, and the tone of all words that are not in the list."""
PEAK = 8000
WINDOW, HOP = 200, 40
"""Samples (25 and 5 ms) that are judged at once, and from one judgement to the next."""
LOUD = 800
EDGE = 0.01
"""Seconds by which a tone seems longer at each end, because a window hears it that is only half in it."""
SHORTEST = 0.04
"""Seconds: shorter runs come from the borders of words."""
BUSY_SECONDS = 1.5
LATE = 0.1
"""Seconds of silence in a word that a busy machine may cause."""
HEARD, WHOLE = UNDERSTOOD - 0.05, 0.9
"""Shares of its length from which a word was heard, and from which it must not be said again. Of a word that is broken
off less is heard, and it is said again."""
_WORD = re.compile(r"[A-Za-z']+")


def reply() -> str:
    """The text that says each word once."""
    parts = np.array_split(WORDS, SENTENCES)
    return " ".join(" ".join(part).capitalize() + "." for part in parts)


class WordTonesTextToSpeech(ScriptedTextToSpeech):
    """
    Speaks each word as a tone. Between words it is silent for the time of one character.

    SIGUSR1 holds up the event loop of its process for ``BUSY_SECONDS``.
    """

    async def start(self) -> None:
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, be_busy)

    def open(self, *, voice: str = "", language: str = "en") -> WordTonesSpeech:
        return WordTonesSpeech(self)

    def render(self, clause: str) -> Pcm:
        """The sound of a clause."""
        per_character = int(self.samples_per_character)
        sound = np.zeros(len(clause) * per_character, np.int16)
        for word in _WORD.finditer(clause):
            at = np.arange((word.end() - word.start()) * per_character) / self.rate_hz
            tone = PEAK * np.sin(2 * np.pi * _hz(word.group().lower()) * at)
            sound[word.start() * per_character : word.end() * per_character] = tone.astype(np.int16)
        return sound


class WordTonesSpeech(ScriptedSpeech):
    _engine: WordTonesTextToSpeech

    def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        return self._say(text)

    async def _say(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        engine, now = self._engine, asyncio.get_running_loop().time
        spoken, due = 0, 0.0
        async for clause in text:
            due = max(due, now() + engine.first_delay)
            sound = engine.render(clause)
            for start in range(0, len(sound), engine.chunk_samples):
                await asyncio.sleep(max(0.0, due - now()))
                end = min(start + engine.chunk_samples, len(sound))
                said = len(clause) if end == len(sound) else int(end / engine.samples_per_character)
                yield AudioChunk(sound[start:end], spoken + said, exact=True)
                due += engine.chunk_delay
            spoken += len(clause)


def be_busy() -> None:
    """Compute without a pause, as other code than that of the event loop does."""
    until = time.monotonic() + BUSY_SECONDS
    while time.monotonic() < until:
        pass


def _hz(word: str) -> int:
    return LOWEST_HZ + STEP_HZ * WORDS.index(word) if word in WORDS else OTHER_HZ


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of one tone."""

    word: str
    """"" for any word that is not in the list."""
    start: float
    """Seconds into the sound."""
    end: float
    silence: float = 0.0
    """Seconds within it in which the sound was late."""

    @property
    def sounded(self) -> float:
        """Seconds of tone."""
        return self.end - self.start - self.silence - 2 * EDGE


def runs_of(mulaw: bytes) -> list[Run]:
    """The words in a sound at 8 kHz, in order."""
    pcm = decode_mulaw(mulaw).astype(np.float64)
    count = max(0, (len(pcm) - WINDOW) // HOP + 1)
    found: list[Run] = []
    for block in range(0, count, 2000):
        numbers = np.arange(block, min(block + 2000, count))
        windows = np.stack([pcm[number * HOP : number * HOP + WINDOW] for number in numbers])
        for number, word in zip(numbers, _tones(windows), strict=True):
            # The tone is ascribed to the middle of the window.
            start = (int(number) * HOP + (WINDOW - HOP) / 2) / 8000
            end = start + HOP / 8000
            if word is None:
                continue
            if found and found[-1].word == word and start - found[-1].end < HOP / 8000 / 2:
                found[-1] = Run(word, found[-1].start, end)
            else:
                found.append(Run(word, start, end))
    return _joined([run for run in found if run.end - run.start >= SHORTEST])


def _joined(runs: list[Run]) -> list[Run]:
    """Join the parts of words in which the sound was late for a moment."""
    joined: list[Run] = []
    for run in runs:
        if joined and joined[-1].word == run.word and run.start - joined[-1].end < LATE:
            silence = joined[-1].silence + run.start - joined[-1].end + 2 * EDGE
            joined[-1] = Run(run.word, joined[-1].start, run.end, silence)
        else:
            joined.append(run)
    return joined


def _tones(windows: NDArray[np.float64]) -> list[str | None]:
    """The word of each window; None for silence."""
    loud = np.abs(windows).max(axis=1) > LOUD
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(WINDOW), 1600, axis=1))
    hz = spectrum.argmax(axis=1) * 5
    indices = np.rint((hz - LOWEST_HZ) / STEP_HZ).astype(int)
    return [
        None if not is_loud else WORDS[index] if 0 <= index < len(WORDS) and tone > 500 else ""
        for is_loud, index, tone in zip(loud, indices, hz, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller has heard of a reply that says each word of the list once."""

    twice: int
    """Words that were said more than once."""
    left_out: int
    """Words that were not said to their end."""
    broken: int
    """Beginnings of words that were broken off, beside those words."""
    gap: float
    """
    The longest time from the end of one of the words to the beginning of the next one, in seconds; infinite if the last
    one was not said.
    """
    other: float
    """Seconds of other words between the first and the last word: fillers and excuses."""
    first: float
    """When the first of the words began; infinite if none was said."""


def judge(runs: Sequence[Run], *, seconds_per_character: float) -> Told:
    """Judge what was heard, from the first word of the reply on."""
    words = [run for run in runs if run.word]

    def share(run: Run) -> float:
        return run.sounded / (len(run.word) * seconds_per_character)

    heard: dict[str, float] = defaultdict(float)  # a pause may split a word
    for run in words:
        heard[run.word] += share(run)
    whole = [run.word for run in words if share(run) >= WHOLE]
    gaps = [later.start - earlier.end for earlier, later in pairwise(words)]
    if not words or words[-1].word != WORDS[-1]:
        gaps.append(float("inf"))
    began, ended = (words[0].start, words[-1].end) if words else (float("inf"), 0.0)
    others = sum(run.end - run.start for run in runs if not run.word and began < run.start < ended)
    return Told(
        twice=sum(whole.count(word) > 1 for word in WORDS),
        left_out=sum(heard[word] < HEARD for word in WORDS),
        broken=len(words) - len({run.word for run in words}),
        gap=max(gaps, default=0.0),
        other=others,
        first=began,
    )
