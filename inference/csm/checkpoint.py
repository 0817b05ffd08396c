"""Loads a CSM checkpoint as ``transformers`` stores it, and refuses one that would speak nonsense."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from inference.types import EngineError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The model on the CPU in float32, from which the engine copies its weights, and the tokenizer of its text."""

    model: Any
    """A ``CsmForConditionalGeneration``."""
    tokenizer: Any
    """A ``PreTrainedTokenizerFast``."""


def load_checkpoint(name: str, *, local_files_only: bool = False) -> Checkpoint:
    """
    Load a folder, or ``name`` from the hub. Takes seconds, and twice the size of the weights in host memory.

    Raises a permanent ``EngineError`` if the checkpoint is missing, incomplete or of another kind.
    """
    from transformers import AutoTokenizer, CsmForConditionalGeneration

    model_class: Any = CsmForConditionalGeneration  # transformers leaves from_pretrained unannotated
    try:
        with _quiet_transformers():
            model, loading = model_class.from_pretrained(
                name,
                dtype=torch.float32,
                local_files_only=local_files_only,
                output_loading_info=True,
                use_safetensors=True,  # the other format may hold code
            )
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local_files_only)
    except Exception as error:  # the hub, safetensors and the tokenizer each raise errors of their own
        raise EngineError(
            f"Cannot load the CSM checkpoint {name!r}: {error}. Accept its licence on the hub and log in there once, "
            "or copy the folder to this machine and set the option `model` to it.",
            permanent=True,
        ) from error
    if missing := sorted(loading["missing_keys"]):
        raise EngineError(
            f"The CSM checkpoint {name!r} lacks {len(missing)} weights, {missing[0]} among them.", permanent=True
        )
    check(model, name)
    return Checkpoint(model.eval().requires_grad_(False), tokenizer)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No warnings, because what they are about is an error here; and no progress bars outside a terminal."""
    from transformers.utils import logging as untyped

    logging: Any = untyped  # transformers leaves its functions unannotated
    verbosity, shows_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shows_bars:
            logging.enable_progress_bar()


def check(model: Any, name: str) -> None:
    """Refuse a ``CsmForConditionalGeneration`` that this engine would run wrongly."""
    config, depth = model.config, model.depth_decoder.config
    tables = model.backbone_model.embed_tokens.embed_audio_tokens.weight, model.depth_decoder.model.embed_tokens.weight
    # Some versions of transformers leave one of the two at random when the checkpoint stores only the other.
    if not torch.equal(*tables):
        raise EngineError(
            f"The code tables of the CSM checkpoint {name!r} are not tied, so that the depth decoder would misread "
            "the backbone's codes. Save the checkpoint again with transformers 5.23.",
            permanent=True,
        )
    if any(c.attention_bias or c.mlp_bias or c.hidden_act != "silu" for c in (config, depth)):
        raise EngineError(f"The CSM checkpoint {name!r} has layers of an unknown kind.", permanent=True)
    if config.codec_config.codebook_size > config.vocab_size or depth.num_codebooks != config.num_codebooks:
        raise EngineError(f"The parts of the CSM checkpoint {name!r} do not fit each other.", permanent=True)
    if config.codebook_eos_token_id != 0:
        raise EngineError(
            f"The CSM checkpoint {name!r} ends its speech with code {config.codebook_eos_token_id} instead of 0.",
            permanent=True,
        )
