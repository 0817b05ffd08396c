"""Encodes the callers' turns as context for the voice that answers to them."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.csm.context import Codes, ContextSegment
from inference.csm.engine import CsmThread
from inference.csm.mimi import MimiEncoder
from inference.csm.prompts import CALLER, Prompts
from inference.csm.rows import Slot
from inference.csm.speaker import Speaker
from inference.resampling import resample
from inference.types import Pcm

logger = logging.getLogger(__name__)

RATE_HZ = 24000
HEARD_SECONDS = 10.0
"""Only the end of a longer turn is remembered: the rest would push the agent's own voice out of the context."""
MOST_WORDS_PER_SECOND = 3.0
"""Of the text of a turn that was cut, as many words are kept as fit its sound at the pace of fast speech."""
MOST_WAITING = 16
"""Turns that may wait to be encoded. By then the thread is seconds behind, and more would only make it later."""


class CallerEncoder:
    """Encodes the turns of all callers on one thread, beside the one that speaks, and has them remembered."""

    def __init__(self, codec: Any, prompts: Prompts, thread: CsmThread) -> None:
        """``codec`` is the ``MimiModel`` of the checkpoint."""
        self._codec = codec
        self._prompts = prompts
        self._thread = thread
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="csm-hearing")
        self._room = threading.Semaphore(MOST_WAITING)

    def encode_turn(self, slot: Slot, text: str, pcm: Pcm, rate_hz: int, *, before: int, speaker: int = CALLER) -> None:
        """
        Have a turn of the caller remembered, before the reply of that number if there is one by then. Never waits.

        With ``speaker`` it is one of the agent, said before this voice took over the call.

        A turn for which there is no time is left out, and counted as ``unheard``.
        """
        if not text.strip() or not self._thread.alive:
            return
        if not self._room.acquire(blocking=False):
            self._thread.counts["unheard"] += 1
            return
        pcm = pcm[-int(HEARD_SECONDS * rate_hz) :].copy()
        text = " ".join(text.split()[-int(MOST_WORDS_PER_SECOND * len(pcm) / rate_hz + 2) :])

        def encode() -> None:
            try:
                sound = resample(pcm, rate_hz, RATE_HZ).astype(np.float32) / np.float32(32768)
                codes = encode_by_seconds(MimiEncoder(self._codec), sound)
            except Exception:
                logger.exception("Could not encode what a caller said; the voice will not remember it")
                self._thread.counts["unheard"] += 1
            else:
                segment = ContextSegment(self._prompts.tokenize(text, speaker), codes)
                self._thread.post(slot, Speaker.remember, segment, before)

        self._executor.submit(encode).add_done_callback(lambda _: self._room.release())

    def close(self) -> None:
        """Block until the turn that is being encoded is done; those that wait are left out."""
        self._executor.shutdown(cancel_futures=True)


def encode_by_seconds(encoder: MimiEncoder, sound: NDArray[np.float32]) -> Codes:
    """The codes of a whole turn. Encoding one second at a time keeps other threads from waiting long."""
    parts = [encoder.push(torch.from_numpy(sound[start : start + RATE_HZ])) for start in range(0, len(sound), RATE_HZ)]
    return torch.cat([*parts, encoder.flush()]).numpy().astype(np.int16)
