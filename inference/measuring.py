"""
Measures the engines of a profile one after the other, for ``manage.py engines --bench``.

Each is used as in a call: the recogniser gets a question in real time, a tenth of a second at a time, and is asked for
its words in the pause behind it; the language model answers one turn after another of the same conversation, each
warmed up as a session does; the voice speaks clauses. What a caller waits for is measured, over some rounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from inference.backends import make_engine
from inference.checking import BATCH_SECONDS, INSTRUCTIONS, RECORDING, TELEPHONE_HZ, TRIAL_TIMEOUT, Sound
from inference.interfaces import Engine, LanguageModel, SpeechToText, TextToSpeech, TurnModel
from inference.types import EngineError, Message, Transcript

PAUSE = 0.1
"""Seconds of silence after which a session asks for the words. They are part of what is measured."""
LOUD = 160
"""The amplitude above which a sample of the recording is voice: -46 dBFS. The recording has no noise."""
FIRST_CLAUSE = "Good morning, this is the front desk."
"""A usual first clause of a reply."""
LONG_CLAUSE = "We are open from ten in the morning until six in the evening, and on Sundays we are closed all day."
QUESTIONS = (
    "What are your opening hours?",
    "And on Sundays?",
    "Can I park my car there?",
    "How do I get there by train?",
    "Do you take cards?",
    "Is there a lift?",
    "Can I bring my dog?",
    "Thank you. What is your address?",
)
"""What the caller asks, turn after turn; then from the beginning."""


@dataclass(slots=True)
class Figure:
    """One figure of an engine, once per round: seconds, or a ratio."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def p95(self) -> float:
        """The 95th percentile, between the nearest two rounds."""
        return float(np.percentile(self.values, 95))


@dataclass(slots=True)
class Measured:
    """What was measured of one engine."""

    alias: str
    backend: str
    figures: dict[str, Figure] = field(default_factory=dict)
    error: str = ""
    """Why there are no figures, or no more of them; "" if all rounds succeeded."""

    def add(self, name: str, value: float, unit: str = "s") -> None:
        self.figures.setdefault(name, Figure(name, unit)).values.append(value)

    def as_json(self) -> dict[str, object]:
        return {
            "alias": self.alias,
            "backend": self.backend,
            "figures": {
                each.name: {"unit": each.unit, "median": each.median, "p95": each.p95, "rounds": len(each.values)}
                for each in self.figures.values()
            },
            "error": self.error or None,
        }


Entry = tuple[str, Mapping[str, Any]]
"""An engine to measure: ``stt``, ``llm``, ``tts`` or ``turn``, and its ``BACKEND`` and ``OPTIONS``."""


def entries_of(setting: Mapping[str, Mapping[str, Any]], aliases: Collection[str]) -> list[Entry]:
    """Return the engines of an ``ENGINES`` setting. Those of a fallback are measured each by itself."""
    entries: list[Entry] = []
    for alias in aliases:
        engine = setting[alias]
        if engine.get("BACKEND", "").startswith("inference.engines.fallback."):
            keys = ("BACKEND", "OPTIONS")
            members = engine.get("OPTIONS", {}).get("engines", ())
            entries += [(alias, {key: member[key] for key in keys if key in member}) for member in members]
        else:
            entries.append((alias, engine))
    return entries


async def measure(
    entries: Sequence[Entry], *, rounds: int, on_step: Callable[[str], None] = lambda step: None
) -> list[Measured]:
    """Load these engines one after the other and measure each. ``on_step`` gets a text for each step."""
    return [await _measure_engine(alias, engine, rounds, on_step) for alias, engine in entries]


async def _measure_engine(
    alias: str, setting: Mapping[str, Any], rounds: int, on_step: Callable[[str], None]
) -> Measured:
    measured = Measured(alias, setting.get("BACKEND", ""))
    try:
        engine: Engine = make_engine(alias, setting)
    except EngineError as error:
        measured.error = str(error)
        return measured
    try:
        on_step(f"{alias}: loading")
        begun = time.perf_counter()
        await engine.start()
        measured.add("loading", time.perf_counter() - begun)
        turn = _Conversation()
        for number in range(1, rounds + 1):
            on_step(f"{alias}: round {number} of {rounds}")
            async with asyncio.timeout(TRIAL_TIMEOUT):
                await _round(alias, engine, measured, turn)
    except EngineError as error:
        measured.error = str(error)
    except TimeoutError:
        measured.error = f"the engine was not done after {TRIAL_TIMEOUT:.0f} s"
    except Exception as error:
        measured.error = f"{type(error).__name__}: {error}"
    finally:
        on_step(f"{alias}: closing")
        await engine.close()
    return measured


