"""
CSM for many calls at once: the state of every call as one row of fixed tensors, and the steps over them.

No step asks the host anything and every shape is fixed for a given number of rows, so that each is one CUDA graph. A
step over ``n`` rows works on the first n of the same storage: graphs captured for each number stay valid, and
``swap`` keeps those who speak in front. On a CPU the same code runs as it stands.

One frame (80 ms) is a position of the backbone, which gives code 0, and 31 further codes from the depth decoder, whose
cache starts empty each time. What is fed is a row of ``codebooks + 1`` numbers: the codes of a frame and 0, or a text
token, zeros, and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from inference.csm.mimi import MimiDecoder
from inference.csm.sampling import MOST_CANDIDATES, sample
from inference.csm.sound import finish
from inference.csm.transformer import Llama, attention

ENDS, HEAD_ZEROS, NOT_FINITE = 1, 2, 4
"""Flags of a frame: all codes that count are 0; the first four are, but not all; a number was not finite."""
HEAD = 4

Fed = NDArray[np.int32]
"""What is or shall be fed, shape ``(positions, codebooks + 1)``."""


class Frames(NamedTuple):
    """One frame for each of n rows: int16 ``[n, frame_samples]``, codes ``[n, K]``, dBFS ``[n]``, flags ``[n]``."""

    pcm: Any
    codes: Any
    level_dbfs: Any
    flags: Any


class CsmModel:
    """
    ``rows`` calls of at most ``positions - 1`` positions each, on weights lifted from a ``transformers`` model.

    The last position is where padding is written that nobody sees. ``length`` is how many positions of a row are
    fed. After feeding, ``hidden`` holds the state from which the next frame is drawn.
    """

    def __init__(
        self, source: Any, *, rows: int, positions: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        config, depth = source.config, source.depth_decoder
        self.rows, self.positions, self.device = rows, positions, device
        self.codebooks: int = config.num_codebooks
        self._ids: int = config.vocab_size
        self._usable: int = config.codec_config.codebook_size  # the ids above are reserved, and no sound

        def lift(weight: Tensor) -> Tensor:
            return weight.detach().to(device, dtype)

        self._backbone = Llama(source.backbone_model, config, positions=positions, device=device, dtype=dtype)
        self._depth = Llama(
            depth.model, config.depth_decoder_config, positions=self.codebooks, device=device, dtype=dtype
        )
        self._text_table = lift(source.embed_text_tokens.weight)
        self._code_table = lift(source.backbone_model.embed_tokens.embed_audio_tokens.weight)
        self._first_head = lift(source.lm_head.weight[: self._usable])
        self._heads = lift(depth.codebooks_head.weight[:, :, : self._usable])
        self._projector = lift(depth.model.inputs_embeds_projector.weight)
        # Projected once, the code table saves the depth decoder 31 products with the projector per frame.
        self._projected_table = F.linear(self._code_table, self._projector)
        self._offsets = torch.arange(self.codebooks, device=device) * self._ids
        self._cache = self._backbone.cache(rows, positions)
        self._depth_cache = self._depth.cache(rows, self.codebooks)
        self._positions = torch.arange(positions, device=device)
        self._depth_positions = torch.arange(self.codebooks, device=device)
        self._row_numbers = torch.arange(rows, device=device)
        self.length = torch.zeros(rows, dtype=torch.long, device=device)
        self.hidden = torch.zeros(rows, config.hidden_size, dtype=dtype, device=device)
        self.codes = torch.zeros(rows, self.codebooks, dtype=torch.long, device=device)
        self.temperature = torch.zeros(rows, device=device)
        self.top_k = torch.full((rows,), 50, dtype=torch.long, device=device)
        self.gain = torch.ones(rows, device=device)
        self.marks = torch.zeros(2, rows, dtype=torch.bool, device=device)
        """For the next frame: which rows take part, and which of them were just fed and draw without a step."""
        self.mimi = MimiDecoder(source.codec_model.to(device), rows)
        # Bound once: they may be replaced by compiled ones.
        self.step_backbone: Callable[[int], None] = self._step_backbone
        self.step_depth: Callable[[Tensor, Tensor], Tensor] = self._step_depth
        self.step_codec: dict[int, Callable[[Tensor, Tensor], Tensor]] = {}

    # One frame

    def frame(self, rows: int) -> Frames:
        """A frame for those of the first ``rows`` that ``marks`` names. What comes for the others means nothing."""
        active = self.marks[0, :rows]
        self.step_backbone(rows)
        codes = self._draw(rows)
        self.codes[:rows].copy_(torch.where(active[:, None], codes, self.codes[:rows]))
        step = self.step_codec.setdefault(rows, self.mimi.bucket(rows).step)
        audio = step(codes, active)
        pcm, level = finish(audio, self.gain[:rows])
        zeros = codes == 0
        # As transformers judges it: the last code does not count.
        ends = zeros[:, :-1].all(-1)
        finite = torch.isfinite(self.hidden[:rows]).all(-1) & torch.isfinite(audio).all(-1)
        flags = ENDS * ends + HEAD_ZEROS * (zeros[:, :HEAD].all(-1) & ~ends) + NOT_FINITE * ~finite
        return Frames(pcm, codes, level, flags)

    def _step_backbone(self, rows: int) -> None:
        """Feed their last frame to the rows that are not fresh."""
        steps = self.marks[0, :rows] & ~self.marks[1, :rows]
        x = self._code_table[self.codes[:rows] + self._offsets].sum(1)[:, None]
        positions = self.length[:rows, None].clamp_max(self.positions - 1)
        mask = (self._positions <= positions)[:, None, None]
        numbers = self._row_numbers[:rows, None]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # A row that does not step writes behind its end, where nobody looks and where its next step will write.
            keys, values = self._cache[layer, 0], self._cache[layer, 1]
            keys[numbers, :, positions] = k.transpose(1, 2)
            values[numbers, :, positions] = v.transpose(1, 2)
            return attention(q, keys[:rows], values[:rows], mask)

        hidden = self._backbone(x, positions, attend)[:, 0]
        self.hidden[:rows].copy_(torch.where(steps[:, None], hidden, self.hidden[:rows]))
        self.length[:rows].add_(steps)

    def _draw(self, rows: int) -> Tensor:
        """The codes of the next frame, ``[rows, codebooks]``: the depth decoder, one codebook after the other."""
        temperature, top_k = self.temperature[:rows], self.top_k[:rows]
        noise = torch.empty(self.codebooks, rows, MOST_CANDIDATES, device=self.device).exponential_()
        hidden = self.hidden[:rows]
        code = sample(F.linear(hidden, self._first_head), temperature, top_k, noise[0])
        codes = [code]
        self.step_depth(F.linear(hidden, self._projector), self._depth_positions[0])
        for book in range(1, self.codebooks):
            # At its position stands the code before it.
            x = self._projected_table[code + (book - 1) * self._ids]
            state = self.step_depth(x, self._depth_positions[book])
            code = sample(state @ self._heads[book - 1], temperature, top_k, noise[book])
            codes.append(code)
        return torch.stack(codes, dim=1)

    def _step_depth(self, x: Tensor, position: Tensor) -> Tensor:
        """``x`` ``[B, h]`` at a position that is a tensor, so that one compiled step serves them all."""
        rows = x.shape[0]
        where = position.view(1)
        mask = (self._depth_positions <= position)[None, None, None]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self._depth_cache[layer, 0, :rows], self._depth_cache[layer, 1, :rows]
            keys.index_copy_(2, where, k)
            values.index_copy_(2, where, v)
            return attention(q, keys, values, mask)

        return self._depth(x[:, None], where[None].expand(rows, 1), attend)[:, 0]

    # Feeding

    def feed(self, what: Tensor, row: Tensor, count: Tensor) -> None:
        """
        Feed the first ``count`` of ``what`` ``[T, codebooks + 1]`` to one row; both are ``[1]`` on the device.

        The rest of ``what`` is padding. It lands behind the row's end, is seen by nobody and overwritten later.
        """
        is_text = what[:, -1:].bool()
        ids = torch.where(is_text, 0, what[:, :-1])
        sound = self._code_table[ids + self._offsets].sum(1)
        text = self._text_table[torch.where(is_text, what[:, :1], 0)[:, 0]]
        x = torch.where(is_text, text, sound)[None]
        at = torch.arange(what.shape[0], device=self.device)
        positions = (self.length[row] + at).clamp_max(self.positions - 1)
        mask = (self._positions <= positions[:, None])[None, None]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self._cache[layer, 0], self._cache[layer, 1]
            keys[row[:, None], :, positions[None]] = k.transpose(1, 2)
            values[row[:, None], :, positions[None]] = v.transpose(1, 2)
            return attention(q, keys.index_select(0, row), values.index_select(0, row), mask)

        hidden = self._backbone(x, positions[None], attend)[0]
        self.hidden.index_copy_(0, row, hidden.index_select(0, count - 1))
        self.length.index_add_(0, row, count)

    # Rows

    def rewind(self, row: int, length: int) -> None:
        """Forget what was fed from this position on."""
        if not length:
            # Masked is not gone: zero times a number that is none would spoil what is summed.
            self._cache[:, :, row].zero_()
            self._depth_cache[:, :, row].zero_()
        self.length[row].fill_(length)

    def settle(self, row: int, *, temperature: float, top_k: int, gain: float) -> None:
        """How this row speaks."""
        self.temperature[row].fill_(temperature)
        self.top_k[row].fill_(min(max(top_k, 1), MOST_CANDIDATES))
        self.gain[row].fill_(gain)

    def swap(self, a: int, b: int, *, positions: int) -> None:
        """Exchange two rows, of which none is longer than ``positions``."""
        pair, swapped = [a, b], [b, a]
        used = self._cache[:, :, :, :, :positions]
        used[:, :, pair] = used[:, :, swapped]
        for state in (self.length, self.hidden, self.codes, self.temperature, self.top_k, self.gain):
            state[pair] = state[swapped]
        self.mimi.swap(a, b)

    @property
    def state_bytes(self) -> int:
        """Memory of what is kept per call, over all rows."""
        return self._cache.nbytes + self._depth_cache.nbytes


@dataclass(frozen=True, slots=True)
class _Graph:
    graph: Any
    frames: Frames | None


class Steps:
    """
    The steps as the host launches them: each one CUDA graph, or plain calls where there is no GPU.

    ``buckets`` are the numbers of rows, and ``chunks`` the numbers of positions, that have a step of their own;
    everything is captured (and compiled, if asked) when this is made. One thread may use it, the one that made it.
    """

    def __init__(
        self, model: CsmModel, *, buckets: Sequence[int], chunks: Sequence[int], graphs: bool, compiled: bool = False
    ) -> None:
        self._model = model
        self.buckets, self.chunks = sorted(buckets), sorted(chunks)
        cuda = model.device.type == "cuda"
        self._fed = _HostTensor((self.chunks[-1], model.codebooks + 1), torch.long, model.device)
        self._aim = _HostTensor((2,), torch.long, model.device)
        self._marks = _HostTensor((2, model.rows), torch.bool, model.device)
        self._marks.there = model.marks
        self._results: dict[int, Frames] = {}
        self._event = torch.cuda.Event() if cuda else None
        self._frames: dict[int, _Graph] = {}
        self._feeds: dict[int, _Graph] = {}
        if compiled:
            self._compile()
        if graphs:
            self._capture()

    def frame(self, rows: Sequence[int], fresh: Sequence[int]) -> Frames:
        """
        One frame for these rows, as numpy arrays that are valid until the next call. Rows count from 0 to the end of
        the bucket; ``fresh`` are those that were fed since their last frame.
        """
        bucket = self.bucket(max(rows) + 1)
        marks = self._marks.here
        marks.fill(False)
        marks[0, list(rows)] = True
        marks[1, list(fresh)] = True
        self._marks.send()
        if graph := self._frames.get(bucket):
            graph.graph.replay()
            assert graph.frames is not None
            frames = graph.frames
        else:
            frames = self._model.frame(bucket)
        return self._fetch(bucket, frames)

    def feed(self, row: int, what: Fed) -> None:
        """Feed at most the longest chunk to a row."""
        count = len(what)
        length = next(chunk for chunk in self.chunks if chunk >= count)
        here = self._fed.here
        here[:count] = what
        here[count:length] = 0
        self._fed.send(length)
        self._aim.here[:] = row, count
        self._aim.send()
        if graph := self._feeds.get(length):
            graph.graph.replay()
        else:
            self._feed(length)
        self.wait()

    def bucket(self, rows: int) -> int:
        """The smallest bucket of at least so many rows."""
        return next(bucket for bucket in self.buckets if bucket >= rows)

    def wait(self) -> None:
        """Until the device has done all that it was told."""
        if self._event is not None:
            self._event.record()
            self._event.synchronize()

    def _feed(self, length: int) -> None:
        self._model.feed(self._fed.there[:length], self._aim.there[:1], self._aim.there[1:])

    def _fetch(self, bucket: int, frames: Frames) -> Frames:
        if self._event is None:
            return Frames(*(part.numpy() for part in frames))
        if bucket not in self._results:
            self._results[bucket] = Frames(
                *(torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in frames)
            )
        host = self._results[bucket]
        for here, there in zip(host, frames, strict=True):
            here.copy_(there, non_blocking=True)
        self.wait()
        return Frames(*(part.numpy() for part in host))

    def _compile(self) -> None:
        model = self._model

        def compiled(function: Any) -> Any:
            return torch.compile(function, dynamic=False, fullgraph=True)

        model.step_backbone = compiled(model.step_backbone)
        model.step_depth = compiled(model.step_depth)
        model.step_codec = {bucket: compiled(model.mimi.bucket(bucket).step) for bucket in self.buckets}

    def _capture(self) -> None:
        """From the largest down, so that the smaller ones find room in the memory of the larger."""
        pool = torch.cuda.graph_pool_handle()
        for bucket in reversed(self.buckets):
            self._frames[bucket] = self._captured(lambda bucket=bucket: self._model.frame(bucket), pool)
        for length in reversed(self.chunks):
            # Written where row 0 keeps nothing yet.
            self._aim.here[:] = 0, 1
            self._aim.send()
            self._feeds[length] = self._captured(lambda length=length: self._feed(length), pool)
        self._model.length.zero_()

    @staticmethod
    def _captured(step: Callable[[], Frames | None], pool: Any) -> _Graph:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # compiles, tunes and allocates what must not happen while capturing
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            frames = step()
        return _Graph(graph, frames)


class _HostTensor:
    """A small tensor that the host writes and the device reads: ``here`` as numpy, ``there`` on the device."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        tensor = torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda")
        self._tensor = tensor
        self.here = tensor.numpy()
        self.there = torch.zeros(shape, dtype=dtype, device=device)

    def send(self, length: int | None = None) -> None:
        """Copy (the first ``length`` of) it over, in the order of the stream."""
        self.there[:length].copy_(self._tensor[:length], non_blocking=True)
