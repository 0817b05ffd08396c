"""
The tiny Gemma of ``tiny_gemma.py`` as a GGUF file, which llama.cpp loads like a real one.

Its weights are written by hand, without torch: the output layer is a chain of words, and attention looks for a key word
of the last question. The tokenizer takes whole words; what is no word of the model becomes ``<unk>``, piece by piece.
"""

from __future__ import annotations

import re
from pathlib import Path

import gguf
import numpy as np

from tests.inference.tiny_gemma import ANSWERS, CERTAIN, OTHERWISE, SPECIAL, TEMPLATE, WINDOW

HEAD = 16
"""The width of attention: a channel for each key word, and more than the smallest that llama.cpp computes."""
BLOCKS = 2
CONTEXT = 2048


def make_tiny_gguf(path: Path, *, template: str | None = TEMPLATE, architecture: str = "gemma3") -> Path:
    """Write the model to ``path``, and return the path."""
    replies = [re.findall(r" ?\w+|[^\w\n]", reply) for reply in (*ANSWERS.values(), OTHERWISE)]
    keys = [(key, f" {key}") for key in ANSWERS]
    words = [*SPECIAL, "\n", "user", "model", ".", "?", ","]
    words += [word for reply in replies for word in reply if word != "."]
    words += [form for forms in keys for form in forms if form not in words]
    number = {word: index for index, word in enumerate(words)}
    width = len(words) + len(keys)

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_type("model")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(HEAD)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(WINDOW)
    _add_tokenizer(writer, words, number, template)
    for name, value in _weights(replies, keys, number, width).items():
        writer.add_tensor(name, value.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter, words: list[str], number: dict[str, int], template: str | None) -> None:
    """Words are found by their scores, as in T5; a longer one is better than its pieces."""
    control, unknown, normal = gguf.TokenType.CONTROL, gguf.TokenType.UNKNOWN, gguf.TokenType.NORMAL
    kinds = [unknown if word == "<unk>" else control if word in SPECIAL else normal for word in words]
    writer.add_tokenizer_model("t5")
    writer.add_token_list([word.replace(" ", "▁") for word in words])
    writer.add_token_scores([-float(word in SPECIAL) - 1.0 for word in words])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(number["<bos>"])
    writer.add_eos_token_id(number["<eos>"])
    writer.add_eot_token_id(number["<end_of_turn>"])
    writer.add_unk_token_id(number["<unk>"])
    writer.add_pad_token_id(number["<pad>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_remove_extra_whitespaces(False)
    if template is not None:
        writer.add_chat_template(template)


def _weights(
    replies: list[list[str]], keys: list[tuple[str, str]], number: dict[str, int], width: int
) -> dict[str, np.ndarray]:
    vocabulary = len(number)
    weights = {"token_embd.weight": np.eye(vocabulary, width), "output_norm.weight": np.ones(width)}
    for block in range(BLOCKS):
        square = {"attn_q": (HEAD, width), "attn_k": (HEAD, width), "attn_v": (HEAD, width)}
        square |= {"attn_output": (width, HEAD), "ffn_gate": (HEAD, width), "ffn_up": (HEAD, width)}
        square["ffn_down"] = (width, HEAD)
        weights |= {f"blk.{block}.{name}.weight": np.zeros(shape) for name, shape in square.items()}
        norms = {"attn_norm": width, "attn_q_norm": HEAD, "attn_k_norm": HEAD, "ffn_norm": width}
        weights |= {f"blk.{block}.{name}.weight": np.ones(size) for name, size in norms.items()}
        weights[f"blk.{block}.post_ffw_norm.weight"] = np.zeros(width)
        weights[f"blk.{block}.post_attention_norm.weight"] = np.full(width, float(block == 0))
    for channel, forms in enumerate(keys):
        weights["blk.0.attn_v.weight"][channel, [number[form] for form in forms]] = 1
        weights["blk.0.attn_output.weight"][vocabulary + channel, channel] = 1
    # After the last norm two channels of equal size are left, or one if no key word was found.
    gain = CERTAIN / (width / 2) ** 0.5
    follows = np.zeros((vocabulary, width))
    for reply in replies:
        for word, after in zip(reply, [*reply[1:], None], strict=True):
            last = number[" 1"] if word == " 300" else number["<end_of_turn>"]
            follows[last if after is None else number[after], number[word]] = 4 * gain
    for channel, reply in enumerate(replies[:-1]):
        follows[number[reply[0]], number["\n"]] = 4 * gain
        follows[number[reply[0]], vocabulary + channel] = 2 * gain
    follows[number[replies[-1][0]], number["\n"]] = 5 * gain
    weights["output.weight"] = follows
    return weights
