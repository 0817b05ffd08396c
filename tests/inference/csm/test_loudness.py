"""The level of the voice."""

import pytest
import torch

from inference.csm.loudness import limit_and_quantise

FRAME = 1920


def tone(dbfs: float, samples: int = FRAME) -> torch.Tensor:
    """A sine of that RMS level."""
    return torch.sin(torch.arange(samples) * 2 * torch.pi / 60) * 2**0.5 * 10 ** (dbfs / 20)


def test_each_row_has_its_own_gain_and_level():
    audio = torch.stack([tone(-30), tone(-30), torch.zeros(FRAME)])
    pcm, level = limit_and_quantise(audio, torch.tensor([10 ** (10 / 20), 1.0, 5.0]))
    assert pcm.dtype == torch.int16
    assert level.tolist() == pytest.approx([-20, -30, -96], abs=0.01)
    assert torch.equal(pcm[1], (audio[1] * 32768).round().short())


def test_sound_below_the_knee_is_unchanged_and_sound_above_it_does_not_clip():
    wave = torch.linspace(-8, 8, 4001)
    pcm = limit_and_quantise(wave[None], torch.ones(1))[0][0].int()
    assert (pcm.diff() >= 0).all()  # louder stays louder
    assert pcm.max() == round(32768 * 10 ** (-1 / 20))
    assert pcm.max() == -pcm.min()
    quiet = wave.abs() < 10 ** (-3 / 20)
    assert torch.equal(pcm[quiet], (wave[quiet] * 32768).round().int())


def test_nan_and_infinity_become_silence():
    audio = torch.full((1, FRAME), torch.nan)
    audio[0, 0], audio[0, 1] = torch.inf, 0.5
    pcm, level = limit_and_quantise(audio, torch.ones(1))
    assert pcm.count_nonzero() == 1
    assert torch.isfinite(level).all()


def test_the_compiler_sees_one_graph():
    explained = torch._dynamo.explain(limit_and_quantise)(tone(-20)[None], torch.ones(1))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
