"""
Run a program of the project as ``python -m`` does, and let it return free memory to the system on SIGUSR1.

    python -m tests.benchmarks.trimmed_server clientcaller.web.server --port 8000

The C library keeps what was freed between blocks that are in use, so the resident memory of a process shows the most
that was ever in use. Behind a SIGUSR1 it shows what is in use, and a leak can be told from a peak. Linux with glibc.
"""

from __future__ import annotations

import ctypes
import gc
import runpy
import signal
import sys


def return_free_memory(*_: object) -> None:
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, return_free_memory)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
