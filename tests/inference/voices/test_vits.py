"""A VITS model is cut in two and makes the same sound in pieces."""

import numpy as np
import pytest

from inference.types import EngineError
from inference.voices.onnx_graph import Graph, GraphError
from inference.voices.vits import FIRST_FRAMES, LONG_FRAMES, SHORT_FRAMES, Manner, VitsModel
from tests.inference.tiny_piper import HOP, LETTER_FRAMES, PHONEMES, make_tiny_piper

EVEN = Manner(0.0, 1.0, 0.0)
"""Without chance."""
SAMPLE = [1, *(PHONEMES.index(letter) for letter in "haloʊdisɪzəfɹʌntdɛsk"), 2]


def load(folder, **options) -> VitsModel:
    return VitsModel(next(make_tiny_piper(folder, **options).glob("*.onnx")), SAMPLE)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return load(tmp_path_factory.mktemp("whole"), cuttable=False)


def sound_of(model, encoded, *, hurried=False):
    return np.concatenate([piece.sound for piece in model.pieces(encoded, lambda: hurried)])


@pytest.mark.parametrize("hurried", [False, True])
def test_the_pieces_are_the_sound_of_the_whole_model(model, whole, hurried):
    assert model.streams
    assert not whole.streams
    once = sound_of(whole, whole.encode(SAMPLE, EVEN))
    assert np.abs(sound_of(model, model.encode(SAMPLE, EVEN), hurried=hurried) - once).max() < 1e-5
    assert np.abs(once).max() > 0.1


@pytest.mark.parametrize(("hurried", "later"), [(False, LONG_FRAMES), (True, SHORT_FRAMES)])
def test_the_first_piece_is_short_and_later_ones_are_longer_if_no_other_call_waits(model, hurried, later):
    pieces = list(model.pieces(model.encode(SAMPLE * 2, EVEN), lambda: hurried))
    assert [len(piece.sound) // HOP for piece in pieces][:3] == [FIRST_FRAMES, later, later]
    assert [piece.end for piece in pieces][:2] == [FIRST_FRAMES, FIRST_FRAMES + later]


def test_the_encoder_says_when_each_phoneme_ends(model, whole):
    encoded = model.encode(SAMPLE, EVEN)
    assert model.tells_lengths
    assert list(np.diff(encoded.ends)[:3]) == [LETTER_FRAMES] * 3
    assert encoded.ends[-1] == encoded.frames.shape[2]
    assert whole.encode(SAMPLE, EVEN).ends is None


def test_speed_and_chance_reach_the_model(model):
    slow = model.encode(SAMPLE, Manner(0.0, 2.0, 0.0))
    assert slow.ends[-1] == pytest.approx(2 * model.encode(SAMPLE, EVEN).ends[-1], rel=0.05)
    chance = Manner(1.0, 1.0, 1.0)
    first, second = (model.encode(SAMPLE, chance) for _ in range(2))
    assert first.frames.shape != second.frames.shape or not np.array_equal(first.frames, second.frames)


def test_a_model_of_several_speakers_is_told_which_one_speaks(tmp_path):
    model = load(tmp_path, speakers=("quiet", "loud"))
    assert model.streams
    quiet, loud = (sound_of(model, model.encode(SAMPLE, Manner(0.0, 1.0, 0.0, number))) for number in range(2))
    assert np.abs(loud).max() > 2 * np.abs(quiet).max()


@pytest.mark.parametrize("content", [b"", b"no model", b"\x0a\x05abc", bytes(100)])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    with pytest.raises(GraphError):
        Graph(content)
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"broken\.onnx is no ONNX model of a Piper voice") as refusal:
        VitsModel(path, SAMPLE)
    assert refusal.value.permanent


def test_a_model_with_other_inputs_is_refused(tmp_path):
    from tests.inference.tiny_onnx import FLOAT, TinyGraph

    graph = TinyGraph({"sound": (FLOAT, ("n",))})
    graph.node("Tanh", "sound", output="output")
    path = tmp_path / "other.onnx"
    path.write_bytes(graph.model("output", ("n",)))
    with pytest.raises(EngineError, match="its inputs are sound"):
        VitsModel(path, SAMPLE)


def test_a_part_of_a_graph_needs_what_is_given_to_it_and_no_more(tmp_path):
    graph = Graph(next(make_tiny_piper(tmp_path).glob("*.onnx")).read_bytes())
    convolution = next(node for node in graph.nodes if node.operator == "Conv")
    part = graph.part([graph.outputs[0]], given={convolution.inputs[0]: 3})
    assert part.inputs == (convolution.inputs[0],)
    assert {node.operator for node in Graph(part.model).nodes} == {
        *("Conv", "LeakyRelu", "ConvTranspose", "Tanh", "Unsqueeze")
    }
    with pytest.raises(GraphError, match="no node computes 'nothing'"):
        graph.maker_of("nothing")
