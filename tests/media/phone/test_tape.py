"""What a tape records, on disk and in memory."""

import json
import time
import wave
from contextlib import closing
from pathlib import Path

import numpy as np

from media.phone.frames import SILENT_FRAME
from media.phone.tape import Tape
from tests.media.phone.sounds import LOUD


def read_stereo(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)


def test_both_sides_are_recorded_on_one_clock(tmp_path):
    with closing(Tape(tmp_path)) as tape:
        for frame in range(150):
            at = tape.origin + 0.5 + frame * 0.02
            tape.record_said(at, LOUD if frame == 10 else SILENT_FRAME)
            tape.record_heard(at + 0.1, LOUD if frame == 20 else SILENT_FRAME)
    left, right = read_stereo(tmp_path / "call.wav").T
    assert np.flatnonzero(left)[0] == 4000 + 10 * 160
    assert np.flatnonzero(right)[0] == 4000 + 800 + 20 * 160
    assert np.count_nonzero(left) == np.count_nonzero(right) == 160


def test_a_pause_between_two_streams_is_recorded_as_a_pause(tmp_path):
    with closing(Tape(tmp_path)) as tape:
        tape.record_said(tape.origin, LOUD)
        tape.record_said(tape.origin + 3.0, LOUD)
        tape.record_heard(tape.origin + 3.0, LOUD)
    left, right = read_stereo(tmp_path / "call.wav").T
    assert np.flatnonzero(left)[160] == 24_000
    assert np.flatnonzero(right)[0] == 24_000


def test_rounding_of_the_schedule_leaves_no_gaps_in_the_recording(tmp_path):
    with closing(Tape(tmp_path)) as tape:
        for frame in range(100):
            tape.record_said(tape.origin + frame * 0.02 + (frame % 3 - 1) * 0.0003, LOUD)
    left = read_stereo(tmp_path / "call.wav")[:, 0]
    assert np.count_nonzero(left) == len(left) == 16_000


def test_the_recording_is_on_disk_before_the_call_is_over(tmp_path):
    tape = Tape(tmp_path)
    for frame in range(500):
        tape.record_said(tape.origin + frame * 0.02, LOUD)
    assert len(read_stereo(tmp_path / "call.wav")) >= 8 * 8000
    tape.close()
    tape.close()
    tape.record_said(tape.origin + 20, LOUD)  # after it was closed, nothing is recorded


def test_the_log_is_kept_in_memory_and_as_json_lines(tmp_path):
    with closing(Tape(tmp_path / "call")) as tape:
        tape.log("clear", at=tape.origin + 1.5, marks=["a"])
        tape.log("dtmf", digit="5")
    lines = [json.loads(line) for line in (tmp_path / "call" / "events.jsonl").read_text().splitlines()]
    assert lines == list(tape.events)
    assert lines[1] == {"at": 1.5, "event": "clear", "marks": ["a"]}
    assert 0 <= lines[2]["at"] <= time.monotonic() - tape.origin + 1


def test_a_tape_without_a_directory_keeps_only_the_log():
    tape = Tape()
    tape.record_said(tape.origin, LOUD)
    tape.log("dtmf", digit="1")
    tape.close()
    assert [event["event"] for event in tape.events] == ["tape", "dtmf"]
