"""Silence at the beginning of a reply is trimmed, and sound that is cut fades out."""

import numpy as np
import pytest

from inference.csm.trimming import LeadingSilence, fade_out

FRAME = 1920
RATE_HZ = 24000


def frame(dbfs: float, samples: int = FRAME) -> np.ndarray:
    """A sine of that RMS level, int16."""
    tone = np.sin(np.arange(samples) * 2 * np.pi / 60) * 2**0.5 * 10 ** (dbfs / 20)
    return np.rint(32768 * tone).astype(np.int16)


def test_a_reply_begins_with_its_sound():
    silence = LeadingSilence(3)
    begins_late = np.concatenate([frame(-70, 1440), frame(-20, 480)])
    assert len(silence.push(frame(-70), -70.0)) == 0
    assert len(silence.push(frame(-60), -60.0)) == 0
    heard = silence.push(begins_late, -26.0)
    assert np.array_equal(heard, begins_late[1440 - 240 :])  # with the 10 ms before it
    later = frame(-70)
    assert silence.push(later, -70.0) is later


def test_a_reply_that_begins_at_once_is_not_trimmed():
    first = frame(-20)
    assert np.array_equal(LeadingSilence(3).push(first, -20.0), first)


def test_a_reply_that_stays_silent_is_trimmed_for_a_few_frames_only():
    silence = LeadingSilence(3)
    heard = [len(silence.push(frame(-70), -70.0)) for _ in range(5)]
    assert heard == [0, 0, 0, FRAME, FRAME]


def test_a_frame_below_the_limit_passes_where_none_may_be_dropped():
    assert len(LeadingSilence(0).push(frame(-70), -70.0)) == FRAME


def test_a_cut_fades_out_within_40_ms():
    faded = fade_out(np.full(FRAME, 10000, np.int16), RATE_HZ)
    assert faded.dtype == np.int16
    assert len(faded) == 960
    assert (faded[0], faded[480], faded[-1]) == (10000, pytest.approx(5000, abs=20), 0)
    assert (np.diff(faded) <= 0).all()
    short = fade_out(np.full(100, 10000, np.int16), RATE_HZ)
    assert (len(short), short[-1]) == (100, 0)
    assert len(fade_out(np.zeros(0, np.int16), RATE_HZ)) == 0
