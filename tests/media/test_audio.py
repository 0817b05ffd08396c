"""Where sound begins and ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.mulaw import decode_mulaw, encode_mulaw
from media.audio import FADE, SILENCE, fade_in, first_audible, last_audible


def tone(hz: float, rate_hz: int, seconds: float, peak: float = 10_000) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.int16)


def test_audible_ends_are_found_to_the_sample():
    quiet = np.zeros(800, np.int16)
    click = np.zeros(800, np.int16)
    click[400] = 300  # too short to count
    loud = np.full(333, 2000, np.int16)
    mulaw = encode_mulaw(np.concatenate([quiet, click, loud, click, quiet]))
    assert first_audible(mulaw) == 1600
    assert last_audible(mulaw) == 1600 + 333 - 1


@pytest.mark.parametrize("mulaw", [b"", SILENCE * 160, b"\x7f\xff" * 80, encode_mulaw(tone(200, 8000, 0.1, 60))])
def test_silence_and_line_noise_are_not_audible(mulaw):
    assert first_audible(mulaw) is None
    assert last_audible(mulaw) is None


@given(st.integers(0, 200), st.integers(40, 200), st.integers(0, 200))
def test_audible_ends_do_not_depend_on_where_a_piece_begins(before, length, after):
    mulaw = SILENCE * before + encode_mulaw(np.full(length, 3000, np.int16)) + SILENCE * after
    assert first_audible(mulaw) == before
    assert last_audible(mulaw) == before + length - 1


@pytest.mark.parametrize("samples", [0, 1, 7, FADE, 480])
def test_sound_that_is_faded_in_rises_from_silence_and_is_unchanged_after_5_ms(samples):
    mulaw = encode_mulaw(np.full(samples, 8000, np.int16))
    faded = fade_in(mulaw)
    assert len(faded) == samples
    assert faded[FADE:] == mulaw[FADE:]
    sound = decode_mulaw(faded).astype(int)
    assert (np.diff(sound[: FADE + 1]) >= 0).all()
    assert list(sound[:1]) == [0] * min(samples, 1)
    assert samples < FADE or np.abs(np.diff(sound)).max() < 8000 / 8
