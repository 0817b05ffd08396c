"""
A CSM small enough for a test, structured like the real one: 32 codebooks, grouped queries, llama3 rope, 80 ms frames.

Its weights are random, except for a few channels without noise, so that greedy codes depend on everything that was fed
and any mistake shows. The reserved ids (the last three of every codebook) are never drawn unless ``reserved_ids`` is
set, so that the codes can be compared with ``generate()``, which would draw them.

A random model never ends a clause. With ``ends`` a clause ends like a real one, by a frame of zeros, after some 7 to 14
frames, in ``generate()`` too, greedy or sampled: the first head of the first layer looks for the last
``<|end_of_text|>``, whose score fades with the distance. Once it has faded, code 0 becomes 0, and in the depth decoder
each 0 leads to the next one.
"""

from __future__ import annotations

from functools import cache
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn

# Its classes are imported by the functions that make something of them: they take two seconds of processor time, and
# every process of tests imports this module, to collect the tests.
if TYPE_CHECKING:
    from transformers import CsmConfig, CsmForConditionalGeneration, PreTrainedTokenizerFast

CODEBOOKS = 32
CODES = 64
"""The codes of Mimi. CSM's vocabulary has three more, as the real one has."""
VOCABULARY = CODES + 3
SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>")
TEXT_VOCABULARY = 320
BOS, EOT, AUDIO, AUDIO_EOS = range(TEXT_VOCABULARY - len(SPECIAL), TEXT_VOCABULARY)

NOISE = 0.25
"""The standard deviation of the weights."""
LEVEL = 0.18
"""The scale of the codec's last layer, with which the sound is at about -23 dBFS."""
SENTENCES = (
    "Hello, this is a test call. How can I help you today?",
    "Would you like to change your booking, or shall I cancel it?",
    "One moment please, I am looking for the number.",
    "Thank you for calling. Goodbye!",
)

AUDIO_CHANNEL, TEXT_END_CHANNEL, SEEN_CHANNEL, ZERO_CHANNEL = range(4)
"""The backbone's channels without noise: this position is a frame, this position ends the text, the end of the text is
still seen, codes are zero."""
DEPTH_ZERO_CHANNEL = 0
"""The depth decoder's channel without noise: the code before was zero."""


def tiny_csm(seed: int = 0, *, ends: bool = False, reserved_ids: bool = False) -> CsmForConditionalGeneration:
    """A model in evaluation mode, float32 on the CPU, made in about 0.1 s. The module explains the options."""
    from transformers import CsmForConditionalGeneration, GenerationConfig

    model = CsmForConditionalGeneration(_config()).eval().requires_grad_(False)
    noise = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            codec = name.startswith("codec_model")
            parameter.normal_(0, 1 / sqrt(parameter[0].numel()) if codec else NOISE, generator=noise)
        elif "layer_scale" in name:
            parameter.fill_(0.3)
        elif name.startswith("codec_model") and name.endswith("conv.bias"):
            parameter.uniform_(-0.1, 0.1, generator=noise)
    for module in model.codec_model.modules():
        if hasattr(module, "embed_sum"):  # it is made of zeros, so that every code would sound the same
            module.embed_sum.normal_(generator=noise)
    last = model.codec_model.decoder.decoder_seanet.layers[-1].conv
    last.weight *= LEVEL
    last.bias *= LEVEL
    if not reserved_ids:
        model.lm_head.weight[CODES:] = 0  # a logit of zero never wins among 64 random ones
        model.depth_decoder.codebooks_head.weight[:, :, CODES:] = 0
    if ends:
        _teach_to_end(model)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.9, max_new_tokens=125, bos_token_id=BOS, pad_token_id=AUDIO
    )
    model.depth_decoder.generation_config.update(do_sample=True, temperature=0.9)
    return model


def save_tiny_csm(
    folder: Path, seed: int = 0, *, tied: bool = True, ends: bool = False, reserved_ids: bool = False
) -> Path:
    """
    Write ``tiny_csm`` with its tokenizer as a checkpoint that ``from_pretrained`` loads without a network.

    With ``tied=False`` the file has two different code tables although its config calls them tied: ``from_pretrained``
    then warns and keeps both, which a CSM engine must refuse.
    """
    model = tiny_csm(seed, ends=ends, reserved_ids=reserved_ids)
    if not tied:
        table = model.backbone_model.embed_tokens.embed_audio_tokens
        table.weight = nn.Parameter(table.weight.flip(0), requires_grad=False)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with the special tokens of CSM. Like Llama 3's, it begins with bos if special tokens are added."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=BOS, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == [BOS, EOT, AUDIO, AUDIO_EOS]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>", pad_token="<|AUDIO|>"
    )


