"""
Speaks with Kokoro-82M on onnxruntime: natural, and too slow for more than one call on a core.

The model and its voices are files of its ONNX export; eSpeak NG makes the phonemes, which are mapped to Kokoro's
alphabet. A clause is made at once, so a long one is cut into pieces.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from inference.models.files import require
from inference.options import PATH
from inference.types import Description, EngineError, Languages, main_language
from inference.voices.clause import SpokenUntil
from inference.voices.espeak_library import EspeakLibrary, shared_library
from inference.voices.loudness import gain_for, limit_and_quantise
from inference.voices.phonemes import Phonemes, phonemes_of
from inference.voices.pieces import next_piece, pause_behind, trim_piece
from inference.voices.speech import LocalTextToSpeech, Sink, refuse_other_language, whole_sound
from inference.voices.turns import Steps

RATE_HZ = 24_000
MOST_TOKENS = 510
"""The phonemes that the model takes at once."""

_MEMORY_FACTOR = 4
"""Memory that the loaded model needs, as a multiple of its file."""
_SAMPLE = "1, 2, 3, 4, 5."
"""A text that eSpeak NG reads in each language. The loudness of a voice is measured with it."""

_LANGUAGES = {
    "a": ("en-US", "en-us"),
    "b": ("en-GB", "en"),
    "e": ("es", "es"),
    "f": ("fr", "fr"),
    "h": ("hi", "hi"),
    "i": ("it", "it"),
    "p": ("pt-BR", "pt-br"),
}
"""By the first letter of a voice, its language and the voice of eSpeak NG. The voices of Japanese and Chinese need
phonemes that eSpeak NG does not make; they speak English here."""

_ENGLISH = {
    "ʔˌn\u0329": "ʔn",
    "ʔn\u0329": "ʔn",
    "a^ɪ": "I",
    "a^ʊ": "W",
    "d^ʒ": "ʤ",
    "e^ɪ": "A",
    "t^ʃ": "ʧ",
    "ɔ^ɪ": "Y",
    "ə^l": "ᵊl",
    "ʲo": "jo",
    "ʲə": "jə",
    "e": "A",
    "ʲ": "",
    "ɚ": "əɹ",
    "r": "ɹ",
    "x": "k",
    "ç": "k",
    "ɐ": "ə",
    "ɬ": "l",
    "\u0303": "",
}
"""What eSpeak NG's English phonemes are called in Kokoro's alphabet, the longer ones first. "^" ties one sound."""
_AMERICAN = {"o^ʊ": "O", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɪə": "iə", "ː": ""}
_BRITISH = {"e^ə": "ɛː", "iə": "ɪə", "ə^ʊ": "Q"}
_LAST = {"o": "ɔ", "ɾ": "T", "ʔ": "t", "^": ""}
_OTHER = {
    **{"a^ɪ": "I", "a^ʊ": "W", "d^z": "ʣ", "d^ʒ": "ʤ", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "s^s": "S", "t^s": "ʦ"},
    **{"t^ʃ": "ʧ", "ɔ^ɪ": "Y", "^": "", "-": ""},
}
"""The same for all other languages."""


def kokoro_phonemes(ipa: str, *, kind: str) -> str:
    """Map eSpeak NG's phonemes to Kokoro's alphabet. ``kind`` is the first letter of the voice."""
    if _LANGUAGES.get(kind, _LANGUAGES["a"])[0].startswith("en"):
        ipa = _replace(ipa, _ENGLISH)
        ipa = _syllabic(ipa)
        return _replace(_replace(ipa, _BRITISH if kind == "b" else _AMERICAN), _LAST)
    return _replace(ipa, _OTHER)


def _replace(text: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        text = text.replace(old, new)
    return text


def _syllabic(ipa: str) -> str:
    """A consonant with the mark of a syllable has a schwa in front of it."""
    result = ""
    for character in ipa:
        if character == "\u0329" and result.strip() and not result.endswith(" "):
            result = f"{result[:-1]}ᵊ{result[-1]}"
        elif character != "\u0329":
            result += character
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class KokoroOptions:
    model: str = field(metadata=PATH)
    """The folder of the model, or its ``.onnx`` file. Its alphabet is beside it: ``tokenizer.json``, ``config.json`` or
    ``vocab.json``."""

    voices: str = field(default="", metadata=PATH)
    """The styles of the voices: an ``.npz`` file, or a folder with ``.npz`` or ``.bin`` files. "" looks in the model's
    folder and in ``voices`` inside it."""

    voice: str = ""
    """The voice of agents that name none, such as ``af_heart``. "" is that one, or the first if there is none."""

    speed: float = 1.0
    """How fast the voices speak; 1.1 is 10 % faster than they were trained."""

    threads: int = 1
    """Clauses that are synthesised at the same time."""

    cores: int = 1
    """Processor cores for each of them. A second of speech takes a busy core 1.3 to 1.5 s (int8)."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.speed <= 2:
            raise EngineError(f"speed of Kokoro is {self.speed}; use a factor from 0.5 to 2", permanent=True)
        if self.threads < 1 or self.cores < 1:
            raise EngineError("threads and cores of Kokoro must be at least 1", permanent=True)


