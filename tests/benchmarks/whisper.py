"""
Whisper: how long does a final transcript take when 1 to 16 calls end a sentence at the same moment?

    python -m tests.benchmarks.whisper                                # a random model: tiny on a processor
    python -m tests.benchmarks.whisper --device cuda                  # on a GPU, of large-v3-turbo's size
    python -m tests.benchmarks.whisper --device cuda --model FOLDER --sound speech.wav

Measured from ``finish()`` to the answer, through the whole engine: the last features, the queue, one pass, the checks
of the text. Nothing was recognised before, so a snapshot takes as long; a final after only silence is the snapshot
itself. A random model never ends a text by itself, so it gets 3.5 tokens for each second of speech, as people talk.
``--keep FOLDER`` keeps it for the next run.

Needs `pip install -r requirements/stt.txt`, and for a random model torch and transformers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from inference.engines.whisper import FasterWhisperSpeechToText
from inference.types import Pcm
from inference.whisper.mel import RATE_HZ
from inference.whisper.model import Model, Piece, window_for
from inference.whisper.options import WhisperOptions
from inference.whisper.sound import BLOCK, Sound
from tests.inference.tiny_whisper import make_tokenizer

SPEECH = (2, 5, 10)
CALLS = (1, 2, 4, 8, 16)
TOKENS_PER_SECOND = 3.5
"""Of ordinary speech."""
TURBO = {"d_model": 1280, "encoder_layers": 32, "decoder_layers": 4, "heads": 20, "mels": 128, "vocabulary": 51866}
TINY = {"d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "heads": 6, "mels": 80, "vocabulary": 51865}


class PieceOfSpeech(Piece):
    """A piece whose text is as long as that of ordinary speech."""

    @property
    def max_tokens(self) -> int:
        return round(TOKENS_PER_SECOND * self.speech)


class TalkativeModel:
    """The model, limited to as much text as a caller would say."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def transcribe(self, pieces):
        return self._model.transcribe(
            [PieceOfSpeech(piece.spectrum, piece.speech, piece.language, piece.prefix, piece.plain) for piece in pieces]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--model", default="", help="the folder of a converted model, or a name (default: random weights)"
    )
    parser.add_argument("--keep", default="", help="the folder where a random model is kept for the next run")
    parser.add_argument("--sound", default="", help="a 16-bit mono WAV of 16 kHz, repeated as needed (default: noise)")
    parser.add_argument(
        "--runs", type=int, default=0, help="measurements of each figure (default: 20 on a GPU, 3 on a processor)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        model = options.model or random_model(
            Path(options.keep or temporary) / options.device, TURBO if options.device == "cuda" else TINY
        )
        runs = options.runs or (20 if options.device == "cuda" else 3)
        Console(width=120).print(
            asyncio.run(measure(str(model), options.device, runs, read(options.sound), not options.model))
        )


async def measure(model: str, device: str, runs: int, speech: Pcm, is_random: bool) -> Table:
    engine = FasterWhisperSpeechToText(WhisperOptions(model=model, device=device, partials=False, max_batch=max(CALLS)))
    if is_random:
        load = engine._load
        engine._load = lambda: TalkativeModel(load())  # type: ignore[assignment,return-value]
    began = time.perf_counter()
    await engine.start()
    started = time.perf_counter() - began
    table = Table(
        title=f"{'random weights' if is_random else model} on {device}; started in {started:.1f} s; {runs} runs"
    )
    table.add_column("final, p50/p95 in ms", no_wrap=True)
    for calls in CALLS:
        table.add_column(f"{calls} call{'s' * (calls > 1)}", justify="right", no_wrap=True)
    for seconds in SPEECH:
        sound = np.resize(speech, seconds * RATE_HZ)
        cells = []
        for calls in CALLS:
            times = [1000 * each for _ in range(runs) for each in await finals(engine, sound, calls)]
            cells.append(f"{np.percentile(times, 50):.0f}/{np.percentile(times, 95):.0f}")
        table.add_row(f"{seconds} s of speech", *cells)
    assert engine._model is not None
    filters = engine._model.filters
    await engine.close()
    table.add_section()
    table.add_row("a push of 20 ms", f"{1000 * push_cost(speech, filters):.3f}")
    for seconds in SPEECH:
        ours, stock = (1000 * cost(np.resize(speech, seconds * RATE_HZ), filters) for cost in (end_cost, stock_cost))
        table.add_row(f"features of {seconds} s (stock)", f"{ours:.2f} ({stock:.0f})")
    return table


