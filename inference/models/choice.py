"""Chooses the models that fit a machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inference.cores import CGROUP, usable_cores
from inference.models.catalogue import CATALOGUE

GB = 10**9
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


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A model, and the cores and the free memory from which it is chosen."""

    name: str
    cores: int = 1
    memory_bytes: int = 0


# The best first. A reply must begin within a second: on two cores that leaves room for the smallest models only.
_RECOGNISERS = (_Candidate("base.en", 6), _Candidate("tiny.en"))
_LANGUAGE_MODELS = (
    _Candidate("gemma3-4b-it", 12, 12 * GB),
    _Candidate("gemma3-1b-it", 4, 6 * GB),
    _Candidate("gemma3-270m-it"),
)


def choose(machine: Machine, fetched: Collection[str] = ()) -> Choice:
    """
    The best models with which this machine can hold a conversation.

    Of those, the best of the ``fetched`` ones is preferred to a better one that would have to be downloaded. For them
    it is enough that they fit into the free memory, which changes from one start to the next.
    """
    return Choice(
        stt=_best(_RECOGNISERS, machine, fetched), llm=_best(_LANGUAGE_MODELS, machine, fetched), tts="piper-joe"
    )


def _best(candidates: Sequence[_Candidate], machine: Machine, fetched: Collection[str]) -> str:
    able = [each for each in candidates if machine.cores >= each.cores]
    for each in able:
        if each.name in fetched and machine.memory_bytes >= CATALOGUE[each.name].memory_bytes:
            return each.name
    return next((each.name for each in able if machine.memory_bytes >= each.memory_bytes), candidates[-1].name)


def this_machine(*, cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> Machine:
    """Look at the machine, and at the limits of a container."""
    return Machine(usable_cores(cgroup=cgroup), _free_memory(cgroup, meminfo))


def _free_memory(cgroup: Path, meminfo: Path) -> int:
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, StopIteration):
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
        free = int(line.split()[1]) * 1024
    with suppress(OSError, ValueError):
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, max(0, limit - used))
    return free
