"""
The options of an engine as one frozen dataclass, made from the ``OPTIONS`` of the ``ENGINES`` setting.

An engine with many options describes each of them as a field (its meaning, its unit, the reason for its default) and
refuses values that cannot work in ``__post_init__``. The engine's class names this dataclass as its ``options_class``,
and its constructor takes an instance; ``inference.backends`` makes it. The fields are what operators write in
``ENGINES_OPTIONS``, so renaming one breaks their settings. A field with the metadata ``PATH`` may be a path, or a
mapping to paths: a "~" at its beginning is replaced by the home of the user here, and engines need not think of it. An
engine with a few options may take them as keyword arguments of its constructor instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from inference.types import EngineError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
PATH = {"is_path": True}
"""The metadata of a field that is a path, or either a path or a name."""


def parse_options(options_class: type[T], given: Mapping[str, Any], *, engine: str) -> T:
    """
    Raise a permanent ``EngineError`` for an unknown option and for a missing one that has no default.

    ``engine`` is how the error calls the engine.
    """
    known = {field.name: field for field in fields(options_class)}
    if unknown := [name for name in given if name not in known]:
        raise EngineError(
            f"{engine} has no option {_quoted(unknown)}. Its options are: {', '.join(sorted(known))}.", permanent=True
        )
    has_default = {
        name for name, field in known.items() if (field.default, field.default_factory) != (MISSING, MISSING)
    }
    if missing := [name for name in known if name not in given and name not in has_default]:
        raise EngineError(f"{engine} needs the option {_quoted(missing)}.", permanent=True)
    return options_class(
        **{name: _expanded(value) if "is_path" in known[name].metadata else value for name, value in given.items()}
    )


def _expanded(value: Any) -> Any:
    """Replace "~" by the user's home. A user who has none, and what is no path, stay as they are."""
    if isinstance(value, Mapping):
        return {name: _expanded(path) for name, path in value.items()}
    return os.path.expanduser(value) if isinstance(value, str | os.PathLike) else value


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names))
