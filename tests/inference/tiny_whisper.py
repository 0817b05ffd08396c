"""
A Whisper small enough for a test, loaded and run by the same code as the real one, and made without torch.

It recognises one thing: whether the sound is low or high. The first two channels of its encoder carry the energy below
and above ``SPLIT_HZ``. Attention finds the moments where they differ most. The decoder's table of positions points at
the tokens of both sentences at once, and the sign of the difference raises those of one sentence. So its text depends
on the audio, and is known exactly.

With ``random`` weights its text makes no sense, but depends on all input: each frame of sound, the language, the
prefix, the hotwords.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ctranslate2.specs import WhisperSpec
from ctranslate2.specs.model_spec import visit_spec
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

LOW_SENTENCE = "please hold the line one moment"
HIGH_SENTENCE = "what time do you open"
SPLIT_HZ = 1800

WIDTH = 32
RANDOM_END = 16.0
"""How much more likely the end of the text is than any other token, so that random texts end."""
POSITIONS = 448
WINDOW_FRAMES = 1500  # the model has one for each two frames of the features
POINTING = 12.0
"""The weight with which a position points at its tokens."""
HEARING = 3.0
"""The gain from what attention found to the tokens. It must stay below ``POINTING``."""
ATTENTION = 200.0
"""The sharpness of attention, so that it finds a short sound in a long silence."""


def make_tiny_whisper(
    folder: Path,
    *,
    mels: int = 80,
    languages: Sequence[str] = ("en",),
    before_prompt: int = 0,
    sentences: tuple[str, str] = (LOW_SENTENCE, HIGH_SENTENCE),
    random: bool = False,
) -> Path:
    """
    Write a model that ``faster_whisper.WhisperModel`` loads from ``folder``, and return the folder.

    With more than one language the model is multilingual. ``before_prompt`` is the number of tokens, such as hotwords,
    that will come before the prompt: the sentences begin so many positions later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(languages)
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    prompt_tokens = before_prompt + 2
    if len(languages) > 1:
        vocabulary.append("")  # by this CTranslate2 recognises a multilingual vocabulary
        prompt_tokens += 2
    end = tokenizer.token_to_id("<|endoftext|>")
    low, high = (tokenizer.encode(f" {text}", add_special_tokens=False).ids for text in sentences)
    assert not set(low) & set(high), "the sentences must share no token"

    chance = np.random.default_rng(7)
    axes = np.linalg.qr(chance.standard_normal((WIDTH, WIDTH)))[0]
    used = list(dict.fromkeys([*low, *high, end]))
    embeddings = chance.standard_normal((len(vocabulary), WIDTH - len(used))) @ axes[len(used) :]
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings[used] = axes[: len(used)]  # orthogonal to each other and to every other token
    embeddings = _f32(embeddings)

    spec = WhisperSpec(1, 2, 1, 2)
    _fill_encoder(spec.encoder, mels)
    _fill_decoder(spec.decoder, embeddings, low, high, end, prompt_tokens)
    if random:
        _randomise(spec, chance)
        spec.decoder.projection.bias = _f32(RANDOM_END * (np.arange(len(vocabulary)) == end))
    spec.register_vocabulary(vocabulary)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [end]
    spec.config.alignment_heads = [[0, 0]]
    spec.config.lang_ids = [
        tokenizer.token_to_id(f"<|{language}|>") for language in languages[:99] if len(languages) > 1
    ]
    spec.validate()
    spec.save(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": mels}))
    return folder


def make_tokenizer(languages: Sequence[str], *, size: int = 0) -> Tokenizer:
    """A tokenizer of the sentences and of Whisper's special tokens; with ``size``, padded to so many tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words = [f" {LOW_SENTENCE} {HIGH_SENTENCE}"] * 50
    tokenizer.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    names = ["endoftext", "startoftranscript", *languages, "translate", "transcribe", "startoflm", "startofprev"]
    special = [f"<|{name}|>" for name in [*names, "nospeech", "notimestamps"]]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([f"<|{i}|>" for i in range(size - tokenizer.get_vocab_size())])
    return tokenizer


def _fill_encoder(encoder, mel_bins: int) -> None:
    mel_hz = FeatureExtractor.get_mel_filters(16000, 400, mel_bins).argmax(axis=1) * 16000 / 400
    first, second = np.zeros((WIDTH, mel_bins, 3)), np.zeros((WIDTH, WIDTH, 3))
    for channel, mels in enumerate((mel_hz < SPLIT_HZ, mel_hz >= SPLIT_HZ)):
        first[channel, mels, 1] = 1 / mels.sum()
        second[channel, channel, 1] = 1
    bias = np.zeros(WIDTH)
    bias[:2] = 4  # keeps both channels where GELU is linear
    encoder.conv1.weight, encoder.conv1.bias = _f32(first), _f32(bias)
    encoder.conv2.weight, encoder.conv2.bias = _f32(second), _f32(np.zeros(WIDTH))
    encoder.position_encodings.encodings = _f32(np.zeros((WINDOW_FRAMES, WIDTH)))
    _norm(encoder.layer_norm)
    for layer in encoder.layer:
        _attention(layer.self_attention, [3 * WIDTH, WIDTH])
        _feed_forward(layer.ffn)


def _fill_decoder(decoder, embeddings, low: list[int], high: list[int], end: int, prompt_tokens: int) -> None:
    positions = np.zeros((POSITIONS, WIDTH))
    for tokens in (low, high):
        said = [*tokens, *[end] * POSITIONS][: POSITIONS - prompt_tokens + 1]
        positions[prompt_tokens - 1 :] += POINTING * embeddings[said]
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
        for head, wanted in (
            (0, difference),
            (WIDTH // 2, -difference),
        ):  # one head looks for low sound, one for high sound
            query[head] = ATTENTION
            keys_values[head], keys_values[WIDTH + head] = wanted, difference
            out[:, head] = HEARING * (embeddings[low].sum(axis=0) - embeddings[high].sum(axis=0))
        layer.attention.linear[0].bias = _f32(query)
        layer.attention.linear[1].weight = _f32(keys_values)
        layer.attention.linear[2].weight = _f32(out)
        _feed_forward(layer.ffn)


def _randomise(spec: WhisperSpec, chance: np.random.Generator) -> None:
    def fill(part, name, value) -> None:
        if isinstance(value, np.ndarray) and value.ndim > 1:
            setattr(
                part, name.rpartition("/")[2], _f32(chance.standard_normal(value.shape) * 2 / np.sqrt(value[0].size))
            )

    visit_spec(spec, fill)


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
