"""
Cuts an ONNX model into two that run one after the other. Pure.

An ONNX file is a protocol buffer. Only the fields that this needs are read, and the parts of the graph are copied as
they are, so that no package for ONNX is needed. Field numbers are those of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_MODEL_GRAPH = 7
_NODE, _NAME, _INITIALIZER, _INPUT, _OUTPUT = 1, 2, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR = 1, 2, 4
_TENSOR_NAME, _VALUE_NAME = 8, 1
_VARINT, _BYTES = 0, 2
FLOAT = 1
"""The number of the type float32 among ONNX's element types."""


class GraphError(Exception):
    """The bytes are no ONNX model, or the graph has no such part."""


def encode_varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode_field(number: int, content: bytes | str | int) -> bytes:
    """Encode one field: a number, or a string or message of bytes."""
    if isinstance(content, int):
        return encode_varint(number << 3 | _VARINT) + encode_varint(content)
    content = content.encode() if isinstance(content, str) else content
    return encode_varint(number << 3 | _BYTES) + encode_varint(len(content)) + content


def encode_value(name: str, rank: int) -> bytes:
    """Encode an input or output of a graph: float32, of this rank and any shape."""
    shape = encode_field(1, b"") * rank
    return encode_field(1, name) + encode_field(2, encode_field(1, encode_field(1, FLOAT) + encode_field(2, shape)))


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    raw: memoryview = field(repr=False)


class Graph:
    """The graph of a model, to look at and to take a part of. Raises ``GraphError``."""

    def __init__(self, model: bytes) -> None:
        graph: memoryview | None = None
        self._header: list[memoryview] = []
        """The fields of the model besides its graph: versions and the like."""
        self.nodes: list[Node] = []
        """In the order in which they are computed."""
        self._named: dict[int, dict[str, memoryview]] = {_INITIALIZER: {}, _INPUT: {}, _OUTPUT: {}}
        """The weights, the inputs and the outputs of the graph, by name."""
        try:
            for number, content, raw in _fields(memoryview(model)):
                if number == _MODEL_GRAPH:
                    graph = content
                else:
                    self._header.append(raw)
            for number, content, raw in _fields(graph or memoryview(b"")):
                if number == _NODE:
                    self.nodes.append(_read_node(content, raw))
                elif number in self._named:
                    key = _TENSOR_NAME if number == _INITIALIZER else _VALUE_NAME
                    name = next(_text(value) for at, value, _ in _fields(content) if at == key)
                    self._named[number][name] = raw
        except (IndexError, ValueError, StopIteration) as error:
            raise GraphError(f"it is no ONNX model: {error!r}") from error
        if not self.nodes:
            raise GraphError("it is no ONNX model: it has no graph")

    @property
    def inputs(self) -> list[str]:
        return list(self._named[_INPUT])

    @property
    def outputs(self) -> list[str]:
        return list(self._named[_OUTPUT])

    def maker_of(self, tensor: str) -> Node:
        """Return the node that computes a tensor."""
        for node in self.nodes:
            if tensor in node.outputs:
                return node
        raise GraphError(f"no node computes {tensor!r}")

    def part(self, wanted: Sequence[str], *, given: Mapping[str, int]) -> Part:
        """
        Return the model that computes the tensors ``wanted`` from those that are ``given`` (with their ranks).

        It keeps those inputs of the whole model that it needs besides.
        """
        makers = {output: node for node in self.nodes for output in node.outputs}
        needed: set[str] = set()
        nodes: set[Node] = set()
        waiting = list(wanted)
        while waiting:
            tensor = waiting.pop()
            if tensor in needed or tensor in given:
                continue
            needed.add(tensor)
            if (node := makers.get(tensor)) is not None and node not in nodes:
                nodes.add(node)
                waiting += node.inputs
        weights, inputs, outputs = (self._named[kind] for kind in (_INITIALIZER, _INPUT, _OUTPUT))
        kept = [name for name in inputs if name in needed]
        parts: list[bytes | memoryview] = [encode_field(_NAME, "part")]
        parts += [node.raw for node in self.nodes if node in nodes]
        parts += [raw for name, raw in weights.items() if name in needed]
        parts += [inputs[name] for name in kept]
        parts += [encode_field(_INPUT, encode_value(name, rank)) for name, rank in given.items()]
        parts += [outputs.get(name) or encode_field(_OUTPUT, encode_value(name, 3)) for name in wanted]
        graph = b"".join(parts)
        return Part(b"".join((*self._header, encode_field(_MODEL_GRAPH, graph))), (*kept, *given))


@dataclass(frozen=True, slots=True)
class Part:
    model: bytes
    """The ONNX model."""
    inputs: tuple[str, ...]


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield the number, the content and all bytes of each field. Numbers have an empty content."""
    at = 0
    while at < len(content):
        begin = at
        key, at = _read_varint(content, at)
        size = 0
        match key & 7:
            case 0:
                _, at = _read_varint(content, at)
            case 1:
                size = 8
            case 2:
                size, at = _read_varint(content, at)
            case 5:
                size = 4
            case other:
                raise ValueError(f"a field of the unknown kind {other}")
        if at + size > len(content):
            raise ValueError("a field is longer than the file")
        yield key >> 3, content[at : at + size], content[begin : at + size]
        at += size


def _read_varint(content: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def _text(content: memoryview) -> str:
    return bytes(content).decode()


def _read_node(content: memoryview, raw: memoryview) -> Node:
    inputs, outputs, operator = [], [], ""
    for number, value, _ in _fields(content):
        if number == _NODE_INPUT:
            inputs.append(_text(value))
        elif number == _NODE_OUTPUT:
            outputs.append(_text(value))
        elif number == _NODE_OPERATOR:
            operator = _text(value)
    return Node(operator, tuple(inputs), tuple(outputs), raw)
