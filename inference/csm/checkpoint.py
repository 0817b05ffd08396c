"""A CSM checkpoint as ``transformers`` stores it: loaded, and refused where it would speak nonsense."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch

from inference.types import EngineError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The model on the CPU in float32, ready to be lifted from, and the tokenizer of its text."""

    model: Any
    tokenizer: Any


def load_checkpoint(name: str, *, local_files_only: bool = False) -> Checkpoint:
    """
    From a folder or from the hub's ``name``; takes seconds, and twice the size of the weights in host memory.

    Raises a permanent ``EngineError`` for what is missing, incomplete or of another kind.
    """
    try:
        from transformers import AutoTokenizer, CsmForConditionalGeneration
        from transformers.utils import logging
    except ImportError as error:
        raise EngineError(
            f"CSM needs torch and transformers (pip install -r requirements/tts.txt): {error}", permanent=True
        ) from error
    verbosity, shows_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # what it would warn of is an error here
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        model, loading = CsmForConditionalGeneration.from_pretrained(
            name, dtype=torch.float32, local_files_only=local_files_only, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local_files_only)
    except Exception as error:  # the hub, safetensors and the tokenizer each raise their own
        raise EngineError(
            f"cannot load the CSM checkpoint {name!r}: {error}. Accept its licence on the hub and log in there once, "
            "or bring the folder here and give it as the option `model`.",
            permanent=True,
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if shows_bars:
            logging.enable_progress_bar()
    if missing := sorted(loading["missing_keys"]):
        raise EngineError(
            f"the CSM checkpoint {name!r} lacks {len(missing)} weights, {missing[0]} among them", permanent=True
        )
    check(model, name)
    return Checkpoint(model.eval().requires_grad_(False), tokenizer)


def check(model: Any, name: str) -> None:
    """Refuse what this engine would run wrongly."""
    config, depth = model.config, model.depth_decoder.config
    tables = model.backbone_model.embed_tokens.embed_audio_tokens.weight, model.depth_decoder.model.embed_tokens.weight
    # Some versions of transformers leave one of the two at random when the checkpoint stores the other alone.
    if not torch.equal(*tables):
        raise EngineError(
            f"the code tables of the CSM checkpoint {name!r} are not tied: backbone and depth decoder would speak "
            "different languages. Save it again with transformers 5.23.",
            permanent=True,
        )
    if any(c.attention_bias or c.mlp_bias or c.hidden_act != "silu" for c in (config, depth)):
        raise EngineError(f"the CSM checkpoint {name!r} has layers of an unknown kind", permanent=True)
    if config.codec_config.codebook_size > config.vocab_size or depth.num_codebooks != config.num_codebooks:
        raise EngineError(f"the parts of the CSM checkpoint {name!r} do not fit each other", permanent=True)
    if config.codebook_eos_token_id != 0:
        raise EngineError(f"the CSM checkpoint {name!r} ends its speech with another code than 0", permanent=True)
