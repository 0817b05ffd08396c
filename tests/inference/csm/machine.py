"""A model without tensors that makes any frame at once, as the test scripts it; and a caller of the engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch

from inference.csm.context import Context, ContextSegment
from inference.csm.engine import CsmThread
from inference.csm.model import ENDS, NOT_FINITE
from inference.csm.replies import Clause, SpokenReply
from inference.csm.speaker import Speaker
from inference.csm.steps import HostFrames
from inference.types import AudioChunk, EngineError

CODEBOOKS = 8
FRAME = 1920
ROWS = 4


class Machine:
    """
    Takes the place of both the model and its steps.

    ``script`` says what each frame of a row is, counted from its last prefill: a number is the code of all codebooks,
    "end" the end of speech, "nan" a NaN, "silence" a quiet frame. ``fed`` holds what each row was fed, frames included,
    as the cache of a real model would.
    """

    rows = ROWS
    positions = 600
    codebooks = CODEBOOKS
    device = torch.device("cpu")
    buckets = (1, 2, 4)

    def __init__(self) -> None:
        self.script: Callable[[int], int | str] = lambda number: number + 1 if number < 5 else "end"
        self.fed = [np.zeros((0, CODEBOOKS + 1), np.int32) for _ in range(ROWS)]
        self.last: list[np.ndarray | None] = [None] * ROWS
        """The last frame of each row, which its next step feeds."""
        self.number = [0] * ROWS
        """The number of each row's next frame."""
        self.frames_made: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        """The rows of each step, and those of them that were fresh."""
        self.breaks = False
        """Whether the next step raises what CUDA would."""
        self.stops_before: int | None = None
        """
        A step that makes this frame of a clause waits for ``go``. A test that acts meanwhile waits for ``stands``
        first: else it may act before the step.
        """
        self.go, self.stopped = threading.Event(), threading.Event()
        self.mimi = SimpleNamespace(rate_hz=24000, frame_samples=FRAME, reset=lambda row: None)

    async def stands(self) -> None:
        """Wait until the step that waits for ``go`` has begun."""
        assert await asyncio.to_thread(self.stopped.wait, 60)

    def bucket(self, rows: int) -> int:
        return next(bucket for bucket in self.buckets if bucket >= rows)

    def rewind(self, row: int, length: int) -> None:
        assert length <= len(self.fed[row])
        self.fed[row], self.last[row] = self.fed[row][:length], None

    def set_sampling(self, row: int, *, temperature: float, top_k: int, gain: float) -> None:
        pass

    def swap_rows(self, a: int, b: int, *, positions: int) -> None:
        for state in (self.fed, self.last, self.number):
            state[a], state[b] = state[b], state[a]
        assert max(len(self.fed[a]), len(self.fed[b])) <= positions

    def prefill(self, row: int, positions: np.ndarray) -> None:
        self.fed[row], self.last[row], self.number[row] = np.concatenate([self.fed[row], positions]), None, 0

    def frame(self, rows: list[int], fresh: list[int]) -> HostFrames:
        if self.breaks:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if any(self.number[row] == self.stops_before for row in rows):
            self.stopped.set()
            assert self.go.wait(60)
        self.frames_made.append((tuple(rows), tuple(fresh)))
        size = self.bucket(max(rows) + 1)
        pcm, levels = np.zeros((size, FRAME), np.int16), np.full(size, -20.0, np.float32)
        codes, flags = np.zeros((size, CODEBOOKS), np.int64), np.zeros(size, np.int64)
        for row in rows:
            if row not in fresh and (last := self.last[row]) is not None:
                self.fed[row] = np.concatenate([self.fed[row], [[*last, 0]]])
            what = self.script(self.number[row])
            self.number[row] += 1
            match what:
                case "end":
                    flags[row] = ENDS
                case "nan":
                    flags[row] = NOT_FINITE
                case "silence":
                    codes[row], levels[row] = 9 + self.number[row], -80.0
                case code:
                    codes[row], pcm[row] = code, 1000 * code
            self.last[row] = codes[row]
        return HostFrames(pcm, codes, levels, flags)


class Caller:
    """One call and what it hears."""

    def __init__(self, engine: CsmThread, prompt: ContextSegment | None = None) -> None:
        self.engine = engine
        context = Context(prompt, codebooks=CODEBOOKS, positions=599, most_seconds=24.0, keep_seconds=16.0)
        self.slot = engine.join(context, gain=1.0, loop=asyncio.get_running_loop())
        self.items: asyncio.Queue[AudioChunk | EngineError | None] = asyncio.Queue()
        """What the newest reply delivers."""
        self._replies = 0

    def say(self, *texts: str, more: bool = False) -> SpokenReply:
        """Begin a reply with these clauses. With ``more``, its text has not ended."""
        self._replies += 1
        self.items = asyncio.Queue()
        reply = SpokenReply(self.items.put_nowait, self._replies)
        self.engine.post(self.slot, Speaker.begin_reply, reply)
        text_start = 0
        for text in texts:
            self.engine.post(self.slot, Speaker.add_clauses, reply, [Clause(text, tokens(text), text_start)])
            text_start += len(text)
        if not more:
            self.engine.post(self.slot, Speaker.end_text, reply)
        return reply

    async def hears(self) -> list[AudioChunk]:
        """All of the reply; its error is raised."""
        heard = []
        while (item := await self.next_item()) is not None:
            heard.append(item)
        return heard

    async def hears_next(self) -> AudioChunk:
        item = await self.next_item()
        assert item is not None
        return item

    async def next_item(self) -> AudioChunk | None:
        item = await asyncio.wait_for(self.items.get(), 60)
        if isinstance(item, EngineError):
            raise item
        return item

    async def remembers(self) -> list[tuple[tuple[int, ...], list[int]]]:
        """The segments of the context, as tokens and the code of each frame."""
        await self.settled()
        return [(said.tokens, said.codes[:, 0].tolist()) for said in self.slot.speaker.context._said]

    async def settled(self) -> None:
        """Wait until the engine has done all that was posted, and nothing waits to be prefilled."""
        loop = asyncio.get_running_loop()
        row = self.slot.speaker.row
        while True:
            done = loop.create_future()
            self.engine._inbox.put(lambda done=done: loop.call_soon_threadsafe(done.set_result, len(row.waiting)))
            if not await done:
                return


def tokens(text: str) -> tuple[int, ...]:
    return (300, *(sum(map(ord, word)) % 200 + 1 for word in text.split()), 301)


def codes_of(chunks: list[AudioChunk]) -> list[int]:
    """The code behind each frame of the sound."""
    pcm = np.concatenate([chunk.pcm for chunk in chunks])
    return [int(value) // 1000 for value in pcm[FRAME // 2 :: FRAME]]
