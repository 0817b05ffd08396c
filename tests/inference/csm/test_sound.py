"""The voice's level, its beginning and its end."""

import numpy as np
import pytest
import torch

from inference.csm.sound import LeadingSilence, fade_out, finish

FRAME = 1920
RATE_HZ = 24000


def tone(dbfs: float, samples: int = FRAME) -> torch.Tensor:
    """A sine of that RMS level."""
    return torch.sin(torch.arange(samples) * 2 * torch.pi / 60) * 2**0.5 * 10 ** (dbfs / 20)


def frame(dbfs: float, samples: int = FRAME) -> np.ndarray:
    return finish(tone(dbfs, samples)[None], torch.ones(1))[0][0].numpy()


def test_each_row_has_its_own_gain_and_tells_its_level():
    audio = torch.stack([tone(-30), tone(-30), torch.zeros(FRAME)])
    pcm, level = finish(audio, torch.tensor([10 ** (10 / 20), 1.0, 5.0]))
    assert pcm.dtype == torch.int16
    assert level.tolist() == pytest.approx([-20, -30, -96], abs=0.01)
    assert torch.equal(pcm[1], (audio[1] * 32768).round().short())


def test_up_to_the_knee_nothing_is_changed_and_above_nothing_clips():
    wave = torch.linspace(-8, 8, 4001)
    pcm = finish(wave[None], torch.ones(1))[0][0].int()
    assert (pcm.diff() >= 0).all()  # louder stays louder
    assert pcm.max() == round(32768 * 10 ** (-1 / 20))
    assert pcm.max() == -pcm.min()
    quiet = wave.abs() < 10 ** (-3 / 20)
    assert torch.equal(pcm[quiet], (wave[quiet] * 32768).round().int())


def test_numbers_that_are_none_become_silence():
    audio = torch.full((1, FRAME), torch.nan)
    audio[0, 0], audio[0, 1] = torch.inf, 0.5
    pcm, level = finish(audio, torch.ones(1))
    assert pcm.count_nonzero() == 1
    assert torch.isfinite(level).all()


def test_finishing_is_one_graph_for_the_compiler():
    explained = torch._dynamo.explain(finish)(tone(-20)[None], torch.ones(1))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)


def test_a_reply_begins_with_its_sound():
    silence = LeadingSilence()
    begins_late = np.concatenate([frame(-70, 1440), frame(-20, 480)])
    assert len(silence.push(frame(-70), -70.0)) == 0
    assert len(silence.push(frame(-60), -60.0)) == 0
    heard = silence.push(begins_late, -26.0)
    assert np.array_equal(heard, begins_late[1440 - 240 :])  # 10 ms before it
    later = frame(-70)
    assert silence.push(later, -70.0) is later


def test_a_reply_that_begins_at_once_is_left_alone():
    first = frame(-20)
    assert np.array_equal(LeadingSilence().push(first, -20.0), first)


def test_a_reply_that_stays_silent_is_not_held_back_for_ever():
    silence = LeadingSilence(most_frames=3)
    heard = [len(silence.push(frame(-70), -70.0)) for _ in range(5)]
    assert heard == [0, 0, 0, FRAME, FRAME]


def test_how_much_silence_goes_can_be_set():
    silence = LeadingSilence(most_frames=1, threshold_dbfs=-40.0, kept=0.0)
    assert len(silence.push(frame(-45), -45.0)) == 0
    begins_late = np.concatenate([frame(-45, 960), frame(-20, 960)])
    assert len(silence.push(begins_late, -23.0)) == 960
    none = LeadingSilence(most_frames=0)
    assert len(none.push(frame(-70), -70.0)) == FRAME


def test_what_is_cut_fades_within_40_ms():
    faded = fade_out(np.full(FRAME, 10000, np.int16), RATE_HZ)
    assert faded.dtype == np.int16
    assert len(faded) == 960
    assert (faded[0], faded[480], faded[-1]) == (10000, pytest.approx(5000, abs=20), 0)
    assert (np.diff(faded) <= 0).all()
    short = fade_out(np.full(100, 10000, np.int16), RATE_HZ)
    assert (len(short), short[-1]) == (100, 0)
    assert len(fade_out(np.zeros(0, np.int16), RATE_HZ)) == 0
