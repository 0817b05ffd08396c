"""
Speaks with eSpeak NG: robotic but clear, fast, and in a hundred languages.

The library comes from the ``espeakng-loader`` wheel and is called through ctypes. Its licence is GPL-3, so it is an
optional requirement that is loaded only when this engine starts.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from inference.types import Description, EngineError, Languages, main_language
from inference.voices.speech import NativeSpeech, NativeTextToSpeech, Sink, SpokenUntil

RATE_HZ = 22_050
"""The rate of all its voices."""
MEMORY_BYTES = 3_000_000
"""The growth of the process (resident memory) once a voice has spoken."""

# From speak_lib.h of eSpeak NG 1.52.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 1 << 15
_CHARACTERS = 1
_UTF8 = 1
_RATE, _PITCH = 1, 3
_EVENT_END_OF_LIST, _EVENT_WORD = 0, 1

_LANGUAGE_LINE = re.compile(r"^language[ \t]+([A-Za-z0-9-]+)(?:[ \t]+(\d+))?", re.MULTILINE)
"""A line in the file of a voice: a language that it speaks, and how well, where 1 is best."""
_USUAL_PRIORITY = 5
"""What a line without a number means."""


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # 1 is the first character
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


@dataclass(frozen=True, slots=True)
class _VoiceFiles:
    """The voices of the wheel, from its data files: the library lists languages, but finds voices by their file."""

    names: frozenset[str]
    """The voices, such as ``en-us`` and ``fr``."""
    by_language: dict[str, str]
    """The voice of each language: ``fr`` for ``fr-fr`` and ``fr``, ``cmn`` for ``zh``."""
    variants: frozenset[str]


@cache
def _voice_files() -> _VoiceFiles:
    """Read the files. There are none if the wheel is not installed."""
    try:
        import espeakng_loader
    except ImportError:
        return _VoiceFiles(frozenset(), {}, frozenset())
    data = Path(espeakng_loader.get_data_path())
    files = sorted(path for path in (data / "lang").rglob("*") if path.is_file())
    offers = sorted(
        (int(priority or _USUAL_PRIORITY), language.lower(), file.name.lower())
        for file in files
        for language, priority in _LANGUAGE_LINE.findall(file.read_text(encoding="utf-8", errors="replace"))
    )
    by_language: dict[str, str] = {}
    for _, language, name in offers:
        by_language.setdefault(language, name)
    variants = frozenset(path.name for path in (data / "voices" / "!v").iterdir())
    return _VoiceFiles(frozenset(file.name.lower() for file in files), by_language, variants)


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Library:
    """The one eSpeak NG of this process. Two threads in it at once corrupt its heap: ``synthesise`` holds a lock."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise EngineError(
                "eSpeak NG is not installed: pip install -r requirements/laptop.txt", permanent=True
            ) from error
        try:
            self._c = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise EngineError(f"eSpeak NG cannot be loaded here: {error}", permanent=True) from error
        data = Path(espeakng_loader.get_data_path())
        rate_hz = self._c.espeak_Initialize(_SYNCHRONOUS, 20, str(data).encode(), _DO_NOT_EXIT)
        if rate_hz != RATE_HZ:
            raise EngineError(f"eSpeak NG did not initialise (got {rate_hz} instead of {RATE_HZ} Hz)", permanent=True)
        self._lock = threading.Lock()
        self._callback = _Callback(self._on_audio)
        self._c.espeak_SetSynthCallback(self._callback)
        self._sink: Sink = lambda pcm, spoken: True
        """Takes the sound of the current ``synthesise``."""
        self._word_end = 0
        """Characters of the current text up to the end of the last word that began."""
        self._failure: BaseException | None = None
        """The error that was raised in the callback; ``synthesise`` raises it again."""

    def synthesise(self, text: str, voice: str, rate: int, pitch: int, sink: Sink) -> None:
        """Block until ``text`` is synthesised or ``sink`` stops it."""
        content = text.replace("\0", " ").encode("utf-8", "replace") + b"\0"
        with self._lock:
            if self._c.espeak_SetVoiceByName(voice.encode()) != 0:
                raise EngineError(f"eSpeak NG has no voice {voice!r}", permanent=True)
            self._c.espeak_SetParameter(_RATE, rate, 0)
            self._c.espeak_SetParameter(_PITCH, pitch, 0)
            self._sink, self._word_end, self._failure = sink, 0, None
            failed = self._c.espeak_Synth(content, len(content), 0, _CHARACTERS, 0, _UTF8, None, None)
            if self._failure is not None:
                raise self._failure
            if failed:
                raise EngineError(f"eSpeak NG failed with code {failed}")

    def _on_audio(self, samples: Any, count: int, events: Any) -> int:
        try:
            spoken = list(self._words_of(events))
            pcm = np.ctypeslib.as_array(samples, (count,)).copy() if samples and count > 0 else np.zeros(0, np.int16)
            return int(self._sink(pcm, spoken))
        except BaseException as error:  # ctypes would print it and continue
            self._failure = error
            return 1

    def _words_of(self, events: Any) -> Iterator[SpokenUntil]:
        """Return the timing of words. A word has been spoken when the next one begins."""
        index = 0
        while (event := events[index]).type != _EVENT_END_OF_LIST:
            if event.type == _EVENT_WORD:
                yield SpokenUntil(event.sample, self._word_end)
                self._word_end = max(self._word_end, event.text_position - 1 + event.length)
            index += 1


