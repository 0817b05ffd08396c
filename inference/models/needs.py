"""What the engines of a profile need on this machine: packages, and the weights of the catalogue."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from inference.models.catalogue import CATALOGUE, Model
from inference.models.files import is_path, missing_files

PACKAGES = {
    "inference.engines.whisper.FasterWhisperSpeechToText": ("faster_whisper",),
    "inference.engines.llama_cpp.LlamaCppLanguageModel": ("xllamacpp",),
    "inference.engines.piper.PiperTextToSpeech": ("onnxruntime", "espeakng_loader"),
    "inference.engines.kokoro.KokoroTextToSpeech": ("onnxruntime", "espeakng_loader"),
}
"""The packages that an engine imports when it starts."""
TAKES_NAMES = ("inference.engines.whisper.FasterWhisperSpeechToText",)
"""Those of them that also take the name of a model, which they download themselves."""

Setting = Mapping[str, Any]
"""An engine as ``inference.backends`` takes it."""


def models_of(engines: Mapping[str, Setting], folder: Path) -> list[Model]:
    """The models of the catalogue that these engines load, by their names or from ``folder``, where they are kept."""
    return [model for engine in _each(engines.values()) if (model := _known(engine, folder))]


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
    for engine in each:
        if model := _known(engine, folder):
            missing += [f"the model {model.name}"] if missing_files(folder / model.name, model) else []
        elif _is_file(engine) and not os.path.exists(os.path.expanduser(model_of(engine))):
            missing.append(f"the file {model_of(engine)}")
    return list(dict.fromkeys(missing))


def _known(engine: Setting, folder: Path) -> Model | None:
    """The model of the catalogue that an engine loads. A hosted one may have the same name."""
    model = model_of(engine)
    if model in CATALOGUE:
        return CATALOGUE[model] if engine["BACKEND"] in PACKAGES else None
    parent, name = os.path.split(os.path.expanduser(model).rstrip("/"))
    is_kept = bool(parent) and os.path.realpath(parent) == os.path.realpath(folder)
    return CATALOGUE.get(name) if is_kept else None


def _is_file(engine: Setting) -> bool:
    """Whether the model of an engine on this machine must be there before it starts."""
    model, backend = model_of(engine), engine["BACKEND"]
    return backend in PACKAGES and bool(model) and (backend not in TAKES_NAMES or is_path(model))


def _each(engines: Iterable[Setting]) -> Iterator[Setting]:
    """The engines, and those of a fallback one by one."""
    for engine in engines:
        if members := (engine or {}).get("OPTIONS", {}).get("engines"):
            yield from _each(members)
        elif engine:
            yield engine
