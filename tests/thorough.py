"""
The sizes of samples: one that is enough for each change, and a larger one for the night.

``make test THOROUGH=1`` takes the larger ones. The summary of the tests says which it took.
"""

from __future__ import annotations

import os
from typing import TypeVar

Size = TypeVar("Size")

THOROUGH = os.environ.get("THOROUGH", "") not in ("", "0")


def size(usual: Size, thorough: Size) -> Size:
    """The size of a sample in these tests."""
    return thorough if THOROUGH else usual
