"""Recordings of people on a line: a television behind the caller costs no turn, and a quieter caller is heard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference.mulaw import encode_mulaw
from inference.types import Pcm
from tests.media.scripted_call import CallResult, run_call
from tests.media.test_level import CALLER_DB, REPLY, at_level
from tests.sounds import read

pytestmark = pytest.mark.human

RATE_HZ = 8000
SAYS = {
    "azure-samples__whatstheweatherlike-mulaw": 0.5,
    "google-samples__brooklyn": 8.0,
    "speechbrain__spk2_snt2": 15.0,
    "pocketsphinx__cards_002": 22.0,
}
"""The recordings that are the caller's words, and when they begin."""
TELEVISIONS = {
    "readers": (
        "pocketsphinx__sense_and_sensibility_01_austen_64kb-0870",
        "pocketsphinx__sense_and_sensibility_01_austen_64kb-0890",
        "openai-whisper__jfk",
    ),
    "one man": ("mfa__acoustic_corpus",),
    "several voices": (
        "openai-whisper__jfk",
        "picovoice__test_en",
        "speechbrain__spk1_snt2",
        "speechbrain__spk1_snt4",
        "pocketsphinx__goforward",
    ),
    "talk with pauses": ("mfa__cold_corpus3",),
}
Level = Callable[[str], float]


def television(folder: Path, name: str, decibels: float) -> Pcm:
    """These recordings, each at this level, for 24 s from the fourth second on."""
    spoken = np.concatenate([at_level(read(folder / f"{part}.wav"), decibels) for part in TELEVISIONS[name]])
    return np.concatenate([np.zeros(4 * RATE_HZ), np.resize(spoken, 24 * RATE_HZ)]).astype(np.int16)


def call(folder: Path, *, behind: Pcm | None = None, quieter: Level = lambda name: 0.0) -> CallResult:
    """A call in which every sound that passes for a voice is recognised as words, and so would be a turn."""

    def say(name: str) -> bytes:
        pcm = at_level(read(folder / f"{name}.wav"), CALLER_DB - quieter(name))
        return encode_mulaw(pcm.clip(-32768, 32767).astype(np.int16))

    says = [(start, name) for name, start in SAYS.items()]
    return run_call(says, seconds=30.0, said_by=say, behind=behind, llm={"replies": [REPLY]})


def summary(result: CallResult) -> tuple[int, int, int]:
    """The caller's turns, the replies that were heard to their end, and how often the agent's sound was stopped."""
    callers = [text for speaker, text in result.turns if speaker == "caller"]
    whole = [text for speaker, text in result.turns if (speaker, text) == ("agent", REPLY)]
    return len(callers), len(whole), len(result.times("clear"))


@pytest.mark.parametrize("name", TELEVISIONS)
@pytest.mark.parametrize("below", [26, 32])
def test_a_television_costs_and_adds_no_turn(speech_dir, name, below):
    assert summary(call(speech_dir, behind=television(speech_dir, name, CALLER_DB - below))) == (4, 4, 0)


@pytest.mark.parametrize("name", TELEVISIONS)
def test_a_television_20_db_below_costs_no_turn_and_adds_few(speech_dir, name):
    turns, whole, stops = summary(call(speech_dir, behind=television(speech_dir, name, CALLER_DB - 20)))
    print(f"{name}: {turns} turns, {whole} whole replies, {stops} stops")
    assert turns <= 7
    assert stops <= 3


@pytest.mark.parametrize("change", [12, 6, -6, -12])
def test_a_caller_who_becomes_quieter_or_louder_is_answered(speech_dir, change):
    first = next(iter(SAYS))
    result = call(speech_dir, quieter=lambda name: 0 if name == first else change)
    assert summary(result)[1] == 4
