"""Launches the steps of the model: on a GPU, each is the replay of one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from inference.csm.context import Positions
from inference.csm.model import CsmModel, Frames
from inference.types import Pcm

RECOMPILE_LIMIT = 64
"""Each step is compiled once for every bucket, and again for every engine that this process had before; torch's own
limit of 8 would leave the later ones uncompiled."""


class HostFrames(NamedTuple):
    """``Frames`` as numpy arrays."""

    pcm: Pcm
    codes: NDArray[np.int64]
    level_dbfs: NDArray[np.float32]
    flags: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    frames: Frames | None
    """The tensors in which each replay leaves its results; None for a prefill."""


class Steps:
    """
    ``buckets`` are the numbers of rows, and ``chunks`` the numbers of positions, that have a step of their own.

    Everything is captured (and compiled, if asked) when this is made. Only the thread that made it may use it. Without
    ``graphs`` the steps are plain calls, as they are where there is no GPU.
    """

    def __init__(
        self, model: CsmModel, *, buckets: Sequence[int], chunks: Sequence[int], graphs: bool, compiled: bool = False
    ) -> None:
        self._model = model
        self.buckets, self.chunks = sorted(buckets), sorted(chunks)
        cuda = model.device.type == "cuda"
        self._chunk = _HostTensor((self.chunks[-1], model.codebooks + 1), torch.long, model.device)
        """The positions to prefill."""
        self._target = _HostTensor((2,), torch.long, model.device)
        """Their row, and how many they are."""
        self._row_masks = _HostTensor((2, model.rows), torch.bool, model.device)
        self._row_masks.device_tensor = model.row_masks
        self._results: dict[int, Frames] = {}
        """On CUDA, pinned memory of the host for the results of each bucket; made at the first use."""
        self._event = torch.cuda.Event() if cuda else None  # type: ignore[no-untyped-call]  # torch has none there
        self._frame_graphs: dict[int, _Graph] = {}
        """By bucket."""
        self._prefill_graphs: dict[int, _Graph] = {}
        """By the length of the chunk."""
        if cuda:
            torch.cuda.set_device(model.length.device)  # of this thread: for its streams and events
            # For a mask over one query cuDNN would have a plan made for every shape, and gain nothing.
            torch.backends.cuda.enable_cudnn_sdp(False)
        if compiled:
            self._compile()
        if graphs:
            self._capture()

    def frame(self, rows: Sequence[int], fresh: Sequence[int]) -> HostFrames:
        """
        One frame for these rows; the arrays are valid until the next call.

        The results have an entry for every row of the bucket. ``fresh`` are the rows that were prefilled since their
        last frame.
        """
        bucket = self.bucket(max(rows) + 1)
        masks = self._row_masks.host_array
        masks.fill(False)
        masks[0, list(rows)] = True
        masks[1, list(fresh)] = True
        self._row_masks.send()
        if graph := self._frame_graphs.get(bucket):
            graph.graph.replay()
            assert graph.frames is not None
            frames = graph.frames
        else:
            frames = self._model.frame(bucket)
        return self._fetch(bucket, frames)

    def prefill(self, row: int, positions: Positions) -> None:
        """Feed at most the longest chunk to a row."""
        count = len(positions)
        length = next(chunk for chunk in self.chunks if chunk >= count)
        chunk = self._chunk.host_array
        chunk[:count] = positions
        chunk[count:length] = 0
        self._chunk.send(length)
        self._target.host_array[:] = row, count
        self._target.send()
        if graph := self._prefill_graphs.get(length):
            graph.graph.replay()
        else:
            self._prefill(length)
        self.wait()

    def bucket(self, rows: int) -> int:
        """The smallest bucket of at least so many rows."""
        return next(bucket for bucket in self.buckets if bucket >= rows)

    def wait(self) -> None:
        """Block until the device has done everything that was launched."""
        if self._event is not None:
            self._event.record()
            self._event.synchronize()

    def _prefill(self, length: int) -> None:
        target = self._target.device_tensor
        self._model.prefill(self._chunk.device_tensor[:length], target[:1], target[1:])

    def _fetch(self, bucket: int, frames: Frames) -> HostFrames:
        if self._event is None:
            return HostFrames(*(part.numpy() for part in frames))
        if bucket not in self._results:
            self._results[bucket] = Frames(
                *(torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in frames)
            )
        results = self._results[bucket]
        for on_host, on_device in zip(results, frames, strict=True):
            on_host.copy_(on_device, non_blocking=True)
        self.wait()
        return HostFrames(*(part.numpy() for part in results))

    def _compile(self) -> None:
        model = self._model
        compiled = partial(torch.compile, dynamic=False, fullgraph=True)
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
        model.step_backbone = compiled(model.step_backbone)
        model.step_depth = compiled(model.step_depth)
        model.step_codec = {bucket: compiled(model.mimi.bucket(bucket).step) for bucket in self.buckets}

    def _capture(self) -> None:
        """Capture the largest graphs first, so that the smaller ones find room in their memory."""
        # A graph keeps the priority of the stream that it was captured on, and its memory is that stream's too. So one
        # stream serves them all, with a higher priority than a language model that may share the GPU.
        stream: torch.cuda.Stream = torch.cuda.Stream(priority=-1)  # type: ignore[no-untyped-call]  # no annotation
        pool = torch.cuda.graph_pool_handle()
        for bucket in reversed(self.buckets):
            self._frame_graphs[bucket] = capture(partial(self._model.frame, bucket), pool, stream)
        # The prefills that are captured write to row 0, which holds nothing yet.
        self._target.host_array[:] = 0, 1
        self._target.send()
        for length in reversed(self.chunks):
            self._prefill_graphs[length] = capture(partial(self._prefill, length), pool, stream)
        self._model.length.zero_()
        torch.cuda.synchronize()  # the graphs may be replayed on another stream


def capture(step: Callable[[], Frames | None], pool: torch.cuda._POOL_HANDLE, stream: torch.cuda.Stream) -> _Graph:
    """Make a step one graph, in this memory pool and on this stream."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):  # compiles, tunes and allocates what must not happen while capturing
            step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        frames = step()
    return _Graph(graph, frames)


class _HostTensor:
    """A small tensor that the host writes and the device reads."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        tensor = torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda")
        self._tensor = tensor
        self.host_array = tensor.numpy()
        """The array that the host writes: the same memory as ``_tensor``, pinned on CUDA."""
        self.device_tensor = torch.zeros(shape, dtype=dtype, device=device)
        """The tensor that the device reads, after ``send``."""

    def send(self, length: int | None = None) -> None:
        """Copy the first ``length`` rows to the device, or all of them, in the order of the stream."""
        self.device_tensor[:length].copy_(self._tensor[:length], non_blocking=True)
