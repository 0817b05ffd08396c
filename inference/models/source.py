"""Finds the files of a model in a local folder, such as that of a USB stick, and says why one cannot be taken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from inference.models.catalogue import Model, ModelFile
from inference.types import EngineError


@dataclass(frozen=True, slots=True)
class Found:
    """A file in the folder. ``size`` is in bytes."""

    path: Path
    size: int


def check_folder(source: Path) -> None:
    """Raise a permanent ``EngineError`` if this is no folder."""
    try:
        problem = "" if S_ISDIR(source.stat().st_mode) else "it is a file"
    except FileNotFoundError:
        problem = _dangling(source) or "there is no such folder"
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise EngineError(f"Nothing can be copied from {source}: {problem}.", permanent=True)


def find(source: Path, model: Model, file: ModelFile) -> Found | None:
    """
    The file of a model in a folder; None if nothing is in its places.

    Raises a permanent ``EngineError`` if something is there and cannot be taken.
    """
    obstacles = []
    for path in dict.fromkeys(_places(source, model, file)):
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if dangling := _dangling(path):
                obstacles.append(f"{path} cannot be read: {dangling}")
            continue
        except OSError as error:
            obstacles.append(f"{path} cannot be read: {error.strerror or error}")
            continue
        if S_ISREG(status.st_mode):
            return Found(path, status.st_size)
        obstacles.append(f"{path} is {'a folder' if S_ISDIR(status.st_mode) else 'no ordinary file'}")
    if obstacles:
        raise EngineError(f"{model.name} needs {file.name}, and {', '.join(obstacles)}.", permanent=True)
    return None


def _places(source: Path, model: Model, file: ModelFile) -> Iterator[Path]:
    """Where a file may lie in a folder: as it is stored here, or without any folders."""
    for folder in (source / model.name, source):
        yield folder / file.name
        yield folder / Path(file.name).name


def _dangling(path: Path) -> str:
    """What is wrong with a path where nothing is, if it or a folder above it is a link; empty if there is no link."""
    link = next((each for each in (path, *path.parents) if os.path.islink(each) and not os.path.exists(each)), None)
    return f"{link} is a link to {os.readlink(link)}, which is not there" if link else ""
