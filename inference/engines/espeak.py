"""Speaks with eSpeak NG: robotic but clear, fast, and in a hundred languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from inference.types import Description, EngineError, Languages, main_language
from inference.voices.espeak_library import RATE_HZ, EspeakLibrary, shared_library, voice_files
from inference.voices.speech import LocalTextToSpeech, Sink, refuse_other_language, speak_once
from inference.voices.turns import Steps

MEMORY_BYTES = 3_000_000
"""The growth of the process (resident memory) once a voice has spoken."""


@dataclass(frozen=True, slots=True)
class _EspeakVoice:
    library: EspeakLibrary
    name: str
    rate: int
    pitch: int
    rate_hz: int = RATE_HZ
    exact: bool = True

    def synthesise(self, text: str, sink: Sink) -> Steps:
        self.library.synthesise(text, self.name, self.rate, self.pitch, sink)
        yield from ()  # in one step


class EspeakTextToSpeech(LocalTextToSpeech):
    """
    Speaks with eSpeak NG. A voice has the name of its file, with or without a variant: ``"en-us"``, ``"de+f3"``.

    ``rate`` is in words per minute (80 to 450). ``pitch`` is from 0 to 100.
    """

    name: ClassVar[str] = "eSpeak NG"
    rate_hz = RATE_HZ

    def __init__(self, *, voice: str = "en-us", rate: int = 165, pitch: int = 50) -> None:
        super().__init__()
        self._voice = voice
        self._rate = rate
        self._pitch = pitch
        self._library: EspeakLibrary | None = None

    def describe(self) -> Description:
        return Description("the espeakng-loader wheel: rules and dictionaries", MEMORY_BYTES)

    @property
    def languages(self) -> Languages:
        return frozenset(map(main_language, voice_files().by_language)) or None

    def voice_of(self, language: str) -> str:
        """Return the voice of a language: that of its region, else the default one if it speaks it, else any."""
        voices, main = voice_files().by_language, main_language(language)
        # English is the default language, so it means the default voice.
        usual = self._voice if main in ("en", main_language(self._voice)) else voices.get(main, "")
        regional = voices.get(language.replace("_", "-").lower(), "") if main != language.lower() else ""
        if not (regional or usual):
            raise EngineError(f"eSpeak NG does not speak {language!r}", permanent=True)
        return regional or usual

    def _load(self) -> None:
        self._library = shared_library()
        # The first use of a voice reads its dictionary: 35 ms that the first caller does not wait for.
        speak_once(_EspeakVoice(self._library, self._voice, self._rate, self._pitch), "Ready.")

    def _find(self, voice: str, language: str) -> _EspeakVoice:
        assert self._library is not None
        name = voice or self.voice_of(language)
        base, _, variant = name.partition("+")
        files = voice_files()
        if base.lower() not in files.names or (variant and variant not in files.variants):
            raise EngineError(f"eSpeak NG has no voice {name!r}; try en-us or en-us+f3", permanent=True)
        if voice:
            refuse_other_language(self.name, voice, files.languages.get(base.lower(), frozenset()), language)
        return _EspeakVoice(self._library, name, self._rate, self._pitch)
