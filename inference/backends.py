"""
Makes engines from the ``ENGINES`` setting, in the manner of Django's ``CACHES``.

    ENGINES = {
        "stt": {"BACKEND": "inference.engines.scripted.ScriptedSpeechToText", "OPTIONS": {"final_delay": 0.05}},
        "llm": {...},
        "tts": {...},
        "turn": {...},  # may be missing or empty
    }

``OPTIONS`` become an instance of the class's ``options_class`` if it has one (see ``inference.options``), else keyword
arguments of its constructor. Engines know nothing about Django, and this module nothing about any engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from inference.availability import Availability
from inference.interfaces import Engine, LanguageModel, SpeechToText, TextToSpeech, TurnModel
from inference.options import parse_options
from inference.types import EngineError


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of one process."""

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech
    turn: TurnModel | None = None
    availability: Availability = field(default_factory=Availability)
    """Whether another call should be taken, by what calls have met."""

    @property
    def all(self) -> tuple[Engine, ...]:
        return (self.stt, self.llm, self.tts, *((self.turn,) if self.turn is not None else ()))

    async def start(self) -> None:
        """Start all of them at the same time. If one fails, close all of them and raise its error."""
        starting = [asyncio.ensure_future(engine.start()) for engine in self.all]
        try:
            await asyncio.gather(*starting)
        except BaseException:
            for start in starting:
                start.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            await self.close()
            raise

    async def close(self) -> None:
        await asyncio.gather(*(engine.close() for engine in self.all), return_exceptions=True)


def make_engine(alias: str, setting: Mapping[str, Any]) -> Any:
    """
    Make one engine from ``{"BACKEND": dotted path, "OPTIONS": {...}}``.

    Raises a permanent ``EngineError`` if there is no such engine, or if it does not take the options. The error names
    the ``alias``.
    """
    path = setting.get("BACKEND", "")
    module_name, _, class_name = path.rpartition(".")
    try:
        engine_class = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise EngineError(f"ENGINES[{alias!r}]: cannot load BACKEND {path!r}: {error}", permanent=True) from error
    options = dict(setting.get("OPTIONS", {}))
    if options_class := getattr(engine_class, "options_class", None):
        return engine_class(parse_options(options_class, options, engine=f"ENGINES[{alias!r}]: {path}"))
    try:
        return engine_class(**options)
    except TypeError as error:
        # Only the names: a value may be a password or an API key.
        raise EngineError(
            f"ENGINES[{alias!r}]: {path} does not take its OPTIONS ({', '.join(options)}): {error}", permanent=True
        ) from error


def make_engines(setting: Mapping[str, Mapping[str, Any]]) -> Engines:
    """Make the engines that the ``ENGINES`` setting describes. They are not started."""
    missing = {"stt", "llm", "tts"} - set(setting)
    if missing:
        raise EngineError(f"ENGINES has no {', '.join(sorted(missing))}", permanent=True)
    return Engines(
        stt=make_engine("stt", setting["stt"]),
        llm=make_engine("llm", setting["llm"]),
        tts=make_engine("tts", setting["tts"]),
        turn=make_engine("turn", setting["turn"]) if setting.get("turn") else None,
    )