# The library cannot be unloaded, and its state is global: all engines of the process share it.
_load_library = cache(_Library)
_load_lock = threading.Lock()


def _shared_library() -> _Library:
    with _load_lock:
        return _load_library()


@dataclass(frozen=True, slots=True)
class _EspeakVoice:
    library: _Library
    name: str
    rate: int
    pitch: int
    rate_hz: int = RATE_HZ

    def synthesise(self, text: str, sink: Sink) -> None:
        self.library.synthesise(text, self.name, self.rate, self.pitch, sink)


class EspeakTextToSpeech(NativeTextToSpeech):
    """
    Speaks with eSpeak NG. A voice has the name of its file, with or without a variant: ``"en-us"``, ``"de+f3"``.

    ``rate`` is in words per minute (80 to 450). ``pitch`` is from 0 to 100.
    """

    rate_hz: ClassVar[int] = RATE_HZ

    def __init__(self, *, voice: str = "en-us", rate: int = 165, pitch: int = 50) -> None:
        super().__init__("espeak")
        self._voice = voice
        self._rate = rate
        self._pitch = pitch
        self._library: _Library | None = None

    def _load(self) -> None:
        self._library = _shared_library()
        # The first use of a voice reads its dictionary: 35 ms that the first caller does not wait for.
        self._library.synthesise("Ready.", self._voice, self._rate, self._pitch, lambda pcm, spoken: True)

    def describe(self) -> Description:
        return Description("the espeakng-loader wheel: rules and dictionaries", MEMORY_BYTES)

    @property
    def languages(self) -> Languages:
        return frozenset(map(main_language, _voice_files().by_language)) or None

    def voice_of(self, language: str) -> str:
        """Return the voice of a language: that of its region, else the default one if it speaks it, else any."""
        voices, main = _voice_files().by_language, main_language(language)
        # English is the default language, so it means the default voice.
        usual = self._voice if main in ("en", main_language(self._voice)) else voices.get(main, "")
        regional = voices.get(language.replace("_", "-").lower(), "") if main != language.lower() else ""
        if not (regional or usual):
            raise EngineError(f"eSpeak NG does not speak {language!r}", permanent=True)
        return regional or usual

    def open(self, *, voice: str = "", language: str = "en") -> NativeSpeech:
        if self._executor is None or self._library is None:
            raise EngineError("eSpeak NG is not started")
        name = voice or self.voice_of(language)
        base, _, variant = name.partition("+")
        files = _voice_files()
        if base.lower() not in files.names or (variant and variant not in files.variants):
            raise EngineError(f"eSpeak NG has no voice {name!r}; try en-us or en-us+f3", permanent=True)
        return NativeSpeech(_EspeakVoice(self._library, name, self._rate, self._pitch), self._executor)
