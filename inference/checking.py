"""
Trying engines out, one utterance each: what ``manage.py engines`` and ``manage.py say`` share.

The three are tried as one chain, each closed before the next is loaded: the voice asks a question, the recogniser
hears it over a telephone, the language model answers the words that were heard. Where no voice is tried, a recording
stands in.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import wave
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inference.backends import make_engine
from inference.interfaces import LanguageModel, SpeechToText, TextToSpeech
from inference.resampling import resample
from inference.types import Description, EngineError, Message, Pcm, Transcript

QUESTION = "What are your opening hours?"
RECORDING = Path(__file__).with_name("checking.wav")
"""``QUESTION`` at 8 kHz, spoken by Flite: for a recogniser that is tried without a voice, as on a pod of its own."""
INSTRUCTIONS = "You answer the telephone of a shop that opens at ten. Answer in one short sentence."
CHAIN = ("tts", "stt", "llm")
TELEPHONE_HZ = 8000
QUIET_SECONDS = 0.3
PATIENCE = 60.0
"""Seconds for one utterance, and for closing. Loading has no limit: a model may have to be downloaded first."""
BATCH_SECONDS = 0.1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sound:
    """``pcm`` has shape ``(n,)``."""

    pcm: Pcm
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.rate_hz

    def at(self, rate_hz: int) -> Pcm:
        """The same at another rate."""
        return resample(self.pcm, self.rate_hz, rate_hz)

    def over_the_telephone(self) -> Sound:
        """As a recogniser gets what callers say: at 8 kHz, with a moment of quiet before it and behind."""
        quiet = int(QUIET_SECONDS * TELEPHONE_HZ)
        return Sound(np.pad(self.at(TELEPHONE_HZ), quiet), TELEPHONE_HZ)

    def save(self, path: Path) -> None:
        """As a WAV file, 16-bit mono. Raises ``OSError``."""
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, self.rate_hz, len(self.pcm), "NONE", ""))
            file.writeframes(self.pcm.astype("<i2").tobytes())

    @classmethod
    def load(cls, path: Path) -> Sound:
        with wave.open(str(path), "rb") as file:
            return cls(np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16), file.getframerate())


NO_SOUND = Sound(np.zeros(0, np.int16), 8000)


@dataclass(frozen=True, slots=True)
class Utterance:
    """
    What an engine did: the words that it said, heard or answered, and the sound that it made or heard.

    ``first`` and ``took`` are the seconds until the first and the last of its output.
    """

    words: str
    first: float
    took: float
    sound: Sound = NO_SOUND

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for each second of sound; None where there is no sound."""
        return self.took / self.sound.seconds if self.sound.seconds else None


@dataclass(slots=True)
class Report:
    """One engine of a profile: ``description`` is None where it could not be made, ``error`` empty if all is well."""

    alias: str
    backend: str
    description: Description | None = None
    may_speculate: bool | None = None
    loaded: float | None = None
    utterance: Utterance | None = None
    error: str = ""

    def look_at(self, engine: Any) -> None:
        self.description = engine.describe()
        # An engine that is elsewhere has yet to be asked.
        with suppress(EngineError):
            self.may_speculate = engine.may_speculate

    def as_json(self) -> dict[str, Any]:
        about, done = self.description, self.utterance
        return {
            "alias": self.alias,
            "backend": self.backend,
            "weights": about and about.weights,
            "device": about and about.device,
            "memory_bytes": about and about.memory_bytes,
            "capacity": about and about.capacity,
            "may_speculate": self.may_speculate,
            "load_seconds": self.loaded,
            "first_seconds": done and done.first,
            "seconds": done and done.took,
            "sound_seconds": done and done.sound.seconds,
            "real_time_factor": done and done.real_time_factor,
            "words": done and done.words,
            "error": self.error or None,
        }


def describe(setting: Mapping[str, Mapping[str, Any]], aliases: Collection[str]) -> list[Report]:
    """What the engines of an ``ENGINES`` setting say of themselves, with nothing loaded."""
    return [_made(alias, setting[alias])[0] for alias in aliases]


async def check(
    setting: Mapping[str, Mapping[str, Any]], aliases: Collection[str], *, on_step: Callable[[str], None]
) -> list[Report]:
    """Load these engines one after the other and try each with one utterance; ``on_step`` is told what is going on."""
    chain = _Chain()
    reports = {}
    for alias in [alias for alias in CHAIN if alias in aliases]:
        reports[alias], engine = _made(alias, setting[alias])
        if engine is not None:
            await _try(reports[alias], engine, chain, on_step)
    return [reports[alias] for alias in aliases]