def _config() -> CsmConfig:
    from transformers import CsmConfig

    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0}
    return CsmConfig(
        num_codebooks=CODEBOOKS,
        vocab_size=VOCABULARY,
        text_vocab_size=TEXT_VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        rope_parameters={
            **rope,
            "low_freq_factor": 0.125,
            "high_freq_factor": 0.5,
            "original_max_position_embeddings": 1024,
        },
        max_position_embeddings=2048,
        codebook_pad_token_id=VOCABULARY - 1,
        codebook_eos_token_id=0,
        bos_token_id=BOS,
        pad_token_id=AUDIO,
        audio_token_id=AUDIO,
        audio_eos_token_id=AUDIO_EOS,
        depth_decoder_config={
            "num_codebooks": CODEBOOKS,
            "backbone_hidden_size": 64,
            "vocab_size": VOCABULARY,
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 12,
            "rope_parameters": {
                **rope,
                "low_freq_factor": 0.001953125,
                "high_freq_factor": 0.0078125,
                "original_max_position_embeddings": 16,
            },
            "max_position_embeddings": 33,
        },
        codec_config={
            "model_type": "mimi",
            "num_filters": 4,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "codebook_size": CODES,
            "codebook_dim": 16,
            "vector_quantization_hidden_dimension": 16,
            "upsample_groups": 32,
            "num_quantizers": CODEBOOKS,
            "sliding_window": 12,  # 12 positions, two per frame, so that tests reach past it
            "frame_rate": 12.5,
        },
    )


def _teach_to_end(model: CsmForConditionalGeneration) -> None:
    backbone, depth = model.backbone_model, model.depth_decoder
    # The inputs of the channels without noise.
    codes, text = backbone.embed_tokens.embed_audio_tokens.weight, model.embed_text_tokens.weight
    codes[:, : ZERO_CHANNEL + 1] = text[:, : ZERO_CHANNEL + 1] = 0
    codes[:VOCABULARY, AUDIO_CHANNEL] = 2.0  # one codebook of each frame
    codes[::VOCABULARY, ZERO_CHANNEL] = 1.0
    text[EOT, TEXT_END_CHANNEL] = 2.0
    for layer in backbone.layers:
        layer.self_attn.o_proj.weight[: ZERO_CHANNEL + 1] = 0
        layer.mlp.down_proj.weight[: ZERO_CHANNEL + 1] = 0

    # The first head scores the last end of text with 60 cos(d / 26.6) + 20 cos(d / 137) - 72, and every other position
    # with 0. So with the distance d its weight falls from one to zero between about 7 and 12 positions.
    attention = backbone.layers[0].self_attn
    width = attention.head_dim
    attention.q_proj.weight[:width] = attention.k_proj.weight[:width] = attention.v_proj.weight[:width] = 0
    end_of_text = (text[EOT] / text[EOT].square().mean().sqrt())[TEXT_END_CHANNEL]
    frame = 2.0 / sqrt(CODEBOOKS * NOISE**2)
    for pair, share in ((2, 60.0), (3, 20.0), (width // 2 - 1, -72.0)):  # by the frequency of the rope
        attention.q_proj.weight[pair, AUDIO_CHANNEL] = share * sqrt(width) / frame
        attention.k_proj.weight[pair, TEXT_END_CHANNEL] = 1 / end_of_text
    attention.v_proj.weight[0, TEXT_END_CHANNEL] = 1 / end_of_text
    attention.o_proj.weight[:, :width] = 0
    attention.o_proj.weight[SEEN_CHANNEL, 0] = 3.0
    model.lm_head.weight[0] = 0
    model.lm_head.weight[0, AUDIO_CHANNEL], model.lm_head.weight[0, SEEN_CHANNEL] = 200.0, -200.0

    # Each zero leads to the next one.
    project = depth.model.inputs_embeds_projector.weight
    project[DEPTH_ZERO_CHANNEL] = 0
    project[DEPTH_ZERO_CHANNEL, ZERO_CHANNEL] = 8.0
    for layer in depth.model.layers:
        layer.self_attn.o_proj.weight[DEPTH_ZERO_CHANNEL] = 0
        layer.mlp.down_proj.weight[DEPTH_ZERO_CHANNEL] = 0
    depth.codebooks_head.weight[:, :, 0] = 0
    depth.codebooks_head.weight[:, DEPTH_ZERO_CHANNEL, 0] = 30.0
