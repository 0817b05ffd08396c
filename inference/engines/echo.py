"""
Engines that play the caller's own voice back, a moment later, to test a line.

The recogniser stores the sound of each utterance and returns a name for it, made of plain words: "Echo one two three."
The language model repeats the name, and the synthesiser plays the sound that it names. Plain words pass unchanged
through all that is done to text on its way to speech. The engines of a process share one store, which is limited in
utterances and in seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import ClassVar

import numpy as np

from inference.interfaces import OnPartial
from inference.types import (
    ALL_LANGUAGES,
    NO_TOOLS,
    AudioChunk,
    Description,
    EngineError,
    Languages,
    Message,
    Pcm,
    TextDelta,
    Tools,
    Transcript,
)

RATE_HZ = 8000
"""The rate of the telephone, so that nothing is resampled."""
KEPT_UTTERANCES = 64
"""The number of utterances that the store holds: 31 MB if each has the longest duration."""
LONGEST_SECONDS = 30
"""The rest of a longer utterance is discarded."""
CHUNK_SAMPLES = RATE_HZ // 10
"""Samples of a chunk of speech: 100 ms, so that an interruption stops the engine soon."""
BLOCK_SAMPLES = RATE_HZ // 50
"""Samples of a block of which the peak decides whether it is silence: 20 ms, one frame."""
VOICE_PEAK = 300
"""Blocks with a lower peak, at the beginning and the end of an utterance, are silence and are not played."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGIT = "|".join(DIGITS)
_NAME = re.compile(rf"\becho\W+({_DIGIT})\W+({_DIGIT})\W+({_DIGIT})\b", re.IGNORECASE)


class EchoStore:
    """The sound of the last ``max_utterances`` utterances by name; the oldest is discarded first."""

    def __init__(self, max_utterances: int = KEPT_UTTERANCES) -> None:
        self._max_utterances = max_utterances
        self._numbers = itertools.count(1)
        self._sounds: OrderedDict[str, Pcm] = OrderedDict()

    def make_name(self) -> str:
        return "Echo {} {} {}.".format(*(DIGITS[int(digit)] for digit in f"{next(self._numbers) % 1000:03d}"))

    def put(self, name: str, pcm: Pcm) -> None:
        self._sounds[name.lower()] = pcm
        self._sounds.move_to_end(name.lower())
        while len(self._sounds) > self._max_utterances:
            self._sounds.popitem(last=False)

    def find_sounds(self, text: str) -> list[Pcm]:
        """Return the stored sounds that ``text`` names, in the order of their names."""
        names = ["echo {} {} {}.".format(*match.groups()).lower() for match in _NAME.finditer(text)]
        return [self._sounds[name] for name in names if name in self._sounds]

    def __len__(self) -> int:
        return len(self._sounds)


STORE = EchoStore()
"""Shared by the three engines of a process."""


class _EchoEngine:
    may_speculate: ClassVar[bool] = True

    async def start(self) -> None:
        """Do nothing: there is nothing to load."""

    async def close(self) -> None:
        """Do nothing: the store is limited, and other engines use it."""

    def describe(self) -> Description:
        return Description("none: the caller's own voice")


class EchoSpeechToText(_EchoEngine):
    """Stores each utterance under a name and returns the name as its words. Silence has no words."""

    rate_hz: ClassVar[int] = RATE_HZ
    gives_partials: ClassVar[bool] = False
    languages: ClassVar[Languages] = ALL_LANGUAGES

    def describe(self) -> Description:
        return Description("none: the caller's own voice", memory_bytes=KEPT_UTTERANCES * LONGEST_SECONDS * RATE_HZ * 2)

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: OnPartial | None = None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> EchoTranscription:
        return EchoTranscription()


class EchoTranscription:
    def __init__(self) -> None:
        self._name = ""
        """The name of the utterance; ``""`` until a voice was stored."""
        self._chunks: list[Pcm] = []
        self._samples = 0
        """The length of ``_chunks``, in samples."""
        self._final: Transcript | None = None
        self._closed = False

    def push(self, pcm: Pcm) -> None:
        remaining = LONGEST_SECONDS * RATE_HZ - self._samples
        if not self._closed and remaining > 0 and len(pcm):
            self._chunks.append(pcm[:remaining].copy())
            self._samples += min(len(pcm), remaining)

    async def snapshot(self) -> Transcript:
        return self._final or self._store_sound()

    async def finish(self) -> Transcript:
        self._closed = True
        if self._final is None:
            self._final = self._store_sound()
            self._chunks.clear()
        return self._final

    def cancel(self) -> None:
        self._closed = True
        self._chunks.clear()

    def _store_sound(self) -> Transcript:
        self._chunks = [np.concatenate(self._chunks)] if self._chunks else []
        voice = _trim_silence(self._chunks[0]) if self._chunks else np.zeros(0, np.int16)
        if not len(voice):
            return Transcript("", self._samples)
        self._name = self._name or STORE.make_name()
        STORE.put(self._name, voice)
        return Transcript(self._name, self._samples)


def _trim_silence(pcm: Pcm) -> Pcm:
    """Return a copy of the sound from the first to the last loud block."""
    starts = np.arange(0, len(pcm), BLOCK_SAMPLES)
    loud = np.flatnonzero(np.maximum.reduceat(pcm, starts) > VOICE_PEAK)
    return pcm[starts[loud[0]] : starts[loud[-1]] + BLOCK_SAMPLES].copy() if len(loud) else pcm[:0].copy()


class EchoLanguageModel(_EchoEngine):
    """Repeats the caller's last words."""

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        words = next((message.content for message in reversed(messages) if message.role == "user"), "")
        for token in re.findall(r"\s*\S+", words):
            await asyncio.sleep(0)
            yield TextDelta(token)

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        """Do nothing: there is nothing to prepare."""


class EchoTextToSpeech(_EchoEngine):
    """Plays the utterances that a clause names, or a short beep if it names none."""

    rate_hz: ClassVar[int] = RATE_HZ
    hears_caller: ClassVar[bool] = False
    languages: ClassVar[Languages] = ALL_LANGUAGES

    def open(self, *, voice: str = "", language: str = "en") -> EchoSpeech:
        if voice:
            raise EngineError(f"the echo engine has no voice {voice!r}; leave the voice empty", permanent=True)
        return EchoSpeech()


# 200 ms of 440 Hz at a quarter of the full scale.
_BEEP: Pcm = (4000 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ // 5) / RATE_HZ)).astype(np.int16)
_BEEP.flags.writeable = False


class EchoSpeech:
    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        spoken = 0  # characters of the clauses before this one
        async for clause in text:
            pcm = np.concatenate(STORE.find_sounds(clause) or [_BEEP])
            for start in range(0, len(pcm), CHUNK_SAMPLES):
                await asyncio.sleep(0)
                end = min(start + CHUNK_SAMPLES, len(pcm))
                yield AudioChunk(pcm[start:end], spoken + len(clause) * end // len(pcm))
            spoken += len(clause)

    def heard(self, samples: int) -> None:
        """Do nothing: a call has no context."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """Do nothing: a call has no context."""

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""