class KokoroModel:
    """The loaded model: phonemes and a style in, sound out."""

    def __init__(self, path: Path, cores: int) -> None:
        import onnxruntime  # type: ignore[import-untyped]

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = cores, 1
        settings.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # the package has no base class for its errors
            raise EngineError(f"{path} is no ONNX model: {error}", permanent=True) from error
        types = {each.name: each.type for each in self._session.get_inputs()}
        self._tokens = "input_ids" if "input_ids" in types else "tokens"
        if set(types) != {self._tokens, "style", "speed"}:
            raise EngineError(f"{path} is no model of Kokoro: its inputs are {', '.join(types)}", permanent=True)
        self._speed_type = np.int32 if "int" in types["speed"] else np.float32
        outputs = [each.name for each in self._session.get_outputs()]
        self.tells_lengths = any("duration" in name for name in outputs)
        """Whether ``speak`` says how long each phoneme is."""
        self._outputs = [outputs[0], *(name for name in outputs[1:] if "duration" in name)][:2]

    def speak(
        self, tokens: list[int], style: NDArray[np.float32], speed: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        """Return the sound, from -1 to 1, and the sample at which each token ends, if the model tells."""
        padded = np.array([[0, *tokens, 0]], np.int64)
        given: dict[str, Any] = {
            self._tokens: padded,
            "style": style.reshape(1, -1),
            "speed": np.array([max(1, round(speed)) if self._speed_type is np.int32 else speed], self._speed_type),
        }
        sound, *lengths = self._session.run(self._outputs, given)
        samples = np.asarray(sound, np.float32).reshape(-1)
        if not lengths or lengths[0].size != padded.size or not lengths[0].sum():
            return samples, None
        counts = lengths[0].reshape(-1).astype(np.float64)
        return samples, (np.cumsum(counts) * len(samples) / counts.sum())[1:-1]


@dataclass(slots=True, eq=False)
class KokoroVoice:
    """One voice of the loaded model; implements ``LocalVoice``."""

    name: str
    style: NDArray[np.float32]
    """Shape ``(lengths, 256)``: a style for each number of phonemes."""
    model: KokoroModel
    alphabet: Mapping[str, int]
    library: EspeakLibrary
    speed: float
    rate_hz: int = RATE_HZ
    gain: float | None = None
    """What brings it to the level of all voices. None until it is measured, which takes as long as a sentence."""

    @property
    def exact(self) -> bool:
        return self.model.tells_lengths

    @property
    def language(self) -> str:
        return _LANGUAGES.get(self.name[:1], _LANGUAGES["a"])[0]

    def synthesise(self, text: str, sink: Sink) -> Steps:
        if self.gain is None:
            self.measure()
        rest, begin, position = text, 0, 0
        while rest:
            piece = next_piece(rest, hurried=sink.others_wait)
            phonemes, tokens, known = self._tokens_of(piece)
            while len(tokens) > MOST_TOKENS and " " in piece.strip():
                fitting = len(piece) * MOST_TOKENS // len(tokens)
                space = piece.rstrip().rfind(" ", 0, fitting)
                piece = piece[: space + 1 if space >= 0 else fitting]  # a word may be longer than all that fits
                phonemes, tokens, known = self._tokens_of(piece)
            rest = rest[len(piece) :]
            if tokens:
                tokens, known = tokens[:MOST_TOKENS], [min(each, MOST_TOKENS) for each in known]
                sound, ends = self.model.speak(tokens, self.style[min(len(tokens), len(self.style)) - 1], self.speed)
                pcm, lost = trim_piece(limit_and_quantise(sound, self.gain or 1.0), RATE_HZ)
                at = ends if ends is not None else lost + np.arange(1, len(tokens) + 1) * len(pcm) / len(tokens)
                words = [
                    SpokenUntil(position + int(at[max(0, known[word.sample] - 1)]) - lost, begin + word.text_end)
                    for word in phonemes.words
                ]
                pcm = np.concatenate((pcm, pause_behind(piece, RATE_HZ))) if rest else pcm
                position += len(pcm)
                if sink(pcm, words):
                    return
            begin += len(piece)
            yield

    def measure(self) -> None:
        """Set ``gain``. Blocks."""
        # With a copy: another thread may speak meanwhile, and a failure must not leave the voice at another level.
        self.gain = gain_for(whole_sound(replace(self, gain=1.0), _SAMPLE), RATE_HZ)

    def _tokens_of(self, text: str) -> tuple[Phonemes, list[int], list[int]]:
        """Return the phonemes, the tokens of those that the model knows, and how many there are up to each phoneme."""
        kind = self.name[:1]
        _, espeak_voice = _LANGUAGES.get(kind, _LANGUAGES["a"])
        convert: Callable[[str], str] = partial(kokoro_phonemes, kind=kind)
        phonemes = phonemes_of(text, self.library, espeak_voice, convert=convert, tie="^")
        known = np.cumsum([0, *(phoneme in self.alphabet for phoneme in phonemes.text)]).tolist()
        return phonemes, [self.alphabet[phoneme] for phoneme in phonemes.text if phoneme in self.alphabet], known


class KokoroTextToSpeech(LocalTextToSpeech):
    """Speaks with the voices whose styles it finds, each in its language."""

    name: ClassVar[str] = "Kokoro"
    rate_hz = RATE_HZ
    options_class: ClassVar[type[KokoroOptions]] = KokoroOptions

    def __init__(self, options: KokoroOptions) -> None:
        super().__init__(threads=options.threads)
        self._options = options
        self._path = Path(options.model)
        self._voices: dict[str, KokoroVoice] = {}

    @property
    def languages(self) -> Languages:
        names = list(self._voices)
        if not names:  # it has not started; each call asks later, and must not wait for a disk
            try:
                names = [name for file in self._style_files() for name in _names_in(file)]
            except (OSError, ValueError):
                return None
        return frozenset(main_language(_LANGUAGES.get(name[:1], _LANGUAGES["a"])[0]) for name in names) or None

    def describe(self) -> Description:
        size = sum(path.stat().st_size for path in self._model_files()[:1] if path.is_file())
        return Description(f"the files in {self._path}", _MEMORY_FACTOR * size)

    def _load(self) -> None:
        file = require(str(self._path), "*.onnx")
        alphabet = _read_alphabet(file.parent)
        styles = self._read_styles()
        library, model = shared_library(), KokoroModel(file, self._options.cores)
        self._voices = {
            name: KokoroVoice(name, style, model, alphabet, library, self._options.speed)
            for name, style in styles.items()
        }
        self._named(self._options.voice or self._usual).measure()

    @property
    def _usual(self) -> str:
        return "af_heart" if "af_heart" in self._voices else next(iter(self._voices))

    def _find(self, voice: str, language: str) -> KokoroVoice:
        if voice:
            found = self._named(voice)
            refuse_other_language(self.name, voice, frozenset((main_language(found.language),)), language)
            return found
        candidates = [self._named(self._options.voice or self._usual), *self._voices.values()]
        speaks = [each for each in candidates if main_language(each.language) == main_language(language)]
        region = [each for each in speaks if each.language.lower() == language.replace("_", "-").lower()]
        return (region or speaks)[0]

    def _named(self, name: str) -> KokoroVoice:
        if name not in self._voices:
            raise EngineError(f"Kokoro has no voice {name!r}; it has {', '.join(self._voices)}", permanent=True)
        return self._voices[name]

    def _model_files(self) -> list[Path]:
        return sorted(self._path.glob("*.onnx")) if self._path.is_dir() else [self._path]

    def _style_files(self) -> list[Path]:
        given = Path(self._options.voices) if self._options.voices else None
        if given is not None and given.is_file():
            return [given]
        home = self._path if self._path.is_dir() else self._path.parent
        folders = [given] if given is not None else [home, home / "voices"]
        return [file for folder in folders for kind in ("*.npz", "*.bin") for file in sorted(folder.glob(kind))]

    def _read_styles(self) -> dict[str, NDArray[np.float32]]:
        styles: dict[str, NDArray[np.float32]] = {}
        for file in self._style_files():
            try:
                styles |= _read_styles(file)
            except (OSError, ValueError) as error:
                raise EngineError(f"the voices in {file} cannot be read: {error}", permanent=True) from error
        if not styles:
            raise EngineError(f"{self._options.voices or self._path} has no voices of Kokoro", permanent=True)
        return styles


_STYLE = 256
"""The length of a style."""


def _is_archive(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(2) == b"PK"


def _names_in(file: Path) -> list[str]:
    if not _is_archive(file):
        return [file.stem]
    with np.load(file) as archive:
        return list(archive.files)


def _read_styles(file: Path) -> dict[str, NDArray[np.float32]]:
    """Read an archive of voices, or the raw numbers of one."""
    if not _is_archive(file):
        style = np.fromfile(file, np.float32).reshape(-1, _STYLE)
        if not len(style):
            raise ValueError(f"it has {file.stat().st_size} bytes")
        return {file.stem: style}
    with np.load(file) as archive:
        return {name: archive[name].astype(np.float32).reshape(-1, _STYLE) for name in archive.files}


def _read_alphabet(folder: Path) -> dict[str, int]:
    """Read the number of each phoneme. Raises a permanent ``EngineError``."""
    for name in ("vocab.json", "config.json", "tokenizer.json"):
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise EngineError(f"{folder / name} cannot be read: {error}", permanent=True) from error
        vocabulary = content.get("vocab") or content.get("model", {}).get("vocab")
        if isinstance(vocabulary, dict):
            return {unicodedata.normalize("NFC", phoneme): int(number) for phoneme, number in vocabulary.items()}
    raise EngineError(f"{folder} has no alphabet of Kokoro: tokenizer.json, config.json or vocab.json", permanent=True)
