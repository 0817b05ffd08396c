"""Speaks with Flite if Debian's ``libflite1`` is installed, because it sounds better, or else with eSpeak NG."""

from __future__ import annotations

from typing import ClassVar

from inference.engines import flite
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.flite import FliteTextToSpeech
from inference.types import Description, EngineError, Languages
from inference.voices.speech import LocalSpeech


class LaptopTextToSpeech:
    """
    Chooses one of the two engines when it is created, unless ``engine`` names one: ``"flite"`` or ``"espeak"``.

    If the chosen engine does not have a voice, its voice for the language speaks, so that an ``Agent`` that was set up
    on one laptop also speaks on another. Flite speaks English only.
    """

    may_speculate: ClassVar[bool] = True
    hears_caller: ClassVar[bool] = False

    def __init__(self, *, engine: str = "") -> None:
        if engine not in ("", "flite", "espeak"):
            raise EngineError(f"there is no laptop voice {engine!r}; choose flite or espeak", permanent=True)
        self.name = engine or ("flite" if flite.is_installed() else "espeak")
        """The engine that was chosen."""
        self._engine = FliteTextToSpeech() if self.name == "flite" else EspeakTextToSpeech()
        self.rate_hz: int = self._engine.rate_hz

    async def start(self) -> None:
        await self._engine.start()

    async def close(self) -> None:
        await self._engine.close()

    @property
    def languages(self) -> Languages:
        return self._engine.languages

    def describe(self) -> Description:
        return self._engine.describe()

    def open(self, *, voice: str = "", language: str = "en") -> LocalSpeech:
        try:
            return self._engine.open(voice=voice, language=language)
        except EngineError as error:
            if not error.permanent:
                raise
            return self._engine.open(language=language)
