"""
Engines that give the caller their own voice back, a moment later: for testing a line, and nothing else.

The recogniser keeps the sound of each utterance and calls it by a name made of plain words, "Echo one two three.",
which the language model repeats and which survives whatever is done to text on its way to speech; the synthesiser
plays the sound of that name. The three find each other through one store per process, bounded in
utterances and in seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import ClassVar

import numpy as np

from inference.types import NO_TOOLS, AudioChunk, Description, EngineError, Message, Pcm, TextDelta, Tools, Transcript

RATE_HZ = 8000
KEPT_UTTERANCES = 64
"""With the longest utterance of 30 s: at most 31 MB in all."""
LONGEST_SECONDS = 30
CHUNK_SAMPLES = RATE_HZ // 10
BLOCK_SAMPLES = RATE_HZ // 50
VOICE_PEAK = 300
"""Blocks that stay below are silence at either end of an utterance and are not played."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGIT = "|".join(DIGITS)
_NAME = re.compile(rf"\becho\W+({_DIGIT})\W+({_DIGIT})\W+({_DIGIT})\b", re.IGNORECASE)


class EchoStore:
    """The sound of the last utterances by name; the oldest is forgotten first."""

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
        """The sounds that ``text`` names, in its order."""
        names = ["echo {} {} {}.".format(*match.groups()).lower() for match in _NAME.finditer(text)]
        return [self._sounds[name] for name in names if name in self._sounds]

    def __len__(self) -> int:
        return len(self._sounds)


STORE = EchoStore()


class _EchoEngine:
    may_speculate: ClassVar[bool] = True

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release: the store is bounded and shared."""

    def describe(self) -> Description:
        return Description("none: the caller's own voice")


class EchoSpeechToText(_EchoEngine):
    """Names each utterance; one that was silent has no words."""

    rate_hz: ClassVar[int] = RATE_HZ
    gives_partials: ClassVar[bool] = False

    def describe(self) -> Description:
        return Description("none: the caller's own voice", memory_bytes=KEPT_UTTERANCES * LONGEST_SECONDS * RATE_HZ * 2)

    def open(
        self, *, language: str = "en", hint: str = "", on_partial: Callable[[Transcript], None] | None = None
    ) -> EchoTranscription:
        return EchoTranscription()


class EchoTranscription:
    def __init__(self) -> None:
        self._name = ""
        self._chunks: list[Pcm] = []
        self._samples = 0
        self._final: Transcript | None = None
        self._closed = False

    def push(self, pcm: Pcm) -> None:
        room = LONGEST_SECONDS * RATE_HZ - self._samples
        if not self._closed and room > 0 and len(pcm):
            self._chunks.append(pcm[:room].copy())
            self._samples += min(len(pcm), room)

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
    """A copy of what lies between the first and the last loud block, both included."""
    starts = np.arange(0, len(pcm), BLOCK_SAMPLES)
    loud = np.flatnonzero(np.maximum.reduceat(pcm, starts) > VOICE_PEAK)
    return pcm[starts[loud[0]] : starts[loud[-1]] + BLOCK_SAMPLES].copy() if len(loud) else pcm[:0].copy()


class EchoLanguageModel(_EchoEngine):
    """Repeats what the caller said last."""

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        said = next((message.content for message in reversed(messages) if message.role == "user"), "")
        for token in re.findall(r"\s*\S+", said):
            await asyncio.sleep(0)
            yield TextDelta(token)

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        """Nothing to prepare."""


class EchoTextToSpeech(_EchoEngine):
    """Plays the utterances that a clause names; a clause that names none is a short beep."""

    rate_hz: ClassVar[int] = RATE_HZ
    hears_caller: ClassVar[bool] = False

    def open(self, *, voice: str = "", language: str = "en") -> EchoSpeech:
        if voice:
            raise EngineError(f"the echo has no voice {voice!r}, only the caller's own", permanent=True)
        return EchoSpeech()


_BEEP: Pcm = (4000 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ // 5) / RATE_HZ)).astype(np.int16)
_BEEP.flags.writeable = False


class EchoSpeech:
    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        said = 0
        async for clause in text:
            pcm = np.concatenate(STORE.find_sounds(clause) or [_BEEP])
            for start in range(0, len(pcm), CHUNK_SAMPLES):
                await asyncio.sleep(0)
                end = min(start + CHUNK_SAMPLES, len(pcm))
                yield AudioChunk(pcm[start:end], said + len(clause) * end // len(pcm))
            said += len(clause)

    def heard(self, samples: int) -> None:
        """Nothing is remembered."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """Nothing is remembered."""

    async def close(self) -> None:
        """Nothing to release."""
