"""
A Whisper small enough for a test, loaded and run by the same code as the real one, and made without torch.

It hears one thing: whether the sound was low or high. Its encoder's first two channels carry the energy below and
above ``SPLIT_HZ``; attention finds the moments where they differ most; the decoder's table of positions points at the
tokens of both sentences at once, and the sign of the difference lifts those of one. So what it says depends on the
audio that it was given, and is known exactly.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ctranslate2.specs import WhisperSpec
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

LOW_SENTENCE = "please hold the line one moment"
HIGH_SENTENCE = "what time do you open"
SPLIT_HZ = 1800

WIDTH = 32
MELS = 80
POSITIONS = 448
WINDOW_FRAMES = 1500
POINTING = 12.0
"""Weight with which a position points at its tokens; the first token follows a prompt of two."""
PROMPT_TOKENS = 2
HEARING = 3.0
"""Gain from what attention found to the tokens; must stay below ``POINTING``."""
ATTENTION = 200.0
"""Sharpness of attention, so that a short sound in a long silence is found."""


def make_tiny_whisper(folder: Path) -> Path:
    """Write a model that ``faster_whisper.WhisperModel`` loads from ``folder``; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    end = tokenizer.token_to_id("<|endoftext|>")
    low, high = (tokenizer.encode(f" {text}", add_special_tokens=False).ids for text in (LOW_SENTENCE, HIGH_SENTENCE))
    assert not set(low) & set(high), "the sentences must share no token"

    random = np.random.default_rng(7)
    axes = np.linalg.qr(random.standard_normal((WIDTH, WIDTH)))[0]
    used = [*low, *high, end]
    embeddings = random.standard_normal((len(vocabulary), WIDTH - len(used))) @ axes[len(used) :]
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings[used] = axes[: len(used)]  # at right angles to each other and to every other token
    embeddings = _f32(embeddings)

    spec = WhisperSpec(1, 2, 1, 2)
    _fill_encoder(spec.encoder)
    _fill_decoder(spec.decoder, embeddings, low, high, end)
    spec.register_vocabulary(vocabulary)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [end]
    spec.config.alignment_heads = [[0, 0]]
    spec.config.lang_ids = []
    spec.validate()
    spec.save(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": MELS}))
    return folder


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words = [f" {LOW_SENTENCE} {HIGH_SENTENCE}"] * 50
    tokenizer.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    names = ["endoftext", "startoftranscript", "en", "translate", "transcribe", "startoflm", "startofprev", "nospeech"]
    special = [f"<|{name}|>" for name in [*names, "notimestamps"]]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def _fill_encoder(encoder) -> None:
    mel_hz = FeatureExtractor.get_mel_filters(16000, 400, MELS).argmax(axis=1) * 16000 / 400
    first, second = np.zeros((WIDTH, MELS, 3)), np.zeros((WIDTH, WIDTH, 3))
    for channel, mels in enumerate((mel_hz < SPLIT_HZ, mel_hz >= SPLIT_HZ)):
        first[channel, mels, 1] = 1 / mels.sum()
        second[channel, channel, 1] = 1
    bias = np.zeros(WIDTH)
    bias[:2] = 4  # keeps both channels where GELU is straight
    encoder.conv1.weight, encoder.conv1.bias = _f32(first), _f32(bias)
    encoder.conv2.weight, encoder.conv2.bias = _f32(second), _f32(np.zeros(WIDTH))
    encoder.position_encodings.encodings = _f32(np.zeros((WINDOW_FRAMES, WIDTH)))
    _norm(encoder.layer_norm)
    for layer in encoder.layer:
        _attention(layer.self_attention, [3 * WIDTH, WIDTH])
        _feed_forward(layer.ffn)


def _fill_decoder(decoder, embeddings, low: list[int], high: list[int], end: int) -> None:
    positions = np.zeros((POSITIONS, WIDTH))
    for tokens in (low, high):
        said = [*tokens, *[end] * POSITIONS][: POSITIONS - PROMPT_TOKENS + 1]
        positions[PROMPT_TOKENS - 1 :] += POINTING * embeddings[said]
    decoder.scale_embeddings = False
    decoder.embeddings.weight = embeddings
    decoder.position_encodings.encodings = _f32(positions)
    decoder.projection.weight = embeddings
    _norm(decoder.layer_norm, 4.0)
    for layer in decoder.layer:
        _attention(layer.self_attention, [3 * WIDTH, WIDTH])
        _attention(layer.attention, [WIDTH, 2 * WIDTH, WIDTH])
        difference = np.zeros(WIDTH)
        difference[:2] = 1, -1
        query, keys_values, out = np.zeros(WIDTH), np.zeros((2 * WIDTH, WIDTH)), np.zeros((WIDTH, WIDTH))
        for head, wanted in ((0, difference), (WIDTH // 2, -difference)):  # one looks for low sound, one for high
            query[head] = ATTENTION
            keys_values[head], keys_values[WIDTH + head] = wanted, difference
            out[:, head] = HEARING * (embeddings[low].sum(axis=0) - embeddings[high].sum(axis=0))
        layer.attention.linear[0].bias = _f32(query)
        layer.attention.linear[1].weight = _f32(keys_values)
        layer.attention.linear[2].weight = _f32(out)
        _feed_forward(layer.ffn)


def _attention(spec, widths: list[int]) -> None:
    _norm(spec.layer_norm)
    for linear, width in zip(spec.linear, widths, strict=True):
        _dense(linear, width, WIDTH)


def _feed_forward(spec) -> None:
    _norm(spec.layer_norm)
    _dense(spec.linear_0, 2 * WIDTH, WIDTH)
    _dense(spec.linear_1, WIDTH, 2 * WIDTH)


def _dense(linear, outputs: int, inputs: int) -> None:
    linear.weight, linear.bias = _f32(np.zeros((outputs, inputs))), _f32(np.zeros(outputs))


def _norm(norm, gain: float = 1.0) -> None:
    norm.gamma, norm.beta = _f32(np.full(WIDTH, gain)), _f32(np.zeros(WIDTH))


def _f32(values: NDArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)