@dataclass(slots=True)
class _Chain:
    """What one engine of the chain leaves for the next."""

    sound: Sound = field(default_factory=lambda: Sound.load(RECORDING))
    words: str = QUESTION

    async def link(self, alias: str, engine: Any) -> Utterance:
        match alias:
            case "tts":
                said = await speak(engine, [QUESTION])
                self.sound = said.sound
                return said
            case "stt":
                heard = await hear(engine, self.sound.over_the_telephone())
                self.words = heard.words
                return heard
            case _:
                return await answer(engine, self.words)


def _made(alias: str, setting: Mapping[str, Any]) -> tuple[Report, Any]:
    """The engine, not yet started (None where that fails), and the first part of its report."""
    report, engine = Report(alias, setting.get("BACKEND", "")), None
    with _failures_into(report):
        engine = make_engine(alias, setting)
        report.look_at(engine)
    return report, engine


@contextmanager
def _failures_into(report: Report) -> Iterator[None]:
    """Whatever goes wrong with an engine is what the operator asked about."""
    try:
        yield
    except EngineError as error:
        report.error = str(error)
    except TimeoutError:
        report.error = f"it was not done after {PATIENCE:.0f} s"
    except Exception as error:
        logger.debug("%s failed", report.backend, exc_info=True)
        report.error = f"{type(error).__name__}: {error}"


async def _try(report: Report, engine: Any, chain: _Chain, on_step: Callable[[str], None]) -> None:
    name = type(engine).__name__
    with _failures_into(report):
        try:
            on_step(f"{report.alias}: loading {name}")
            begun = time.perf_counter()
            await engine.start()
            report.loaded = time.perf_counter() - begun
            on_step(f"{report.alias}: trying {name}")
            async with asyncio.timeout(PATIENCE):
                report.utterance = await chain.link(report.alias, engine)
            report.look_at(engine)
        finally:
            on_step(f"{report.alias}: closing {name}")
            async with asyncio.timeout(PATIENCE):
                await engine.close()


async def speak(
    tts: TextToSpeech,
    clauses: Sequence[str],
    *,
    voice: str = "",
    language: str = "en",
    on_sound: Callable[[float], None] = lambda seconds: None,
) -> Utterance:
    """Say these; ``on_sound`` is told how many seconds there are so far. No sound at all raises ``EngineError``."""

    async def given() -> AsyncIterator[str]:
        for clause in clauses:
            yield clause

    begun, first, samples = time.perf_counter(), 0.0, 0
    pieces: list[Pcm] = []
    speech = tts.open(voice=voice, language=language)
    try:
        async with aclosing(speech.speak(given())) as chunks:
            async for chunk in chunks:
                if len(chunk.pcm):
                    first = first or time.perf_counter() - begun
                    pieces.append(chunk.pcm)
                    samples += len(chunk.pcm)
                    on_sound(samples / tts.rate_hz)
    finally:
        await speech.close()
    if not samples:
        raise EngineError("it made no sound of a text")
    took = time.perf_counter() - begun
    return Utterance("".join(clauses), first, took, Sound(np.concatenate(pieces), tts.rate_hz))


async def hear(stt: SpeechToText, sound: Sound, *, language: str = "en") -> Utterance:
    """Recognise this as fast as it can be. No words at all raise ``EngineError``."""
    begun, firsts = time.perf_counter(), []

    def on_partial(partial: Transcript) -> None:
        firsts.append(time.perf_counter() - begun)

    pcm = sound.at(stt.rate_hz)
    utterance = stt.open(language=language, on_partial=on_partial)
    try:
        batch = int(BATCH_SECONDS * stt.rate_hz)
        for start in range(0, len(pcm), batch):
            utterance.push(pcm[start : start + batch])
        final = await utterance.finish()
    except BaseException:
        utterance.cancel()
        raise
    took = time.perf_counter() - begun
    if not final.text.strip():
        raise EngineError(f"it heard no words in {sound.seconds:.1f} s of speech ({QUESTION!r})")
    return Utterance(final.text, min([took, *firsts]), took, sound)


async def answer(llm: LanguageModel, question: str) -> Utterance:
    """Have this answered as on the telephone."""
    begun, first, words = time.perf_counter(), 0.0, ""
    messages = [Message("system", INSTRUCTIONS), Message("user", question)]
    async with aclosing(llm.stream(messages)) as deltas:
        async for delta in deltas:
            if delta.text:
                first = first or time.perf_counter() - begun
                words += delta.text
    if not words.strip():
        raise EngineError(f"it answered nothing to {question!r}")
    return Utterance(words.strip(), first, time.perf_counter() - begun)


def clauses_of(text: str) -> list[str]:
    """Cut behind punctuation, as the clauses of a reply come in a call; joined they are ``text`` again."""
    return re.findall(r".+?(?:[.!?;:,…]+[\"')\]]*\s+|$)", text, re.DOTALL)
