"""The tiny model behaves as its module says, judged by ``transformers`` itself."""

import pytest
import torch

from tests.inference.tiny_csm import (
    BOS,
    CODEBOOKS,
    CODES,
    EOT,
    SENTENCES,
    SPECIAL,
    save_tiny_csm,
    tiny_csm,
    tiny_tokenizer,
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def prompt(text: str) -> list[int]:
    return [BOS, *tiny_tokenizer()(f"[0]{text}", add_special_tokens=False).input_ids, EOT]


def generate(model, text: str, frames: int) -> torch.Tensor:
    ids = torch.tensor([prompt(text)])
    return model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        depth_decoder_do_sample=False,
        max_new_tokens=frames,
    )[0]


def test_its_codes_depend_on_the_text_and_vary():
    model = tiny_csm()
    first, second = (generate(model, text, 12) for text in SENTENCES[:2])
    assert first.shape == (12, CODEBOOKS)
    assert (first == second).float().mean() < 0.2
    assert len(first[:, 0].unique()) > 6
    assert max(first.max(), second.max()) < CODES


@pytest.mark.parametrize("text", SENTENCES)
def test_with_ends_it_ends_a_clause(text):
    codes = generate(tiny_csm(ends=True), text, 40)
    assert 7 <= len(codes) <= 14
    assert not codes[-1].any()
    assert codes[:-1].all()


def test_a_saved_model_loads_and_draws_the_same_codes(tmp_path):
    from transformers import AutoTokenizer, CsmForConditionalGeneration

    folder = save_tiny_csm(tmp_path, ends=True)
    loaded, tokenizer = CsmForConditionalGeneration.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert torch.equal(generate(loaded, "Yes.", 40), generate(tiny_csm(ends=True), "Yes.", 40))
    assert tokenizer.decode(prompt("Hello, é")) == "<|begin_of_text|>[0]Hello, é<|end_of_text|>"
    config = loaded.config
    ids = [config.bos_token_id, EOT, config.audio_token_id, config.audio_eos_token_id]
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL)) == ids
