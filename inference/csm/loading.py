"""Loads the model and the voices, and starts the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference.csm import checkpoint as checkpoints
from inference.csm.engine import CsmThread
from inference.csm.hearing import CallerEncoder
from inference.csm.mimi import encode
from inference.csm.model import CsmModel
from inference.csm.options import CsmOptions
from inference.csm.prompts import Prompts
from inference.csm.scheduler import Scheduler
from inference.csm.steps import Steps
from inference.csm.voices import Codes, Voice, load_voice, voice_names
from inference.types import EngineError

logger = logging.getLogger(__name__)

CHUNKS = (16, 64, 128)
"""Positions that are prefilled at once, rounded up to one of these: a clause, a clause after a pause, a rebuilt
context."""
PREFILL = {"cuda": 128, "cpu": 32}
"""The most positions that are prefilled between two ticks: 2 to 4 ms on an 80 GB GPU, by estimate."""
DTYPES = ("auto", "bfloat16", "float16", "float32")


@dataclass(frozen=True, slots=True)
class LoadedCsm:
    """An engine that runs, and what calls need of its checkpoint."""

    thread: CsmThread
    prompts: Prompts
    caller_encoder: CallerEncoder | None
    """None unless the option ``hears_caller`` is set."""
    voices: dict[str, Voice]
    """By name."""
    default_voice: str
    """Empty if there are no voices."""

    def close(self) -> None:
        """Block until both threads have ended."""
        self.thread.close()
        if self.caller_encoder is not None:
            self.caller_encoder.close()


def load_csm(options: CsmOptions) -> LoadedCsm:
    """Load and start the engine: takes seconds from a disk, minutes with ``compiled``."""
    device, dtype = choose_device(options.device, options.dtype)
    checkpoint = checkpoints.load_checkpoint(options.model, local_files_only=options.local_files_only)
    config, codec = checkpoint.model.config, checkpoint.model.codec_model
    if options.positions > config.max_position_embeddings:
        raise EngineError(
            f"{options.model} has {config.max_position_embeddings} positions at most, not {options.positions}: set "
            "fewer `positions`.",
            permanent=True,
        )
    prompts = Prompts(checkpoint.tokenizer, config, options)
    fingerprint = f"{options.model} {config.codec_config.to_json_string()}"
    voices = load_voices(options, lambda pcm: encode(codec, pcm), fingerprint, check=prompts.check_room)
    buckets = [*(2**n for n in range(options.slots.bit_length()) if 2**n < options.slots), options.slots]
    cuda = device.type == "cuda"

    def make() -> tuple[CsmModel, Steps]:
        model = CsmModel(checkpoint.model, rows=options.slots, positions=options.positions, device=device, dtype=dtype)
        graphs = cuda if options.graphs is None else options.graphs
        return model, Steps(model, buckets=buckets, chunks=CHUNKS, graphs=graphs, compiled=options.compiled)

    scheduler = Scheduler(
        options.slots,
        buckets=buckets,
        lead=options.lead,
        prefill_tokens=PREFILL[device.type],
        max_load=options.max_load,
    )
    thread = CsmThread(make, scheduler, tokenize=prompts.tokenize, temperature=options.temperature, top_k=options.top_k)
    thread.start()
    return LoadedCsm(
        thread,
        prompts,
        CallerEncoder(codec, prompts, thread) if options.hears_caller else None,
        {voice.name: voice for voice in voices},
        voices[0].name if voices else "",
    )


def choose_device(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """The device and number format that these options mean here."""
    has_cuda = torch.cuda.is_available()
    chosen = torch.device(("cuda" if has_cuda else "cpu") if device == "auto" else device)
    if chosen.type not in PREFILL or dtype not in DTYPES:
        raise EngineError(
            f"CSM runs on cuda or cpu with dtype {', '.join(DTYPES)}, not on {device} with {dtype}", permanent=True
        )
    if chosen.type == "cuda" and not has_cuda:
        raise EngineError(
            "The option `device` asks for CUDA, but torch finds no GPU: is the driver installed?", permanent=True
        )
    if dtype == "auto":
        return chosen, torch.bfloat16 if chosen.type == "cuda" else torch.float32
    return chosen, getattr(torch, dtype)


def load_voices(
    options: CsmOptions,
    encode: Callable[[NDArray[np.float32]], Codes],
    fingerprint: str,
    *,
    check: Callable[[Voice], None],
) -> Sequence[Voice]:
    """The voices of the folder, the default one first. A broken default voice is an error, another one is left out."""
    if not options.voices:
        if options.voice:
            raise EngineError(
                f"There is no voice {options.voice!r}: the option `voices` names no folder.", permanent=True
            )
        logger.warning("CSM has no voice, so each call gets a random one. Set the options `voices` and `voice`.")
        return []
    folder = Path(options.voices)

    def load(name: str) -> Voice:
        voice = load_voice(folder, name, encode, fingerprint=fingerprint)
        check(voice)
        return voice

    voices = [load(options.voice)]
    for name in voice_names(folder):
        if name != voices[0].name:
            try:
                voices.append(load(name))
            except EngineError as error:
                logger.error("Left out the voice %s: %s", name, error)
    return voices
