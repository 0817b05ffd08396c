"""Chooses the models that fit a machine."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GB = 10**9
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class Machine:
    """``cores`` that this process may use, and ``memory_bytes`` that are free for it."""

    cores: int
    memory_bytes: int

    def __str__(self) -> str:
        return f"{self.cores} core{'s' if self.cores != 1 else ''}, {self.memory_bytes / GB:.1f} GB of memory free"


@dataclass(frozen=True, slots=True)
class Choice:
    """The names of the catalogue for each kind of engine."""

    stt: str
    llm: str
    tts: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.stt, self.llm, self.tts)


def choose(machine: Machine) -> Choice:
    """
    The best models with which this machine can still hold a conversation.

    A reply must begin within a second: on two cores that leaves room for Whisper tiny and a language model of 270M.
    """
    cores, memory = machine.cores, machine.memory_bytes
    if cores >= 12 and memory >= 12 * GB:
        llm = "gemma3-4b-it"
    elif cores >= 4 and memory >= 6 * GB:
        llm = "gemma3-1b-it"
    else:
        llm = "gemma3-270m-it"
    return Choice(stt="base.en" if cores >= 6 else "tiny.en", llm=llm, tts="piper-joe")


def this_machine(*, cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> Machine:
    """Look at the machine, and at the limits of a container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        cores = max(1, min(cores, int(quota) // int(period)))
    return Machine(cores, _free_memory(cgroup, meminfo))


def _free_memory(cgroup: Path, meminfo: Path) -> int:
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, StopIteration):
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
        free = int(line.split()[1]) * 1024
    with suppress(OSError, ValueError):
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, max(0, limit - used))
    return free
