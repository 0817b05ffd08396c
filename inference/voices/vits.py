"""
Runs a VITS model (an ONNX file of Piper) so that it streams: one half after the other, the second piece by piece.

A VITS model first decides on the whole clause: how long each phoneme is, and its melody (the encoder). Then a network
without memory turns that into sound, frame by frame (the decoder), which is most of the work. Each sample depends only
on a few frames around it. So the decoder may run on pieces that overlap by these frames, and the sound is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.types import EngineError
from inference.voices.onnx_graph import Graph, GraphError

OVERLAPS = (10, 12, 16, 24)
"""Frames on each side that a piece of the decoder's input may need, tried in this order. Piper's voices of medium
quality need 10."""
SAME = 1e-4
"""The largest difference between the sound of a piece and of the whole, as a share of the loudest sample."""
_TRIED = 24
"""Frames of the piece with which this is tried when the model is loaded."""

FIRST_FRAMES = 24
"""Frames of the first piece: 0.28 s of sound, which costs 40 ms. The next piece must be ready when it is over."""
SHORT_FRAMES, LONG_FRAMES = 48, 96
"""Frames of a later piece, if another call waits, and if none does. Short pieces cost a third more."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a clause is spoken."""

    noise_scale: float
    """How much the sound varies by chance."""
    length_scale: float
    """How slow the speech is; 1 is as trained."""
    noise_w: float
    """How much the length of the phonemes varies by chance."""
    speaker: int = 0


@dataclass(frozen=True, slots=True)
class Encoded:
    """A clause that the encoder has decided on."""

    frames: NDArray[np.float32]
    """The decoder's input, shape ``(1, channels, frames)``."""
    ends: NDArray[np.int64] | None
    """The frame at which each phoneme ends, shape ``(phonemes,)``; None if the model does not tell."""
    speaker: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    sound: NDArray[np.float32]
    """From -1 to 1, shape ``(samples,)``."""
    end: int
    """The frame at which the piece ends."""
    hop: int
    """Samples of a frame."""


