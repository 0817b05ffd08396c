"""Makes a tiny model in the form of Kokoro's ONNX export, with two voices: each phoneme is a chord of 50 ms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.inference.tiny_onnx import FLOAT, INT_64, TinyGraph

PHONEMES = ";:,.!?—… abdfhijklmnopstuvwzæðŋɑɔəɛɜɡɪɹʃʊʌʒθᵊᵻAIOQSTWYʤʧˈˌː"
SAMPLES = 1200
"""Samples of a phoneme: 50 ms at 24 kHz."""


def make_tiny_kokoro(
    folder: Path,
    *,
    voices: tuple[str, ...] = ("af_heart", "am_adam"),
    durations: bool = False,
    raw_voices: bool = False,
    tokens: str = "input_ids",
) -> Path:
    """Write model, alphabet and voices into ``folder`` and return that. ``raw_voices``: a file of numbers for each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(_model(durations, tokens))
    vocabulary = {phoneme: number for number, phoneme in enumerate(PHONEMES, start=1)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")
    styles = {name: np.full((510, 1, 256), 0.2 * (1 + n), np.float32) for n, name in enumerate(voices)}
    if raw_voices:
        (folder / "voices").mkdir(exist_ok=True)
        for name, style in styles.items():
            style.tofile(folder / "voices" / f"{name}.bin")
    else:
        np.savez(folder / "voices.npz", **styles)
    return folder


def _model(durations: bool, tokens: str) -> bytes:
    graph = TinyGraph(
        {tokens: (INT_64, (1, "tokens")), "style": (FLOAT, (1, 256)), "speed": (FLOAT, (1,))},
    )
    time = np.arange(SAMPLES) / 24_000
    window = np.sin(np.pi * np.arange(SAMPLES) / SAMPLES)
    sounds = np.zeros((len(PHONEMES) + 1, SAMPLES), np.float32)
    for number, phoneme in enumerate(PHONEMES, start=1):
        if phoneme.isalpha() and phoneme not in "ˈˌː":
            sounds[number] = window * sum(np.sin(2 * np.pi * hertz * time) for hertz in (150 + 5 * number, 600)) / 2
    sound = graph.node("Gather", sounds, tokens)
    sound = graph.node("Mul", sound, graph.node("ReduceMean", "style", axes=(1,), keepdims=0))
    flat = graph.node("Reshape", sound, np.array([1, -1]))
    slowness = graph.node("Div", np.array([1], np.float32), "speed")
    scales = graph.node("Concat", np.array([1], np.float32), slowness, axis=0)
    graph.node("Resize", flat, np.zeros(0, np.float32), scales, output="waveform")
    if durations:
        ones = graph.node("Mul", tokens, np.array(0))
        graph.node("Add", ones, np.array(2), output="durations")
    return graph.model("waveform", (1, "samples"), more={"durations": INT_64} if durations else {})
