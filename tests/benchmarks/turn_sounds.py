"""
What is heard around a caller: everything that is not their voice, made or composed here, at 8 kHz.

Levels are relative to the caller's active level: the RMS of the louder half of the blocks of 20 ms in which they speak.
"""

from __future__ import annotations

import numpy as np

from tests.sounds import RATE_HZ, Sound, active_level, pink_noise

ACTIVE_DBFS = -24.0
"""The level of a caller who speaks normally into a telephone."""
VOICE_DB = 20.0
"""A block that is so far below the active level is no voice."""


def at_level(sound: Sound, dbfs: float) -> Sound:
    """Scale a sound to this active level."""
    return sound * 32768 * 10 ** (dbfs / 20) / max(active_level(sound), 1e-9)


def voice_ends(sound: Sound) -> tuple[int, int]:
    """
    The first and the last sample of the voice in a clean recording, whose own noise is no voice.

    A voice lasts 20 ms at least, in blocks of 10 ms that are at most 20 dB below its active level. ITU-T P.56 takes
    15.9 dB for whole speech, and adds 200 ms after it; soft beginnings and ends are quieter.
    """
    block = RATE_HZ // 100
    power = (sound[: len(sound) // block * block].reshape(-1, block) ** 2).mean(1)
    loud = power >= (active_level(sound) * 10 ** (-VOICE_DB / 20)) ** 2
    voiced = np.flatnonzero(loud[:-1] & loud[1:])
    return (int(voiced[0]) * block, int(voiced[-1] + 2) * block - 1) if len(voiced) else (0, 0)


def without_ends(sound: Sound) -> Sound:
    """
    A recording from 60 ms before the voice to 60 ms after it, faded over 30 ms.

    The noise of a line does not begin and end with each sentence, and voice activity would notice when it does.
    """
    first, last = voice_ends(sound)
    margin, fade = int(0.06 * RATE_HZ), int(0.03 * RATE_HZ)
    start = max(0, first - margin)
    cut = sound[start : last + margin].copy()
    if start:
        cut[:fade] *= np.linspace(0, 1, fade)
    if last + margin < len(sound):
        cut[-fade:] *= np.linspace(1, 0, fade)
    return cut


def television(voices: list[Sound], seconds: float, seed: int) -> Sound:
    """Several people who speak one after another, almost without a pause, as a programme in the next room."""
    random = np.random.default_rng(seed)
    length, parts = int(seconds * RATE_HZ), []
    while sum(map(len, parts)) < length:
        voice = at_level(voices[random.integers(len(voices))], ACTIVE_DBFS)
        parts += [voice, np.zeros(int(random.uniform(0.1, 0.4) * RATE_HZ))]
    return np.concatenate(parts)[:length]


def cafe(voices: list[Sound], seconds: float, seed: int) -> Sound:
    """Twelve people at once, with pink noise: the murmur of a room, in which no word is understood."""
    tables = [television(voices, seconds, seed * 100 + number) for number in range(12)]
    murmur = np.sum([np.roll(table, number * RATE_HZ) for number, table in enumerate(tables)], axis=0)
    return at_level(murmur, ACTIVE_DBFS) + at_level(pink_noise(len(murmur), seed), ACTIVE_DBFS - 6)


def people(voices: list[Sound], seconds: float, seed: int) -> Sound:
    """Three people who talk to each other behind the caller, at the same time more often than not."""
    talk = np.sum([np.roll(television(voices, seconds, seed * 100 + n), n * RATE_HZ) for n in range(3)], axis=0)
    return at_level(talk, ACTIVE_DBFS)


def band(sound: Sound, low_hz: float, high_hz: float) -> Sound:
    """What is left of a sound in a band of frequencies, with edges of 100 Hz."""
    hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    edges = np.clip((hz - low_hz) / 100 + 0.5, 0, 1) if low_hz else 1.0
    return np.fft.irfft(np.fft.rfft(sound) * edges * np.clip((high_hz - hz) / 100 + 0.5, 0, 1), len(sound))


def hold_music(seconds: float) -> Sound:
    """Chords with a beat, without words."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    chords = ((262, 330, 392), (220, 262, 330), (175, 220, 262), (196, 247, 294))
    sound = np.zeros(len(time))
    for number, chord in enumerate(chords):
        playing = (time // 1.0).astype(int) % len(chords) == number
        for hz in chord:
            tones = np.sin(2 * np.pi * hz * time) + 0.3 * np.sin(4 * np.pi * hz * time)
            sound += np.where(playing, tones * np.exp(-1.5 * (time % 0.5)), 0)
    return at_level(sound, ACTIVE_DBFS)


def crying(seconds: float, seed: int) -> Sound:
    """A small child: harmonics of a pitch that rises to 450 Hz and falls, for a second each, with gasps between."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(int(seconds / 1.4) + 1):
        time = np.arange(int(random.uniform(0.8, 1.1) * RATE_HZ)) / RATE_HZ
        share = time / time[-1]
        phase = 2 * np.pi * np.cumsum(380 + 90 * np.sin(np.pi * share) + random.normal(0, 6, len(time))) / RATE_HZ
        cry = sum(np.sin(number * phase) / number for number in range(1, 8)) * np.sin(np.pi * share) ** 0.5
        parts += [cry, np.zeros(int(random.uniform(0.3, 0.6) * RATE_HZ))]
    return at_level(np.concatenate(parts)[: int(seconds * RATE_HZ)], ACTIVE_DBFS)


def cough(seed: int) -> Sound:
    """Two bursts of noise with the resonances of a mouth."""
    random = np.random.default_rng(seed)
    parts = []
    for length in (0.22, 0.3):
        time = np.arange(int(length * RATE_HZ)) / RATE_HZ
        burst = random.normal(size=len(time)) * np.minimum(time / 0.01, 1) * np.exp(-9 * time)
        spectrum, hz = np.fft.rfft(burst), np.fft.rfftfreq(len(burst), 1 / RATE_HZ)
        shape = sum(1 / (1 + ((hz - formant) / 250) ** 2) for formant in (600, 1300, 2600))
        parts += [np.fft.irfft(spectrum * shape, len(burst)), np.zeros(int(0.12 * RATE_HZ))]
    return at_level(np.concatenate(parts), ACTIVE_DBFS - 3)
