"""
The models with public weights that the product knows: their files, where they come from and what they are for.

A revision is the commit or tag of the hub's repository, so that everybody gets the same bytes. The digests are those
that the hub publishes for its large files, taken from public manifests that pin the same files; each was found in at
least two. Those of ``tiny.en``, ``piper-joe`` and ``gemma3-270m`` were computed from the files as well. A digest that
was not found is None: the first download then takes the one that the hub sends along and writes it down
(``models.lock``).

To add a model, add an entry to ``_MODELS``. Never write a digest that you have not read in such a source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote

Purpose = Literal["stt", "llm", "tts", "turn"]

MB = 10**6
GB = 10**9


@dataclass(frozen=True, slots=True)
class ModelFile:
    """
    One file of a model.

    ``path`` is its path in the hub's repository and ``name`` its path in the model's folder. ``size`` is in bytes, and
    ``sha256`` in lower-case hexadecimal digits; each is None if it is not known. A model works without a ``document``.
    """

    path: str
    name: str
    size: int | None = None
    sha256: str | None = None
    document: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """
    A model and its files.

    ``repository`` is the owner and name at the hub; empty: the files come from a local folder only. ``licence`` is that
    of the weights. ``memory_bytes`` estimates what an engine needs with these weights and one call. ``about`` is one
    line for people. ``for_tests`` marks a model that is of no use in a call.
    """

    name: str
    purpose: Purpose
    about: str
    licence: str
    memory_bytes: int
    files: tuple[ModelFile, ...]
    repository: str = ""
    revision: str = "main"
    for_tests: bool = False

    @property
    def size(self) -> int:
        """The bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)

    def url(self, file: ModelFile, *, hub: str, revision: str = "") -> str:
        """The address of a file at a hub, whose own address may have a path."""
        return f"{hub.rstrip('/')}/{self.repository}/resolve/{quote(revision or self.revision)}/{quote(file.path)}"


def _file(path: str, size: int | None = None, sha256: str | None = None, *, name: str = "") -> ModelFile:
    return ModelFile(path, name or path.rpartition("/")[2], size, sha256)


