"""The Llama blocks of CSM's backbone and depth decoder, as plain functions on fused weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q ``[B, heads, T, d]``, k and v ``[B, kv_heads, T, d]``) -> what the queries gather, shaped like q."""


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
    One stack of layers, lifted from ``transformers`` with q/k/v and gate/up fused.

    It holds no cache: ``attend`` writes the new keys and values where it will and looks at what it may.
    """

    def __init__(self, model: Any, config: Any, *, positions: int, device: torch.device, dtype: torch.dtype) -> None:
        def lift(*weights: Tensor) -> Tensor:
            return torch.cat([weight.detach().to(device, dtype) for weight in weights])

        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_size: int = config.head_dim
        self._eps: float = config.rms_norm_eps
        self.layers = [
            _Layer(
                attention_norm=lift(layer.input_layernorm.weight),
                qkv=lift(layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight, layer.self_attn.v_proj.weight),
                output=lift(layer.self_attn.o_proj.weight),
                mlp_norm=lift(layer.post_attention_layernorm.weight),
                gate_up=lift(layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight),
                down=lift(layer.mlp.down_proj.weight),
            )
            for layer in model.layers
        ]
        self._norm = lift(model.norm.weight)
        # The scaled angles come from transformers, which knows every variety of them.
        cos, sin = model.rotary_emb(torch.zeros(1, 1, dtype=torch.float32), torch.arange(positions)[None])
        self._cos, self._sin = cos[0].to(device, dtype), sin[0].to(device, dtype)

    def cache(self, rows: int, positions: int) -> Tensor:
        """Keys and values, ``[layers, 2, rows, kv_heads, positions, head_size]``."""
        return torch.zeros(
            (len(self.layers), 2, rows, self.kv_heads, positions, self.head_size),
            device=self._norm.device,
            dtype=self._norm.dtype,
        )

    def __call__(self, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """``x`` ``[B, T, H]`` at ``positions`` ``[B, T]`` -> normalised hidden states ``[B, T, H]``."""
        rows, length, _ = x.shape
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        for number, layer in enumerate(self.layers):
            qkv = F.linear(_rms_norm(x, layer.attention_norm, self._eps), layer.qkv)
            qkv = qkv.view(rows, length, self.heads + 2 * self.kv_heads, self.head_size).transpose(1, 2)
            q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
            gathered = attend(number, rotate(q, cos, sin), rotate(k, cos, sin), v)
            x = x + F.linear(gathered.transpose(1, 2).reshape(rows, length, -1), layer.output)
            gate, up = F.linear(_rms_norm(x, layer.mlp_norm, self._eps), layer.gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        return _rms_norm(x, self._norm, self._eps)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """
    Grouped-query attention, q ``[B, heads, T, d]`` over k and v ``[B, kv_heads, S, d]``, mask ``[B or 1, 1, T, S]``.

    The queries of a group are laid end to end instead of repeating keys and values: no copy, any SDPA backend.
    """
    rows, heads, length, size = q.shape
    kv_heads = k.shape[1]
    groups = heads // kv_heads
    mask = mask[:, :, None].expand(-1, 1, groups, length, -1).reshape(mask.shape[0], 1, groups * length, -1)
    folded = q.reshape(rows, kv_heads, groups * length, size)
    return F.scaled_dot_product_attention(folded, k, v, attn_mask=mask).reshape(rows, heads, length, size)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), -1) * sin


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)
