"""Voice activity on recordings of real people: short words are noticed, and no voice is lost or cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from inference.mulaw import decode_mulaw, encode_mulaw
from media.speech import WINDOW, VoiceDetector, VoiceWindow
from tests.sounds import RATE_HZ, active_level, pink_noise, read

pytestmark = pytest.mark.human

BATCH = 48
"""Sounds that are heard at the same time."""
LINES = ((0.3, 0), (0.7, 1), (1.2, 2), (2.0, 0), (3.0, 1))
"""Seconds of silence, or of noise, before the word, and the seed of the noise."""
SHORT_WORDS = [
    ("google-samples__commercial_mono", 4.60, 5.16),  # hi
    ("google-samples__commercial_mono", 18.36, 19.20),  # okay, great
    ("google-samples__commercial_mono", 28.82, 29.50),  # okay, sure
    ("google-samples__commercial_mono", 40.46, 41.12),  # thank you
    ("google-samples__commercial_mono", 42.38, 42.80),  # bye
    ("mfa__cold_corpus3", 5.36, 5.90),  # okay
    ("mfa__cold_corpus3", 18.28, 18.72),  # yeah
    ("mfa__common_voice_en_22058264", 1.40, 2.00),  # no
    ("mfa__common_voice_en_22058267", 0.40, 1.36),  # six
]
"""Recordings and seconds, cut where the sound is down to the noise at both ends. No recording has a "yes"."""


class ListeningModel:
    """The model of a detector; keeps the probabilities of its last batch."""

    def __init__(self, detector: VoiceDetector) -> None:
        self._session = detector._session
        self.probabilities: list[float] = []

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        probability, state = self._session.run(outputs, feed)
        self.probabilities = probability[:, 0].tolist()
        return probability, state


@dataclass
class Heard:
    """What the detector made of one sound."""

    windows: list[VoiceWindow]
    sure: list[bool]
    """For each window, whether the model was sure of a voice."""

    @property
    def starts(self) -> list[int]:
        return [window.position for window in self.windows if window.changed and window.voiced]

    @property
    def lost(self) -> list[bool]:
        """For each sure window, whether it was called silence."""
        return [not window.voiced for window, sure in zip(self.windows, self.sure, strict=True) if sure]


Hear = Callable[[Sequence[np.ndarray]], list[Heard]]


@pytest.fixture(scope="module")
def hear() -> Hear:
    """Hears sounds, each as a call of its own. All calls go on at the same time, because a batch takes less time."""
    detector = VoiceDetector()
    model = detector._session = ListeningModel(detector)

    def hear_batch(sounds: Sequence[np.ndarray]) -> list[Heard]:
        heard = [Heard([], []) for _ in sounds]
        streams = [detector.open(one.windows.append) for one in heard]
        for stream, sound in zip(streams, sounds, strict=True):
            pcm = np.clip(np.round(sound), -32768, 32767).astype(np.int16)
            stream.append(decode_mulaw(encode_mulaw(pcm)))
        while waiting := [(stream, one) for stream, one in zip(streams, heard, strict=True) if stream.has_window]:
            detector._judge([stream for stream, _ in waiting])
            for (_, one), probability in zip(waiting, model.probabilities, strict=True):
                one.sure.append(probability >= 0.9)
        for stream in streams:
            stream.close()
        return heard

    def hear(sounds: Sequence[np.ndarray]) -> list[Heard]:
        return [one for batch in batched(sounds, BATCH) for one in hear_batch(batch)]

    return hear


def batched(sounds: Sequence[np.ndarray], size: int) -> Iterator[Sequence[np.ndarray]]:
    for first in range(0, len(sounds), size):
        yield sounds[first : first + size]


def cut(path: Path, begin: float = 0, end: float = 600) -> np.ndarray:
    return read(path)[int(begin * RATE_HZ) : int(end * RATE_HZ)].astype(float)


def words(folder: Path) -> dict[str, np.ndarray]:
    """Sixty single digits, and the short words that can be cut from other recordings."""
    found = {path.stem: cut(path) for path in sorted(folder.glob("fsdd__*.wav"))}
    return found | {f"{stem} at {begin} s": cut(folder / f"{stem}.wav", begin, end) for stem, begin, end in SHORT_WORDS}


def behind_silence(sound: np.ndarray, lead: float) -> np.ndarray:
    return np.concatenate([np.zeros(int(lead * RATE_HZ)), sound, np.zeros(RATE_HZ)])


def clean(sound: np.ndarray, lead: float, seed: int) -> np.ndarray:
    return behind_silence(sound, lead)


def soft(sound: np.ndarray, lead: float, seed: int) -> np.ndarray:
    return behind_silence(sound, lead) / 10 + np.random.default_rng(seed).normal(
        0, 6, len(sound) + RATE_HZ + int(lead * RATE_HZ)
    )


def in_noise(sound: np.ndarray, lead: float, seed: int) -> np.ndarray:
    """At a signal-to-noise ratio of 10 dB."""
    whole = behind_silence(sound, lead)
    return whole + pink_noise(len(whole), seed) * active_level(sound) * 10 ** (-10 / 20)


@pytest.mark.parametrize(("line", "least"), [(clean, 0.99), (soft, 0.99), (in_noise, 0.95)])
def test_a_single_word_opens_an_utterance(hear, speech_dir, line, least):
    noticed = []
    missed = set()
    said = words(speech_dir)
    for lead, seed in LINES:
        begin = int(lead * RATE_HZ)
        heard = hear([line(word, lead, seed) for word in said.values()])
        for (name, word), one in zip(said.items(), heard, strict=True):
            noticed.append(any(begin < start <= begin + len(word) + 0.3 * RATE_HZ for start in one.starts))
            if not noticed[-1]:
                missed.add(name)
    print(f"{line.__name__}: {np.mean(noticed):.1%} of {len(noticed)} words noticed; missed: {sorted(missed)}")
    assert np.mean(noticed) >= least


@pytest.mark.parametrize("line", [clean, soft, in_noise])
def test_little_of_a_sure_voice_is_called_silence(hear, speech_dir, line):
    shares = {}
    # The batches are of similar lengths, so that the calls of each end together.
    recordings = sorted(((path.stem, cut(path)) for path in speech_dir.glob("*.wav")), key=lambda one: len(one[1]))
    heard = [hear([line(sound, lead, seed) for _, sound in recordings]) for lead, seed in LINES[::4]]
    for number, (name, _) in enumerate(recordings):
        lost = [window for recordings_heard in heard for window in recordings_heard[number].lost]
        shares[name] = float(np.mean(lost)) if lost else 0.0
    print(
        f"{line.__name__}: most lost: {sorted(((round(s, 2), name) for name, s in shares.items()), reverse=True)[:3]}"
    )
    assert max(shares.values()) <= 0.3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_short_answers_on_a_line_with_little_noise_are_one_voice_each(hear, speech_dir, seed):
    answers = {4.0: "two_people", 9.0: "book_a_room", 13.0: "half_an_hour"}
    sound = np.random.default_rng(seed).normal(0, 18, 15 * RATE_HZ)
    for at, name in answers.items():
        pcm = cut(speech_dir / f"google-samples__{name}.wav")
        sound[int(at * RATE_HZ) : int(at * RATE_HZ) + len(pcm)] += pcm
    [heard] = hear([sound])
    assert not any(heard.lost)
    assert [round(start / RATE_HZ - 0.5) for start in heard.starts] == [round(at) for at in answers]
    assert sum(window.voiced for window in heard.windows) * WINDOW >= 1.5 * RATE_HZ
