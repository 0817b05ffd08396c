"""
Speaks with the voices of Piper: VITS models in ONNX files, natural and fast enough for a processor.

The models run on onnxruntime, and eSpeak NG makes the phonemes. The Python package of Piper (GPL-3) is not used.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from inference.models.files import require
from inference.options import PATH
from inference.resampling import Resampler
from inference.types import Description, EngineError, Languages, main_language
from inference.voices.clause import SpokenUntil
from inference.voices.espeak_library import EspeakLibrary, shared_library
from inference.voices.loudness import gain_for, limit_and_quantise
from inference.voices.phonemes import Phonemes, phonemes_of
from inference.voices.speech import LocalTextToSpeech, Sink, refuse_other_language, speak_once, whole_sound
from inference.voices.turns import Steps
from inference.voices.vits import Encoded, Manner, VitsModel

_MEMORY_FACTOR = 4
"""Memory that a loaded voice needs, as a multiple of its file."""
_USUAL_RATE_HZ = 22_050
"""The rate of most voices, for a voice whose description cannot be read yet."""

_SAMPLE = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10."
"""A text that eSpeak NG reads in each language. The loudness of a voice is measured with it."""

_BEGIN, _PAD, _END = "^", "_", "$"
"""What stands before, between and behind the phonemes of each clause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PiperOptions:
    model: str = field(metadata=PATH)
    """The folder of a voice, or its ``.onnx`` file. Its description, ``<name>.onnx.json``, is beside it."""

    voices: Mapping[str, str] = field(default_factory=dict, metadata=PATH)
    """More voices, by the names that agents use: their folders or files. They may speak other languages."""

    voice: str = ""
    """The voice of agents that name none: one of ``voices``, a speaker of ``model``, or "" for the first of it."""

    speed: float = 1.0
    """How fast the voice speaks; 1.1 is 10 % faster than it was trained."""

    noise_scale: float | None = None
    """How much the sound varies by chance, from 0 on. None: as the voice's description says (0.667 as a rule)."""

    noise_w: float | None = None
    """How much the length of the sounds varies by chance, from 0 on. None: as the description says (0.8 as a rule)."""

    threads: int = 1
    """Clauses that are synthesised at the same time, a processor core each. One core serves about five calls."""

    def __post_init__(self) -> None:
        if not 0.25 <= self.speed <= 4:
            raise EngineError(f"speed of Piper is {self.speed}; use a factor from 0.25 to 4", permanent=True)
        if self.threads < 1:
            raise EngineError(f"threads of Piper is {self.threads}; use at least 1", permanent=True)
        if min(self.noise_scale or 0, self.noise_w or 0) < 0:
            raise EngineError("noise_scale and noise_w of Piper must not be negative", permanent=True)


@dataclass(frozen=True, slots=True)
class PiperConfig:
    """The description of a voice, from its JSON file."""

    model: Path
    rate_hz: int
    language: str
    espeak_voice: str
    ids: Mapping[str, tuple[int, ...]]
    """The numbers of each phoneme."""
    speakers: Mapping[str, int]
    manner: Manner
    size: int
    """Bytes of the model."""


@cache
def read_config(path: Path) -> PiperConfig:
    """Read the description of a voice. ``path`` is its folder or its ONNX file. Raises a permanent ``EngineError``."""
    model = require(str(path), "*.onnx")
    description = Path(f"{model}.json")
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        size = model.stat().st_size
    except (OSError, ValueError) as error:
        raise EngineError(f"the description of a Piper voice cannot be read: {error}", permanent=True) from error
    try:
        return _parse_config(model, size, content)
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{description} describes no Piper voice: {error!r}", permanent=True) from error


