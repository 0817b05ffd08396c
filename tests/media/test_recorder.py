"""A recording has what was said and heard at its place, never delays a call, and survives its process."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
import wave
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.mulaw import decode_mulaw
from media import recorder
from media.audio import SILENCE
from media.recorder import WINDOW, RecordingSpool

VOICE, REPLY = b"\x10", b"\x90"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
async def spool(folder: Path):
    spool = RecordingSpool(folder)
    yield spool
    await spool.close()


def sides(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        frames = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
    return frames[:, 0], frames[:, 1]


def sound(*parts: bytes) -> np.ndarray:
    return decode_mulaw(b"".join(parts))


def listen(recording, seconds: float, *, start: float = 0.0) -> None:
    """The caller speaks in frames of 20 ms."""
    for position in range(round(start * 8000), round((start + seconds) * 8000), 160):
        recording.caller(position, VOICE * 160)


async def test_the_caller_is_on_the_left_and_the_agent_on_the_right_where_each_was_heard(spool):
    recording = spool.open("call-1")
    listen(recording, 5)
    recording.agent(8000, REPLY * 4000)
    recording.agent(20_000, REPLY * 800)
    path = await recording.finish()
    left, right = sides(path)
    assert path.name.startswith("call-1.")
    assert left.tolist() == sound(VOICE * 40_000).tolist()
    assert right.tolist() == sound(SILENCE * 8000, REPLY * 4000, SILENCE * 8000, REPLY * 800, SILENCE * 19_200).tolist()


async def test_what_was_heard_of_the_agent_may_come_seconds_later(spool):
    recording = spool.open("call-1")
    listen(recording, 30)
    recording.agent(22 * 8000 + 5, REPLY * 160)  # just inside
    recording.agent(8000, REPLY * 160)  # far too late
    left, right = sides(await recording.finish())
    assert len(left) == 30 * 8000
    assert np.flatnonzero(right).tolist() == list(range(22 * 8000 + 5, 22 * 8000 + 165))


async def test_pieces_of_the_agent_that_nearly_touch_are_joined(spool):
    recording = spool.open("call-1")
    listen(recording, 3)
    for number, wander in enumerate((0, 3, -2, 90, -120)):
        recording.agent(4000 + 800 * number + wander, REPLY * 800)
    recording.agent(16_000, REPLY * 800)
    _, right = sides(await recording.finish())
    assert np.flatnonzero(right).tolist() == [*range(4000, 8000), *range(16_000, 16_800)]


pieces = st.lists(st.tuples(st.booleans(), st.integers(0, 50_000), st.integers(1, 30_000)), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(pieces)
def test_each_piece_is_at_its_place_whatever_their_order(tmp_path_factory, pieces):
    async def record() -> Path:
        spool = RecordingSpool(tmp_path_factory.mktemp("spool"))
        recording = spool.open(uuid4().hex)
        for side, position, length in pieces:
            recording._place(int(side), position, (REPLY if side else VOICE) * length)
        path = await recording.finish()
        await spool.close()
        return path

    expected = np.zeros((2, max(position + length for _, position, length in pieces)), np.int16)
    for side, position, length in pieces:
        expected[int(side), position : position + length] = sound(REPLY if side else VOICE)
    assert np.array_equal(sides(asyncio.run(record())), expected)


async def test_a_long_pause_is_silence_and_an_absurd_jump_is_ignored(spool):
    recording = spool.open("call-1")
    listen(recording, 1)
    recording.caller(40 * 8000, VOICE * 160)
    recording.caller(10**9, VOICE * 160)
    left, _ = sides(await recording.finish())
    assert left.tolist() == sound(VOICE * 8000, SILENCE * 39 * 8000, VOICE * 160).tolist()


async def test_a_call_without_a_sound_leaves_no_file(spool, folder):
    assert await spool.open("call-1").finish() is None
    assert not folder.exists() or not list(folder.iterdir())


async def test_finishing_twice_returns_the_same_file_and_later_sound_is_ignored(spool):
    recording = spool.open("call-1")
    listen(recording, 1)
    path = await recording.finish()
    listen(recording, 5, start=1)
    assert await recording.finish() == path
    assert len(sides(path)[0]) == 8000


async def test_memory_does_not_grow_with_the_call(spool):
    recording = spool.open("call-1")
    listen(recording, 600)
    assert recording._window.nbytes == 2 * WINDOW
    assert len(sides(await recording.finish())[0]) == 600 * 8000


@pytest.mark.parametrize("call_id", ["", "../x", "a.b", "a/b"])
def test_a_call_id_that_is_not_a_file_name_is_refused(folder, call_id):
    with pytest.raises(ValueError, match="name"):
        RecordingSpool(folder).open(call_id)


async def test_a_full_disk_drops_the_recording_and_the_next_one_succeeds(folder, caplog):
    room = [100_000]

    def full_disk(file: int, content: bytes, offset: int) -> int:
        if len(content) > 100:
            if room[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            content = content[: room[0]]
            room[0] -= len(content)
        return os.pwrite(file, content, offset)

    spool = RecordingSpool(folder, pwrite=full_disk)
    recording = spool.open("call-1")
    listen(recording, 20)
    recording.agent(8000, REPLY * 800)
    assert await recording.finish() is None
    assert list(folder.iterdir()) == []
    assert caplog.text.count("No space left") == 1
    room[0] = 10**9
    other = spool.open("call-2")
    listen(other, 2)
    assert len(sides(await other.finish())[0]) == 16_000
    await spool.close()


async def test_a_disk_that_hangs_does_not_delay_the_call(folder, monkeypatch, caplog):
    monkeypatch.setattr(recorder, "_MAX_WAITING", 3)
    awake = threading.Event()

    def hanging(file: int, content: bytes, offset: int) -> int:
        awake.wait()
        return os.pwrite(file, content, offset)

    spool = RecordingSpool(folder, pwrite=hanging)
    short, long = spool.open("short"), spool.open("long")
    listen(short, 8)
    listen(long, 60)  # returns at once: more than the window holds is lost with its recording
    awake.set()
    assert len(sides(await short.finish())[0]) == 8 * 8000
    assert await long.finish() is None
    assert "does not keep up" in caplog.text
    await spool.close()


async def test_a_finished_file_is_released_once_it_is_deleted(spool):
    first = spool.open("call-1")
    listen(first, 1)
    (await first.finish()).unlink()
    second = spool.open("call-2")
    listen(second, 1)
    path = await second.finish()
    assert list(spool._locks) == [path]


async def test_recordings_of_a_living_process_are_not_recovered(spool, folder):
    recording = spool.open("call-1")
    listen(recording, 2)
    path = await recording.finish()
    assert RecordingSpool(folder).recover() == []
    await spool.close()
    next_spool = RecordingSpool(folder)
    assert next_spool.recover() == [("call-1", path)]
    assert RecordingSpool(folder).recover() == []
    await next_spool.close()


CRASH = """
import os, sys, threading
from pathlib import Path
from media.recorder import RecordingSpool

