"""Sounds of a telephone line that hold no words: tones, signals, noise and music. 8 kHz."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from inference.types import Pcm

RATE_HZ = 8000
LOUD, QUIET = -8, -35
"""Levels in dBFS of the louder and the softer sounds."""
TONES = {
    "440 Hz": (440,),
    "1 kHz": (1000,),
    "440 and 480 Hz (ringing)": (440, 480),
    "480 and 620 Hz (busy)": (480, 620),
    "350 and 440 Hz (dial tone)": (350, 440),
    "425 Hz (European ringing)": (425,),
    "2100 Hz (fax)": (2100,),
}
DTMF = {"1": (697, 1209), "5": (770, 1336), "9": (852, 1477), "0": (941, 1336), "#": (941, 1477)}
"""The two tones of a key, in Hz."""

Wave = NDArray[np.float64]


def sounds(
    *, lengths: Sequence[float] = (0.3, 1.0, 3.0, 8.0), levels: Sequence[float] = (LOUD, -20, QUIET)
) -> Iterator[tuple[str, Pcm]]:
    """The sounds at all levels (dBFS) and lengths (seconds), each with its name."""
    for seconds in lengths:
        for name, wave in _waves(seconds):
            for level in levels:
                loudness = np.sqrt(np.mean(wave**2))
                scaled = wave * 32768 * 10 ** (level / 20) / loudness
                yield f"{name}, {seconds} s, {level} dBFS", scaled.clip(-32768, 32767).astype(np.int16)


def _waves(seconds: float) -> Iterator[tuple[str, Wave]]:
    for name, frequencies in TONES.items():
        yield name, tone(seconds, frequencies)
    yield "beeps", _switched(tone(seconds, (1000,)), on=0.2, off=0.3)
    yield "busy signal", _switched(tone(seconds, (480, 620)), on=0.5, off=0.5)
    yield "ringing with pauses", _switched(tone(seconds, (440, 480)), on=2.0, off=4.0)
    yield "DTMF", np.concatenate([_switched(tone(0.25, pair), on=0.15, off=0.1) for pair in DTMF.values()])
    yield "white noise", _noise(seconds, 0.0)
    yield "pink noise", _noise(seconds, 0.5)
    yield "rumble", _noise(seconds, 1.0)
    yield "noise that comes and goes", _switched(_noise(seconds, 0.5), on=0.3, off=0.4)
    yield "melody", melody(seconds, chords=False)
    yield "hold music", melody(seconds, chords=True)


def tone(seconds: float, frequencies: Sequence[float]) -> Wave:
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return np.sum([np.sin(2 * np.pi * frequency * times) for frequency in frequencies], axis=0)


def melody(seconds: float, *, chords: bool) -> Wave:
    """Notes of 0.3 s with overtones, which fade as those of a plucked string; on demand with a bass and a third."""
    chance = np.random.default_rng(11)
    times = np.arange(int(0.3 * RATE_HZ)) / RATE_HZ
    notes = []
    for step in range(int(seconds / 0.3) + 1):
        root = 262 * 2 ** (chance.choice([0, 2, 4, 5, 7, 9, 11]) / 12)
        heights = (root, root * 2 ** (4 / 12), root / 2) if chords else (root,)
        note = sum(
            np.sin(2 * np.pi * height * overtone * times) / overtone for height in heights for overtone in (1, 2, 3, 4)
        )
        notes.append(note * np.exp(-4 * times) * (1.0 if step % 4 == 0 else 0.7))
    return np.concatenate(notes)[: int(seconds * RATE_HZ)]


def _noise(seconds: float, slope: float) -> Wave:
    """Noise whose power falls with the frequency; ``slope`` 0 is white, 0.5 pink, 1 brown."""
    spectrum = np.fft.rfft(np.random.default_rng(7).standard_normal(int(seconds * RATE_HZ)))
    frequencies = np.maximum(1, np.arange(len(spectrum)))
    return np.fft.irfft(spectrum / frequencies**slope, int(seconds * RATE_HZ))


def _switched(wave: Wave, *, on: float, off: float) -> Wave:
    """The sound, turned on and off by turns; both in seconds."""
    times = np.arange(len(wave)) / RATE_HZ
    return wave * (times % (on + off) < on)
