"""
Voices: a recording that its speaker agreed to, and the words in it.

CSM has no voice of its own. It continues in the voice with which its context begins, so a voice is two files in a
folder, ``<name>.wav`` and ``<name>.txt``. The codes of the recording are stored beside them, and encoded again when the
recording or the codec changes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import wave
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, log10
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.resampling import resample
from inference.types import EngineError, Pcm

Codes = NDArray[np.int16]
"""Mimi's codes, shape ``(frames, codebooks)``."""

RATE_HZ = 24000
"""Mimi's rate."""
SHORTEST, LONGEST = 2.0, 15.0
"""Seconds. A shorter recording does not fix the voice, a longer one takes positions from the conversation. 6 to 10 are
best."""
LEAST_SPEECH = 1.0
"""Seconds. A recording with less is almost silent, so that its level says nothing about the voice."""
LEVEL_DBFS = -20.0
"""The level of the speech that the caller hears."""

_AUDIBLE_DBFS = -50.0
"""Quieter sound is a pause or noise."""
_GATE_DB = 10.0
"""Parts so far below the mean of the audible ones are left out of the level, as in EBU R 128: pauses do not count."""
_WINDOW_SECONDS = 0.02
"""The level is measured in parts of this length: short enough to separate pauses between words."""


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """A voice as the model is prompted with it. ``gain`` is the factor that brings its sound to ``LEVEL_DBFS``."""

    name: str
    text: str
    codes: Codes
    gain: float


def voice_names(folder: Path) -> list[str]:
    """The voices that have a recording, in alphabetical order."""
    return sorted(path.stem for path in folder.glob("*.wav"))


def load_voice(folder: Path, name: str, encode: Callable[[NDArray[np.float32]], Codes], *, fingerprint: str) -> Voice:
    """
    Return the voice of that name, or the folder's first one for ``""``.

    ``encode`` turns sound at 24 kHz, from -1 to 1, into codes, and is only called if they are not stored yet.
    ``fingerprint`` names the codec. A fault in the files is a permanent ``EngineError`` that says what to do.
    """
    names = voice_names(folder)
    if not names:
        raise EngineError(f"There is no voice {name!r}: there is no .wav file in {folder}.", permanent=True)
    name = name or names[0]
    if name not in names:  # this also keeps a name from leading out of the folder
        raise EngineError(
            f"There is no voice {name!r} in {folder}. Its voices are: {', '.join(names)}.", permanent=True
        )
    text = _text(folder / f"{name}.txt")
    pcm, rate_hz = _recording(folder / f"{name}.wav")
    level_dbfs = _speech_level(pcm, rate_hz, folder / f"{name}.wav")
    content = hashlib.sha256(f"{fingerprint} {rate_hz} ".encode() + pcm.tobytes()).hexdigest()
    stored = folder / f"{name}.{content[:16]}.codes.npy"
    codes = _stored_codes(stored)
    if codes is None:
        codes = np.asarray(encode(resample(pcm, rate_hz, RATE_HZ).astype(np.float32) / np.float32(32768)), np.int16)
        _store(stored, codes)
    return Voice(name, text, codes, 10 ** ((LEVEL_DBFS - level_dbfs) / 20))


def _text(path: Path) -> str:
    try:
        text = " ".join(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(
            f"Cannot read {path}: {error}. Write into it the words of the .wav.", permanent=True
        ) from error
    if not text:
        raise EngineError(f"{path} is empty. Write into it the words of the .wav.", permanent=True)
    return text


def _recording(path: Path) -> tuple[Pcm, int]:
    """The recording in mono, and its rate."""
    try:
        with wave.open(str(path), "rb") as file:
            rate_hz, channels, bits = file.getframerate(), file.getnchannels(), 8 * file.getsampwidth()
            if bits != 16 or channels > 2 or not rate_hz:
                raise wave.Error(f"it has {bits} bits and {channels} channels at {rate_hz} Hz")
            data = file.readframes(ceil((LONGEST + 1) * rate_hz))
    except (OSError, EOFError, wave.Error) as error:
        raise EngineError(
            f"Cannot read {path}: {error or 'it is too short'}. It must be 16-bit PCM, mono or stereo: "
            f"ffmpeg -i recording -c:a pcm_s16le {path.name}",
            permanent=True,
        ) from error
    samples = np.frombuffer(data[: len(data) // (2 * channels) * 2 * channels], "<i2").reshape(-1, channels)
    seconds = len(samples) / rate_hz
    if not SHORTEST <= seconds <= LONGEST:
        length = f"lasts {seconds:.1f} s" if seconds <= LONGEST else f"lasts more than {LONGEST:.0f} s"
        raise EngineError(
            f"{path} {length}. A voice needs {SHORTEST:.0f} to {LONGEST:.0f} s of speech; 6 to 10 are best.",
            permanent=True,
        )
    return np.rint(samples.mean(1)).astype(np.int16), rate_hz


def _speech_level(pcm: Pcm, rate_hz: int, path: Path) -> float:
    """The level of the parts that are speech, in dBFS (RMS)."""
    window = round(_WINDOW_SECONDS * rate_hz)
    sound = pcm[: len(pcm) // window * window].reshape(-1, window) / 32768
    power = np.square(sound).mean(1)
    power = power[power >= 10 ** (_AUDIBLE_DBFS / 10)]
    if len(power) * _WINDOW_SECONDS < LEAST_SPEECH:
        raise EngineError(f"{path} is almost silent. Record it again, louder.", permanent=True)
    return float(10 * log10(power[power >= power.mean() / 10 ** (_GATE_DB / 10)].mean()))


def _stored_codes(path: Path) -> Codes | None:
    try:
        with path.open("rb") as file:
            codes = np.load(file, allow_pickle=False)
    except Exception:  # whatever is wrong with the file, the codes can be encoded again
        return None
    usable = isinstance(codes, np.ndarray) and codes.dtype == np.int16 and codes.ndim == 2 and codes.size > 0
    return codes if usable else None


def _store(path: Path, codes: Codes) -> None:
    """Store the codes, unless the folder cannot be written to; they are then encoded again next time."""
    with suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, codes)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
