"""Keeps Python's garbage collector from stopping a process that serves calls."""

from __future__ import annotations

import gc

THRESHOLDS = 2000, 10, 10
"""
After how many new objects the youngest are collected, and after how many collections of each age the next older. With
Python's 700, 10 and 10, and what is loaded left out, everything was collected twice a second while hundreds of requests
were waiting, which took 0.1 to 0.2 s each time.
"""


def freeze_loaded() -> None:
    """
    Leave everything that is loaded now out of later collections.

    To be called once, when a process is ready to serve. Its modules, word lists and models are some hundred thousand
    objects that are never garbage. A full collection would look at each of them, for about 0.1 s, and nobody on any
    call would hear anything meanwhile. What remains is collected less often than Python does by default.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
