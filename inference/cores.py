"""How many processor cores this process may use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux shows the limits of a container."""


def usable_cores(*, cgroup: Path = CGROUP) -> int:
    """Return the cores that this process may run on, at most as many as its container may use; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        cores = min(cores, int(quota) // int(period))
    return max(1, cores)
