"""
Speaks with Flite: the most natural voices that need no download.

The library comes from Debian's ``libflite1`` and is called through ctypes. Its licence is BSD-like. Each voice (slt,
rms, awb) is a library of its own.
"""

from __future__ import annotations

import ctypes
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np

from inference.types import Description, EngineError, Pcm
from inference.voices.clause import SpokenUntil
from inference.voices.speech import LocalTextToSpeech, Sink, speak_once
from inference.voices.turns import Steps

RATE_HZ = 16_000
"""The rate of the three voices."""
MEMORY_BYTES = 12_000_000
"""The growth of the process (resident memory) with the three voices, once one has spoken."""

LOUDNESS = {"slt": 0.45, "rms": 0.87, "awb": 0.77}
"""The factor for each voice that brings it to -20 dBFS, as ``inference.voices.loudness`` measures it."""

_MIN_CHUNK = 320  # samples: 20 ms
_STOP, _CONTINUE = -1, 0
_TOKEN_END = b"R:Token.daughtern.R:SylStructure.daughtern.daughtern.R:Segment.end"


class _Wave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("rate_hz", ctypes.c_int),
        ("count", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class _VoiceStruct(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


class _StreamingInfo(ctypes.Structure):
    """``cst_audio_streaming_info`` in ``cst_audio.h`` of Flite 2.x."""


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(_Wave), ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.POINTER(_StreamingInfo)
)
_StreamingInfo._fields_ = [
    ("min_chunk", ctypes.c_int),
    ("callback", _Callback),
    ("utterance", ctypes.c_void_p),
    ("item", ctypes.c_void_p),
    ("user_data", ctypes.c_void_p),
]

OnSound = Callable[[Pcm, Sequence[SpokenUntil]], bool]
"""Takes the next samples and the timing of words, on the thread that synthesises. Returns True to stop."""

_lock = threading.Lock()
"""Flite keeps its state in its voices, and the process has one of each: only one thread at a time may call it."""


@cache
def _load_library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        for part in ("cmulex", "usenglish"):
            ctypes.CDLL(f"libflite_{part}.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise EngineError(f"Flite is not installed (apt-get install libflite1): {error}", permanent=True) from error
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("flite_text_to_wave", ctypes.POINTER(_Wave), [text, pointer]),
        ("delete_wave", None, [ctypes.POINTER(_Wave)]),
        ("new_audio_streaming_info", pointer, []),
        ("audio_streaming_info_val", pointer, [pointer]),
        ("feat_set", None, [pointer, text, pointer]),
        ("utt_relation", pointer, [pointer, text]),
        ("relation_head", pointer, [pointer]),
        ("item_next", pointer, [pointer]),
        ("flite_ffeature_float", ctypes.c_float, [pointer, text]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.flite_init()
    return library


class _FliteVoice:
    """One voice of the library; implements ``LocalVoice``."""

    rate_hz = RATE_HZ
    exact = True

    def __init__(self, name: str) -> None:
        self._c = library = _load_library()
        try:
            register = getattr(ctypes.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
        except (OSError, AttributeError) as error:
            raise EngineError(f"Flite has no voice {name!r}: {error}", permanent=True) from error
        register.restype = ctypes.c_void_p
        self._voice = register(None)
        self._loudness = LOUDNESS[name]
        self._callback = _Callback(self._on_audio)
        self._sink: OnSound = lambda pcm, spoken: True
        """Takes the sound of the current ``synthesise``."""
        self._failure: BaseException | None = None
        """The error that was raised in the callback; ``synthesise`` raises it again."""
        info = library.new_audio_streaming_info()
        streaming = _StreamingInfo.from_address(info)
        streaming.min_chunk, streaming.callback = _MIN_CHUNK, self._callback
        features = _VoiceStruct.from_address(self._voice).features
        library.feat_set(features, b"streaming_info", library.audio_streaming_info_val(info))

    def synthesise(self, text: str, sink: Sink) -> Steps:
        content = _to_ascii(text).encode()
        with _lock:
            self._sink, self._failure = sink, None
            wave = self._c.flite_text_to_wave(content, self._voice)
            if wave:
                self._c.delete_wave(wave)
            if self._failure is not None:
                raise self._failure
        yield from ()  # in one step

    def _on_audio(self, wave: Any, start: int, count: int, last: int, info: Any) -> int:
        try:
            if wave.contents.rate_hz != RATE_HZ:
                raise EngineError(f"Flite returned sound at {wave.contents.rate_hz} Hz instead of {RATE_HZ} Hz")
            # Flite computes the timing of the whole clause before its first sample.
            spoken = list(self._tokens_of(info.contents.utterance)) if start == 0 else []
            samples = np.ctypeslib.as_array(wave.contents.samples, (wave.contents.count,))[start : start + count]
            return _STOP if self._sink((samples * self._loudness).astype(np.int16), spoken) else _CONTINUE
        except BaseException as error:  # ctypes would print it and continue
            self._failure = error
            return _STOP

    def _tokens_of(self, utterance: int) -> Iterator[SpokenUntil]:
        token = self._c.relation_head(self._c.utt_relation(utterance, b"Token"))
        while token:
            end = self._c.flite_ffeature_float(token, _TOKEN_END)
            # file_pos includes the character after the token.
            yield SpokenUntil(int(end * RATE_HZ), int(self._c.flite_ffeature_float(token, b"file_pos")) - 1)
            token = self._c.item_next(token)


def _to_ascii(text: str) -> str:
    """Return ASCII, the only characters that Flite knows, with the same length so that positions agree."""
    table = {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "."}
    plain = (unicodedata.normalize("NFKD", table.get(character, character))[0] for character in text)
    return "".join(character if " " <= character <= "~" else " " for character in plain)


class FliteTextToSpeech(LocalTextToSpeech):
    """Speaks English with one of Flite's larger voices: ``"slt"`` (a woman), ``"rms"`` or ``"awb"`` (men)."""

    name: ClassVar[str] = "Flite"
    rate_hz = RATE_HZ
    languages = frozenset(("en",))

    def __init__(self, *, voice: str = "slt") -> None:
        if voice not in LOUDNESS:
            raise EngineError(f"Flite has no voice {voice!r}; it has {', '.join(LOUDNESS)}", permanent=True)
        super().__init__()
        self._voice = voice
        self._voices: dict[str, _FliteVoice] = {}

    def describe(self) -> Description:
        return Description(f"Debian's libflite1 (voices {', '.join(LOUDNESS)})", MEMORY_BYTES)

    def _load(self) -> None:
        self._voices = {name: _shared_voice(name) for name in LOUDNESS}
        speak_once(self._voices[self._voice], "Ready.")

    def _find(self, voice: str, language: str) -> _FliteVoice:
        try:
            return self._voices[voice or self._voice]
        except KeyError:
            raise EngineError(f"Flite has no voice {voice!r}; it has {', '.join(LOUDNESS)}", permanent=True) from None


@cache
def _load_voice(name: str) -> _FliteVoice:
    return _FliteVoice(name)


def _shared_voice(name: str) -> _FliteVoice:
    """Return the voice. It cannot be unloaded, so all engines of the process share it."""
    with _lock:
        return _load_voice(name)


def is_installed() -> bool:
    """Return whether Flite and its default voice are on this machine."""
    try:
        _shared_voice("slt")
    except EngineError:
        return False
    return True
