"""
How much like a demand never to be called again the words of a caller sound, by a model that was trained on sentences.

The model is a logistic regression over the words and the pairs of words that stand next to each other, or with one word
between them; each once as the caller said them, and once as ``media.turns.opt_out_words`` reduces them. Where the rules
of ``media.turns.opt_out_rules`` know the usual forms, this knows that "mithering", "one more" and "solicitor" in one
sentence are seldom about anything else. ``tests/media/turns/opt_out/train.py`` wrote the weights.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

WEIGHTS = Path(__file__).with_name("opt_out_weights.json")
"""``{"sentences": digest, "bias": number, "weights": {feature: number}}``"""


def _read() -> tuple[float, dict[str, float]]:
    model = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return model["bias"], model["weights"]


_MODEL = _read()
"""The bias and the weight of each feature, read when the server starts: it takes about 10 ms."""
_WORD = re.compile(r"[a-z']+")


def features(text: str, said: str) -> set[str]:
    """The features of words, by name. ``said`` are the same words as ``reduce_words`` leaves them."""
    as_spoken = [f"'{word}" for word in _WORD.findall(text.lower().replace("’", "'"))]
    return {*_combine(as_spoken), *_combine(said.split())}


def _combine(words: Sequence[str]) -> Iterator[str]:
    yield from words
    bounded = ["^", *words, "$"]
    for first, second in pairwise(bounded):
        yield f"{first} {second}"
    for first, third in zip(bounded, bounded[2:], strict=False):
        yield f"{first} * {third}"


def likelihood(text: str, said: str) -> float:
    """The logarithm of the odds that words are a demand. 0 means as likely as not."""
    bias, weights = _MODEL
    known = [weights[feature] for feature in features(text, said) if feature in weights]
    return bias + math.fsum(known) / math.sqrt(max(len(known), 1))
