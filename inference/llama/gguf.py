"""
Reads the header of a model file in the format GGUF, to say what a file is before llama.cpp loads it.

llama.cpp writes why it refuses a file to its own log only. The header has what an operator needs to know: whether the
file is a model at all, of which architecture, and how much memory it takes.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.models.choice import this_machine
from inference.types import EngineError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
"""The versions of the format that llama.cpp reads."""
MOST_NUMBERS = 4096
"""The numbers of an array that are read. No model has so many blocks."""
BYTES_PER_VALUE = 2
"""The key-value cache has 16-bit numbers."""
TEMPLATE_KEY = "tokenizer.chat_template"
WORDS_KEY = "tokenizer.ggml.tokens"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_WRITES_NO_TEXT = ("bert", "clip", "t5encoder", "wavtokenizer", "embedding", "whisper")
"""Parts of the names of architectures that embed text or sound and write none."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What the header of a model file says."""

    path: Path
    size_bytes: int
    """The size of the file, and of the other parts of a split model."""
    architecture: str
    values: Mapping[str, Any]
    """The values before those of the tokenizer, how many tokens that has, and the chat template. An array of numbers is
    a tuple, such as one number for each block; of other arrays there is only how long they are."""

    @property
    def chat_template(self) -> str:
        return str(self.values.get(TEMPLATE_KEY, ""))

    @property
    def context_tokens(self) -> int:
        """The longest context that the model was trained for; 0 if the file does not say."""
        return self._number("context_length")

    def memory_bytes(self, context_tokens: int, batch_tokens: int) -> int:
        """An estimate: the weights, the keys and values of all contexts together, and the buffers of one step."""
        heads, width = self._number("attention.head_count"), self._number("embedding_length")
        of_head = width // heads if heads else 0
        sizes = [self._number(f"attention.{name}_length") or of_head for name in ("key", "value")]
        is_told = f"{self.architecture}.attention.head_count_kv" in self.values
        cached = self._of_all_blocks("attention.head_count_kv" if is_told else "attention.head_count") * sum(sizes)
        scores = 4 * self.values.get(WORDS_KEY, 0) * batch_tokens
        return int(self.size_bytes + cached * context_tokens * BYTES_PER_VALUE + scores)

    def _number(self, name: str) -> int:
        """A number; if each block has one of its own, the greatest."""
        return max(self._numbers(name), default=0)

    def _of_all_blocks(self, name: str) -> int:
        """The sum over all blocks. Those of a hybrid model have different numbers: some have no attention at all."""
        numbers = self._numbers(name)
        return sum(numbers) if len(numbers) > 1 else sum(numbers) * self._number("block_count")

    def _numbers(self, name: str) -> tuple[int, ...]:
        value = self.values.get(f"{self.architecture}.{name}", 0)
        return tuple(each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, int))


def read_header(path: Path, *, whole: bool = True) -> ModelFile:
    """
    Read a file; only as far as the tokenizer if not the ``whole`` header is wanted, which takes 0.1 s.

    Raises a permanent ``EngineError`` if the file is no model that writes text.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != MAGIC:
                raise EngineError(
                    f"{path} is no GGUF file: llama.cpp reads only these. Models in other formats "
                    "(safetensors, ONNX) are mostly published as GGUF as well.",
                    permanent=True,
                )
            values = _Reader(data).values(whole=whole)
    except OSError as error:
        raise EngineError(f"cannot read the model file {path}: {error}", permanent=True) from error
    except (ValueError, struct.error, IndexError, RecursionError) as error:
        raise EngineError(
            f"{path} is no complete GGUF file ({error}): it may have been downloaded only in part", permanent=True
        ) from error
    architecture = str(values.get("general.architecture", ""))
    kind = values.get("general.type", "model")
    if kind != "model" or not architecture or any(name in architecture for name in _WRITES_NO_TEXT):
        what = f"a file of the type {kind!r}" if kind != "model" else f"a model of the architecture {architecture!r}"
        raise EngineError(f"{path} is {what}, which writes no text: a language model is needed", permanent=True)
    parts = path.parent.glob(path.name.replace("-00001-of-", "-*-of-")) if "-00001-of-" in path.name else [path]
    return ModelFile(path, sum(part.stat().st_size for part in parts), architecture, values)


def available_memory() -> int:
    """Bytes that this process and its container can still take without swapping."""
    return this_machine().memory_bytes


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4

    def values(self, *, whole: bool) -> dict[str, Any]:
        (version,) = self._take("I")
        if version not in VERSIONS:
            raise ValueError(f"version {version} of the format is not known")
        _, count = self._take("QQ")
        values: dict[str, Any] = {}
        for _ in range(count):
            name = self._string().decode()
            kind = self._take("I")[0]
            if name == WORDS_KEY and not whole:
                values[name] = self._take("IQ")[1]
                break
            value = self._value(kind, wants_numbers=not name.startswith("tokenizer."))
            if not name.startswith("tokenizer.") or name in (TEMPLATE_KEY, WORDS_KEY):
                values[name] = value.decode(errors="replace") if isinstance(value, bytes) else value
        return values

    def _value(self, kind: int, *, wants_numbers: bool = False) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._take(_scalar(kind))[0]
        inner, length = self._take("IQ")
        if inner == _STRING:
            at, data, size = self._at, self._data, struct.Struct("<Q")
            for _ in range(length):
                at += 8 + size.unpack_from(data, at)[0]
            self._skip(at - self._at)
        elif inner == _ARRAY:
            for _ in range(length):
                self._value(inner)
        else:
            at, layout = self._at, _scalar(inner)
            self._skip(length * struct.calcsize(f"<{layout}"))
            if wants_numbers:
                return struct.unpack_from(f"<{min(length, MOST_NUMBERS)}{layout}", self._data, at)
        return length

    def _string(self) -> bytes:
        (length,) = self._take("Q")
        start = self._at
        self._skip(length)
        return self._data[start : self._at]

    def _take(self, layout: str) -> tuple[Any, ...]:
        taken = struct.unpack_from(f"<{layout}", self._data, self._at)
        self._at += struct.calcsize(f"<{layout}")
        return taken

    def _skip(self, length: int) -> None:
        if self._at + length > len(self._data):
            raise ValueError("it ends in the middle of its header")
        self._at += length


def _scalar(kind: int) -> str:
    try:
        return _SCALARS[kind]
    except KeyError:
        raise ValueError(f"its header has a value of the unknown type {kind}") from None