async def _round(alias: str, engine: Engine, measured: Measured, conversation: _Conversation) -> None:
    match alias:
        case "stt":
            await recognise(cast(SpeechToText, engine), measured)
        case "llm":
            await conversation.answer(cast(LanguageModel, engine), measured)
        case "turn":
            await score(cast(TurnModel, engine), measured)
        case _:
            await speak(cast(TextToSpeech, engine), measured)


async def recognise(stt: SpeechToText, measured: Measured) -> None:
    """
    Have the recording recognised in real time.

    ``first word``: from the beginning of the voice to the first partial, if the engine gives any. ``final after
    speech``: from the last sound of the voice to the words, with the pause that a session waits for. ``real-time
    factor``: the work for a second of sound, if all of it comes at once.
    """
    sound = Sound.load(RECORDING).over_the_telephone()
    loud = np.flatnonzero(np.abs(sound.pcm.astype(np.int32)) > LOUD)
    begin, end = int(loud[0]), int(loud[-1]) + 1
    pcm = sound.resampled(stt.rate_hz)
    per_sample = stt.rate_hz / TELEPHONE_HZ
    ready = int((end + PAUSE * TELEPHONE_HZ) * per_sample)
    """The samples that the recogniser has when it is asked for the words."""
    partials: list[float] = []

    def on_partial(partial: Transcript) -> None:
        if partial.text.strip():
            partials.append(time.perf_counter())

    begun = time.perf_counter()
    utterance = stt.open(on_partial=on_partial)
    try:
        batch = int(BATCH_SECONDS * stt.rate_hz)
        for start in range(0, ready, batch):
            until = min(start + batch, ready)
            await _sleep_until(begun + until / stt.rate_hz)
            utterance.push(pcm[start:until])
        words = await utterance.snapshot()
    finally:
        utterance.cancel()
    if not words.text.strip():
        raise EngineError(f"the engine heard no words in {sound.seconds:.1f} s of speech")
    measured.add("final after speech", time.perf_counter() - begun - end / TELEPHONE_HZ)
    if partials:
        measured.add("first word", partials[0] - begun - begin / TELEPHONE_HZ)
    begun = time.perf_counter()
    utterance = stt.open()
    try:
        utterance.push(pcm[:ready])
        await utterance.finish()
    finally:
        utterance.cancel()
    measured.add("real-time factor", (time.perf_counter() - begun) / (ready / stt.rate_hz), unit="")


class _Conversation:
    """A conversation that grows by one turn in each round."""

    def __init__(self) -> None:
        self._messages = [Message("system", INSTRUCTIONS)]
        self._turns = 0

    async def answer(self, llm: LanguageModel, measured: Measured) -> None:
        """
        Have the next turn answered. ``first token`` is what a caller waits for, ``characters per second`` the pace of
        the rest of the reply.
        """
        await llm.warm(self._messages)
        question = QUESTIONS[self._turns % len(QUESTIONS)]
        self._turns += 1
        self._messages.append(Message("user", question))
        begun, first, words = time.perf_counter(), 0.0, ""
        async with aclosing(llm.stream(self._messages)) as deltas:
            async for delta in deltas:
                if delta.text:
                    first = first or time.perf_counter()
                    words += delta.text
        ended = time.perf_counter()
        if not words.strip():
            raise EngineError(f"the engine answered nothing to {question!r}")
        self._messages.append(Message("assistant", words.strip()))
        measured.add("first token", first - begun)
        measured.add("whole reply", ended - begun)
        if ended > first:
            measured.add("characters per second", len(words) / (ended - first), unit="/s")


async def speak(tts: TextToSpeech, measured: Measured) -> None:
    """
    Have a usual and a long clause spoken: ``first audio`` and ``first audio, long clause``.

    ``real-time factor`` is the work for a second of sound, of both.
    """
    took = seconds = 0.0
    for name, clause in (("first audio", FIRST_CLAUSE), ("first audio, long clause", LONG_CLAUSE)):
        begun, first, samples = time.perf_counter(), 0.0, 0
        speech = tts.open()
        try:
            async with aclosing(speech.speak(_text(clause))) as chunks:
                async for chunk in chunks:
                    if len(chunk.pcm):
                        first = first or time.perf_counter()
                        samples += len(chunk.pcm)
        finally:
            await speech.close()
        if not samples:
            raise EngineError("the engine made no sound from a text")
        took += time.perf_counter() - begun
        seconds += samples / tts.rate_hz
        measured.add(name, first - begun)
    measured.add("real-time factor", took / seconds, unit="")


async def score(model: TurnModel, measured: Measured) -> None:
    """Have the recording scored, as in the pause behind it."""
    pcm = Sound.load(RECORDING).over_the_telephone().resampled(model.rate_hz)
    begun = time.perf_counter()
    await model.score(pcm)
    measured.add("score", time.perf_counter() - begun)


async def _text(clause: str) -> AsyncIterator[str]:
    yield clause


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.perf_counter()))
