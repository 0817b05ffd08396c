"""What the engines of a profile need on this machine: packages, and the weights of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from inference.models.catalogue import CATALOGUE, Model
from inference.models.files import missing_files

PACKAGES = {
    "inference.engines.whisper.FasterWhisperSpeechToText": ("faster_whisper",),
    "inference.engines.llama_cpp.LlamaCppLanguageModel": ("xllamacpp",),
    "inference.engines.piper.PiperTextToSpeech": ("onnxruntime", "espeakng_loader"),
    "inference.engines.kokoro.KokoroTextToSpeech": ("onnxruntime", "espeakng_loader"),
}
"""The packages that an engine imports when it starts."""


Setting = Mapping[str, Any]
"""An engine as ``inference.backends`` takes it."""


def models_of(engines: Mapping[str, Setting], folder: Path) -> list[Model]:
    """The models of the catalogue that these engines load, by their names or from ``folder``, where they are kept."""
    paths = [Path(model_of(engine)) for engine in _each(engines.values())]
    return [CATALOGUE[path.name] for path in paths if path.name in CATALOGUE and path.parent in (folder, Path())]


def name_of(engine: Setting) -> str:
    """An engine in words: its class and the last part of its model, as in ``PiperTextToSpeech piper-joe``."""
    return f"{str(engine['BACKEND']).rpartition('.')[2]} {Path(model_of(engine)).name}".rstrip()


def model_of(engine: Setting) -> str:
    """The option ``model`` of an engine; empty if it has none."""
    return str(engine.get("OPTIONS", {}).get("model") or "")


def lacks(engines: Mapping[str, Setting], folder: Path) -> list[str]:
    """What these engines need and what is not here, in words; empty if they can start."""
    each = list(_each(engines.values()))
    packages = [name for engine in each for name in PACKAGES.get(engine["BACKEND"], ())]
    missing = [f"the package {name}" for name in dict.fromkeys(packages) if find_spec(name) is None]
    models = models_of(engines, folder)
    missing += [f"the model {model.name}" for model in models if missing_files(folder / model.name, model)]
    names = {model.name for model in models}
    local = [model_of(engine) for engine in each if engine["BACKEND"] in PACKAGES]
    return missing + [f"the file {path}" for path in local if Path(path).name not in names and not Path(path).exists()]


def _each(engines: Iterable[Setting]) -> Iterator[Setting]:
    """The engines, and those of a fallback one by one."""
    for engine in engines:
        if members := (engine or {}).get("OPTIONS", {}).get("engines"):
            yield from _each(members)
        elif engine:
            yield engine
