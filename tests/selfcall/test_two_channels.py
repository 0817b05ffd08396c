"""The figures of a recording of two channels."""

import io
import wave

import numpy as np
import pytest

from clientcaller.selfcall.two_channels import measure_recording

RATE = 8000
LINES = [(4.0, 5.0), (12.0, 13.5)]
"""When the caller speaks."""
REPLIES = [(0.5, 2.0), (5.8, 7.0), (7.2, 9.0), (14.7, 16.0)]
"""When the agent does: a greeting, a reply with a short pause, another reply."""


def recording(*channels: list[tuple[float, float]], noise: float = 30.0) -> bytes:
    rng = np.random.default_rng(1)
    both = np.empty((18 * RATE, 2), np.int16)
    for index, speech in enumerate(channels):
        sound = rng.normal(0, noise, len(both))
        for start, end in speech:
            sound[int(start * RATE) : int(end * RATE)] += rng.normal(0, 3000, int(end * RATE) - int(start * RATE))
        both[:, index] = sound
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((2, 2, RATE, 0, "NONE", ""))
        out.writeframes(both.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("swapped", [False, True])
def test_the_caller_is_found_on_either_channel(swapped):
    channels = (REPLIES, LINES) if swapped else (LINES, REPLIES)
    figures = measure_recording(recording(*channels), lines=2)
    assert figures.responses == (pytest.approx(0.8, abs=0.03), pytest.approx(1.2, abs=0.03))
    assert figures.agent_seconds == pytest.approx(6.0, abs=0.2)


def test_with_as_many_stretches_on_both_the_caller_is_the_one_who_begins_later():
    figures = measure_recording(recording([(0.5, 2.0), (6.0, 8.0)], [(4.0, 5.0), (12.0, 13.0)]), lines=2)
    assert figures.responses == (pytest.approx(1.0, abs=0.03), None)


def test_an_agent_that_speaks_already_has_no_response_time():
    figures = measure_recording(recording(LINES, [(0.5, 2.0), (4.5, 6.0), (14.0, 15.0)]), lines=2)
    assert figures.responses == (None, pytest.approx(0.5, abs=0.03))


def test_a_silent_agent_is_noticed():
    assert measure_recording(recording(LINES, []), lines=2).agent_seconds == 0