def _parse_config(model: Path, size: int, content: Mapping[str, Any]) -> PiperConfig:
    kind = content.get("phoneme_type", "espeak")
    if kind != "espeak":
        raise EngineError(f"{model} needs phonemes of the kind {kind!r}; only 'espeak' is supported", permanent=True)
    espeak_voice = str(content["espeak"]["voice"])
    inference = content.get("inference", {})
    return PiperConfig(
        model=model,
        rate_hz=int(content["audio"]["sample_rate"]),
        language=str(content.get("language", {}).get("code", "")) or espeak_voice,
        espeak_voice=espeak_voice,
        ids={phoneme: tuple(map(int, ids)) for phoneme, ids in content["phoneme_id_map"].items()},
        speakers={name: int(number) for name, number in (content.get("speaker_id_map") or {}).items()},
        manner=Manner(
            noise_scale=float(inference.get("noise_scale", 0.667)),
            length_scale=float(inference.get("length_scale", 1.0)),
            noise_w=float(inference.get("noise_w", 0.8)),
        ),
        size=size,
    )


@dataclass(slots=True, eq=False)
class PiperVoice:
    """One speaker of a loaded voice; implements ``LocalVoice``."""

    config: PiperConfig
    model: VitsModel
    library: EspeakLibrary
    manner: Manner
    rate_hz: int
    """The rate of the sound that it delivers."""
    gain: float | None = None
    """What brings it to the level of all voices. None until it is measured, which takes as long as a sentence."""

    @property
    def exact(self) -> bool:
        return self.model.tells_lengths

    def synthesise(self, text: str, sink: Sink) -> Steps:
        if self.gain is None:
            self.measure()
        gain = self.gain or 1.0
        phonemes = phonemes_of(text, self.library, self.config.espeak_voice, convert=_decompose)
        ids, ends = ids_of(phonemes, self.config.ids)
        if not ids:
            return
        encoded = self.model.encode(ids, self.manner)
        yield
        resampler = Resampler(self.config.rate_hz, self.rate_hz)
        timing: list[SpokenUntil] | None = None
        for piece in self.model.pieces(encoded, lambda: sink.others_wait):
            if timing is None:
                timing = self._timing(phonemes, ends, encoded, piece.hop)
            pcm = resampler.push(limit_and_quantise(piece.sound, gain))
            if sink(pcm, timing):
                return
            timing = []
            yield
        sink(resampler.flush(), [])

    def measure(self) -> None:
        """Set ``gain``. Blocks."""
        # With a copy: another thread may speak meanwhile, and a failure must not leave the voice at another level.
        self.gain = gain_for(whole_sound(replace(self, gain=1.0), _SAMPLE), self.rate_hz)

    def _timing(self, phonemes: Phonemes, ends: list[int], encoded: Encoded, hop: int) -> list[SpokenUntil]:
        """Return when each word has been spoken: exactly, or by its share of the phonemes."""
        total = encoded.frames.shape[-1]
        at = encoded.ends if encoded.ends is not None else np.arange(1, ends[-1] + 2) * total // (ends[-1] + 1)
        scale = hop * self.rate_hz / self.config.rate_hz
        return [SpokenUntil(int(at[ends[word.sample]] * scale), word.text_end) for word in phonemes.words]


def _decompose(ipa: str) -> str:
    """Return the phonemes with one character for each number: the models know marks and letters apart."""
    return unicodedata.normalize("NFD", ipa)


def ids_of(phonemes: Phonemes, ids: Mapping[str, tuple[int, ...]]) -> tuple[list[int], list[int]]:
    """
    Return the model's input, and for each number of phonemes the index of the last of their numbers in it.

    Phonemes that the voice does not know are left out. Without any that it knows, the input is empty.
    """
    pad = ids.get(_PAD, ())
    numbers = [*ids.get(_BEGIN, ()), *pad]
    ends, known = [max(0, len(numbers) - 1)], False
    for phoneme in phonemes.text:
        if phoneme in ids:
            numbers += (*ids[phoneme], *pad)
            known = known or phoneme.isalpha()
        ends.append(len(numbers) - 1)
    numbers += ids.get(_END, ())
    return (numbers if known else []), ends


