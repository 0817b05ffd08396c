"""
The one eSpeak NG of this process: its voices, its sound, and the phonemes that other voices speak.

The library comes from the ``espeakng-loader`` wheel and is called through ctypes. Its licence is GPL-3, so it is an
optional requirement that is loaded only when an engine that needs it starts.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from inference.types import EngineError, Pcm, main_language
from inference.voices.clause import SpokenUntil

RATE_HZ = 22_050
"""The rate of all its voices."""

VOLUME = 82
"""In percent. It brings the English voice to -20 dBFS (``inference.voices.loudness``). Those of German, French and
Spanish are within 1.2 dB of that."""

# From speak_lib.h of eSpeak NG 1.52.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 1 << 15
_CHARACTERS = 1
_UTF8 = 1
_RATE, _VOLUME, _PITCH = 1, 2, 3
_IPA, _TIE = 2, 1 << 7
_EVENT_END_OF_LIST, _EVENT_WORD = 0, 1

_LANGUAGE_MARK = re.compile(r"\([a-z-]+\)")
"""What the library writes among phonemes where it changes the language: "(en)"."""
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
class VoiceFiles:
    """The voices of the wheel, from its data files: the library lists languages, but finds voices by their file."""

    names: frozenset[str]
    """The voices, such as ``en-us`` and ``fr``."""
    by_language: dict[str, str]
    """The voice of each language: ``fr`` for ``fr-fr`` and ``fr``, ``cmn`` for ``zh``."""
    languages: dict[str, frozenset[str]]
    """The languages that each voice speaks, by the first part of their codes."""
    variants: frozenset[str]


@cache
def voice_files() -> VoiceFiles:
    """Read the files. There are none if the wheel is not installed."""
    try:
        import espeakng_loader
    except ImportError:
        return VoiceFiles(frozenset(), {}, {}, frozenset())
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
    languages: dict[str, set[str]] = {}
    for _, language, name in offers:
        languages.setdefault(name, set()).add(main_language(language))
    variants = frozenset(path.name for path in (data / "voices" / "!v").iterdir())
    return VoiceFiles(
        frozenset(file.name.lower() for file in files),
        by_language,
        {name: frozenset(spoken) for name, spoken in languages.items()},
        variants,
    )


OnSound = Callable[[Pcm, Sequence[SpokenUntil]], bool]
"""Takes the next samples and the timing of words, on the thread that synthesises. Returns True to stop."""

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class EspeakLibrary:
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
        self._c.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._lock = threading.Lock()
        self._callback = _Callback(self._on_audio)
        self._c.espeak_SetSynthCallback(self._callback)
        self._sink: OnSound = lambda pcm, spoken: True
        """Takes the sound of the current ``synthesise``."""
        self._voice = ""
        """The voice that the library speaks with at present. Changing it takes 0.5 ms."""
        self._word_end = 0
        """Characters of the current text up to the end of the last word that began."""
        self._failure: BaseException | None = None
        """The error that was raised in the callback; ``synthesise`` raises it again."""

    def synthesise(self, text: str, voice: str, rate: int, pitch: int, sink: OnSound) -> None:
        """Block until ``text`` is synthesised or ``sink`` stops it."""
        content = text.replace("\0", " ").encode("utf-8", "replace") + b"\0"
        with self._lock:
            self._choose(voice)
            self._c.espeak_SetParameter(_RATE, rate, 0)
            self._c.espeak_SetParameter(_VOLUME, VOLUME, 0)
            self._c.espeak_SetParameter(_PITCH, pitch, 0)
            self._sink, self._word_end, self._failure = sink, 0, None
            failed = self._c.espeak_Synth(content, len(content), 0, _CHARACTERS, 0, _UTF8, None, None)
            if self._failure is not None:
                raise self._failure
            if failed:
                raise EngineError(f"eSpeak NG failed with code {failed}")

    def phonemes(self, text: str, voice: str, *, tie: str = "") -> str:
        """
        Return the phonemes of a text in IPA with stress marks, the words separated by spaces.

        Marks of punctuation are left out. ``tie`` stands between the letters of one sound, such as a diphthong.
        """
        mode = _IPA | ((_TIE | ord(tie) << 8) if tie else 0)
        content = ctypes.c_char_p(text.replace("\0", " ").encode("utf-8", "replace"))
        rest = ctypes.cast(content, ctypes.c_void_p)
        parts: list[str] = []
        with self._lock:
            self._choose(voice)
            while rest.value:  # each call takes one clause, as the library divides the text, and moves the pointer
                part = self._c.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, mode)
                parts.append((part or b"").decode("utf-8", "replace"))
        return " ".join(_LANGUAGE_MARK.sub("", " ".join(parts)).split())

    def _choose(self, voice: str) -> None:
        if voice == self._voice:
            return
        self._voice = ""
        if self._c.espeak_SetVoiceByName(voice.encode()) != 0:
            raise EngineError(f"eSpeak NG has no voice {voice!r}", permanent=True)
        self._voice = voice

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
_load_library = cache(EspeakLibrary)
_load_lock = threading.Lock()


def shared_library() -> EspeakLibrary:
    with _load_lock:
        return _load_library()
