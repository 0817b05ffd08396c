"""The sound that is held of an utterance, above all through a long quiet."""

from __future__ import annotations

import numpy as np
import pytest

from inference.hosted.utterance_sound import MAX_HELD, UtteranceSound
from tests.inference.hosted.openai_service import OpenAIService
from tests.inference.hosted.test_openai_realtime import RATE_HZ, engine_of, high, low, silence


def test_new_sound_takes_the_place_of_the_oldest():
    sound = UtteranceSound(RATE_HZ)
    for _ in range(int(MAX_HELD) + 5):
        sound.push(silence(1.0))
    sound.push(low(0.61))
    assert sound.samples == (int(MAX_HELD) + 5) * RATE_HZ + len(low(0.61))
    assert 0 <= MAX_HELD * RATE_HZ - (sound.samples - sound.start) < RATE_HZ // 50
    assert sound.pcm(sound.samples).endswith(low(0.61).tobytes())
    assert sound.speech(sound.samples) == pytest.approx(0.6, abs=0.05)


def test_of_one_piece_that_is_longer_than_all_that_is_held_the_end_is_held():
    sound = UtteranceSound(RATE_HZ)
    sound.push(np.concatenate([silence(200.0), low(0.6)]))
    assert sound.samples == round(200.6 * RATE_HZ)
    assert sound.pcm(sound.samples).endswith(low(0.6).tobytes())


def test_quiet_at_the_beginning_is_dropped_up_to_the_first_sound():
    sound = UtteranceSound(RATE_HZ)
    sound.push(np.concatenate([silence(3.0), low(0.6), silence(3.0)]))
    sound.drop_quiet(RATE_HZ)
    assert sound.start == 2 * RATE_HZ
    sound.drop_quiet(RATE_HZ)
    assert sound.start == 2 * RATE_HZ


@pytest.mark.parametrize("background", [silence(1.0), np.tile(np.int16([30, -30]), RATE_HZ // 2)])
@pytest.mark.parametrize("seconds", [117, 129, 300])
async def test_a_realtime_session_hears_words_after_a_long_quiet(seconds, background):
    service = OpenAIService()
    service.models["data"].append({"id": "gpt-live-transcribe"})
    async with service.serving(), engine_of(service) as engine:
        utterance = engine.open()
        for _ in range(seconds):
            utterance.push(background)
        utterance.push(low(0.6))
        first = await utterance.snapshot()
        assert first.text.endswith("low low")
        assert first.samples == seconds * RATE_HZ + len(low(0.6))
        utterance.push(high(0.6))
        assert (await utterance.finish()).text == f"{first.text} high high"
