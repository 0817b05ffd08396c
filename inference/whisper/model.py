"""
A faster-whisper checkpoint run through CTranslate2 directly: rows of several calls in one pass, windows under 30 s.

faster-whisper's own loop takes one utterance at a time, always pads it to 30 s, and decodes again at higher
temperatures. Only its loading is used here: names of models, the hub, the tokenizer, the filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import numpy as np

from inference.types import AUTO, EngineError
from inference.whisper.agreement import agreed_tokens, is_spaced
from inference.whisper.hallucinations import Hypothesis
from inference.whisper.mel import HOP, RATE_HZ, Float32, LogMel, Spectrum

if TYPE_CHECKING:
    from ctranslate2 import StorageView
    from faster_whisper import WhisperModel

WINDOWS = (1000, 1500, 2000, 2500, 3000)
MARGIN = 200
"""
Frames of 10 ms. In less than 10 s, or without about 2 s of silence at the end, Whisper starts to invent words
(whisper.cpp #1855). The work grows faster than the window, so a longer sound takes only the next 5 s.
"""
TOKENS_PER_SECOND = 12
"""A fast speaker needs 6 in English, 10 in Arabic or Greek."""
DENSE = frozenset("am as bn bo gu hi hy ka km kn lo ml mr my ne pa ps sa sd si ta te th".split())
"""Languages whose words Whisper spells by the byte, with 13 to 40 tokens a second: they get all positions there are."""
SPARE_TOKENS = 16
"""So that a short utterance with many punctuation marks or digits does not reach the limit."""
POSITIONS = 448
"""Positions of the decoder, which the transcript shares with the prompt before it."""
MAX_HOTWORD_TOKENS = 200
"""Leaves more than half of the positions to the transcript."""
MAX_KEPT_KEYTERMS = 64
"""Lists of words to expect whose tokens are kept, about one for each agent."""
REPETITION_PENALTY = 1.05
"""Small, because people do repeat words and digits."""
PENALISED = 1500
"""
The largest window, in frames, in which repetitions are penalised. A longer text needs its common words again: of 780
words in three recordings of over 20 s, at four levels, tiny.en had 107 wrong with the penalty and 83 without.
"""
UNREPEATED_TOKENS = 3
"""In a second attempt, so many tokens in a row do not come twice: the first one may have ended in a loop."""

SURE_LANGUAGE = 0.6
"""
The probability from which the words are recognised in another language than that of the call.

In 294 decodes of people who speak English, down to -20 dB and 10 dB above noise, base found none of the seven usual
other languages in 0.6 s of speech or more with above 0.57 (single digits in noise), and none in a sentence. In 150
Spanish, French and Italian prompts spoken by people it found the right one with 0.6 or more in 132, a wrong one in 3.
"""
SHORTEST_FOR_LANGUAGE = 0.6
"""Seconds of speech from which another language is looked for."""
LANGUAGE_ALIASES = {"fil": "tl", "iw": "he", "jv": "jw", "nb": "no"}
"""Language codes that Whisper calls otherwise."""


Shape: TypeAlias = tuple[int, bool, int]
"""What all rows of a batch must share: the window, and the length of what stands before the prompt."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One row of a batch: at most 28 s of one utterance."""

    spectrum: Spectrum
    speech: float
    """Seconds of it that may be speech."""
    language: str
    """Whisper's own code, or ``AUTO``."""
    prefix: tuple[int, ...] = ()
    """Tokens with which the transcript is forced to begin."""
    plain: bool = False
    """
    Whether this is a second attempt, which must not go the way of the first: without hotwords and repetitions, in the
    next larger window, and padded with 0.0. Of four loops of tiny.en, three then had the right words.
    """
    others: frozenset[str] = frozenset()
    """Its codes of the languages that may be spoken instead; empty: none is looked for."""
    found: str = ""
    """Its code of the likeliest language, once one was looked for."""
    found_probability: float = 0.0
    keyterms: tuple[int, ...] = ()
    """The tokens of words to expect in this utterance, behind those of the model; a plain piece does without."""

    @property
    def shape(self) -> Shape:
        return shape_of(len(self.spectrum.rows), self.keyterms, plain=self.plain)

    @property
    def max_tokens(self) -> int:
        """More tokens than any speaker says in this time: a longer text does not end by itself."""
        seconds = len(self.spectrum.rows) * HOP / RATE_HZ
        return POSITIONS if self.language in DENSE else int(TOKENS_PER_SECOND * seconds) + SPARE_TOKENS


def window_for(frames: int, *, plain: bool = False) -> int:
    """The shortest window that holds so many frames and the margin, in frames; the next one in a second attempt."""
    fitting = [window for window in WINDOWS if window >= frames + MARGIN] or [WINDOWS[-1]]
    return fitting[min(int(plain), len(fitting) - 1)]


def shape_of(frames: int, keyterms: Sequence[int], *, plain: bool) -> Shape:
    return window_for(frames, plain=plain), plain, 0 if plain else len(keyterms)


class Model:
    """A loaded checkpoint. On a processor, two threads may transcribe at once."""

    def __init__(self, whisper: WhisperModel, *, hotwords: str = "") -> None:
        self.filters: Float32 = np.asarray(whisper.feature_extractor.mel_filters, np.float32)
        """The mel filters, shape ``(mels, 201)``."""
        self.device = str(whisper.model.device)
        """``cuda`` or ``cpu``."""
        self.hotwords: list[int] = []
        """The tokens that stand before the prompt of each row that is not plain."""
        self._whisper = whisper
        self._tokens = whisper.hf_tokenizer
        """The tokenizer."""
        self._end = self._special("endoftext")
        """Tokens from this one on are special, and no text."""
        if hotwords.strip():
            words = self._tokens.encode(f" {hotwords.strip()}", add_special_tokens=False).ids
            if len(words) > MAX_HOTWORD_TOKENS:
                raise EngineError(
                    f"The option `hotwords` is too long: {len(words)} tokens instead of at most {MAX_HOTWORD_TOKENS}.",
                    permanent=True,
                )
            self.hotwords = [self._special("startofprev"), *words]
        self._keyterms: dict[tuple[str, ...], tuple[int, ...]] = {}
        """The tokens of the terms of the last agents."""

    @property
    def languages(self) -> frozenset[str]:
        """The languages that the model knows, under all their codes, and ``AUTO`` if there are several."""
        codes = (*self._whisper.supported_languages, *LANGUAGE_ALIASES, AUTO)
        return frozenset(code for code in codes if self.language(code))

    def language(self, tag: str) -> str:
        """The model's own code of a language such as ``en-GB``; "" for a language that it does not know."""
        code = tag.replace("_", "-").partition("-")[0].lower()
        code = LANGUAGE_ALIASES.get(code, code)
        if not self._whisper.model.is_multilingual:
            return code if code == "en" else ""
        if code == AUTO:
            return code
        known = code in self._whisper.supported_languages and self._tokens.token_to_id(f"<|{code}|>") is not None
        return code if known else ""

    def encode_keyterms(self, terms: tuple[str, ...]) -> tuple[int, ...]:
        """The tokens of the first of these terms, as many as fit in behind ``hotwords``."""
        if terms not in self._keyterms:
            if len(self._keyterms) >= MAX_KEPT_KEYTERMS:
                self._keyterms.clear()
            room, tokens = MAX_HOTWORD_TOKENS - len(self.hotwords), list[int]()
            for term in filter(None, map(str.strip, terms)):
                encoded = self._tokens.encode(f" {term}", add_special_tokens=False).ids
                if len(tokens) + len(encoded) > room:
                    break
                # A special token must not be in a prompt: CTranslate2 would refuse the whole batch.
                tokens += [token for token in encoded if token < self._end]
            self._keyterms[terms] = tuple(tokens)
        return self._keyterms[terms]

    def transcribe(self, pieces: Sequence[Piece]) -> list[Hypothesis]:
        """Recognise pieces of equal ``shape`` in one pass, each as if it were alone. Blocks while the model works."""
        from ctranslate2 import StorageView

        (shape,) = {piece.shape for piece in pieces}
        features = np.empty((len(pieces), len(self.filters), shape[0]), np.float32)
        for row, piece in zip(features, pieces, strict=True):
            piece.spectrum.fill(row, silence=not piece.plain)
        sound = StorageView.from_array(features)
        if any(piece.language == AUTO or piece.others for piece in pieces):
            sound = self._whisper.model.encode(sound)
            pieces = self._with_languages(pieces, sound)
        limit = max(self._limit(piece) for piece in pieces)
        results = self._whisper.model.generate(
            sound,
            [self._prompt(piece) for piece in pieces],
            beam_size=1,
            repetition_penalty=REPETITION_PENALTY if shape[0] <= PENALISED else 1.0,
            no_repeat_ngram_size=UNREPEATED_TOKENS if pieces[0].plain else 0,
            # CTranslate2 generates at most half of this, and no more than what is left of it behind the prompt.
            max_length=limit + max(limit, POSITIONS - self._room(pieces[0])),
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [
            self._hypothesis(piece, result.sequences_ids[0], result.scores[0], result.no_speech_prob)
            for piece, result in zip(pieces, results, strict=True)
        ]

    def warm_up(self, max_rows: int) -> None:
        """
        Make the first request run at full speed: on a GPU, try each window with each power of two of rows.

        This compiles code, loads kernels and fills the memory pool; a processor needs only one pass. A model that fails
        here raises a permanent ``EngineError``.
        """
        try:
            self._try_out(max_rows)
        except RuntimeError as error:
            raise EngineError(
                f"The Whisper model does not run on {self.device}: {error}. {advice(error)}", permanent=True
            ) from error

    def safe_prefix(self, before: Sequence[int], after: Sequence[int], language: str) -> tuple[int, ...]:
        """
        The tokens on which two hypotheses agree, without the last word, which may have been cut short in both.

        The prefix ends between words (between characters in a language without spaces), so that no half word is forced.
        """
        # A special token must not be in a prompt: CTranslate2 would refuse the whole batch.
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
            self.transcribe([Piece(mel.cut(), 1.0, language)])
            return
        rows = mel.cut().rows
        for window in WINDOWS:
            sound = np.resize(rows, (window - MARGIN, rows.shape[1]))
            piece = Piece(Spectrum(sound, float(sound.max())), 1.0, language)
            count = 1
            while count < max_rows:
                self.transcribe([piece] * count)
                count *= 2
            self.transcribe([piece] * max_rows)

    def _with_languages(self, pieces: Sequence[Piece], encoded: StorageView) -> list[Piece]:
        """The pieces with the likeliest language of their sound where it was looked for."""
        ranked = self._whisper.model.detect_language(encoded)
        return [_with_language(piece, *languages[0]) for piece, languages in zip(pieces, ranked, strict=True)]

    def _prompt(self, piece: Piece) -> list[int]:
        prompt = self._expected(piece)
        prompt.append(self._special("startoftranscript"))
        if self._whisper.model.is_multilingual:
            prompt += [self._special(piece.language), self._special("transcribe")]
        return [*prompt, self._special("notimestamps"), *piece.prefix]

    def _expected(self, piece: Piece) -> list[int]:
        """What stands before the prompt."""
        if piece.plain or not piece.keyterms:
            return [] if piece.plain else [*self.hotwords]
        return [*(self.hotwords or [self._special("startofprev")]), *piece.keyterms]

    def _room(self, piece: Piece) -> int:
        """Positions that are left for the transcript."""
        # The other four are startoftranscript, the language, the task and notimestamps.
        return POSITIONS - max(len(self.hotwords), len(self._expected(piece))) - 4

    def _hypothesis(self, piece: Piece, tokens: list[int], score: float, no_speech: float) -> Hypothesis:
        languages: _Languages = {
            "language": piece.language,
            "found": piece.found,
            "found_probability": piece.found_probability,
        }
        if len(tokens) >= self._limit(piece):
            # This is the limit at which the row would end alone; in a batch, the longest limit holds for all rows.
            return Hypothesis(speech=piece.speech, no_speech=no_speech, runaway=True, **languages)
        text = self._tokens.decode([token for token in tokens if token < self._end]).strip()
        # The score is a mean to which forced tokens add nothing, and in which the end of the text counts as a token.
        logprob = score * len(tokens) / (len(tokens) - len(piece.prefix) + 1)
        return Hypothesis(text, piece.speech, logprob, no_speech, tuple(tokens), **languages)

    def _limit(self, piece: Piece) -> int:
        return min(piece.max_tokens, self._room(piece))

    def _special(self, name: str) -> int:
        token = self._tokens.token_to_id(f"<|{name}|>")
        if token is None:
            raise EngineError(f"The tokenizer of the Whisper model lacks <|{name}|>.", permanent=True)
        return int(token)


def _with_language(piece: Piece, token: str, probability: float) -> Piece:
    """The piece with the likeliest language of its sound, if it was looked for: that of the words, if it is sure."""
    found = token.strip("<|>")
    if piece.language != AUTO and not piece.others:
        return piece
    is_sure = piece.language == AUTO or (found in piece.others and probability >= SURE_LANGUAGE)
    return replace(
        piece, language=found if is_sure else piece.language, found=found, found_probability=float(probability)
    )


class _Languages(TypedDict):
    """What a hypothesis says about languages."""

    language: str
    found: str
    found_probability: float


def advice(error: Exception) -> str:
    """Say what an operator can do about this error of CTranslate2 or of the model hub."""
    message = str(error).lower()
    if "out of memory" in message:
        return 'Set a smaller `model` or `max_batch`, or the option `compute_type` to "int8_float16".'
    if "compute type" in message:
        return 'This device needs another `compute_type`, such as "float32".'
    return (
        "Let this machine reach the model hub once, "
        "or copy a converted model here and set the option `model` to its folder."
    )
