"""Defines the ``OPTIONS`` of ``CsmTextToSpeech``."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.options import PATH
from inference.types import EngineError

LEAST_POSITIONS = 512
"""Room for a voice of 8 s (130), one clause of the greatest length (330) and a little memory of the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsmOptions:
    model: str = field(default="sesame/csm-1b", metadata=PATH)
    """A folder with a checkpoint, or the checkpoint's name on the Hugging Face hub."""

    voices: str = field(default="", metadata=PATH)
    """The folder with ``<name>.wav`` and ``<name>.txt`` of each voice. Without it, each call gets a random voice."""

    voice: str = ""
    """The name of the default voice. Empty: the first one of the folder in alphabetical order."""

    device: str = "auto"
    """``cuda``, ``cpu`` or ``auto``, which chooses CUDA if torch finds a GPU. A CPU is only fast enough for tests."""

    dtype: str = "auto"
    """The number format of the weights: ``bfloat16``, ``float16``, ``float32`` or ``auto``, which is bfloat16 on CUDA
    (half the memory traffic, which limits the speed) and float32 on a CPU."""

    slots: int = 32
    """The number of calls that can be open at once. By estimate, an H100 needs 7 to 9 ms of each 80 ms for 32."""

    positions: int = 1024
    """Positions of the model for each call, at least 512. A second of speech takes 12.5, a word about 1.3. The default
    holds a voice of 10 s, 24 s of conversation and the longest clause."""

    lead: float = 0.5
    """Seconds of audio that are made ahead of what the caller hears. More survives longer hiccups of the GPU, less
    wastes less work when the caller interrupts."""

    max_load: float = 0.8
    """The share of the time that frames may take if all calls speak at once, by what was measured. A call that would
    exceed it is refused. What remains is for hiccups."""

    temperature: float = 0.9
    """The freedom with which codes are drawn; 0 is greedy. 0.9 is the default of Sesame's reference code."""

    top_k: int = 50
    """The number of likeliest codes that are candidates, from 1 to 64. 50 is the default of Sesame's reference code."""

    remember_seconds: float = 24.0
    """Seconds of conversation that the voice remembers at most, beside its own recording."""

    keep_seconds: float = 16.0
    """Seconds of conversation that remain when there were more than ``remember_seconds``. Dropping the oldest means to
    prefill the rest again, so that it should happen rarely."""

    graphs: bool | None = None
    """Whether the steps are CUDA graphs. None: on CUDA they are."""

    compiled: bool = False
    """Whether the steps are compiled by ``torch.compile``. This takes minutes at the start and makes each frame faster
    from then on."""

    hears_caller: bool = False
    """Whether the voice also remembers what the caller said, and answers to its mood. Off by default, because the model
    was not trained on telephone sound: compare both before you rely on it."""

    stall_timeout: float = 3.0
    """Seconds without any sound that is due, after which a reply fails. A frame takes milliseconds."""

    local_files_only: bool = False
    """Whether to load the checkpoint from this machine only, without asking the hub."""

    def __post_init__(self) -> None:
        if self.slots < 1 or self.positions < LEAST_POSITIONS:
            raise EngineError(
                f"CSM needs at least 1 slot of {LEAST_POSITIONS} positions; the options ask for {self.slots} of "
                f"{self.positions}.",
                permanent=True,
            )
