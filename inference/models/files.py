"""
Finds the files of a model for an engine, and says how to get those that are missing.

Nothing here reads settings: an engine gets the path of a file or a folder as an option.
"""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISREG

from inference.models.catalogue import CATALOGUE, Model, ModelFile
from inference.types import EngineError


def require(model: str, *patterns: str) -> Path:
    """
    Return the file or folder that an engine loads.

    ``model`` is the path of a file, which is returned, or of a folder. In a folder, the first of the ``patterns`` (as
    in ``*.onnx``) that anything matches must match one file, which is returned; without patterns the folder is.
    Raises a permanent ``EngineError`` that says what is missing, and how to fetch a model of the catalogue.
    """
    path = Path(os.path.expanduser(model))
    try:
        is_there = bool(model) and path.exists()
    except OSError as error:
        raise EngineError(
            f"The file or folder {model} of the option `model` cannot be opened: {error.strerror}.", permanent=True
        ) from error
    if not is_there:
        raise EngineError(_missing(model, path), permanent=True)
    if path.is_file():
        return path
    for pattern in patterns:
        found = sorted(file for file in path.glob(pattern) if file.is_file())
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise EngineError(
                f"The folder {model} of the option `model` has several files {pattern}: {names}. Name one of them.",
                permanent=True,
            )
        if found:
            return found[0]
    if not patterns:
        return path
    raise EngineError(
        f"The folder {model} of the option `model` has no {' or '.join(patterns)}.{_advice(path.name)}", permanent=True
    )


def is_path(model: str) -> bool:
    """
    Whether an engine that also takes names of a hub takes this for a path, also if nothing is there.

    A name on the hub has at most one slash, between its owner and its own name.
    """
    return model.startswith((".", "~", "/")) or model.count("/") > 1 or model.endswith("/")


def missing_files(folder: Path, model: Model) -> list[ModelFile]:
    """The files that a model needs and that are not in its folder, or have another size than they must have."""
    return [file for file in model.files if not file.document and not has_file(folder, file)]


def has_file(folder: Path, file: ModelFile) -> bool:
    """Whether the file is there and has its size. One in a folder that this user may not open is not."""
    try:
        status = (folder / file.name).stat()
    except OSError:
        return False
    return S_ISREG(status.st_mode) and file.size in (None, status.st_size)


def _missing(model: str, path: Path) -> str:
    if not model:
        return "The option `model` is empty. Give the path of a file or a folder with weights."
    if model in CATALOGUE:
        return (
            f"{model} is the name of a model, and the option `model` takes a path. Fetch it with `manage.py models "
            f"fetch {model}`, and give the folder that `manage.py models where {model}` prints."
        )
    # A name that is misspelt looks like this one; a path is not taken for a name.
    names = "" if path.name != model else " If it is meant to be a name of `manage.py models list`, it is misspelt."
    return (
        f"The file or folder {model} of the option `model` does not exist.{_advice(path.name, path.parent.name)}{names}"
    )


def _advice(*names: str) -> str:
    """How to get the model of the catalogue that has one of these names as its folder, or that has such a file."""
    known = next((CATALOGUE[name] for name in names if name in CATALOGUE), None) or _with_file(names[0])
    if known is None:
        return ""
    files = ", ".join(file.name for file in known.files)
    source = "" if known.repository else " --from FOLDER"
    return f" Fetch it with `manage.py models fetch {known.name}{source}`. Its files are {files}."


def _with_file(name: str) -> Model | None:
    models = [model for model in CATALOGUE.values() if any(file.name == name for file in model.files)]
    return models[0] if len(models) == 1 else None