async def finals(engine: FasterWhisperSpeechToText, sound: Pcm, calls: int) -> list[float]:
    """Seconds from ``finish()`` to the answer of each of several calls that end together."""
    utterances = [engine.open() for _ in range(calls)]
    for utterance in utterances:
        for start in range(0, len(sound), BLOCK):
            utterance.push(sound[start : start + BLOCK])

    async def finish(utterance) -> float:
        await utterance.finish()
        return time.perf_counter() - began

    began = time.perf_counter()
    return await asyncio.gather(*(finish(utterance) for utterance in utterances))


def push_cost(speech: Pcm, filters) -> float:
    """Mean seconds of a ``push`` of 20 ms, with the features of the sound."""
    sound = np.resize(speech, 10 * RATE_HZ)
    pieces = [sound[start : start + BLOCK] for start in range(0, len(sound), BLOCK)]

    def push_all() -> None:
        whole = Sound(filters)
        for piece in pieces:
            whole.push(piece)

    return _median_time(push_all) / len(pieces)


def end_cost(sound: Pcm, filters) -> float:
    """Seconds from the last push to the features of the window."""
    whole = Sound(filters)
    for start in range(0, len(sound) - BLOCK, BLOCK):
        whole.push(sound[start : start + BLOCK])
    whole.advance()
    out = np.empty((len(filters), window_for(len(sound) // 160)), np.float32)

    def end() -> None:
        spectrum, _ = whole.cut()
        spectrum.fill(out)

    return _median_time(end)


def stock_cost(sound: Pcm, filters) -> float:
    """The same with faster-whisper's own extractor for the window that this engine uses; by default it pads to 30 s."""
    from faster_whisper.feature_extractor import FeatureExtractor

    extractor = FeatureExtractor(feature_size=len(filters))
    padded = np.zeros(window_for(len(sound) // 160) * 160, np.float32)
    padded[: len(sound)] = sound
    return _median_time(lambda: extractor(padded / 32768, padding=0))


def _median_time(function: Callable[[], object]) -> float:
    times = []
    for _ in range(11):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def read(path: str) -> Pcm:
    if not path:
        return (3000 * np.random.default_rng(1).standard_normal(10 * RATE_HZ)).clip(-32768, 32767).astype(np.int16)
    with wave.open(path) as file:
        if (file.getframerate(), file.getsampwidth(), file.getnchannels()) != (RATE_HZ, 2, 1):
            raise SystemExit(f"{path} is not 16-bit mono of {RATE_HZ} Hz")
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def random_model(folder: Path, size: dict[str, int]) -> Path:
    """A converted model of this size with random weights, which never ends a text."""
    if (folder / "model.bin").exists():
        return folder
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import GenerationConfig, PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

    Console().print(f"Making a random model of {size['d_model']} channels …")
    tokenizer = make_tokenizer(["en"], size=size["vocabulary"])
    end, begin = (tokenizer.token_to_id(f"<|{name}|>") for name in ("endoftext", "startoftranscript"))
    config = WhisperConfig(
        vocab_size=size["vocabulary"],
        num_mel_bins=size["mels"],
        d_model=size["d_model"],
        encoder_layers=size["encoder_layers"],
        decoder_layers=size["decoder_layers"],
        encoder_attention_heads=size["heads"],
        decoder_attention_heads=size["heads"],
        encoder_ffn_dim=4 * size["d_model"],
        decoder_ffn_dim=4 * size["d_model"],
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=begin,
    )
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(decoder_start_token_id=begin, eos_token_id=end, pad_token_id=end)
    model.generation_config.suppress_tokens = [end]
    model.generation_config.begin_suppress_tokens = [end]
    model.generation_config.alignment_heads = [[0, 0]]
    model.generation_config.lang_to_id = {}
    with tempfile.TemporaryDirectory() as temporary:
        model.half().save_pretrained(temporary)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(temporary)
        converter = TransformersConverter(temporary, copy_files=["tokenizer.json"], load_as_float16=True)
        converter.convert(str(folder), quantization="float16", force=True)
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": size["mels"]}))
    return folder


if __name__ == "__main__":
    main()
