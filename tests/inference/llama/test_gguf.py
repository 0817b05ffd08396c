"""What the header of a model file says, and what is refused before llama.cpp sees it."""

import os

import gguf
import pytest

from inference.llama.gguf import MOST_NUMBERS, read_header
from inference.types import EngineError
from tests.inference.tiny_gemma import TEMPLATE
from tests.inference.tiny_gguf import BLOCKS, CONTEXT, HEAD, make_tiny_gguf

BERT = "nomic-bert"


def test_the_header_names_the_architecture_the_context_and_the_template(tiny):
    header = read_header(tiny)
    assert (header.architecture, header.context_tokens, header.chat_template) == ("gemma3", CONTEXT, TEMPLATE)
    assert header.size_bytes == tiny.stat().st_size


def test_a_model_without_a_template_says_so(tmp_path):
    assert read_header(make_tiny_gguf(tmp_path / "base.gguf", template=None)).chat_template == ""


def test_the_memory_grows_with_the_context_by_two_bytes_for_each_key_and_value(tiny):
    for header in (read_header(tiny), read_header(tiny, whole=False)):
        small, large = header.memory_bytes(1000, 64), header.memory_bytes(2000, 64)
        assert large - small == 1000 * BLOCKS * 2 * HEAD * 2
        assert small > header.size_bytes


def make_header(path, **values):
    """A file that has nothing but a header, with values of the architecture."""
    writer = gguf.GGUFWriter(path, "hybrid")
    writer.add_block_count(4)
    writer.add_embedding_length(64)
    for name, value in values.items():
        getattr(writer, f"add_{name}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("values", "cached"),
    [
        ({"head_count": 4, "head_count_kv": 2}, 4 * 2 * 16),
        ({"head_count": 4, "head_count_kv": [2, 1, 2, 1]}, 6 * 16),
        ({"head_count": 4, "head_count_kv": [0, 0, 2, 0]}, 2 * 16),
        ({"head_count": [4, 2, 4, 2], "head_count_kv": [2, 1, 2, 1]}, 6 * 16),
        ({"head_count": [4, 0, 0, 4]}, 8 * 16),
        ({"head_count": 4, "head_count_kv": [2, 1, 2, 1], "key_length": 32, "value_length": 32}, 6 * 32),
        ({"head_count": 4}, 4 * 4 * 16),
        ({"head_count": 0, "head_count_kv": 0}, 0),
        ({}, 0),
    ],
    ids=str,
)
def test_the_heads_of_each_block_count_where_the_blocks_differ(tmp_path, values, cached):
    path = make_header(tmp_path / "hybrid.gguf", **values)
    assert read_header(path).memory_bytes(1000, 64) - path.stat().st_size == 1000 * cached * 2 * 2


def test_an_array_is_read_no_further_than_any_model_has_blocks(tmp_path):
    path = make_header(tmp_path / "hybrid.gguf", head_count_kv=[1] * 100_000)
    assert len(read_header(path).values["hybrid.attention.head_count_kv"]) == MOST_NUMBERS


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(EngineError, match="is no GGUF file") as refusal:
        read_header(path)
    assert refusal.value.permanent


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.gguf"
    path.touch()
    with pytest.raises(EngineError, match="downloaded only in part"):
        read_header(path)


@pytest.mark.parametrize("kept", [6, 20, 200, 900, 5000])
def test_a_file_that_ends_in_its_header_is_refused(tiny, tmp_path, kept):
    path = tmp_path / "part.gguf"
    path.write_bytes(tiny.read_bytes()[:kept])
    with pytest.raises(EngineError, match="downloaded only in part") as refusal:
        read_header(path)
    assert refusal.value.permanent


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_header_is_an_error_that_names_the_file(tiny, tmp_path, seed):
    path = tmp_path / "damaged.gguf"
    data = bytearray(tiny.read_bytes()[:3000])
    data[4 + seed * 3 : 12 + seed * 3] = os.urandom(8)
    path.write_bytes(data)
    with pytest.raises(EngineError, match=r"damaged\.gguf"):
        read_header(path)


def test_a_model_that_writes_no_text_is_refused_with_its_architecture(tmp_path):
    path = make_tiny_gguf(tmp_path / "embedding.gguf", architecture=BERT)
    with pytest.raises(EngineError, match=f"{BERT}.*writes no text") as refusal:
        read_header(path)
    assert refusal.value.permanent
