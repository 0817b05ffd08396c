"""What goes wrong with the sound of a call."""

from __future__ import annotations


class MediaError(Exception):
    """Base of every error that this package raises on purpose; its message is for whoever reads the log."""
