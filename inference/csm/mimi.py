"""
Mimi, CSM's codec, as a stream: codes to sound for many calls at once, and a caller's sound to codes.

``transformers`` decodes only whole utterances: it loses what its convolutions would carry from one piece to the next,
and it reads padding sizes back from the device. So this module has its own decoder on the codec's weights. Because it
carries its state, decoding frame by frame gives the same sound as decoding the whole. Encoding already streams in
``transformers``.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.csm.transformer import attention, rotate_, signed_sine, swap_rows
from inference.types import EngineError


class MimiDecoder:
    """
    One frame (80 ms) of sound per step and row. The codec must be on its final device, with its final dtype.

    Each row carries the inputs that the kernel of each convolution still reaches, the sound that each transposed
    convolution owes to the next frame, and the transformer's keys and values in a ring buffer. Rows are independent of
    each other and may be at any point of their speech.
    """

    def __init__(self, codec: Any, slots: int) -> None:
        """``codec`` is a ``MimiModel`` of ``transformers``, whose parts have no useful annotations."""
        config, decoder = codec.config, codec.decoder
        if (
            decoder.upsample is None
            or not config.use_causal_conv
            or config.trim_right_ratio != 1.0
            or config.pad_mode != "constant"
            or config.use_conv_shortcut
            or config.num_key_value_heads != config.num_attention_heads
        ):
            raise EngineError("The codec of the checkpoint is not a causal Mimi.", permanent=True)
        self.slots = slots
        """The number of rows that a step works on."""
        self.rate_hz: int = config.sampling_rate
        self.frame_samples: int = config.frame_size
        self._transformer = decoder.decoder_transformer
        self._upsample: nn.ConvTranspose1d = decoder.upsample.conv
        self._seanet = [_parts(layer) for layer in decoder.decoder_seanet.layers]
        weight = self._upsample.weight
        device, dtype = weight.device, weight.dtype
        self._table, self._offsets = _latents(codec.quantizer)
        """The table of what each code adds to the latent, and the row at which each codebook begins."""
        parts = [self._upsample, *chain(*self._seanet)]
        convolutions = [part for part in parts if isinstance(part, nn.Conv1d | nn.ConvTranspose1d)]
        self._carried = [torch.zeros(slots, *_carried_shape(conv), device=device, dtype=dtype) for conv in convolutions]
        """The values that each convolution carries to the next frame, for each row."""
        self._window: int = config.sliding_window
        """The number of positions that the transformer looks back, the current one included."""
        self._steps: int = config.latent_stride
        """Positions of the transformer per frame."""
        # A frame is written before it is read, and must not overwrite what its first position still sees.
        ring = self._window + self._steps - 1
        ring += -ring % 8  # the fast attention kernels need multiples of 8
        shape = slots, ring, config.num_attention_heads, config.head_dim
        # Each is a tensor of its own for all rows: the compiler does not write in place into a part of a larger one.
        self._rings = [[torch.zeros(shape, device=device, dtype=dtype) for _ in "kv"] for _ in self._transformer.layers]
        self._position = torch.zeros(slots, dtype=torch.long, device=device)
        """The number of positions that each row has seen."""
        self._rows = torch.arange(slots, device=device)[:, None]
        self._at = torch.arange(self._steps, device=device)
        self._ring_indices = torch.arange(ring, device=device)
        self._buckets = {slots: self}

    def bucket(self, n: int) -> MimiDecoder:
        """The decoder of the first ``n`` rows, on the same storage. Returns the same object each time."""
        if n not in self._buckets:
            view = copy(self)
            view.slots = n
            view._carried = [state[:n] for state in self._carried]
            view._position, view._rows = self._position[:n], self._rows[:n]
            self._buckets[n] = view
        return self._buckets[n]

    def swap_rows(self, a: int, b: int) -> None:
        """Swap two rows in the middle of their speech."""
        swap_rows(self._states, a, b)

    def reset(self, row: int) -> None:
        """Begin a new stream in this row."""
        # The ring too: a mask does not remove a NaN (0 * NaN is NaN).
        for state in self._states:
            state[row].zero_()

    @property
    def _states(self) -> list[Tensor]:
        return [*self._carried, self._position, *chain(*self._rings)]

    @torch.no_grad()
    def step(self, codes: Tensor, active: Tensor) -> Tensor:
        """
        ``codes`` ``[slots, K]``, ``active`` ``[slots]`` bool -> sound ``[slots, frame_samples]``, float32.

        A row that is not active keeps its state; ignore what comes for it.
        """
        active = active[:, None, None]
        carried = iter(self._carried)
        x = self._table[codes + self._offsets].sum(1)[..., None]
        x = _transposed(self._upsample, x, next(carried), active)
        x = self._transform(x.transpose(1, 2), active[:, 0, 0]).transpose(1, 2)
        for parts in self._seanet:
            x = x + _run(parts, x, carried, active) if len(parts) > 1 else _run(parts, x, carried, active)
        return x[:, 0].float()

    def _transform(self, x: Tensor, active: Tensor) -> Tensor:
        ring = self._ring_indices.shape[0]
        positions = self._position[:, None] + self._at
        newest = positions[:, -1:]
        # A row that is not active is written to as well: where no mask shows it, and where its next step will write.
        where = positions % ring
        age = (newest - self._ring_indices) % ring
        distance = positions[:, :, None] - (newest - age)[:, None]
        unseen = (distance < 0) | (distance >= self._window) | (age > newest)[:, None]
        mask = torch.zeros_like(unseen, dtype=x.dtype).masked_fill_(unseen, float("-inf"))[:, None]
        cos, sin = (part[:, :, None] for part in self._transformer.rotary_emb(x, positions))
        sin = signed_sine(sin)
        for (keys, values), layer in zip(self._rings, self._transformer.layers, strict=True):
            block = layer.self_attn
            h = layer.input_layernorm(x)
            q, k, v = (
                project(h).unflatten(-1, (-1, block.head_dim)) for project in (block.q_proj, block.k_proj, block.v_proj)
            )
            keys[self._rows, where] = rotate_(k, cos, sin)
            values[self._rows, where] = v
            gathered = attention(rotate_(q, cos, sin), keys[: self.slots], values[: self.slots], mask).flatten(2)
            x = x + layer.self_attn_layer_scale(block.o_proj(gathered))
            x = x + layer.mlp_layer_scale(layer.mlp(layer.post_attention_layernorm(x)))
        self._position.add_(self._steps * active)
        return x


class MimiEncoder:
    """
    Encodes one stream of sound at 24 kHz as it comes, into the same codes as the whole would have, frame for frame.

    No other thread may use the codec's encoder meanwhile.
    """

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._frame_samples: int = codec.config.frame_size
        self._begin()

    def _begin(self) -> None:
        self._waiting = torch.zeros(0)
        """Samples of a frame that is not complete."""
        self._keys_values: Any = None
        self._padding: Any = None

    def push(self, pcm: Tensor) -> Tensor:
        """Samples ``[n]`` from -1 to 1 -> codes ``[frames, K]`` of the frames that they complete."""
        waiting = torch.cat([self._waiting, pcm.detach().float().cpu()])
        whole = len(waiting) - len(waiting) % self._frame_samples
        self._waiting = waiting[whole:]
        return self._encode(waiting[:whole])

    def flush(self) -> Tensor:
        """The codes of the last, incomplete frame, padded with silence. The next ``push`` begins a new stream."""
        codes = self._encode(_whole_frames(self._waiting, self._frame_samples))
        self._begin()
        return codes

    @torch.no_grad()
    def _encode(self, pcm: Tensor) -> Tensor:
        if not len(pcm):
            return torch.zeros(0, self._codec.config.num_quantizers, dtype=torch.long)
        done = self._codec.encode(
            pcm.to(self._codec.device, self._codec.dtype)[None, None],
            encoder_past_key_values=self._keys_values,
            padding_cache=self._padding,
            use_streaming=True,
        )
        self._keys_values, self._padding = done.encoder_past_key_values, done.padding_cache
        return _codes(done)


def move(codec: Any, device: torch.device) -> Any:
    """Move the codec to the device. Its codebooks make a table at their first use, which would stay behind."""
    for module in codec.modules():
        if hasattr(module, "embed_sum"):
            module._embed = None
    return codec.to(device)


@torch.no_grad()
def encode(codec: Any, pcm: NDArray[np.float32]) -> NDArray[np.int16]:
    """Sound at 24 kHz, ``[n]`` from -1 to 1, in one piece -> codes ``[frames, K]``. Silence pads the last frame."""
    sound = _whole_frames(torch.from_numpy(pcm), codec.config.frame_size).to(codec.device, codec.dtype)
    return _codes(codec.encode(sound[None, None])).numpy().astype(np.int16)


def _codes(done: Any) -> Tensor:
    codes: Tensor = done.audio_codes[0].T.cpu()
    return codes


def _whole_frames(pcm: Tensor, frame_samples: int) -> Tensor:
    return F.pad(pcm, (0, -len(pcm) % frame_samples))


def _latents(quantizer: Any) -> tuple[Tensor, Tensor]:
    """
    Return what every code adds to the latent, ``[K * codes, hidden]``, and the row at which each codebook begins.

    The projections behind the codebooks are multiplied in, so that a frame is one gather and one sum. The tables of
    the real codec take 134 MB in float32.
    """
    tables = []
    for part in (quantizer.semantic_residual_vector_quantizer, quantizer.acoustic_residual_vector_quantizer):
        for layer in part.layers:
            book = layer.codebook  # its own table is made at its first use, and would stay behind when the codec moves
            table = book.embed_sum / book.cluster_usage.clamp(min=book.epsilon)[:, None]
            tables.append(table if part.output_proj is None else table @ part.output_proj.weight.detach()[..., 0].T)
    codes = len(tables[0])
    return torch.cat(tables), torch.arange(0, len(tables) * codes, codes, device=tables[0].device)


def _parts(layer: Any) -> list[nn.Module]:
    """A layer of the SEANet decoder as plain modules. More than one module is a residual block."""
    return [getattr(part, "conv", part) for part in getattr(layer, "block", [layer])]


def _carried_shape(conv: nn.Conv1d | nn.ConvTranspose1d) -> tuple[int, int]:
    if isinstance(conv, nn.ConvTranspose1d):
        return conv.out_channels, conv.kernel_size[0] - conv.stride[0]
    return conv.in_channels, (conv.kernel_size[0] - 1) * conv.dilation[0] + 1 - conv.stride[0]


def _run(parts: list[nn.Module], x: Tensor, carried: Iterator[Tensor], active: Tensor) -> Tensor:
    for part in parts:
        if isinstance(part, nn.ConvTranspose1d):
            x = _transposed(part, x, next(carried), active)
        elif isinstance(part, nn.Conv1d):
            x = _causal(part, x, next(carried), active)
        else:
            x = part(x)
    return x


def _causal(conv: nn.Conv1d, x: Tensor, carried: Tensor, active: Tensor) -> Tensor:
    reach = carried.shape[-1]
    if reach:
        x = torch.cat([carried, x], -1)
        carried.copy_(torch.where(active, x[..., -reach:], carried))
    y: Tensor = conv(x)
    return y


def _transposed(conv: nn.ConvTranspose1d, x: Tensor, carried: Tensor, active: Tensor) -> Tensor:
    y: Tensor = conv(x)
    owed = carried.shape[-1]
    if not owed:
        return y
    y = torch.cat([y[..., :owed] + carried, y[..., owed:]], -1)
    # Every frame adds the bias, so what is carried must not contain it.
    rest = y[..., -owed:] if conv.bias is None else y[..., -owed:] - conv.bias[:, None]
    carried.copy_(torch.where(active, rest, carried))
    return y[..., :-owed]
