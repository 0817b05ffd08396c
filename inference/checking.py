"""
Tries engines with one utterance each, for ``manage.py engines`` and ``manage.py say``.

The engines are tried in a chain, and each is closed before the next is loaded: text to speech asks a question, the
recogniser hears it as over a telephone, the turn model judges whether it is at its end, and the language model answers
the recognised words. If text to speech is not tried, a recording asks the question.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from inference.backends import Engines, make_engine
from inference.health import EngineHealth, health_of
from inference.interfaces import Engine, LanguageModel, SpeechToText, TextToSpeech, TurnModel
from inference.resampling import resample
from inference.types import (
    Description,
    EngineError,
    Message,
    Pcm,
    QuotaExhausted,
    Transcript,
    usual_language,
)

QUESTION = "What are your opening hours?"
"""Every recogniser and every language model knows these words."""
RECORDING = Path(__file__).with_name("checking.wav")
"""``QUESTION`` at 8 kHz, spoken by Flite: for a recogniser that is tried without text to speech, as on its own pod."""
INSTRUCTIONS = "You answer the telephone of a shop that opens at ten. Answer in one short sentence."
CHAIN = ("tts", "stt", "turn", "llm")
"""The order in which engines are tried."""
TELEPHONE_HZ = 8000
SILENCE_SECONDS = 0.3
"""Silence before and after the question, as a session sends it."""
TRIAL_TIMEOUT = 60.0
"""Seconds for one utterance, and for closing. Loading has no limit, because a model may have to be downloaded first."""
BATCH_SECONDS = 0.1
"""The recogniser gets the sound in pieces of this length, as in a call."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording; ``pcm`` has shape ``(n,)``."""

    pcm: Pcm
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.rate_hz

    def resampled(self, rate_hz: int) -> Pcm:
        """Return the samples at another rate."""
        return resample(self.pcm, self.rate_hz, rate_hz)

    def over_the_telephone(self) -> Sound:
        """Return the sound as a recogniser gets it in a call: at 8 kHz, with silence before and after it."""
        silence = int(SILENCE_SECONDS * TELEPHONE_HZ)
        return Sound(np.pad(self.resampled(TELEPHONE_HZ), silence), TELEPHONE_HZ)

    def save(self, path: Path) -> None:
        """Write a WAV file, 16-bit mono. Raises ``OSError``."""
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, self.rate_hz, len(self.pcm), "NONE", ""))
            file.writeframes(self.pcm.astype("<i2").tobytes())

    @classmethod
    def load(cls, path: Path) -> Sound:
        with wave.open(str(path), "rb") as file:
            return cls(np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16), file.getframerate())


