"""
Pauses inside turns and ends of turns in recordings of people, and what the engines make of the sound up to them.

Where a pause begins and ends is read from the energy of the clean recording, never from the product's own detector.
Then the recording goes over a telephone (mu-law) to real Whisper, which is asked for the words in each pause as in a
call, and to the turn model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from inference.interfaces import SpeechToText, TurnModel
from inference.mulaw import decode_mulaw, encode_mulaw
from inference.resampling import resample
from inference.types import Pcm
from media.turns.acoustic import BEFORE, FIRST, SECOND
from tests.sounds import RATE_HZ, read

SHORTEST = 0.1
"""Seconds of the shortest silence that is found, as in eot-bench."""
WORDS_AT = 0.1
"""Seconds of silence after which recognition is asked: 0.08 (``SPECULATE``), seen at the end of a window of 32 ms."""
SEEN = 0.03
"""Seconds by which the sound that is scored is longer than the silence after which it was to be, as above."""
TAIL = 2.0
"""Seconds of silence behind a turn: longer than any wait."""
LEAD = 0.3
"""Seconds of silence before it, of which recognition gets as much in a call."""

DIALOGUE = "google-samples__commercial_mono"
"""Two people on the telephone, on one track."""
DIALOGUE_TURNS = (
    (4.5, 8.8, "How can I help you?"),
    (10.2, 14.0, "hi i'd like to buy a chromecast and i was wondering whether you could help me with that"),
    (15.3, 16.8, "certainly which color would you like? we have blue black and red"),
    (18.2, 23.3, "uh let's go with the black one"),
    (24.6, 27.2, "would you like the new chromecast ultra model or the regular chromecast?"),
    (28.7, 32.4, "regular chromecast is fine thank you"),
    (33.7, 34.9, "okay sure would you like to ship it regular or express?"),
)
"""The seconds of each turn, and what was said before it; by hand. In the rest the two cannot be told apart."""
QUESTIONS = {
    "google-samples__two_people": "How many people are you?",
    "google-samples__half_an_hour": "How long will you need it?",
    "google-samples__today": "For which day?",
    "google-samples__230pm": "At what time?",
    "google-samples__mountain_view": "In which city?",
    "pocketsphinx__numbers": "What is your number?",
    "mfa__common_voice_en_22058264": "Have you been here before?",
    "mfa__common_voice_en_22058267": "How many people are you?",
}
"""What the agent has asked before recordings that answer something. Before all others: ``OPEN_QUESTION``."""
OPEN_QUESTION = "What can I do for you?"

_HOP = RATE_HZ // 100
_WINDOW = 4 * _HOP
_BAND = (200, 3600)
"""Hertz. Below is the hum of some recordings, above nothing that a telephone carries."""
_ABOVE_FLOOR, _BELOW_VOICE, _LEAST_BELOW_VOICE = 10.0, 32.0, 12.0
"""A block is sound from 10 dB above the noise of its recording (5th percentile) on, but at the latest from 32 dB below
the louder half of the recording, and at the earliest from 12 dB below it."""
_CLICK = 4
"""Blocks (40 ms) of sound that interrupt no pause."""


@dataclass(frozen=True)
class Stop:
    """A silence in a turn or behind it, and what the engines made of the sound up to it."""

    turn: str
    """The recording, or its part."""
    at: float
    """Seconds into the recording."""
    seconds: float
    """Its length; behind a turn: ``TAIL``."""
    ends_turn: bool
    agent_said: str
    text: str = ""
    stop_counts: bool = True
    scores: tuple[float, float] = (0.5, 0.5)
    """Of the turn model at ``FIRST`` and at ``SECOND`` seconds of silence; twice the first if the pause is shorter."""

    @property
    def source(self) -> str:
        """Whose recordings these are. Those of one source have the same few speakers and the same microphone."""
        return self.turn.partition("__")[0]


@dataclass(frozen=True)
class Turn:
    """Somebody's turn, alone on the line."""

    name: str
    pcm: Pcm
    """8 kHz."""
    agent_said: str


