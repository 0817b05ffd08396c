"""Parses the options that the commands for engines share."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError


def add_profile(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--profile",
        choices=tuple(settings.ENGINES_PROFILES),
        default=settings.ENGINES_PROFILE,
        help="the engines to use (default: ENGINES_PROFILE, which is %(default)s)",
    )


def local_path(text: str) -> Path:
    """A path on the command line. The shell does not replace the "~" of `--from=~/weights`."""
    if not text.strip():
        raise ArgumentTypeError("it is empty: name a folder")
    return Path(os.path.expanduser(text))


def engines_of(profile: str) -> dict[str, Any]:
    """The engines of the profile. For the profile in use this is ``ENGINES``, which may have options of its own."""
    own: dict[str, Any] = settings.ENGINES
    return own if profile == settings.ENGINES_PROFILE else settings.ENGINES_PROFILES[profile]


def what_is_not_set(profile: str) -> str:
    """What the engines of the profile need and is not set, as a sentence; empty if nothing is missing."""
    missing = settings.ENGINES_MISSING.get(profile, [])
    return f"Not set: {', '.join(missing)}." if missing else ""


def title_of(profile: str) -> str:
    """Name the engines that a command uses: the profile, and what replaces engines of it."""
    return f"{profile} with {settings.ENGINES_REPLACED}" if settings.ENGINES_REPLACED else profile


def interruptible(handle: Callable[..., None]) -> Callable[..., None]:
    """Let Ctrl-C end a command with one line instead of a traceback."""

    @wraps(handle)
    def wrapper(*args: Any, **options: Any) -> None:
        try:
            handle(*args, **options)
        except KeyboardInterrupt:
            raise CommandError("Stopped.", returncode=130) from None

    return wrapper
