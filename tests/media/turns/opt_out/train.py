"""
Trains the model that suspects a demand never to be called again, and writes its weights.

    python -m tests.media.turns.opt_out.train            # write media/turns/opt_out_weights.json
    python -m tests.media.turns.opt_out.train --check    # train without the sentences of each author, and judge those

The second command shows what to expect for words of a person whom the model has not met. README.md says where the
sentences come from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import torch

from media.turns.opt_out import Demand, judge_opt_out
from media.turns.opt_out_likelihood import WEIGHTS, features
from media.turns.opt_out_words import reduce_words

HERE = Path(__file__).parent
FILES = ("sentences", "blind", "unseen", "taught", "ordinary")
"""The files of sentences, without their ending, that the model is trained on."""
LEAST_SEEN = 4
"""A feature of fewer sentences says more about their author than about demands."""
LEAST_SEEN_ALONE = 10
"""A word of so many sentences is also taught alone, as no demand: recognition often brings back a single word."""
DEMANDS_ALONE = frozenset("unsubscribe unsubscribed remove removed delete opt dnc harassment".split())
"""Words that may be a demand alone."""
STRENGTH = 10.0
"""The weight of the sentences against that of small weights, as ``C`` in other tools."""
LEAST_WEIGHT = 0.2
"""A feature with a smaller weight is left out, and the others are fitted once more."""
STEPS = 80
"""Of the optimiser. More change no weight by more than 0.01."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words of a caller."""

    text: str
    demand: bool
    """Whether they are a plain demand never to be called again."""
    source: str
    """Their author or file."""


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model."""

    bias: float
    weights: dict[str, float]


def read(name: str) -> list[Sentence]:
    """Read the sentences of a file."""
    entries = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return [Sentence(one["text"], one["label"] == "demand", one.get("source", name)) for one in entries]


def train(sentences: Sequence[Sentence]) -> Model:
    """Fit the weights, the same ones each time."""
    sentences = [*sentences, *_words_alone(sentences)]
    found = [_features(one.text) for one in sentences]
    demands = [one.demand for one in sentences]
    counts = Counter(feature for each in found for feature in each)
    first = _fit(found, demands, sorted(feature for feature, count in counts.items() if count >= LEAST_SEEN))
    return _fit(found, demands, [name for name, weight in first.weights.items() if abs(weight) >= LEAST_WEIGHT])


def _words_alone(sentences: Sequence[Sentence]) -> list[Sentence]:
    demands = {one.text.lower().strip(" .!?") for one in sentences if one.demand}
    counts = Counter(word for one in sentences for word in {*re.findall(r"[a-z']+", one.text.lower())})
    frequent = sorted(word for word, count in counts.items() if count >= LEAST_SEEN_ALONE)
    return [Sentence(word, False, "alone") for word in frequent if word not in demands | DEMANDS_ALONE]


@cache
def _features(text: str) -> set[str]:
    return features(text, reduce_words(text))


def _fit(found: Sequence[set[str]], demands: Sequence[bool], names: Sequence[str]) -> Model:
    column = {name: number for number, name in enumerate(names)}
    rows, columns, values = [], [], []
    for row, each in enumerate(found):
        known = sorted(column[feature] for feature in each if feature in column)
        rows += [row] * len(known)
        columns += known
        values += [1 / math.sqrt(len(known))] * len(known) if known else []
    indices, size = torch.tensor([rows, columns]), (len(found), len(names))
    matrix = torch.sparse_coo_tensor(indices, torch.tensor(values, dtype=torch.float64), size, check_invariants=True)
    signs = torch.tensor([1.0 if demand else -1.0 for demand in demands], dtype=torch.float64)
    weights, bias = torch.zeros(len(names), 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    _minimise(matrix.coalesce(), signs, weights, bias)
    rounded = {name: round(value, 2) for name, value in zip(names, weights[:, 0].tolist(), strict=True)}
    return Model(round(bias.item(), 2), rounded)


def _minimise(matrix: torch.Tensor, signs: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor) -> None:
    """Minimise the logistic loss with a penalty on the squares of the weights, in place."""
    parameters = [weights.requires_grad_(), bias.requires_grad_()]
    optimiser = torch.optim.LBFGS(parameters, max_iter=STEPS, tolerance_change=1e-9, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        margins = signs * (torch.sparse.mm(matrix, weights)[:, 0] + bias)
        total = STRENGTH * torch.nn.functional.softplus(-margins).sum() + 0.5 * (weights**2).sum()
        total.backward()
        return total

    optimiser.step(loss)
    weights.detach_()
    bias.detach_()


def write(model: Model, sentences: Sequence[Sentence]) -> None:
    """Write the weights, with a digest of the sentences, so that a test notices when they no longer belong together."""
    content = {"sentences": digest(sentences), "bias": model.bias, "weights": model.weights}
    WEIGHTS.write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def digest(sentences: Sequence[Sentence]) -> str:
    """What the sentences are known by in the file of the weights."""
    lines = "\n".join(f"{one.demand} {one.text}" for one in sentences)
    return hashlib.sha256(lines.encode()).hexdigest()


def check(sentences: Sequence[Sentence]) -> None:
    """Judge the sentences of each author by a model that was trained on those of all others, and print the shares."""
    for source in sorted({one.source for one in sentences}):
        model = train([one for one in sentences if one.source != source])
        with replaced(model):
            judged = [(one.demand, judge_opt_out(one.text).demand) for one in sentences if one.source == source]
        for kind, name in ((True, "demands"), (False, "others")):
            found = Counter(demand for is_demand, demand in judged if is_demand is kind)
            count = found.total() or 1
            shares = ", ".join(f"{demand.name.lower()} {100 * found[demand] / count:.1f} %" for demand in Demand)
            print(f"{source}: {found.total()} {name}: {shares}", flush=True)


@contextmanager
def replaced(model: Model) -> Iterator[None]:
    """Judge by another model than the one on the disk."""
    with patch("media.turns.opt_out_likelihood._MODEL", (model.bias, model.weights)):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="judge the sentences of each author without them")
    options = parser.parse_args()
    sentences = [sentence for name in FILES for sentence in read(name)]
    if options.check:
        check(sentences)
        return
    model = train(sentences)
    write(model, sentences)
    print(f"{len(model.weights)} weights from {len(sentences)} sentences: {WEIGHTS}")


if __name__ == "__main__":
    main()
