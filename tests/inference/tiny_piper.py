"""
Makes a tiny voice in the form of Piper's: a VITS-shaped ONNX file and its description.

Each letter is a chord of its own for a few frames, and marks and spaces are silence, so that the tests can hear what
was said and when.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.inference.tiny_onnx import FLOAT, INT_64, TinyGraph

HOP = 64
"""Samples of a frame."""
CHANNELS = 4
LETTER_FRAMES = 15
"""Frames of a letter: 60 ms at 16 kHz."""

PHONEMES = "^_$ ,.!?;:ˈˌːabdefhijklmnopstuvwzæðŋɐɑɔəɚɛɜɡɪɹɾʃʊʌʒθᵻrɬɒ"


def make_tiny_piper(
    folder: Path,
    *,
    name: str = "xx_XX-tiny",
    language: str = "en_US",
    espeak_voice: str = "en-us",
    rate_hz: int = 16_000,
    loudness: float = 0.3,
    speakers: tuple[str, ...] = (),
    cuttable: bool = True,
) -> Path:
    """Write the voice into ``folder`` and return that. If not ``cuttable``, its second half needs more than frames."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(_model(loudness, len(speakers), cuttable))
    description = {
        "audio": {"sample_rate": rate_hz},
        "espeak": {"voice": espeak_voice},
        "inference": {"noise_scale": 0.5, "length_scale": 1.0, "noise_w": 0.2},
        "phoneme_type": "espeak",
        "language": {"code": language},
        "phoneme_id_map": {phoneme: [number] for number, phoneme in enumerate(PHONEMES)},
        "speaker_id_map": {speaker: number for number, speaker in enumerate(speakers)},
        "num_speakers": max(1, len(speakers)),
    }
    (folder / f"{name}.onnx.json").write_text(json.dumps(description), encoding="utf-8")
    return folder


def _model(loudness: float, speakers: int, cuttable: bool) -> bytes:
    inputs = {
        "input": (INT_64, ("batch", "phonemes")),
        "input_lengths": (INT_64, ("batch",)),
        "scales": (FLOAT, (3,)),
    }
    if speakers:
        inputs["sid"] = (INT_64, ("batch",))
    graph = TinyGraph(inputs)
    frames = _encoder(graph)
    if speakers:
        volumes = np.linspace(0.3, 1, speakers, dtype=np.float32)[:, None, None]
        volume = graph.node("Gather", volumes, "sid")
    hidden = graph.node("Conv", frames, _spread(), pads=(1, 1))
    if speakers:
        hidden = graph.node("Mul", hidden, volume)
    hidden = graph.node("LeakyRelu", hidden, alpha=1.0)
    sound = graph.node("ConvTranspose", hidden, _tones(loudness), strides=(HOP,), pads=(HOP // 2, HOP // 2))
    sound = graph.node("Tanh", sound)
    if not cuttable:
        speed = graph.node("Gather", "scales", np.array(1))
        sound = graph.node("Mul", sound, graph.node("Div", speed, speed))
    graph.node("Unsqueeze", sound, np.array([1]), output="output")
    return graph.model("output", ("batch", 1, 1, "samples"))


def _encoder(graph: TinyGraph) -> str:
    """Add the nodes that give each phoneme its length and its chord; return the frames, shape (1, channels, frames)."""
    noise, slowness, unevenness = (graph.node("Gather", "scales", np.array([index])) for index in range(3))
    lengths = np.full(len(PHONEMES), LETTER_FRAMES, np.float32)
    lengths[0], lengths[1], lengths[2] = 8, 1, 8
    length = graph.node("Mul", graph.node("Gather", lengths, "input"), slowness)
    chance = graph.node("Mul", graph.node("RandomUniformLike", length, low=-0.5, high=0.5), unevenness)
    length = graph.node("Add", length, graph.node("Mul", length, chance))
    counts = graph.node("Ceil", length)
    ends = graph.node("CumSum", counts, np.array(1))
    total = graph.node("ReduceSum", counts, keepdims=0)
    times = graph.node("Range", np.array(0, np.float32), total, np.array(1, np.float32))
    past = graph.node("LessOrEqual", graph.node("Unsqueeze", ends, np.array([2])), times)
    index = graph.node("ReduceSum", graph.node("Cast", past, to=INT_64), np.array([1]), keepdims=0)
    row = graph.node("Gather", graph.node("Squeeze", "input", np.array([0])), index)
    chords = np.random.default_rng(0).uniform(0.3, 1, (len(PHONEMES), CHANNELS)).astype(np.float32)
    chords[[number for number, phoneme in enumerate(PHONEMES) if not phoneme.isalpha()]] = 0
    frames = graph.node("Transpose", graph.node("Gather", chords, row), perm=(0, 2, 1))
    hiss = graph.node("Mul", graph.node("RandomNormalLike", frames), noise)
    return graph.node("Add", frames, graph.node("Mul", hiss, np.array(0.05, np.float32)))


def _spread() -> np.ndarray:
    """A convolution that smooths each channel over three frames."""
    kernel = np.zeros((CHANNELS, CHANNELS, 3), np.float32)
    kernel[range(CHANNELS), range(CHANNELS)] = (0.25, 0.5, 0.25)
    return kernel


def _tones(loudness: float) -> np.ndarray:
    """A tone for each channel in a window of two frames, so that neighbouring frames join smoothly."""
    time = np.arange(2 * HOP)
    window = 0.5 - 0.5 * np.cos(np.pi * time / HOP)
    tones = [np.sin(2 * np.pi * (channel + 1) * time / HOP) * window for channel in range(CHANNELS)]
    return (loudness / CHANNELS * np.stack(tones)[:, None]).astype(np.float32)
