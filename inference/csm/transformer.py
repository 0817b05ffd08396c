"""
The Llama blocks of CSM's backbone and depth decoder, as plain functions on fused weights.

Almost all of a frame's time goes into thousands of small kernels, one after the other. So fewer kernels are faster, and
none should only copy memory into another layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Attend = Callable[[int, Tensor, Tensor], Tensor]
"""(layer, q ``[B, T, heads, d]``, keys and values ``[B, T, 2 * kv_heads, d]``) -> the attention's output, like q."""


@dataclass(frozen=True, slots=True)
class _Layer:
    attention_norm: Tensor
    qkv: Tensor
    output: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


class Llama:
    """
    One stack of layers, copied from ``transformers`` with q/k/v and gate/up fused.

    The heads are in another order, the first of every group before the second, so that the queries of a group lie as
    ``attention`` expects them. The stack holds no cache: ``attend`` stores the new keys and values and returns what the
    queries gather from the cache.
    """

    def __init__(self, model: Any, config: Any, *, positions: int, device: torch.device, dtype: torch.dtype) -> None:
        """``model`` is a ``LlamaModel`` or one of CSM's of the same structure, which have no useful annotations."""

        def lift(*weights: Tensor) -> Tensor:
            return torch.cat([weight.detach().to(device, dtype) for weight in weights])

        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.groups = self.heads // self.kv_heads
        self.head_size: int = config.head_dim
        self._eps: float = config.rms_norm_eps
        shape = self.kv_heads, self.groups, self.head_size
        self.layers = [
            _Layer(
                attention_norm=lift(layer.input_layernorm.weight),
                qkv=lift(
                    layer.self_attn.q_proj.weight.unflatten(0, shape).transpose(0, 1).flatten(0, 2),
                    layer.self_attn.k_proj.weight,
                    layer.self_attn.v_proj.weight,
                ),
                output=lift(layer.self_attn.o_proj.weight.unflatten(1, shape).transpose(1, 2).flatten(1)),
                mlp_norm=lift(layer.post_attention_layernorm.weight),
                gate_up=lift(layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight),
                down=lift(layer.mlp.down_proj.weight),
            )
            for layer in model.layers
        ]
        self._norm = lift(model.norm.weight)
        # The scaled angles come from transformers, which implements all kinds of scaling.
        cos, sin = model.rotary_emb(torch.zeros(1, 1, dtype=torch.float32), torch.arange(positions)[None])
        self.cos, self.sin = cos[0].to(device, dtype)[:, None], signed_sine(sin[0]).to(device, dtype)[:, None]
        hidden = torch.ones(positions, positions, dtype=torch.bool).triu(1)
        self.masks = torch.zeros(positions, positions).masked_fill(hidden, float("-inf")).to(device, dtype)
        """For each position, what is added to its scores: 0 where it may look, else minus infinity. Made once, because
        every attention kernel expects a mask that can be added."""

    def cache(self, rows: int, positions: int) -> list[Tensor]:
        """
        Keys and values of each layer, ``[rows, positions, 2 * kv_heads, head_size]``.

        Each layer has a tensor of its own: the compiler does not write in place into a part of a larger one.
        """
        shape = rows, positions, 2 * self.kv_heads, self.head_size
        return [torch.zeros(shape, device=self._norm.device, dtype=self._norm.dtype) for _ in self.layers]

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """
        ``x`` ``[B, T, H]`` at positions whose ``cos`` and ``sin`` are ``[B or 1, T, 1, d]`` -> normalised hidden states
        ``[B, T, H]``. ``x`` is overwritten.
        """
        rows, length, _ = x.shape
        x = x.view(rows * length, -1)
        for number, layer in enumerate(self.layers):
            qkv = F.linear(self._normalised(x, layer.attention_norm), layer.qkv)
            qkv = qkv.view(rows, length, self.heads + 2 * self.kv_heads, self.head_size)
            rotate_(qkv[:, :, : self.heads + self.kv_heads], cos, sin)
            gathered = attend(number, qkv[:, :, : self.heads], qkv[:, :, self.heads :])
            x = _plus_linear(x, gathered.reshape(rows * length, -1), layer.output)
            gate, up = F.linear(self._normalised(x, layer.mlp_norm), layer.gate_up).chunk(2, -1)
            x = _plus_linear(x, F.silu(gate) * up, layer.down)
        return self._normalised(x, self._norm).view(rows, length, -1)

    def _normalised(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self._eps)


def attention(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """
    Grouped-query attention: q ``[B, T, heads, d]`` over keys and values ``[B, S, kv_heads, d]`` -> like q.

    ``mask`` ``[B or 1, 1, T * groups, S]`` is added, or is boolean. The heads are in the order of ``Llama``. Instead
    of repeating keys and values, the queries of a group count as further queries: no copy, and any SDPA backend can.
    """
    folded = q.reshape(q.shape[0], -1, *keys.shape[2:]).transpose(1, 2)
    gathered = F.scaled_dot_product_attention(folded, keys.transpose(1, 2), values.transpose(1, 2), attn_mask=mask)
    return gathered.transpose(1, 2).reshape(q.shape)


def rotate_(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate ``[..., heads, d]`` in place by angles ``[..., 1, d]`` (RoPE); ``sin`` comes from ``signed_sine``."""
    first, second = x.chunk(2, dim=-1)
    swapped = torch.cat((second, first), -1)
    return x.mul_(cos).addcmul_(swapped, sin)


def signed_sine(sin: Tensor) -> Tensor:
    """The sines as ``rotate_`` expects them: negative for the first half."""
    first, second = sin.chunk(2, dim=-1)
    return torch.cat((-first, second), -1)


def swap_rows(states: list[Tensor], a: int, b: int) -> None:
    """Swap two rows of each state. Unlike indexing with a list, this does not wait for the host."""
    for state in states:
        kept = state[a].clone()
        state[a].copy_(state[b])
        state[b].copy_(kept)


def _plus_linear(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        return x + F.linear(h, weight)  # the compiler fuses the sum with the normalisation after it
    return x.addmm_(h, weight.t())