NO_SOUND = Sound(np.zeros(0, np.int16), 8000)


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one engine with one utterance."""

    words: str
    """The words that it spoke, recognised or answered."""
    first: float
    """Seconds until its first output."""
    took: float
    """Seconds until its last output."""
    sound: Sound = NO_SOUND
    """The sound that it spoke or heard; empty for a language model."""

    @property
    def real_time_factor(self) -> float | None:
        """The seconds of work for each second of sound; None without sound."""
        return self.took / self.sound.seconds if self.sound.seconds else None


@dataclass(slots=True)
class Report:
    """The facts that are known about one engine of a profile."""

    alias: str
    backend: str
    description: Description | None = None
    """None if the engine cannot be made."""
    may_speculate: bool | None = None
    """None as long as an engine elsewhere has not been asked."""
    loaded: float | None = None
    """Seconds that loading took; None if the engine was not loaded."""
    trial: Trial | None = None
    """None if the engine was not tried, or failed."""
    error: str = ""
    """The reason why the engine does not work; "" if it does, as far as it was tried."""
    member: str = ""
    """The name of an engine that is part of a fallback and was tried by itself."""
    health: tuple[EngineHealth, ...] = ()
    """How the engines of a fallback did in the trial, in order of preference."""

    def add_description(self, engine: Engine) -> None:
        self.description = engine.describe()
        # An engine elsewhere does not know it before it has started.
        with suppress(EngineError):
            self.may_speculate = engine.may_speculate

    def as_json(self) -> dict[str, object]:
        about, trial = self.description, self.trial
        return {
            "alias": self.alias,
            "backend": self.backend,
            "weights": about and about.weights,
            "device": about and about.device,
            "memory_bytes": about and about.memory_bytes,
            "capacity": about and about.capacity,
            "may_speculate": self.may_speculate,
            "load_seconds": self.loaded,
            "first_seconds": trial and trial.first,
            "seconds": trial and trial.took,
            "sound_seconds": trial and trial.sound.seconds,
            "real_time_factor": trial and trial.real_time_factor,
            "words": trial and trial.words,
            "error": self.error or None,
            "member": self.member or None,
            "health": [health.as_json() for health in self.health],
        }


def describe(setting: Mapping[str, Mapping[str, Any]], aliases: Collection[str]) -> list[Report]:
    """Return what the engines of an ``ENGINES`` setting say about themselves. Loads nothing."""
    return [_make_engine(alias, setting[alias])[0] for alias in aliases]


async def check(
    setting: Mapping[str, Mapping[str, Any]],
    aliases: Collection[str],
    *,
    on_step: Callable[[str], None],
    each: bool = False,
) -> list[Report]:
    """
    Load these engines one after the other and try each with one utterance. ``on_step`` gets a text for each step.

    With ``each``, every engine of a fallback is tried by itself, in place of the fallback.
    """
    chain = _Chain()
    reports: dict[str, list[Report]] = {alias: [] for alias in aliases}
    for alias in [alias for alias in CHAIN if alias in aliases]:
        for member, entry in _members(setting[alias]) if each else [("", setting[alias])]:
            report, engine = _make_engine(alias, entry)
            report.member = member
            reports[alias].append(report)
            if engine is not None:
                await _try_engine(report, engine, chain, on_step)
    return [report for alias in aliases for report in reports[alias]]


def _members(setting: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The engines of a fallback with their names, or the engine itself."""
    entries = setting.get("OPTIONS", {}).get("engines")
    if not isinstance(entries, Sequence) or not all(isinstance(entry, Mapping) for entry in entries):
        return [("", setting)]
    return [(str(entry.get("NAME") or f"engine {number}"), entry) for number, entry in enumerate(entries, start=1)]


@dataclass(slots=True)
class _Chain:
    """Passes the output of one engine to the next."""

    sound: Sound = field(default_factory=lambda: Sound.load(RECORDING))
    """The sound that the recogniser hears: the recording until text to speech has spoken."""
    words: str = QUESTION
    """The words that the language model answers: the question until the recogniser has heard it."""

    async def try_engine(self, alias: str, engine: Engine) -> Trial:
        match alias:
            case "tts":
                trial = await speak(cast(TextToSpeech, engine), [QUESTION])
                self.sound = trial.sound
            case "stt":
                trial = await recognise(cast(SpeechToText, engine), self.sound.over_the_telephone())
                self.words = trial.words
            case "turn":
                trial = await score(cast(TurnModel, engine), self.sound.over_the_telephone())
            case _:
                trial = await answer(cast(LanguageModel, engine), self.words)
        return trial


def _make_engine(alias: str, setting: Mapping[str, Any]) -> tuple[Report, Engine | None]:
    """Make the engine (None if that fails) and begin its report."""
    report, engine = Report(alias, setting.get("BACKEND", "")), None
    with _report_failures(report):
        engine = make_engine(alias, setting)
        report.add_description(engine)
    return report, engine


@contextmanager
def _report_failures(report: Report) -> Iterator[None]:
    """Put any exception into the report: to find failures is the purpose of the check."""
    try:
        yield
    except EngineError as error:
        report.error = str(error)
    except TimeoutError:
        report.error = f"the engine was not done after {TRIAL_TIMEOUT:.0f} s"
    except Exception as error:
        logger.debug("The engine %s failed", report.backend, exc_info=True)
        report.error = f"{type(error).__name__}: {error}"


async def _try_engine(report: Report, engine: Engine, chain: _Chain, on_step: Callable[[str], None]) -> None:
    name = type(engine).__name__
    with _report_failures(report):
        try:
            on_step(f"{report.alias}: loading {name}")
            begun = time.perf_counter()
            await engine.start()
            report.loaded = time.perf_counter() - begun
            on_step(f"{report.alias}: trying {name}")
            async with asyncio.timeout(TRIAL_TIMEOUT):
                report.trial = await chain.try_engine(report.alias, engine)
            report.add_description(engine)
        finally:
            report.health = health_of(engine, now=asyncio.get_running_loop().time())
            on_step(f"{report.alias}: closing {name}")
            async with asyncio.timeout(TRIAL_TIMEOUT):
                await engine.close()


