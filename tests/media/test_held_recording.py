"""A recording that nothing is written of before it is known what is muted in it."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from inference.mulaw import decode_mulaw
from media.audio import SILENCE
from media.held_recording import MOST_HELD, HeldRecording
from media.recorder import RecordingSpool

VOICE, REPLY = b"\x10", b"\x90"
HEARD, ANSWERED, NOTHING = (int(decode_mulaw(sign)[0]) for sign in (VOICE, REPLY, SILENCE))


@pytest.fixture
async def spool(tmp_path: Path):
    spool = RecordingSpool(tmp_path)
    yield spool
    await spool.close()


def frames(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)


def talk(recording: HeldRecording, seconds: float, *, start: float = 0.0) -> None:
    """Both sides speak, the agent is heard half a second later."""
    for position in range(round(start * 8000), round((start + seconds) * 8000), 160):
        recording.caller(position, VOICE * 160)
        if position >= 4000:
            recording.agent(position - 4000, REPLY * 160)


async def test_what_is_muted_is_silence_on_its_side_only(spool):
    recording = HeldRecording(spool.open("call"))
    talk(recording, 20)
    recording.mute(0, 8000, 16100)
    recording.mute(1, 40000, 48000)
    recording.release(100_000)
    talk(recording, 2, start=20)
    sound = frames(await recording.finish())
    assert len(sound) == 22 * 8000
    assert set(sound[8000:16100, 0]) == {NOTHING}
    assert set(sound[:8000, 0]) == set(sound[16100:, 0]) == {HEARD}
    assert set(sound[40000:48000, 1]) == {NOTHING}
    assert set(sound[:40000, 1]) == set(sound[48000 : 21 * 8000, 1]) == {ANSWERED}


async def test_a_process_that_dies_leaves_only_what_was_released(spool, tmp_path):
    recording = HeldRecording(spool.open("call"))
    talk(recording, 30)
    recording.mute(0, 16000, 24000)
    recording.release(80_000)
    await spool.close()  # without finish: what was written lies in the file
    [path] = tmp_path.glob("*.wav")
    sound = frames(path)
    assert 0 < len(sound) <= 80_000
    assert set(sound[16000:24000, 0]) == {NOTHING}


async def test_nothing_is_on_disk_before_it_is_released(spool, tmp_path):
    recording = HeldRecording(spool.open("call"))
    talk(recording, 30)
    await spool.close()
    assert list(tmp_path.iterdir()) == []


async def test_what_waits_too_long_is_written_with_the_caller_muted(spool):
    recording = HeldRecording(spool.open("call"))
    for position in range(0, MOST_HELD + 16000, 8000):
        recording.caller(position, VOICE * 8000)
    sound = frames(await recording.finish())
    assert set(sound[: MOST_HELD // 2, 0]) == {NOTHING}
    assert set(sound[-MOST_HELD // 2 :, 0]) == {HEARD}
