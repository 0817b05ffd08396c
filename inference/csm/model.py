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

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.csm.context import Fed
from inference.csm.loudness import limit_and_quantise
from inference.csm.mimi import MimiDecoder, move
from inference.csm.sampling import MOST_CANDIDATES, luck, sample
from inference.csm.transformer import Llama, attention, exchange

ENDS, HEAD_ZEROS, NOT_FINITE = 1, 2, 4
"""Flags of a frame: all codes that count are 0; the first four are, but not all; a number was not finite."""
HEAD = 4


class Frames(NamedTuple):
    """One frame for each of n rows: int16 ``[n, frame_samples]``, codes ``[n, K]``, dBFS ``[n]``, flags ``[n]``."""

    pcm: Any
    codes: Any
    level_dbfs: Any
    flags: Any


class _Book(NamedTuple):
    """What a step of the depth decoder needs of the codebook that it draws from; all are parts of larger tensors."""

    table: Tensor
    """Of the codebook before it, projected: what is fed."""
    position: Tensor
    cos: Tensor
    sin: Tensor
    mask: Tensor
    head: Tensor


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
            return weight.detach().to(device, dtype).contiguous()

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
        self._projected_tables = F.linear(self._code_table, self._projector).unflatten(0, (self.codebooks, self._ids))
        self._offsets = torch.arange(self.codebooks, device=device) * self._ids
        self._cache = self._backbone.cache(rows, positions)
        self._depth_cache = self._depth.cache(rows, self.codebooks)
        self._positions = torch.arange(positions, device=device)
        depth_positions = torch.arange(self.codebooks, device=device)
        self._books = [
            _Book(
                self._projected_tables[book - 1],
                depth_positions[book : book + 1].clone(),  # the compiler wants it to begin at a multiple of 16 bytes
                self._depth.cos[book : book + 1],
                self._depth.sin[book : book + 1],
                self._depth.masks[book : book + 1],
                self._heads[book - 1],
            )
            for book in range(2, self.codebooks)
        ]
        two = self._depth.masks[:2, None].expand(-1, self._depth.groups, -1).flatten(0, 1)
        self._first_two = depth_positions[:2], self._depth.cos[:2], self._depth.sin[:2], two
        self._row_numbers = torch.arange(rows, device=device)
        self.length = torch.zeros(rows, dtype=torch.long, device=device)
        self.hidden = torch.zeros(rows, config.hidden_size, dtype=dtype, device=device)
        self.codes = torch.zeros(rows, self.codebooks, dtype=torch.long, device=device)
        self.temperature = torch.zeros(rows, device=device)
        self.top_k = torch.full((rows,), 50, dtype=torch.long, device=device)
        self.gain = torch.ones(rows, device=device)
        self.marks = torch.zeros(2, rows, dtype=torch.bool, device=device)
        """For the next frame: which rows take part, and which of them were just fed and draw without a step."""
        self.mimi = MimiDecoder(move(source.codec_model, device), rows)
        # Bound once: they may be replaced by compiled ones.
        self.step_backbone: Callable[[int], None] = self._step_backbone
        self.step_depth: Callable[[Tensor, _Book, Tensor, Tensor], Tensor] = self._step_depth
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
        pcm, level = limit_and_quantise(audio, self.gain[:rows])
        zeros = codes == 0
        # As transformers judges it: the last code does not count.
        ends = zeros[:, :-1].all(-1)
        finite = torch.isfinite(self.hidden[:rows]).all(-1) & torch.isfinite(audio).all(-1)
        flags = ENDS * ends + HEAD_ZEROS * (zeros[:, :HEAD].all(-1) & ~ends) + NOT_FINITE * ~finite
        return Frames(pcm, codes, level, flags)

    def _step_backbone(self, rows: int) -> None:
        """Feed their last frame to the rows that are not fresh."""
        steps = self.marks[0, :rows] & ~self.marks[1, :rows]
        x = self._code_table[self.codes[:rows] + self._offsets].sum(1)
        # A row that does not step writes behind its end, where nobody looks and where its next step will write.
        at = self.length[:rows].clamp_max(self.positions - 1)
        numbers = self._row_numbers[:rows]
        mask = self._backbone.masks[at][:, None, None]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            cache = self._cache[layer]
            cache[numbers, at] = kv[:, 0]
            return attention(q, *cache[:rows].chunk(2, 2), mask)

        cos, sin = self._backbone.cos[at][:, None], self._backbone.sin[at][:, None]
        hidden = self._backbone(x[:, None], cos, sin, attend)[:, 0]
        self.hidden[:rows].copy_(torch.where(steps[:, None], hidden, self.hidden[:rows]))
        self.length[:rows].add_(steps)

    def _draw(self, rows: int) -> Tensor:
        """The codes of the next frame, ``[rows, codebooks]``: the depth decoder, one codebook after the other."""
        candidates = min(MOST_CANDIDATES, self._usable)
        noise = torch.empty(self.codebooks, rows, candidates, device=self.device).exponential_()
        scale, bonus = luck(noise, self.temperature[:rows], self.top_k[:rows])
        hidden = self.hidden[:rows]
        code = sample(F.linear(hidden, self._first_head), scale, bonus[0])
        codes = [code]
        # At its position stands the code before it, at the first the state of the backbone. Two are known by now.
        x = torch.stack([F.linear(hidden, self._projector), self._projected_tables[0][code]], 1)
        code = sample(self._through_depth(x, *self._first_two)[:, 1] @ self._heads[0], scale, bonus[1])
        codes.append(code)
        for number, book in enumerate(self._books, 2):
            code = self.step_depth(code, book, scale, bonus[number])
            codes.append(code)
        return torch.stack(codes, dim=1)

    def _step_depth(self, code: Tensor, book: _Book, scale: Tensor, bonus: Tensor) -> Tensor:
        """The next code. What belongs to its codebook is given along, so that one compiled step serves them all."""
        x = book.table[code][:, None]
        state = self._through_depth(x, book.position, book.cos, book.sin, book.mask)[:, 0]
        return sample(state @ book.head, scale, bonus)

    def _through_depth(self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """``x`` ``[B, T, h]`` at ``[T]`` positions, with their angles and ``mask`` ``[T * groups or 1, S]``."""
        rows = x.shape[0]
        numbers = self._row_numbers[:rows, None]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            cache = self._depth_cache[layer]
            cache[numbers, positions] = kv
            return attention(q, *cache[:rows].chunk(2, 2), mask[None, None])

        return self._depth(x, cos, sin, attend)

    # Feeding

    def feed(self, what: Tensor, row: Tensor, count: Tensor) -> None:
        """
        Feed the first ``count`` of ``what`` ``[T, codebooks + 1]`` to one row; both are ``[1]`` on the device.

        The rest of ``what`` is padding. It lands behind the row's end, is seen by nobody and overwritten later.
        """
        is_text = what[:, -1:].bool()
        sound = self._code_table[what[:, :-1].masked_fill(is_text, 0) + self._offsets].sum(1)
        text = self._text_table[what[:, 0] * what[:, -1]]
        x = torch.where(is_text, text, sound)[None]
        at = (self.length[row] + self._positions[: len(what)]).clamp_max(self.positions - 1)
        groups = self._backbone.groups
        mask = self._backbone.masks[at[:, None].expand(-1, groups).flatten()][None, None]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            cache = self._cache[layer]
            cache[row[:, None], at[None]] = kv
            return attention(q, *cache.index_select(0, row).chunk(2, 2), mask)

        hidden = self._backbone(x, self._backbone.cos[at], self._backbone.sin[at], attend)[0]
        self.hidden.index_copy_(0, row, hidden.index_select(0, count - 1))
        self.length.index_add_(0, row, count)

    # Rows

    def rewind(self, row: int, length: int) -> None:
        """Forget what was fed from this position on."""
        if not length:
            # Masked is not gone: zero times a number that is none would spoil what is summed.
            for cache in (*self._cache, *self._depth_cache):
                cache[row].zero_()
        self.length[row].fill_(length)

    def settle(self, row: int, *, temperature: float, top_k: int, gain: float) -> None:
        """How this row speaks."""
        self.temperature[row].fill_(temperature)
        self.top_k[row].fill_(min(max(top_k, 1), MOST_CANDIDATES))
        self.gain[row].fill_(gain)

    def swap(self, a: int, b: int, *, positions: int) -> None:
        """Exchange two rows, of which none is longer than ``positions``."""
        states = (self.length, self.hidden, self.codes, self.temperature, self.top_k, self.gain)
        exchange([*(cache[:, :positions] for cache in self._cache), *states], a, b)
        self.mimi.swap(a, b)

    @property
    def state_bytes(self) -> int:
        """Memory of what is kept per call, over all rows."""
        return sum(cache.nbytes for cache in (*self._cache, *self._depth_cache))


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
        if cuda:
            torch.cuda.set_device(model.length.device)  # of this thread: for its streams and events
            # For a mask over one query cuDNN would have a plan made for every shape, and gain nothing.
            torch.backends.cuda.enable_cudnn_sdp(False)
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

        # Once for every bucket, and again for every engine that this process had before.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
        model.step_backbone = compiled(model.step_backbone)
        model.step_depth = compiled(model.step_depth)
        model.step_codec = {bucket: compiled(model.mimi.bucket(bucket).step) for bucket in self.buckets}

    def _capture(self) -> None:
        """From the largest down, so that the smaller ones find room in the memory of the larger."""
        # A graph keeps the priority of the stream that it was captured on, and its memory is that stream's too: one
        # for all, before the language model's that may share the GPU.
        stream = torch.cuda.Stream(priority=-1)
        pool = torch.cuda.graph_pool_handle()
        for bucket in reversed(self.buckets):
            self._frames[bucket] = _captured(lambda bucket=bucket: self._model.frame(bucket), pool, stream)
        # Written where row 0 keeps nothing yet.
        self._aim.here[:] = 0, 1
        self._aim.send()
        for length in reversed(self.chunks):
            self._feeds[length] = _captured(lambda length=length: self._feed(length), pool, stream)
        self._model.length.zero_()
        torch.cuda.synchronize()  # whoever replays them may do so on another stream


def _captured(step: Callable[[], Frames | None], pool: Any, stream: Any) -> _Graph:
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):  # compiles, tunes and allocates what must not happen while capturing
            step()
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