def _whisper(size: str, revision: str, config: ModelFile, weights: ModelFile, memory_bytes: int) -> Model:
    """The English models share their tokenizer and vocabulary."""
    return Model(
        name=size,
        purpose="stt",
        about=f"Whisper {size} for CTranslate2, English",
        licence="MIT",
        memory_bytes=memory_bytes,
        repository=f"Systran/faster-whisper-{size}",
        revision=revision,
        files=(
            weights,
            config,
            _file("tokenizer.json", 2128466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
            _file("vocabulary.txt", 422309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"),
        ),
    )


_PIPER_REVISION = "0d907f158acc877ddeebcbf827659ee13bea8bcd"
_TUNED_FROM_LESSAC = "finetuned from the voice lessac, whose recordings are for research (Blizzard 2013)"


def _piper(name: str, about: str, folder: str, licence: str, weights: ModelFile, config: ModelFile) -> Model:
    """``folder`` is where the voice lies in the repository of all voices: ``en/en_US/joe/medium``."""
    return Model(
        name=name,
        purpose="tts",
        about=about,
        licence=f"{licence}; see its MODEL_CARD",
        memory_bytes=200 * MB,
        repository="rhasspy/piper-voices",
        revision=_PIPER_REVISION,
        files=tuple(
            replace(file, path=f"{folder}/{file.path}")
            for file in (weights, config, ModelFile("MODEL_CARD", "MODEL_CARD", document=True))
        ),
    )


_KOKORO_VOICE_BYTES = 522240
_GEMMA = "Gemma Terms of Use"

_MODELS = (
    _whisper(
        "tiny.en",
        "0d3d19a32d3338f10357c0889762bd8d64bbdeba",
        _file("config.json", 2317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
        _file("model.bin", 75537502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
        memory_bytes=250 * MB,
    ),
    _whisper(
        "base.en",
        "3d3d5dee26484f91867d81cb899cfcf72b96be6c",
        _file("config.json", 2227, "f3bc3821e9fc76a27bae538e11ae5b677dcdd352b4600429ce7951d398569aeb"),
        _file("model.bin", 145216508, "2a166925539a16005f14ff328359f9b9adb9dc4fb631bb3b227526862e93e2ef"),
        memory_bytes=400 * MB,
    ),
    _whisper(
        "small.en",
        "d1d751a5f8271d482d14ca55d9e2deeebbae577f",
        _file("config.json", 2657, "666a9605530ac1f61fa8177f3702b4dacec9966749e42610839fcc32661d5fae"),
        _file("model.bin", 483545366, "62b2a45b05ee59acb4a5341b33ee35e041395d378d418a18acfe4c9e768ee37a"),
        memory_bytes=900 * MB,
    ),
    Model(
        name="gemma3-270m-it",
        purpose="llm",
        about="Gemma 3 270M, instruct, Q8_0: the fastest, for short answers",
        licence=_GEMMA,
        memory_bytes=600 * MB,
        repository="ggml-org/gemma-3-270m-it-GGUF",
        revision="e7647be17ae1108f2f605ed061ca0608b171afff",
        files=(
            _file(
                "gemma-3-270m-it-Q8_0.gguf",
                291545600,
                "0ef57d2c838458a1952664260dcba38e5bdda37494f3af732f06e4add24068e3",
            ),
        ),
    ),
    Model(
        name="gemma3-1b-it",
        purpose="llm",
        about="Gemma 3 1B, instruct, Q4_K_M",
        licence=_GEMMA,
        memory_bytes=1500 * MB,
        repository="ggml-org/gemma-3-1b-it-GGUF",
        revision="f9c28bcd85737ffc5aef028638d3341d49869c27",
        files=(
            _file(
                "gemma-3-1b-it-Q4_K_M.gguf",
                806058240,
                "8ccc5cd1f1b3602548715ae25a66ed73fd5dc68a210412eea643eb20eb75a135",
            ),
        ),
    ),
    Model(
        name="gemma3-4b-it",
        purpose="llm",
        about="Gemma 3 4B, instruct, Q4_K_M: the best of these",
        licence=_GEMMA,
        memory_bytes=4 * GB,
        repository="ggml-org/gemma-3-4b-it-GGUF",
        revision="d0976223747697cb51e056d85c532013931fe52e",
        files=(
            _file(
                "gemma-3-4b-it-Q4_K_M.gguf",
                2489757856,
                "882e8d2db44dc554fb0ea5077cb7e4bc49e7342a1f0da57901c0802ea21a0863",
            ),
        ),
    ),
    Model(
        name="qwen2.5-0.5b-instruct",
        purpose="llm",
        about="Qwen2.5 0.5B, instruct, Q4_K_M: a permissive licence",
        licence="Apache-2.0",
        memory_bytes=900 * MB,
        repository="Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        revision="9217f5db79a29953eb74d5343926648285ec7e67",
        files=(
            _file(
                "qwen2.5-0.5b-instruct-q4_k_m.gguf",
                491400032,
                "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db",
            ),
        ),
    ),
    Model(
        name="smollm2-360m-instruct",
        purpose="llm",
        about="SmolLM2 360M, instruct, Q8_0: a permissive licence, English",
        licence="Apache-2.0",
        memory_bytes=700 * MB,
        repository="HuggingFaceTB/SmolLM2-360M-Instruct-GGUF",
        revision="593b5a2e04c8f3e4ee880263f93e0bd2901ad47f",
        files=(
            _file(
                "smollm2-360m-instruct-q8_0.gguf",
                386404992,
                "48ab3034d0dd401fbc721eb1df3217902fee7dab9078992d66431f09b7750201",
            ),
        ),
    ),
    Model(
        name="gemma3-270m",
        purpose="llm",
        about="Gemma 3 270M without instruction tuning, for tests; from a local folder only",
        licence=_GEMMA,
        memory_bytes=600 * MB,
        for_tests=True,
        files=(
            _file(
                "gemma-3-270m-q4_k_m.gguf",
                253113024,
                "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            ),
        ),
    ),
    _piper(
        "piper-joe",
        "Piper voice Joe, American English",
        "en/en_US/joe/medium",
        f"CC0; {_TUNED_FROM_LESSAC}",
        _file("en_US-joe-medium.onnx", 63201294, "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"),
        _file("en_US-joe-medium.onnx.json", 4794, "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33"),
    ),
    _piper(
        "piper-kristin",
        "Piper voice Kristin, American English",
        "en/en_US/kristin/medium",
        "recordings in the public domain (LibriVox)",
        _file(
            "en_US-kristin-medium.onnx", 63531379, "5849957f929cbf720c258f8458692d6103fff2f0e3d3b19c8259474bb06a18d4"
        ),
        _file(
            "en_US-kristin-medium.onnx.json",
            sha256="5681426d4aead22195de70531eeeeddb46493cfaffc5764b2ea3db73428b651c",
        ),
    ),
    _piper(
        "piper-thorsten",
        "Piper voice Thorsten, German",
        "de/de_DE/thorsten/medium",
        "CC0",
        _file(
            "de_DE-thorsten-medium.onnx", 63201294, "7e64762d8e5118bb578f2eea6207e1a35a8e0c30595010b666f983fc87bb7819"
        ),
        _file(
            "de_DE-thorsten-medium.onnx.json", 4819, "974adee790533adb273a1ac88f49027d2a1b8f0f2cf4905954a4791e79264e85"
        ),
    ),
    _piper(
        "piper-davefx",
        "Piper voice Davefx, Spanish",
        "es/es_ES/davefx/medium",
        f"CC0; {_TUNED_FROM_LESSAC}",
        _file("es_ES-davefx-medium.onnx", 63201294, "6658b03b1a6c316ee4c265a9896abc1393353c2d9e1bca7d66c2c442e222a917"),
        _file(
            "es_ES-davefx-medium.onnx.json", 4817, "0e0dda87c732f6f38771ff274a6380d9252f327dca77aa2963d5fbdf9ec54842"
        ),
    ),
    _piper(
        "piper-siwis",
        "Piper voice Siwis, French",
        "fr/fr_FR/siwis/medium",
        "CC BY 4.0 (SIWIS)",
        _file("fr_FR-siwis-medium.onnx", 63201294, "641d1ab097da2b81128c076810edb052b385decc8be3381814802a64a73baf99"),
        _file("fr_FR-siwis-medium.onnx.json", 4875, "39479916c2db192b5ac9764daddd0c744d83e023ad890c6976c0633ae4df8959"),
    ),
    Model(
        name="kokoro",
        purpose="tts",
        about="Kokoro 82M, int8, with English voices",
        licence="Apache-2.0",
        memory_bytes=500 * MB,
        repository="onnx-community/Kokoro-82M-v1.0-ONNX",
        revision="1939ad2a8e416c0acfeecc08a694d14ef25f2231",
        files=(
            _file(
                "onnx/model_quantized.onnx",
                92361116,
                "fbae9257e1e05ffc727e951ef9b9c98418e6d79f1c9b6b13bd59f5c9028a1478",
            ),
            _file("tokenizer.json", 3497, "77a02c8e164413299b4b4c403b14f8e0e1c1b727db4d46a09d6327b861060a34"),
            *(
                _file(f"voices/{voice}.bin", _KOKORO_VOICE_BYTES, sha256, name=f"voices/{voice}.bin")
                for voice, sha256 in (
                    ("af_heart", "d583ccff3cdca2f7fae535cb998ac07e9fcb90f09737b9a41fa2734ec44a8f0b"),
                    ("af_bella", "f69d836209b78eb8c66e75e3cda491e26ea838a3674257e9d4e5703cbaf55c8b"),
                    ("am_michael", None),
                    ("bf_emma", None),
                )
            ),
        ),
    ),
    Model(
        name="smart-turn",
        purpose="turn",
        about="Smart Turn v3.2, int8: judges by the sound whether the caller has finished",
        licence="BSD-2-Clause",
        memory_bytes=60 * MB,
        repository="pipecat-ai/smart-turn-v3",
        revision="f766f81d3cfdf7737ac64aad813d91bbfd56bf93",
        files=(
            _file(
                "smart-turn-v3.2-cpu.onnx",
                8679182,
                "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
            ),
        ),
    ),
)

CATALOGUE = {model.name: model for model in _MODELS}
