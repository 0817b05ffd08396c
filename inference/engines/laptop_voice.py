"""
Speaks with the best voice that this machine has for a language: Piper if it has weights, else Flite, else eSpeak NG.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

from inference.engines import flite
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.flite import FliteTextToSpeech
from inference.engines.piper import PiperOptions, PiperTextToSpeech
from inference.interfaces import Speech
from inference.options import parse_options
from inference.resampling import Resampler
from inference.types import (
    AudioChunk,
    Description,
    EngineError,
    Languages,
    Pcm,
    has_language,
    main_language,
    union_of_languages,
)
from inference.voices.speech import LocalTextToSpeech

logger = logging.getLogger(__name__)

_NAMES = ("piper", "flite", "espeak")


class LaptopTextToSpeech:
    """
    Has several engines, and for each language the first of them that speaks it.

    They are Piper, if ``piper`` is given (the path of a voice, or its options), Flite, if it is installed, and eSpeak
    NG. ``engine`` leaves only one of them: ``"piper"``, ``"flite"`` or ``"espeak"``. A voice that none of them has for
    the language is replaced by the first engine's, so that an ``Agent`` that was set up on one laptop also speaks on
    another. A language that none of them speaks is refused.
    """

    may_speculate: ClassVar[bool] = True
    hears_caller: ClassVar[bool] = False

    def __init__(self, *, engine: str = "", piper: str | Mapping[str, Any] = "") -> None:
        if engine not in ("", *_NAMES):
            choices = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
            raise EngineError(f"there is no laptop voice {engine!r}; choose {choices}", permanent=True)
        if engine == "piper" and not piper:
            raise EngineError("the laptop voice piper needs the option piper: the path of a voice", permanent=True)
        self._engines: dict[str, LocalTextToSpeech] = {}
        """The engines by name, the preferred one first."""
        if engine == "piper" or (piper and not engine):
            given = {"model": piper} if isinstance(piper, str) else piper
            self._engines["piper"] = PiperTextToSpeech(parse_options(PiperOptions, given, engine="the laptop voice"))
        if engine == "flite" or (not engine and flite.is_installed()):
            self._engines["flite"] = FliteTextToSpeech()
        if engine in ("", "espeak"):
            self._engines["espeak"] = EspeakTextToSpeech()
        self.name, self._first = next(iter(self._engines.items()))
        """The preferred engine."""
        self._started: list[LocalTextToSpeech] = []

    @property
    def rate_hz(self) -> int:
        """The rate of the preferred engine. The sound of the others is converted to it."""
        return self._first.rate_hz

    async def start(self) -> None:
        if self._started:
            return
        await self._first.start()
        self._started.append(self._first)
        for name, engine in self._engines.items():
            if engine is self._first:
                continue
            try:
                await engine.start()
            except EngineError as error:
                logger.info("The laptop voice does without %s: %s", name, error)
            else:
                self._started.append(engine)

    async def close(self) -> None:
        self._started.clear()
        for engine in self._engines.values():
            await engine.close()

    @property
    def languages(self) -> Languages:
        return union_of_languages(engine.languages for engine in self._started or self._engines.values())

    def describe(self) -> Description:
        each = [engine.describe() for engine in self._engines.values()]
        return Description(
            "; ".join(description.weights for description in each),
            sum(description.memory_bytes for description in each),
        )

    def open(self, *, voice: str = "", language: str = "en") -> Speech:
        if not self._started:
            raise EngineError("the laptop voice is not started")
        able = [engine for engine in self._started if has_language(engine.languages, language)]
        if not able:
            raise EngineError(f"no laptop voice speaks {main_language(language)!r}", permanent=True)
        for engine in able if voice else ():
            try:
                return self._at_own_rate(engine, engine.open(voice=voice, language=language))
            except EngineError as error:
                if not error.permanent:
                    raise
        return self._at_own_rate(able[0], able[0].open(language=language))

    def _at_own_rate(self, engine: LocalTextToSpeech, speech: Speech) -> Speech:
        return speech if engine.rate_hz == self.rate_hz else _ResampledSpeech(speech, engine.rate_hz, self.rate_hz)


class _ResampledSpeech:
    """Converts the sound of another voice to the rate of the engine."""

    def __init__(self, speech: Speech, source_hz: int, rate_hz: int) -> None:
        self._speech = speech
        self._source_hz = source_hz
        self._rate_hz = rate_hz

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        resampler, text_end = Resampler(self._source_hz, self._rate_hz), 0
        async with aclosing(self._speech.speak(text)) as chunks:
            async for chunk in chunks:
                text_end = chunk.text_end
                yield AudioChunk(resampler.push(chunk.pcm), text_end, chunk.exact)
        if len(rest := resampler.flush()) and text_end:
            yield AudioChunk(rest, text_end)

    def heard(self, samples: int) -> None:
        self._speech.heard(samples * self._source_hz // self._rate_hz)

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        self._speech.caller_said(text, pcm, rate_hz)

    async def close(self) -> None:
        await self._speech.close()
