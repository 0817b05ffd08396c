"""When a position of the caller's stream was spoken."""

from __future__ import annotations

import pytest

from media.turns.clock import StreamClock


def test_the_fastest_frame_tells_the_time():
    clock = StreamClock()
    for frame, delay in enumerate([0.08, 0.05, 0.11, 0.07], start=1):
        clock.observe(frame * 160, 100 + frame * 0.02 + delay)
    assert clock.time_of(0) == pytest.approx(100.05, abs=0.001)
    assert clock.position_at(100.05 + 1.0) == pytest.approx(8000, abs=8)


def test_a_stall_does_not_stretch_time():
    clock = StreamClock()
    clock.observe(160, 0.02)
    for frame in range(2, 500):
        clock.observe(frame * 160, max(frame * 0.02, 8.0))
    assert clock.time_of(80_000) == pytest.approx(10.0, abs=0.01)


def test_the_map_follows_a_drifting_clock():
    clock = StreamClock()
    for frame in range(1, 30_000):  # ten minutes, 50 ppm slow
        clock.observe(frame * 160, frame * 0.02 * 1.00005)
    assert clock.time_of(29_999 * 160) == pytest.approx(29_999 * 0.02 * 1.00005, abs=0.002)


def test_the_delay_of_frames_held_up_by_a_stall_is_known():
    clock = StreamClock()
    clock.observe(160, 0.03)
    clock.observe(320, 5.05)
    assert clock.delay == pytest.approx(5.0, abs=0.01)
    clock.observe(160 * 252, 5.05)
    assert clock.delay == pytest.approx(0.0, abs=0.01)


def test_there_is_no_position_before_the_stream():
    clock = StreamClock()
    assert clock.position_at(1e6) == 0
    clock.observe(160, 10.0)
    assert clock.position_at(0.0) == 0