async def speak(
    tts: TextToSpeech,
    clauses: Sequence[str],
    *,
    voice: str = "",
    language: str = "en",
    on_sound: Callable[[float], None] = lambda seconds: None,
) -> Trial:
    """Speak the clauses. ``on_sound`` gets the seconds of sound so far. Raise ``EngineError`` if there is no sound."""

    async def iterate() -> AsyncIterator[str]:
        for clause in clauses:
            yield clause

    begun, first, samples = time.perf_counter(), 0.0, 0
    pieces: list[Pcm] = []
    speech = tts.open(voice=voice, language=language)
    try:
        async with aclosing(speech.speak(iterate())) as chunks:
            async for chunk in chunks:
                if len(chunk.pcm):
                    first = first or time.perf_counter() - begun
                    pieces.append(chunk.pcm)
                    samples += len(chunk.pcm)
                    on_sound(samples / tts.rate_hz)
    finally:
        await speech.close()
    if not samples:
        raise EngineError("the engine made no sound from a text")
    took = time.perf_counter() - begun
    return Trial("".join(clauses), first, took, Sound(np.concatenate(pieces), tts.rate_hz))


async def recognise(stt: SpeechToText, sound: Sound, *, language: str = "en") -> Trial:
    """Recognise the sound as fast as the engine can. Raise ``EngineError`` if there are no words."""
    begun, firsts = time.perf_counter(), []

    def on_partial(partial: Transcript) -> None:
        firsts.append(time.perf_counter() - begun)

    pcm = sound.resampled(stt.rate_hz)
    transcription = stt.open(language=language, on_partial=on_partial)
    try:
        batch = int(BATCH_SECONDS * stt.rate_hz)
        for start in range(0, len(pcm), batch):
            transcription.push(pcm[start : start + batch])
        final = await transcription.finish()
    except BaseException:
        transcription.cancel()
        raise
    took = time.perf_counter() - begun
    if not final.text.strip():
        raise EngineError(f"the engine heard no words in {sound.seconds:.1f} s of speech ({QUESTION!r})")
    return Trial(final.text, min([took, *firsts]), took, sound)


async def answer(llm: LanguageModel, question: str) -> Trial:
    """Answer the question as in a call. Raise ``EngineError`` if there are no words."""
    begun, first, words = time.perf_counter(), 0.0, ""
    messages = [Message("system", INSTRUCTIONS), Message("user", question)]
    async with aclosing(llm.stream(messages)) as deltas:
        async for delta in deltas:
            if delta.text:
                first = first or time.perf_counter() - begun
                words += delta.text
    if not words.strip():
        raise EngineError(f"the engine answered nothing to {question!r}")
    return Trial(words.strip(), first, time.perf_counter() - begun)


async def has_quota(engines: Engines) -> bool:
    """Ask each engine for one utterance: whether none of them says that its account is used up."""
    recording = Sound.load(RECORDING)
    trials: list[Callable[[], Awaitable[Trial]]] = [
        partial(answer, engines.llm, QUESTION),
        partial(speak, engines.tts, [QUESTION], language=usual_language(engines.tts.languages)),
        partial(recognise, engines.stt, recording.over_the_telephone(), language=usual_language(engines.stt.languages)),
    ]
    for trial in trials:
        try:
            async with asyncio.timeout(TRIAL_TIMEOUT):
                await trial()
        except QuotaExhausted:
            return False
        except (EngineError, TimeoutError) as error:
            logger.info("An engine that was tried for its quota failed otherwise: %s", error or "it took too long")
        except Exception:
            # A bug of an engine says nothing of its account either, and must not end the trials for good.
            logger.exception("An engine that was tried for its quota failed unexpectedly")
    return True


async def score(model: TurnModel, sound: Sound) -> Trial:
    """Score the sound as in a pause of a call. Raise ``EngineError`` if the score is no probability."""
    begun = time.perf_counter()
    probability = await model.score(sound.resampled(model.rate_hz))
    took = time.perf_counter() - begun
    if not 0 <= probability <= 1:
        raise EngineError(f"the engine gave {probability}, which is no probability")
    return Trial(f"{100 * probability:.0f} % that the caller has finished", took, took, sound)


def clauses_of(text: str) -> list[str]:
    """Cut the text after punctuation, like the clauses of a reply in a call. Joined, the clauses are ``text``."""
    return re.findall(r".+?(?:[.!?;:,…]+[\"')\]]*\s+|$)", text, re.DOTALL)
