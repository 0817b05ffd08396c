"""Draws one code per row without waiting for the host: fixed shapes, no ``multinomial``."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_CANDIDATES = 64
"""The largest ``top_k``. So many ids are ranked for every row, because all rows have one shape."""


def gumbel_terms(noise: Tensor, temperature: Tensor, top_k: Tensor) -> tuple[Tensor, Tensor]:
    """
    The ``scale`` and ``bonus`` of ``sample``, for any number of draws at once (the Gumbel-max method).

    ``noise`` ``[..., B, candidates]`` is drawn from Exp(1). ``temperature`` and ``top_k`` are ``[B]``; temperature 0 is
    greedy. The largest of logit / temperature - log(noise) is an exact draw from softmax(logit / temperature).
    """
    rank = torch.arange(noise.shape[-1], device=noise.device)
    beyond = (rank >= top_k[:, None]) | ((rank > 0) & (temperature[:, None] <= 0))
    return temperature.clamp_min(1e-5).reciprocal()[:, None], -noise.log().masked_fill(beyond, float("inf"))


def sample(logits: Tensor, scale: Tensor, bonus: Tensor) -> Tensor:
    """One id per row of ``logits`` ``[B, ids]``, with ``scale`` ``[B, 1]`` and ``bonus`` ``[B, candidates]``."""
    values, ids = logits.topk(bonus.shape[-1], dim=-1)
    return ids.gather(1, torch.addcmul(bonus, values, scale).argmax(-1, keepdim=True))[:, 0]
