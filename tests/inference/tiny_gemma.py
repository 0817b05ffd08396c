"""
A Gemma 3 that is small enough for a test, and is loaded and served by the same code as the real one.

Its weights are written by hand, without training. The output layer is a chain: each word is followed by the next word
of its reply. Attention looks for a key word among the last few words, which chooses the first word of the reply. The
answer therefore depends on the last question and is known exactly. The reply to ``COUNT`` never ends.
"""

from __future__ import annotations

from pathlib import Path

WINDOW = 16
"""The number of words that attention sees: those of the last question only."""
COUNT = "count"
ANSWERS = {
    "time": "We open at nine and shut before half past six.",
    "Where": "You will find us in Mill Lane behind the station.",
    COUNT: " ".join(["Certainly", *map(str, range(1, 301))]),
}
"""Key words, and the reply to a question that contains each. The reply to ``COUNT`` continues with 1 after its end."""
OTHERWISE = "I can not help you there."
"""The reply to a question without a key word."""
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
TEMPLATE = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}"
    "{%- set first = messages[0]['content'] + '\n\n' -%}{%- set turns = messages[1:] -%}"
    "{%- else -%}{%- set first = '' -%}{%- set turns = messages -%}{%- endif -%}"
    "{%- for turn in turns -%}"
    "{%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif -%}"
    "{{ '<start_of_turn>' + ('model' if turn['role'] == 'assistant' else 'user') + '\n'"
    " + (first if loop.first else '') + turn['content'] | trim + '<end_of_turn>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)
"""The chat template of Gemma, for text."""
CERTAIN = 20.0
"""How far the right word leads all others, in nats: so far that the temperature changes nothing."""


def make_tiny_gemma(folder: Path) -> Path:
    """Write a model that ``transformers`` can load to ``folder``, and return the folder."""
    import torch
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, GenerationConfig, PreTrainedTokenizerFast

    cut = pre_tokenizers.Split(Regex(r" ?\w+|\n|[^\w\n]"), "isolated")
    replies = [[word for word, _ in cut.pre_tokenize_str(reply)] for reply in (*ANSWERS.values(), OTHERWISE)]
    keys = [(key, f" {key}") for key in ANSWERS]
    chain_words = [word for reply in replies for word in reply if word != "."]
    assert len(set(chain_words)) == len(chain_words), "every word may have only one successor"
    words = [*SPECIAL, "\n", "user", "model", ".", "?", ",", *chain_words]
    words += [form for forms in keys for form in forms if form not in words]
    number = {word: index for index, word in enumerate(words)}

    tokenizer = Tokenizer(models.WordLevel(number, unk_token="<unk>"))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        pad_token="<pad>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)

    # One channel for each word, and one for each key word that attention may find.
    width = len(words) + len(keys)
    head = 8
    config = Gemma3TextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=head,
        query_pre_attn_scalar=head,
        max_position_embeddings=8192,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"],
        pad_token_id=number["<pad>"],
        eos_token_id=number["<eos>"],
        bos_token_id=number["<bos>"],
        tie_word_embeddings=False,
    )
    model = Gemma3ForCausalLM(config).eval()
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    state["model.embed_tokens.weight"][range(len(words)), range(len(words))] = 1
    for layer in range(2):
        # Gemma's norms multiply by 1 + weight: -1 removes the feed-forward layers, and attention in layer 1.
        state[f"model.layers.{layer}.post_feedforward_layernorm.weight"][:] = -1
    state["model.layers.1.post_attention_layernorm.weight"][:] = -1
    for channel, forms in enumerate(keys):
        state["model.layers.0.self_attn.v_proj.weight"][channel, [number[form] for form in forms]] = 1
        state["model.layers.0.self_attn.o_proj.weight"][len(words) + channel, channel] = 1
    # After the last norm two channels of equal size are left, or one if no key word was found.
    gain = CERTAIN / (width / 2) ** 0.5
    follows = state["lm_head.weight"]
    for reply in replies:
        for word, after in zip(reply, [*reply[1:], None], strict=True):
            last = number[" 1"] if word == " 300" else number["<end_of_turn>"]
            follows[last if after is None else number[after], number[word]] = 4 * gain
    for channel, reply in enumerate(replies[:-1]):
        follows[number[reply[0]], number["\n"]] = 4 * gain
        follows[number[reply[0]], len(words) + channel] = 2 * gain
    follows[number[replies[-1][0]], number["\n"]] = 5 * gain
    model.load_state_dict(state)
    model.save_pretrained(folder)
    GenerationConfig(
        eos_token_id=[number["<eos>"], number["<end_of_turn>"]],
        pad_token_id=number["<pad>"],
        bos_token_id=number["<bos>"],
    ).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    import sys

    print(make_tiny_gemma(Path(sys.argv[1])))
