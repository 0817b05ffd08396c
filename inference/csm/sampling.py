"""Drawing one code per row, without a wait for the host: fixed shapes, no ``multinomial``."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_CANDIDATES = 64
"""The largest ``top_k``: so many are ranked for every row, whatever each one asks for."""


def sample(logits: Tensor, temperature: Tensor, top_k: Tensor, noise: Tensor) -> Tensor:
    """
    One id per row of ``logits`` ``[B, ids]``; ``temperature`` and ``top_k`` are ``[B]``, 0 degrees is greedy.

    ``noise`` ``[B, >= MOST_CANDIDATES]`` is drawn from Exp(1): the largest of p / noise is an exact draw from p.
    """
    values, ids = logits.float().topk(min(MOST_CANDIDATES, logits.shape[-1]), dim=-1)
    rank = torch.arange(values.shape[1], device=values.device)
    values = (values / temperature.clamp_min(1e-5)[:, None]).masked_fill(rank >= top_k[:, None], float("-inf"))
    drawn = (torch.softmax(values, -1) / noise[:, : values.shape[1]]).argmax(-1)
    return ids.gather(1, torch.where(temperature > 0, drawn, 0)[:, None])[:, 0]
