"""The errors of this package."""

from __future__ import annotations


class MediaError(Exception):
    """Base of the errors that this package raises on purpose; the message is for the log."""
