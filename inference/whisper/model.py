"""
A faster-whisper checkpoint run through CTranslate2 directly: rows of several calls in one pass, windows under 30 s.

faster-whisper's own loop takes one utterance at a time, pads it to 30 s whatever it is given, and decodes again at
higher temperatures. Only its loading is used: names of models, the hub, the tokenizer, the filters.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inference.types import EngineError
from inference.whisper.guards import Heard, agreed_tokens, is_spaced
from inference.whisper.mel import HOP, RATE_HZ, Float32, LogMel, Spectrum

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

log = logging.getLogger(__name__)

WINDOWS = (1000, 1500, 3000)
MARGIN = 200
"""Frames. Below 10 s, and without about 2 s of silence at the end, Whisper starts to invent (whisper.cpp #1855)."""
TOKENS_PER_SECOND = 12
"""Who talks fast needs 6 in English, 10 in Arabic or Greek."""
DENSE = frozenset("am as bn bo gu hi hy ka km kn lo ml mr my ne pa ps sa sd si ta te th".split())
"""Languages whose words Whisper spells by the byte, with 13 to 40 tokens a second: as many as there is room for."""
SPARE_TOKENS = 16
POSITIONS = 448
"""Of the decoder: the transcript and what stands before it share them."""
MAX_HOTWORD_TOKENS = 200
REPETITION_PENALTY = 1.05
"""Slight: numbers are repeated legitimately."""

CUBLAS = ("libcublasLt.so.12", "libcublas.so.12")
CUDA_CONTEXT_BYTES = 2**29
ROW_SHARE = 16
"""A row of 30 s needs about this part of the weights' memory while it is heard (attention of 1500 by 1500 a head)."""
PARAMETERS = {
    "distil-small": 166e6,
    "distil-medium": 394e6,
    "distil-large": 756e6,
    "turbo": 809e6,
    "large": 1550e6,
    "medium": 769e6,
    "small": 244e6,
    "base": 74e6,
    "tiny": 39e6,
}
"""Of models not downloaded yet, by the first of these in the name; published files have two bytes for each."""
LANGUAGE_ALIASES = {"fil": "tl", "iw": "he", "jv": "jw", "nb": "no"}
"""What Whisper calls them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """
    One row of a batch: at most 28 s of one utterance.

    The transcript is forced to begin with ``prefix``. A ``plain`` piece is heard without hotwords.
    """

    spectrum: Spectrum
    speech: float
    language: str
    prefix: tuple[int, ...] = ()
    plain: bool = False

    @property
    def shape(self) -> tuple[int, bool]:
        return window_for(len(self.spectrum.rows)), self.plain

    @property
    def max_tokens(self) -> int:
        seconds = len(self.spectrum.rows) * HOP / RATE_HZ
        return POSITIONS if self.language in DENSE else int(TOKENS_PER_SECOND * seconds) + SPARE_TOKENS


def window_for(frames: int) -> int:
    """The shortest window, in frames, that holds these and the margin."""
    return next((window for window in WINDOWS if window >= frames + MARGIN), WINDOWS[-1])


class Model:
    """Loaded by ``load``; from then on used by one thread."""

    def __init__(self, whisper: WhisperModel, *, hotwords: str = "") -> None:
        self._whisper = whisper
        self._tokens = whisper.hf_tokenizer
        self._end = self._special("endoftext")
        self._hotwords: list[int] = []
        if hotwords.strip():
            words = self._tokens.encode(f" {hotwords.strip()}", add_special_tokens=False).ids
            if len(words) > MAX_HOTWORD_TOKENS:
                raise EngineError(
                    f"the option `hotwords` is too long: {len(words)} tokens of at most {MAX_HOTWORD_TOKENS}",
                    permanent=True,
                )
            self._hotwords = [self._special("startofprev"), *words]
        # Four for startoftranscript, the language, the task and notimestamps.
        self._room = POSITIONS - len(self._hotwords) - 4

    @property
    def filters(self) -> Float32:
        """Shape ``(mels, 201)``."""
        return np.asarray(self._whisper.feature_extractor.mel_filters, np.float32)

    @property
    def device(self) -> str:
        return str(self._whisper.model.device)

    @property
    def has_hotwords(self) -> bool:
        return bool(self._hotwords)

    def language(self, tag: str) -> str:
        """The model's own code of a language such as ``en-GB``; "" if it does not know it."""
        code = tag.replace("_", "-").partition("-")[0].lower()
        code = LANGUAGE_ALIASES.get(code, code)
        if not self._whisper.model.is_multilingual:
            return code if code == "en" else ""
        known = code in self._whisper.supported_languages and self._tokens.token_to_id(f"<|{code}|>") is not None
        return code if known else ""

    def hear(self, pieces: Sequence[Piece]) -> list[Heard]:
        """Recognise pieces of equal ``shape`` in one pass: each as if it were alone. Blocks while the model works."""
        from ctranslate2 import StorageView

        (shape,) = {piece.shape for piece in pieces}
        features = np.empty((len(pieces), len(self.filters), shape[0]), np.float32)
        for row, piece in zip(features, pieces, strict=True):
            piece.spectrum.fill(row)
        limit = max(self._limit(piece) for piece in pieces)
        results = self._whisper.model.generate(
            StorageView.from_array(features),
            [self._prompt(piece) for piece in pieces],
            beam_size=1,
            repetition_penalty=REPETITION_PENALTY,
            # CTranslate2 generates half of it at most, and no more than it leaves behind the prompt.
            max_length=limit + max(limit, POSITIONS - self._room),
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [
            self._heard(piece, result.sequences_ids[0], result.scores[0], result.no_speech_prob)
            for piece, result in zip(pieces, results, strict=True)
        ]

    def warm_up(self, max_rows: int) -> None:
        """
        Let the first request run at full speed: on a GPU each window with each power of two of rows.

        There it compiles code, loads kernels and fills the memory pool; a processor needs one pass. A model that fails
        here raises a permanent ``EngineError``.
        """
        try:
            self._try_out(max_rows)
        except RuntimeError as error:
            raise EngineError(
                f"the Whisper model does not run on {self.device}: {error}. {_advice(error)}", permanent=True
            ) from error

    def safe_prefix(self, before: Sequence[int], after: Sequence[int], language: str) -> tuple[int, ...]:
        """
        The tokens on which two hypotheses agree, without the last word: it may have been cut short in both.

        Ends between words (where a language has no spaces, between characters), so that no word is forced by half.
        """
        # A special token has no place in a prompt: CTranslate2 would refuse the whole batch.
        agreed = tuple(takewhile(lambda token: token < self._end, agreed_tokens(before, after)))
        if is_spaced(language):
            starts = [i for i, token in enumerate(agreed) if (self._tokens.id_to_token(token) or "").startswith("Ġ")]
            return agreed[: starts[-1]] if starts else ()
        agreed = agreed[:-2]
        while agreed and self._tokens.decode(list(agreed)).endswith("�"):
            agreed = agreed[:-1]
        return agreed

    def _try_out(self, max_rows: int) -> None:
        mel = LogMel(self.filters)
        mel.add((3000 * np.random.default_rng(0).standard_normal(RATE_HZ)).clip(-32768, 32767).astype(np.int16))
        language = "en" if self.language("en") else self._whisper.supported_languages[0]
        if self.device != "cuda":
            self.hear([Piece(mel.cut(), 1.0, language)])
            return
        rows = mel.cut().rows
        for window in WINDOWS:
            sound = np.resize(rows, (window - MARGIN, rows.shape[1]))
            piece = Piece(Spectrum(sound, float(sound.max())), 1.0, language)
            count = 1
            while count < max_rows:
                self.hear([piece] * count)
                count *= 2
            self.hear([piece] * max_rows)

    def _prompt(self, piece: Piece) -> list[int]:
        prompt = [] if piece.plain else [*self._hotwords]
        prompt.append(self._special("startoftranscript"))
        if self._whisper.model.is_multilingual:
            prompt += [self._special(piece.language), self._special("transcribe")]
        return [*prompt, self._special("notimestamps"), *piece.prefix]

    def _heard(self, piece: Piece, tokens: list[int], score: float, no_speech: float) -> Heard:
        if len(tokens) >= self._limit(piece):
            # Its own limit, where it would have ended alone: in a batch the longest row's limit holds for all.
            return Heard(speech=piece.speech, no_speech=no_speech, runaway=True)
        text = self._tokens.decode([token for token in tokens if token < self._end]).strip()
        # The score is a mean to which a forced token adds nothing; the end of the text counts as one.
        logprob = score * len(tokens) / (len(tokens) - len(piece.prefix) + 1)
        return Heard(text, piece.speech, logprob, no_speech, tuple(tokens))

    def _limit(self, piece: Piece) -> int:
        return min(piece.max_tokens, self._room)

    def _special(self, name: str) -> int:
        token = self._tokens.token_to_id(f"<|{name}|>")
        if token is None:
            raise EngineError(f"the Whisper model's tokenizer lacks <|{name}|>", permanent=True)
        return int(token)


def load(
    name: str,
    *,
    device: str = "auto",
    device_index: int = 0,
    compute_type: str = "default",
    cpu_threads: int = 0,
    download_root: str = "",
    local_files_only: bool = False,
    hotwords: str = "",
) -> Model:
    """
    A model by faster-whisper's name for it, by its name on the hub, or from a folder.

    What cannot be loaded raises a permanent ``EngineError`` that says what to do. ``"default"`` is float16 on a GPU
    and int8 on a processor.
    """
    device = _chosen_device(device)
    if compute_type == "default":
        compute_type = "float16" if device == "cuda" else "int8"
    requirements = "requirements/stt.txt" if device == "cuda" else "requirements/cpu.txt"
    try:
        from faster_whisper import WhisperModel

        whisper = WhisperModel(
            name,
            device=device,
            device_index=device_index,
            compute_type=compute_type,
            cpu_threads=cpu_threads,
            download_root=download_root or None,
            local_files_only=local_files_only,
        )
    except ImportError as error:
        raise EngineError(
            f"faster-whisper is not installed (pip install -r {requirements}): {error}", permanent=True
        ) from error
    except Exception as error:  # the hub, the tokenizer and CTranslate2 each raise their own
        raise EngineError(
            f"cannot load the Whisper model {name!r}: {error}. {_advice(error)}", permanent=True
        ) from error
    if whisper.feature_extractor.sampling_rate != RATE_HZ:
        raise EngineError(f"the Whisper model {name!r} does not hear {RATE_HZ} Hz", permanent=True)
    return Model(whisper, hotwords=hotwords)


def weights_bytes(name: str, download_root: str = "") -> int:
    """The size of the model's file, or what its name promises; 0 if neither is known. Downloads nothing."""
    folder = Path(name)
    with contextlib.suppress(Exception):  # not installed, not downloaded, no such name: each says so in its own way
        if not folder.is_dir():
            from faster_whisper.utils import download_model

            folder = Path(download_model(name, local_files_only=True, cache_dir=download_root or None))
        return (folder / "model.bin").stat().st_size
    short = name.rpartition("/")[2].removeprefix("faster-").replace("whisper-", "")
    return int(2 * next((count for size, count in PARAMETERS.items() if size in short), 0))


def memory_estimate(weights: int, *, device: str, max_rows: int) -> int:
    """Bytes for the weights and for one batch of 30 s; an estimate."""
    return weights + max_rows * weights // ROW_SHARE + (CUDA_CONTEXT_BYTES if device == "cuda" else 0)


def _advice(error: Exception) -> str:
    message = str(error).lower()
    if "out of memory" in message:
        return 'Take a smaller model or `max_batch`, or the option `compute_type` "int8_float16".'
    if "compute type" in message:
        return 'This device needs another `compute_type`, such as "float32".'
    return (
        "Let this machine reach the model hub once, "
        "or bring a converted model here and give its folder as the option `model`."
    )


def _chosen_device(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise EngineError(f'the option `device` is "auto", "cpu" or "cuda", not {device!r}', permanent=True)
    if device == "cpu":
        return device
    cublas = _preload_cublas()  # before CTranslate2, which looks for it by its bare name
    try:
        from ctranslate2 import get_cuda_device_count
    except ImportError as error:
        raise EngineError(
            f"faster-whisper is not installed (pip install -r requirements/stt.txt): {error}", permanent=True
        ) from error
    gpus = get_cuda_device_count()
    if device == "cuda" and not gpus:
        raise EngineError(
            "no NVIDIA GPU is visible: check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or set the option `device` to "
            '"cpu"',
            permanent=True,
        )
    if not gpus or cublas:
        return "cuda" if gpus else "cpu"
    missing = "Whisper on the GPU needs cuBLAS of CUDA 12, whatever the driver: pip install -r requirements/stt.txt"
    if device == "cuda":
        raise EngineError(missing, permanent=True)
    log.warning("%s. It runs on the processor instead.", missing)
    return "cpu"


def _preload_cublas() -> bool:
    """
    Load cuBLAS 12 from its wheel (nvidia-cublas-cu12), or else from the system; tells whether it was found.

    CTranslate2's wheel opens ``libcublas.so.12`` by that name and looks in no other package, so a copy loaded before
    serves it, without LD_LIBRARY_PATH.
    """
    found = importlib.util.find_spec("nvidia")
    roots = [Path(root) / "cublas" / "lib" for root in (found.submodule_search_locations or ())] if found else []
    folder = next((root for root in roots if (root / CUBLAS[0]).exists()), None)
    try:
        for library in CUBLAS:
            ctypes.CDLL(str(folder / library) if folder else library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True
