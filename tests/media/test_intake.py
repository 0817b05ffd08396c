"""The caller's stream has no gaps and no repetitions, and its clock is steady, whatever the timestamps do."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.intake import MAX_FILL, Intake
from media.messages import BadMessage, Media

VOICE = b"\x10" * 160


def chunk(timestamp_ms: int, number: int = 0, audio: bytes = VOICE) -> Media:
    return Media("MZ", base64.b64encode(audio).decode(), timestamp_ms, number)


def test_consecutive_frames_are_passed_on_unchanged():
    intake = Intake()
    stream = b"".join(intake.accept(chunk(155 + 20 * n, n + 1)) for n in range(50))
    assert stream == VOICE * 50
    assert (intake.position, intake.gaps, intake.duplicates) == (8000, 0, 0)


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=100), st.integers(2, 500))
def test_wandering_timestamps_change_nothing(wander, start_ms):
    intake = Intake()
    stream = b"".join(intake.accept(chunk(start_ms + 20 * n + w, n + 1)) for n, w in enumerate(wander))
    assert stream == VOICE * len(wander)


def test_a_sender_with_a_different_clock_rate_changes_nothing_in_an_hour():
    for frame_ms in (19.95, 20.05):
        intake = Intake()
        appended = sum(len(intake.accept(chunk(round(171 + frame_ms * n), n + 1))) for n in range(180_000))
        assert appended == 160 * 180_000
        assert (intake.gaps, intake.duplicates) == (0, 0)


def test_chunks_without_sound_change_nothing_however_many_come():
    intake = Intake()
    intake.accept(chunk(155, 1))
    # If they were kept as old chunks, each would take longer than the one before, and these a minute.
    assert {intake.accept(chunk(155, 1, b"")) for _ in range(50_000)} == {b""}
    assert intake.accept(chunk(175, 2)) == VOICE
    assert (intake.position, intake.gaps, intake.duplicates) == (320, 0, 0)


def test_lost_audio_becomes_silence_of_the_same_length():
    intake = Intake()
    intake.accept(chunk(155, 1))
    assert intake.accept(chunk(255, 6)) == b"\xff" * (80 * 8) + VOICE
    assert (intake.gaps, intake.filled_samples, intake.position) == (1, 640, 960)
    assert intake.accept(chunk(275, 7)) == VOICE


def test_one_lost_frame_is_jitter_but_many_of_them_are_noticed():
    intake = Intake()
    intake.accept(chunk(0, 1))
    assert intake.accept(chunk(40, 3)) == VOICE
    for n in range(2, 500):
        intake.accept(chunk(40 * n, 2 * n + 1))
    assert intake.gaps > 0
    assert 500 * 320 - intake.position < 250 * 8


def test_the_silence_for_one_gap_is_bounded_and_the_stream_goes_on_from_there():
    intake = Intake()
    intake.accept(chunk(0, 1))
    assert len(intake.accept(chunk(3_600_000, 2))) == MAX_FILL + 160
    assert intake.accept(chunk(3_600_020, 3)) == VOICE


def test_chunks_that_come_twice_or_too_late_are_dropped():
    intake = Intake()
    for n in range(5):
        intake.accept(chunk(20 * n, n + 1))
    assert intake.accept(chunk(80, 5)) == b""
    assert intake.accept(chunk(20, 2)) == b""
    assert intake.accept(chunk(40)) == b""  # without its number, known by its time alone
    assert intake.accept(chunk(80)) == b""
    assert intake.duplicates == 4
    assert intake.accept(chunk(100, 6)) == VOICE


def test_a_new_chunk_is_kept_whole_where_its_timestamp_is_behind_the_sound():
    intake = Intake()
    intake.accept(chunk(0, 1, b"\x10" * 8000))
    assert intake.accept(chunk(900, 2, b"\x20" * 8000)) == b"\x20" * 8000
    assert intake.accept(chunk(1895, 3)) == VOICE
    assert intake.duplicates == 0


def test_no_gap_is_filled_for_which_no_time_has_passed():
    intake = Intake()
    intake.accept(chunk(0, 1))
    assert intake.accept(chunk(2000, 2), spoken=320) == VOICE
    assert intake.accept(chunk(4000, 3), spoken=8000) == VOICE  # timestamps have lost their credit
    for n in range(4, 20):
        assert intake.accept(chunk(4000 + 20 * n, n), spoken=160 * n) == VOICE
    assert intake.accept(chunk(5000, 50), spoken=16_000) == b"\xff" * (600 * 8) + VOICE


@pytest.mark.parametrize("length", [1, 8, 37, 160, 800, 40_000])
def test_a_payload_may_have_any_length(length):
    intake = Intake()
    audio = b"\x10" * length
    stream = b"".join(intake.accept(chunk(7 + length * n // 8, n + 1, audio)) for n in range(30))
    assert stream == audio * 30


def test_after_the_sender_s_clock_was_set_back_its_chunks_are_taken_again():
    intake = Intake()
    for n in range(100):
        intake.accept(chunk(10_000 + 20 * n, n + 1))
    heard = [intake.accept(chunk(20 * n, n + 1)) for n in range(100)]
    assert heard == [b""] * 9 + [VOICE * 10] + [VOICE] * 90


def test_a_bad_payload_changes_nothing():
    intake = Intake()
    intake.accept(chunk(0, 1))
    with pytest.raises(BadMessage):
        intake.accept(Media("MZ", "?", 5000, 2))
    assert intake.accept(chunk(20, 2)) == VOICE


@given(st.lists(st.tuples(st.integers(0, 2**53), st.integers(0, 50), st.integers(0, 400)), max_size=60))
def test_the_position_grows_by_what_is_returned(arrivals):
    intake = Intake()
    total = 0
    for timestamp_ms, number, length in arrivals:
        total += len(intake.accept(chunk(timestamp_ms, number, b"\x10" * length)))
        assert intake.position == total
        assert total <= (MAX_FILL + 400) * len(arrivals)
