"""
CSM for many calls at once: the state of every call as one row of fixed tensors, and the computations over them.

No computation waits for the host, and every shape is fixed for a given number of rows, so that each can be one CUDA
graph. A computation over ``n`` rows works on the first n of the same storage: graphs captured for each number stay
valid, and ``swap_rows`` keeps the rows that speak in front. On a CPU the same code runs unchanged.

One frame (80 ms) is a position of the backbone, which gives code 0, and 31 further codes from the depth decoder, whose
cache starts empty each time. One position is fed as ``codebooks + 1`` numbers: the codes of a frame and 0, or a text
token, zeros, and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.csm.loudness import limit_and_quantise
from inference.csm.mimi import MimiDecoder, move
from inference.csm.sampling import MOST_CANDIDATES, gumbel_terms, sample
from inference.csm.transformer import Llama, attention, swap_rows

ENDS, HEAD_ZEROS, NOT_FINITE = 1, 2, 4
"""Flags of a frame: all codes that count are 0; the first four are, but not all; a number was NaN or infinite."""
HEAD = 4
"""Codes that decide whether a frame is almost an end. The residual codebooks behind them only add detail."""


class Frames(NamedTuple):
    """One frame for each of n rows, on the device."""

    pcm: Tensor
    """int16 ``[n, frame_samples]``."""
    codes: Tensor
    """``[n, codebooks]``."""
    level_dbfs: Tensor
    """``[n]``, root mean square."""
    flags: Tensor
    """``[n]``, ``ENDS``, ``HEAD_ZEROS`` and ``NOT_FINITE`` added up."""


class _Codebook(NamedTuple):
    """The tensors with which a step of the depth decoder draws a code of one codebook; all are parts of larger ones."""

    table: Tensor
    """The table of the codebook before it, projected: what the step is fed."""
    position: Tensor
    cos: Tensor
    sin: Tensor
    mask: Tensor
    head: Tensor


class CsmModel:
    """
    ``rows`` calls of at most ``positions - 1`` positions each, on weights copied from a ``transformers`` model.

    Padding is written to the last position, or behind the end of a row, where no mask lets it be seen.
    """

    def __init__(
        self, source: Any, *, rows: int, positions: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        """``source`` is a ``CsmForConditionalGeneration``, whose parts have no useful annotations."""
        config, depth = source.config, source.depth_decoder
        self.rows, self.positions, self.device = rows, positions, device
        self.codebooks: int = config.num_codebooks
        self._ids: int = config.vocab_size
        """Ids of one codebook in the tables, reserved ones included."""
        self._usable: int = config.codec_config.codebook_size
        """Ids of one codebook that stand for sound; those above are reserved."""

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
        # Projecting the code table once saves the depth decoder 31 products with the projector per frame.
        self._projected_tables = F.linear(self._code_table, self._projector).view(self.codebooks, self._ids, -1)
        self._offsets = torch.arange(self.codebooks, device=device) * self._ids
        """The row of the code table at which the ids of each codebook begin."""
        self._cache = self._backbone.cache(rows, positions)
        self._depth_cache = self._depth.cache(rows, self.codebooks)
        self._positions = torch.arange(positions, device=device)
        depth_positions = torch.arange(self.codebooks, device=device)
        self._codebooks = [self._codebook(number, depth_positions) for number in range(2, self.codebooks)]
        """From the third codebook on; the first two are drawn otherwise."""
        two = self._depth.masks[:2, None].expand(-1, self._depth.groups, -1).flatten(0, 1)
        self._first_two = depth_positions[:2], self._depth.cos[:2], self._depth.sin[:2], two
        """Positions, cosines, sines and mask of the step that is fed the backbone's state and code 0 together."""
        self._row_numbers = torch.arange(rows, device=device)
        self.length = torch.zeros(rows, dtype=torch.long, device=device)
        """The number of positions that each row was fed."""
        self.hidden = torch.zeros(rows, config.hidden_size, dtype=dtype, device=device)
        """The backbone's state at the last position of each row, from which the next frame is drawn."""
        self.codes = torch.zeros(rows, self.codebooks, dtype=torch.long, device=device)
        """The last frame of each row, which its next step feeds."""
        self.temperature = torch.zeros(rows, device=device)
        """0 is greedy."""
        self.top_k = torch.full((rows,), 50, dtype=torch.long, device=device)
        self.gain = torch.ones(rows, device=device)
        """A factor on the sound, so that every voice has the same level."""
        self.row_masks = torch.zeros(2, rows, dtype=torch.bool, device=device)
        """For the next frame: which rows take part, and which of them were just prefilled and draw without a step."""
        self.mimi = MimiDecoder(move(source.codec_model, device), rows)
        # These are attributes, because compiled functions may replace them.
        self.step_backbone: Callable[[int], None] = self._step_backbone
        self.step_depth: Callable[[Tensor, _Codebook, Tensor, Tensor], Tensor] = self._step_depth
        self.step_codec: dict[int, Callable[[Tensor, Tensor], Tensor]] = {}
        """By the number of rows."""

    def _codebook(self, number: int, positions: Tensor) -> _Codebook:
        return _Codebook(
            self._projected_tables[number - 1],
            positions[number : number + 1].clone(),  # the compiler wants it aligned to 16 bytes
            self._depth.cos[number : number + 1],
            self._depth.sin[number : number + 1],
            self._depth.masks[number : number + 1],
            self._heads[number - 1],
        )

    # -- one frame

    def frame(self, rows: int) -> Frames:
        """A frame for those of the first ``rows`` that ``row_masks`` selects. Ignore what comes for the others."""
        active = self.row_masks[0, :rows]
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
        """Feed the rows their last frame, except the fresh ones."""
        steps = self.row_masks[0, :rows] & ~self.row_masks[1, :rows]
        x = self._code_table[self.codes[:rows] + self._offsets].sum(1)
        # A row that does not step is written to behind its end, which no mask shows and its next step overwrites.
        at = self.length[:rows].clamp_max(self.positions - 1)
        numbers = self._row_numbers[:rows]
        mask = self._backbone.masks[at][:, None, None]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            cache = self._cache[layer]
            cache[numbers, at] = kv[:, 0]
            keys, values = cache[:rows].chunk(2, 2)
            return attention(q, keys, values, mask)

        cos, sin = self._backbone.cos[at][:, None], self._backbone.sin[at][:, None]
        hidden = self._backbone(x[:, None], cos, sin, attend)[:, 0]
        self.hidden[:rows].copy_(torch.where(steps[:, None], hidden, self.hidden[:rows]))
        self.length[:rows].add_(steps)

    def _draw(self, rows: int) -> Tensor:
        """The codes of the next frame, ``[rows, codebooks]``: the depth decoder, one codebook after the other."""
        candidates = min(MOST_CANDIDATES, self._usable)
        noise = torch.empty(self.codebooks, rows, candidates, device=self.device).exponential_()
        scale, bonus = gumbel_terms(noise, self.temperature[:rows], self.top_k[:rows])
        hidden = self.hidden[:rows]
        code = sample(F.linear(hidden, self._first_head), scale, bonus[0])
        codes = [code]
        # Each position is fed the code before it, the first one the state of the backbone. Two are known by now.
        x = torch.stack([F.linear(hidden, self._projector), self._projected_tables[0][code]], 1)
        code = sample(self._through_depth(x, *self._first_two)[:, 1] @ self._heads[0], scale, bonus[1])
        codes.append(code)
        for number, codebook in enumerate(self._codebooks, 2):
            code = self.step_depth(code, codebook, scale, bonus[number])
            codes.append(code)
        return torch.stack(codes, dim=1)

    def _step_depth(self, code: Tensor, codebook: _Codebook, scale: Tensor, bonus: Tensor) -> Tensor:
        """The next code. The codebook is an argument, so that one compiled step serves all of them."""
        x = codebook.table[code][:, None]
        state = self._through_depth(x, codebook.position, codebook.cos, codebook.sin, codebook.mask)[:, 0]
        return sample(state @ codebook.head, scale, bonus)

    def _through_depth(self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """``x`` ``[B, T, h]`` at ``[T]`` positions, with their angles and ``mask`` ``[T * groups or 1, S]``."""
        rows = x.shape[0]
        numbers = self._row_numbers[:rows, None]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            cache = self._depth_cache[layer]
            cache[numbers, positions] = kv
            keys, values = cache[:rows].chunk(2, 2)
            return attention(q, keys, values, mask[None, None])

        return self._depth(x, cos, sin, attend)

    # -- prefill

    def prefill(self, chunk: Tensor, row: Tensor, count: Tensor) -> None:
        """
        Feed the first ``count`` positions of ``chunk`` ``[T, codebooks + 1]`` to one row; both are ``[1]`` tensors.

        The rest of ``chunk`` is padding. It is written behind the row's end, where no mask shows it.
        """
        is_text = chunk[:, -1:].bool()
        sound = self._code_table[chunk[:, :-1].masked_fill(is_text, 0) + self._offsets].sum(1)
        text = self._text_table[chunk[:, 0] * chunk[:, -1]]
        x = torch.where(is_text, text, sound)[None]
        at = (self.length[row] + self._positions[: len(chunk)]).clamp_max(self.positions - 1)
        groups = self._backbone.groups
        mask = self._backbone.masks[at[:, None].expand(-1, groups).flatten()][None, None]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            cache = self._cache[layer]
            cache[row[:, None], at[None]] = kv
            keys, values = cache.index_select(0, row).chunk(2, 2)
            return attention(q, keys, values, mask)

        hidden = self._backbone(x, self._backbone.cos[at], self._backbone.sin[at], attend)[0]
        self.hidden.index_copy_(0, row, hidden.index_select(0, count - 1))
        self.length.index_add_(0, row, count)

    # -- rows

    def rewind(self, row: int, length: int) -> None:
        """Keep only the first ``length`` positions that the row was fed."""
        if not length:
            # A mask does not remove a NaN (0 * NaN is NaN), so zero the caches.
            for cache in (*self._cache, *self._depth_cache):
                cache[row].zero_()
        self.length[row].fill_(length)

    def set_sampling(self, row: int, *, temperature: float, top_k: int, gain: float) -> None:
        """Set how the codes of this row are drawn, and how loud its sound is."""
        self.temperature[row].fill_(temperature)
        self.top_k[row].fill_(min(max(top_k, 1), MOST_CANDIDATES))
        self.gain[row].fill_(gain)

    def swap_rows(self, a: int, b: int, *, positions: int) -> None:
        """Swap two rows, neither of which is longer than ``positions``."""
        states = (self.length, self.hidden, self.codes, self.temperature, self.top_k, self.gain)
        swap_rows([*(cache[:, :positions] for cache in self._cache), *states], a, b)
        self.mimi.swap_rows(a, b)