def turns(folder: Path) -> list[Turn]:
    """The turns of all recordings, without those of single digits, which are no turns of a conversation."""
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    found = []
    for line in lines:
        name = line["file"].removesuffix(".wav")
        pcm = read(folder / line["file"])
        if name == DIALOGUE:
            for number, (begin, end, said) in enumerate(DIALOGUE_TURNS, 1):
                found.append(Turn(f"{name} {number}", pcm[int(begin * RATE_HZ) : int(end * RATE_HZ)], said))
        elif line["kind"] != "digit":
            found.append(Turn(name, pcm, QUESTIONS.get(name, OPEN_QUESTION)))
    return found


def silences(pcm: Pcm) -> list[tuple[int, int]]:
    """The silences behind the first sound, as positions of their ends; the last one is that behind the turn."""
    windows = sliding_window_view(np.pad(pcm.astype(np.float64), _WINDOW // 2), _WINDOW)[::_HOP]
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)) ** 2
    hz = np.fft.rfftfreq(_WINDOW, 1 / RATE_HZ)
    power = spectrum[:, (hz >= _BAND[0]) & (hz <= _BAND[1])].mean(1)
    level = 10 * np.log10(power + 1)
    voice = 10 * np.log10(np.sort(power)[len(power) // 2 :].mean() + 1)
    least = np.clip(np.percentile(level, 5) + _ABOVE_FLOOR, voice - _BELOW_VOICE, voice - _LEAST_BELOW_VOICE)
    sounds = [(start, end) for start, end in _runs(level > least) if end - start > _CLICK]
    gaps = [(end * _HOP, start * _HOP) for (_, end), (start, _) in pairwise(sounds)]
    end = min(len(pcm), sounds[-1][1] * _HOP)
    return [
        *((start, stop) for start, stop in gaps if stop - start >= SHORTEST * RATE_HZ),
        (end, end + int(TAIL * RATE_HZ)),
    ]


def _runs(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """The stretches of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    yield from zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True)


async def stops(turn: Turn, stt: SpeechToText, model: TurnModel | None) -> list[Stop]:
    """The silences of a turn with the words and scores of the engines."""
    gaps = silences(turn.pcm)
    lead = int(LEAD * RATE_HZ)
    # Behind the turn there is silence, whatever the recording has there.
    sound = np.concatenate([np.zeros(lead, np.int16), turn.pcm[: gaps[-1][0]], np.zeros(int(TAIL * RATE_HZ), np.int16)])
    line = decode_mulaw(encode_mulaw(sound))
    heard = resample(line, RATE_HZ, stt.rate_hz)
    transcription, pushed, found = stt.open(hint=turn.agent_said), 0, []
    for start, end in gaps:
        seconds = (end - start) / RATE_HZ
        stop = Stop(turn.name, start / RATE_HZ, seconds, (start, end) == gaps[-1], turn.agent_said)
        until = int((start + lead + WORDS_AT * RATE_HZ) * stt.rate_hz / RATE_HZ)
        piece = stt.rate_hz // 10
        for at in range(pushed, until, piece):
            transcription.push(heard[at : min(at + piece, until)])
        pushed = until
        words = await transcription.snapshot()
        stop = replace(stop, text=words.text.strip(), stop_counts=words.stop_counts)
        if model is not None:
            first = await score(model, line, start + lead, FIRST + SEEN)
            second = await score(model, line, start + lead, SECOND + SEEN) if seconds > SECOND else first
            stop = replace(stop, scores=(first, second))
        found.append(stop)
    transcription.cancel()
    return found


async def score(model: TurnModel, line: Pcm, start: int, silence: float) -> float:
    """The score of a turn that begins with the line, after so many seconds of the silence that begins at ``start``."""
    before = np.zeros(int((BEFORE - LEAD) * RATE_HZ), np.int16)
    sound = np.concatenate([before, line[: start + int(silence * RATE_HZ)]])[-int(model.longest * RATE_HZ) :]
    return await model.score(resample(sound, RATE_HZ, model.rate_hz))
