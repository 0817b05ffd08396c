"""Writes small ONNX models for the tests, with the encoder of ``inference.voices.onnx_graph``."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from inference.voices.onnx_graph import encode_field, encode_varint

FLOAT, INT_64 = 1, 7
_TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT_64, np.dtype(np.bool_): 9}
_OPSET = 15

Attribute = int | float | Sequence[int]


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return encode_field(1, name) + encode_varint(2 << 3 | 5) + struct.pack("<f", value) + encode_field(20, 1)
    if isinstance(value, int):
        return encode_field(1, name) + encode_field(3, value) + encode_field(20, 2)
    return encode_field(1, name) + b"".join(encode_field(8, each) for each in value) + encode_field(20, 7)


def _value(name: str, kind: int, dimensions: Sequence[str | int]) -> bytes:
    shape = b"".join(
        encode_field(1, encode_field(1, each) if isinstance(each, int) else encode_field(2, each))
        for each in dimensions
    )
    return encode_field(1, name) + encode_field(2, encode_field(1, encode_field(1, kind) + encode_field(2, shape)))


@dataclass
class TinyGraph:
    """Collects nodes and weights; ``model`` returns the bytes of the file."""

    inputs: Mapping[str, tuple[int, Sequence[str | int]]]
    """The type and the dimensions of each input."""
    nodes: list[bytes] = field(default_factory=list)
    weights: list[bytes] = field(default_factory=list)

    def weight(self, name: str, value: np.ndarray) -> str:
        dimensions = b"".join(encode_field(1, size) for size in value.shape)
        kind = encode_field(2, _TYPES[value.dtype])
        self.weights.append(dimensions + kind + encode_field(8, name) + encode_field(9, value.tobytes()))
        return name

    def node(self, operator: str, *inputs: str | np.ndarray, output: str = "", **attributes: Attribute) -> str:
        """Add a node and return its output. An array becomes a weight."""
        output = output or f"{operator}_{len(self.nodes)}"
        names = [
            each if isinstance(each, str) else self.weight(f"{output}_{index}", each)
            for index, each in enumerate(inputs)
        ]
        content = b"".join(encode_field(1, name) for name in names) + encode_field(2, output)
        content += encode_field(3, f"/{output}") + encode_field(4, operator)
        self.nodes.append(
            content + b"".join(encode_field(5, _attribute(name, value)) for name, value in attributes.items())
        )
        return output

    def model(self, output: str, dimensions: Sequence[str | int], more: Mapping[str, int] | None = None) -> bytes:
        """``more`` are further outputs, of two dimensions, and their types."""
        graph = b"".join(encode_field(1, node) for node in self.nodes) + encode_field(2, "tiny")
        graph += b"".join(encode_field(5, weight) for weight in self.weights)
        graph += b"".join(encode_field(11, _value(name, *given)) for name, given in self.inputs.items())
        graph += encode_field(12, _value(output, FLOAT, dimensions))
        for name, kind in (more or {}).items():
            graph += encode_field(12, _value(name, kind, ("one", "many")))
        opset = encode_field(1, "") + encode_field(2, _OPSET)
        return encode_field(1, 8) + encode_field(7, graph) + encode_field(8, opset)