class PiperTextToSpeech(LocalTextToSpeech):
    """Speaks with one or more voices of Piper, each in its language."""

    name: ClassVar[str] = "Piper"
    options_class: ClassVar[type[PiperOptions]] = PiperOptions

    def __init__(self, options: PiperOptions) -> None:
        super().__init__(threads=options.threads)
        self._options = options
        self._paths = {"": Path(options.model), **{name: Path(path) for name, path in options.voices.items()}}
        self._voices: dict[tuple[str, str], PiperVoice] = {}
        """The loaded voices by their names and speakers; the name of the option ``model`` is ""."""

    @property
    def rate_hz(self) -> int:
        """The rate of the voice ``model``. The sound of other voices is converted to it."""
        try:
            return read_config(self._paths[""]).rate_hz
        except EngineError:
            return _USUAL_RATE_HZ

    @property
    def languages(self) -> Languages:
        try:
            return frozenset(main_language(read_config(path).language) for path in self._paths.values())
        except EngineError:
            return None

    def describe(self) -> Description:
        try:
            size = sum(read_config(path).size for path in self._paths.values())
        except EngineError:
            size = 0
        return Description(f"the files {', '.join(map(str, self._paths.values()))}", int(_MEMORY_FACTOR * size))

    def _load(self) -> None:
        library = shared_library()
        self._voices = {(name, ""): self._load_voice(read_config(path), library) for name, path in self._paths.items()}
        for voice in {self._named(self._options.voice), *self._voices.values()}:
            voice.measure()
            speak_once(voice, "Ready.")

    def _load_voice(self, config: PiperConfig, library: EspeakLibrary) -> PiperVoice:
        sample, _ = ids_of(phonemes_of(_SAMPLE, library, config.espeak_voice, convert=_decompose), config.ids)
        if not sample:
            raise EngineError(f"{config.model}: its description has none of eSpeak NG's phonemes", permanent=True)
        options, usual = self._options, config.manner
        manner = Manner(
            noise_scale=usual.noise_scale if options.noise_scale is None else options.noise_scale,
            length_scale=usual.length_scale / options.speed,
            noise_w=usual.noise_w if options.noise_w is None else options.noise_w,
        )
        return PiperVoice(config, VitsModel(config.model, sample), library, manner, self.rate_hz)

    def _find(self, voice: str, language: str) -> PiperVoice:
        if voice:
            found = self._named(voice)
            refuse_other_language(self.name, voice, frozenset((main_language(found.config.language),)), language)
            return found
        candidates = [self._named(self._options.voice), *self._voices.values()]  # the default voice first
        region = language.replace("_", "-").lower()
        speaks = [each for each in candidates if main_language(each.config.language) == main_language(language)]
        same_region = [each for each in speaks if each.config.language.replace("_", "-").lower() == region]
        return (same_region or speaks)[0]

    def _named(self, name: str) -> PiperVoice:
        """Return a voice by its name, with "/" and a speaker if it has several. Raises a permanent error."""
        base, _, speaker = (name, "", "") if name in self._options.voices else name.partition("/")
        main = self._voices["", ""]
        if base in main.config.speakers:
            base, speaker = "", base
        elif base == main.config.model.stem:
            base = ""
        voice = self._voices.get((base, ""))
        if voice is None or (speaker and speaker not in voice.config.speakers):
            names = [*self._options.voices, main.config.model.stem, *sorted(main.config.speakers)[:20]]
            raise EngineError(f"Piper has no voice {name!r}; it has {', '.join(names)}", permanent=True)
        if not speaker:
            return voice
        if (base, speaker) not in self._voices:
            manner = replace(voice.manner, speaker=voice.config.speakers[speaker])
            self._voices[base, speaker] = replace(voice, manner=manner, gain=None)
        return self._voices[base, speaker]
