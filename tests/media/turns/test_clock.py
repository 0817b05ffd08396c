"""When a position of the caller's stream was spoken."""

from __future__ import annotations

from random import Random

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


def send(clock: StreamClock, times: list[float], *, position: int = 0) -> int:
    """A frame of 20 ms arrives at each of these times. Returns the position behind them."""
    for now in times:
        position += 160
        clock.observe(position, now)
    return position


def every(seconds: float, *, start: float, end: float) -> list[float]:
    return [start + number * seconds for number in range(1, round((end - start) / seconds) + 1)]


@pytest.mark.parametrize("frame", [0.0202, 0.021, 0.022, 0.025, 0.03, 0.04])
def test_a_sender_that_is_too_slow_is_followed(frame):
    """The seconds that the map is wrong, for frames of 20 ms at these intervals: so little, or known."""
    clock, position = StreamClock(), 0
    for now in every(frame, start=0.0, end=120.0):
        position += 160
        clock.observe(position, now)
        wrong = now - clock.time_of(position)
        assert wrong <= 0.04 + 2.2 * (frame - 0.02) / frame
        if now > 10.0:
            assert wrong <= 0.025 + 0.45 * (frame - 0.02) / frame
    assert clock.lag_between(0.0, 10.0) > 0


@pytest.mark.parametrize("pause", [0.5, 2.0, 40.0])
def test_a_sender_that_sends_nothing_while_nobody_speaks_is_followed(pause):
    """bwmarrin/discordgo#1695, signalwire/freeswitch#146"""
    clock = StreamClock()
    position = send(clock, every(0.02, start=0.0, end=3.0))
    for turn in range(1, 5):
        begin = turn * (3.0 + pause)
        spoken = position
        position = send(clock, every(0.02, start=begin, end=begin + 3.0), position=position)
        assert clock.time_of(spoken) == pytest.approx(begin, abs=0.03)
        assert clock.lag_between(begin, begin + 1.0) == pytest.approx(pause, abs=0.05)
        assert clock.lag_between(begin + 1.0, begin + 3.0) == 0.0


@pytest.mark.parametrize("stall", [0.3, 2.0, 30.0])
@pytest.mark.parametrize("pace", [0.0, 0.002, 0.01])
def test_a_network_that_held_frames_up_is_not_taken_for_a_slow_sender(stall, pace):
    """The backlog comes at once, or at a multiple of real time."""
    clock, arrival, now = StreamClock(), 0.0, 5.0
    send(clock, every(0.02, start=0.0, end=5.0))
    for frame in range(251, 6000):
        now = frame * 0.02
        arrival = max(now if now < 5.0 or now >= 5.0 + stall else 5.0 + stall, arrival + pace)
        clock.observe(frame * 160, arrival)
    assert clock.time_of(6000 * 160) == pytest.approx(120.0, abs=0.01)
    assert clock.lag_between(0.0, 200.0) == 0.0


@pytest.mark.parametrize("bunch", [1, 5, 8])
def test_jitter_and_bunches_are_no_lag(bunch):
    clock, random, arrival = StreamClock(), Random(1), 0.0
    for frame in range(1, 3000, bunch):
        last = frame + bunch - 1
        arrival = max(arrival, last * 0.02 + random.uniform(0.0, 0.06))
        for number in range(frame, last + 1):
            clock.observe(number * 160, arrival)
    assert clock.time_of(0) == pytest.approx(0.0, abs=0.02)
    assert clock.lag_between(0.0, 100.0) == 0.0


def test_a_network_that_becomes_fast_again_is_noticed_at_once():
    clock = StreamClock()
    position = send(clock, every(0.02, start=0.0, end=3.0))
    position = send(clock, [now + 0.5 for now in every(0.02, start=3.0, end=8.0)], position=position)
    assert clock.time_of(0) == pytest.approx(0.5, abs=0.01)
    send(clock, every(0.02, start=8.0, end=8.1), position=position)
    assert clock.time_of(0) == pytest.approx(0.0, abs=0.01)


def test_a_time_at_which_the_map_was_wrong_keeps_its_position():
    clock = StreamClock()
    position = send(clock, every(0.02, start=0.0, end=3.0))
    wrong = 0.0
    for now in every(0.02, start=10.0, end=12.0):
        position += 160
        clock.observe(position, now)
        if position == 3 * 8000 + 800:
            wrong = clock.time_of(position)
    assert wrong < 4.0
    assert clock.position_at(wrong) == pytest.approx(3 * 8000 + 800, abs=20)
    assert clock.position_at(12.0) == pytest.approx(position, abs=200)