class VitsModel:
    """One loaded model. Several threads may use it."""

    def __init__(self, path: Path, sample: Sequence[int]) -> None:
        """
        Load it, and find out with the phonemes ``sample`` whether it can be cut in two and how far pieces must overlap.

        Raises a permanent ``EngineError``.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EngineError(f"the voice {path} cannot be read: {error}", permanent=True) from error
        self.tells_lengths = False
        """Whether ``encode`` says when each phoneme ends."""
        self._decoder: _Decoder | None = None
        """None: the model cannot be cut in two, so the sound of each clause is made at once."""
        try:
            graph = Graph(content)
            if not {"input", "input_lengths", "scales"} <= {*graph.inputs}:
                raise GraphError(f"its inputs are {', '.join(graph.inputs)}")
            self._load_halves(graph, sample)
            if self._decoder is None:
                self._encoder = _session(content)
        except Exception as error:  # onnxruntime has no base class for its errors
            raise EngineError(f"{path} is no ONNX model of a Piper voice: {error}", permanent=True) from error

    @property
    def streams(self) -> bool:
        """Whether the sound of a clause is made piece by piece."""
        return self._decoder is not None

    def encode(self, ids: Sequence[int], manner: Manner) -> Encoded:
        """Decide how the phonemes with these numbers are spoken."""
        given: dict[str, Any] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([manner.noise_scale, manner.length_scale, manner.noise_w], np.float32),
            "sid": np.array([manner.speaker], np.int64),
        }
        needed = {each.name for each in self._encoder.get_inputs()}
        frames, *lengths = self._encoder.run(None, {name: value for name, value in given.items() if name in needed})
        counts = lengths[0].reshape(-1) if self._decoder is not None and lengths else ()
        return Encoded(frames, np.cumsum(counts).astype(np.int64) if len(counts) == len(ids) else None, manner.speaker)

    def pieces(self, encoded: Encoded, is_hurried: Callable[[], bool]) -> Iterator[Piece]:
        """
        Make the sound of a clause piece by piece, each when it is asked for.

        ``is_hurried`` says before each piece whether another call waits for the next one to be ready.
        """
        if self._decoder is None:
            yield Piece(encoded.frames.reshape(-1), encoded.frames.size, 1)
            return
        begin, count, total = 0, FIRST_FRAMES, encoded.frames.shape[2]
        while begin < total:
            end = min(begin + count, total)
            yield Piece(self._decoder.sound_of(encoded, begin, end), end, self._decoder.hop)
            begin, count = end, SHORT_FRAMES if is_hurried() else LONG_FRAMES

    def _load_halves(self, graph: Graph, sample: Sequence[int]) -> None:
        """Load the encoder and the decoder, if the model has such halves and the pieces are as the whole."""
        try:
            middle = _find_middle(graph)
            part = graph.part([graph.outputs[0]], given={middle: 3})
        except GraphError:
            return
        if not set(part.inputs) <= {middle, "sid"}:
            return
        lengths = [node.outputs[0] for node in graph.nodes if node.operator == "Ceil"]
        wanted = [middle, *(lengths if len(lengths) == 1 else [])]
        self._encoder = _session(graph.part(wanted, given={}).model)
        self._decoder = decoder = _Decoder(_session(part.model), middle, "sid" in part.inputs)
        encoded = self.encode(sample, Manner(0.0, 1.0, 0.0))
        self.tells_lengths = encoded.ends is not None
        if not decoder.find_overlap(encoded):
            self._decoder, self.tells_lengths = None, False


class _Decoder:
    """The second half of a model."""

    def __init__(self, session: Any, middle: str, takes_speaker: bool) -> None:
        self.hop = 1
        """Samples of a frame."""
        self._session = session
        self._middle = middle
        self._takes_speaker = takes_speaker
        self._overlap = 0
        """Frames on each side that a piece needs besides its own."""

    def sound_of(self, encoded: Encoded, begin: int, end: int) -> NDArray[np.float32]:
        """Make the sound of the frames from ``begin`` to ``end``, shape ``((end - begin) * hop,)``."""
        first, last = max(0, begin - self._overlap), min(encoded.frames.shape[2], end + self._overlap)
        given: dict[str, Any] = {self._middle: np.ascontiguousarray(encoded.frames[:, :, first:last])}
        if self._takes_speaker:
            given["sid"] = np.array([encoded.speaker], np.int64)
        sound: NDArray[np.float32] = self._session.run(None, given)[0].reshape(-1)
        return sound[(begin - first) * self.hop : (end - first) * self.hop]

    def find_overlap(self, encoded: Encoded) -> bool:
        """Find how far pieces must overlap. Returns False if they never sound as the whole does."""
        # No more than is needed: the memory that a long piece takes is never given back.
        total = 2 * OVERLAPS[-1] + _TRIED
        frames = encoded.frames[:, :, :total]
        if frames.shape[2] < total:
            return False
        encoded = replace(encoded, frames=frames)
        given: dict[str, Any] = {self._middle: np.ascontiguousarray(frames)}
        if self._takes_speaker:
            given["sid"] = np.array([encoded.speaker], np.int64)
        whole = self._session.run(None, given)[0].reshape(-1)
        if len(whole) % total:
            return False
        self.hop = len(whole) // total
        begin = (total - _TRIED) // 2
        there = whole[begin * self.hop : (begin + _TRIED) * self.hop]
        for self._overlap in OVERLAPS:
            piece = self.sound_of(encoded, begin, begin + _TRIED)
            if np.abs(piece - there).max() <= SAME * np.abs(whole).max():
                return True
        return False


def _find_middle(graph: Graph) -> str:
    """Return the tensor between encoder and decoder: the input of the convolution before the first that upsamples."""
    upsampling = next((node for node in graph.nodes if node.operator == "ConvTranspose"), None)
    if upsampling is None:
        raise GraphError("the model has no decoder")
    node = graph.maker_of(upsampling.inputs[0])
    while node.operator != "Conv":
        node = graph.maker_of(node.inputs[0])
    return node.inputs[0]


def _session(model: bytes) -> Any:
    """Load a model: an ``onnxruntime.InferenceSession``."""
    import onnxruntime  # type: ignore[import-untyped]

    settings = onnxruntime.SessionOptions()
    # The work is divided by clauses and not inside a step, so that more calls get their turn.
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
