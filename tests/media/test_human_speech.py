"""Endpointing on recordings of real people: the agent waits through most hesitations, and not long after an answer."""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from inference.mulaw import decode_mulaw, encode_mulaw
from media.speech import VoiceDetector
from media.turns.endpointing import SPECULATE, Endpointing

pytestmark = pytest.mark.human

RATE_HZ = 8000


@dataclass(frozen=True)
class Pause:
    """A silence inside a recording (``goes_on``) or at its end, and the words said before it."""

    file: str
    words: str
    seconds: float
    goes_on: bool


def pauses(folder: Path, line: dict) -> list[Pause]:
    """
    The pauses of one recording that are long enough to be judged.

    The recordings have no times of words, so the share of the words before a pause is that of the voice before it.
    """
    with wave.open(str(folder / line["file"])) as sound:
        pcm = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    pcm = np.concatenate([decode_mulaw(encode_mulaw(pcm)), np.zeros(2 * RATE_HZ, np.int16)])
    changes = [window for window in VoiceDetector().run(pcm) if window.changed]
    stretches = list(zip(changes[0::2], changes[1::2], strict=False))
    total = sum(stop.edge - start.edge for start, stop in stretches)
    words = [word for word in line["transcript"].split() if "<" not in word] or ["um"]
    found, voiced = [], 0
    for index, (start, stop) in enumerate(stretches):
        voiced += stop.edge - start.edge
        goes_on = index + 1 < len(stretches)
        until = stretches[index + 1][0].edge if goes_on else len(pcm)
        silence = (until - stop.edge) / RATE_HZ
        if silence >= SPECULATE:
            said = words if not goes_on else words[: round(len(words) * voiced / total)]
            found.append(Pause(line["file"], " ".join(said), silence, goes_on))
    return found


def manifest(folder: Path, *kinds: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] in kinds and line["transcript"]]


def test_the_agent_waits_through_most_hesitations(speech_dir):
    inside = [
        pause
        for line in manifest(speech_dir, "spontaneous-hesitant", "hesitation", "phrase", "read")
        for pause in pauses(speech_dir, line)
        if pause.goes_on
    ]
    # On the telephone, people speak up after 1.2 s of silence; these recordings have stops of several seconds.
    inside = [pause for pause in inside if pause.seconds <= 1.2]
    cut = []
    endpointing, file = Endpointing(), ""
    for pause in inside:
        if pause.file != file:
            endpointing, file = Endpointing(), pause.file
        if pause.seconds >= endpointing.judge(pause.words).wait:
            cut.append(pause)
        endpointing.resumed_after(pause.seconds)
    share = len(cut) / len(inside)
    print(f"cut in on {len(cut)} of {len(inside)} pauses inside speech of up to 1.2 s ({share:.0%})")
    assert len(inside) >= 40
    assert share <= 0.2


def test_the_agent_answers_short_turns_soon(speech_dir):
    waits = [
        Endpointing().judge(pause.words, agent_said="What can I do for you?").wait
        for line in manifest(speech_dir, "dialog-turn", "command")
        for pause in pauses(speech_dir, line)
        if not pause.goes_on
    ]
    print(f"waits after {len(waits)} whole turns: median {np.median(waits):.2f} s, longest {max(waits):.2f} s")
    assert len(waits) >= 8
    assert np.median(waits) <= 0.5