spool = RecordingSpool(Path(sys.argv[1]))
recording = spool.open("crashed")
for position in range(0, 5 * 8000, 160):
    recording.caller(position, b"\\x10" * 160)
written = threading.Event()
spool._submit(written.set)
written.wait()
os._exit(9)
"""


async def test_a_crash_costs_at_most_the_last_second(folder):
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", CRASH, str(folder)]
    crashed = await asyncio.to_thread(subprocess.run, command, check=False, cwd=root, timeout=60)
    assert crashed.returncode == 9
    (torn,) = folder.iterdir()
    with torn.open("r+b") as file:  # and its header with it
        file.write(b"\0" * 44)
        file.seek(0, 2)
        file.write(b"\1\2\3")
    (folder / "empty.1.wav").write_bytes(b"RIFF")
    spool = RecordingSpool(folder)
    assert spool.recover() == [("crashed", torn)]
    left, right = sides(torn)
    assert 4 * 8000 <= len(left) <= 5 * 8000
    assert left.tolist() == sound(VOICE * len(left)).tolist()
    assert not right.any()
    assert [path.name for path in folder.iterdir()] == [torn.name]
    await spool.close()


async def test_a_missing_folder_has_nothing_to_recover(folder):
    assert RecordingSpool(folder).recover() == []
