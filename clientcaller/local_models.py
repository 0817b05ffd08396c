"""
The weights on this machine: where they are, and which of them a conversation on it uses.

A setting may name a model of the catalogue (``inference/models/catalogue.py``) in place of a path.
"""

from pathlib import Path

from clientcaller import environment
from inference.models.catalogue import CATALOGUE
from inference.models.choice import Choice, choose, this_machine
from inference.models.files import missing_files


def models_folder() -> Path:
    """The folder of ``MODELS_FOLDER``. A user without a home, as in some containers, has one with the project."""
    try:
        cache = Path(environment.text("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        cache = Path(__file__).resolve().parent.parent / "var"
    return environment.folder("MODELS_FOLDER", cache / "client-caller" / "models")


def is_known(name: str) -> bool:
    """Whether the catalogue has a model of this name."""
    return name in CATALOGUE


def path_of(model: str) -> str:
    """The folder of a model of the catalogue, whether it is there or not. Anything else is returned as it is."""
    return str(models_folder() / model) if is_known(model) else model


def fetched_or_name(model: str) -> str:
    """The folder of a model that was fetched. Anything else is left to the engine, which may download it itself."""
    return path_of(model) if is_known(model) and is_fetched(model) else model


def is_fetched(name: str) -> bool:
    return not missing_files(models_folder() / name, CATALOGUE[name])


def choose_models() -> Choice:
    """The models that fit this machine: of those that were fetched, if there are any."""
    return choose(this_machine(), [name for name in CATALOGUE if is_fetched(name)])
