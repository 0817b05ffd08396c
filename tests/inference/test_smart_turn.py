"""Smart Turn as an engine: what it scores, what it refuses, and what is wrong with a file."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from inference.backends import make_engine
from inference.engines.smart_turn import SmartTurnModel, SmartTurnOptions
from inference.types import EngineError, EngineFull
from tests.sounds import read

PCM = np.zeros(8000, np.int16)
BACKEND = "inference.engines.smart_turn.SmartTurnModel"


class Slow:
    """A model in place of ONNX Runtime's, which answers when it may."""

    def __init__(self, answer: Any = 0.25) -> None:
        self.answer = answer
        self.running = 0
        self.most = 0
        self.runs = 0
        self.may_go_on = threading.Event()

    def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert inputs["input_features"].shape == (1, 80, 800)
        self.runs += 1
        self.running += 1
        self.most = max(self.most, self.running)
        assert self.may_go_on.wait(30)
        self.running -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return [np.array([[self.answer]], np.float32)]


@pytest.fixture
async def slow(monkeypatch):
    model, session = SmartTurnModel(SmartTurnOptions(model="model.onnx", max_waiting=3)), Slow()
    monkeypatch.setattr(model, "_load", lambda: session)
    await model.start()
    yield model, session
    session.may_go_on.set()
    await model.close()


async def test_scores_are_made_one_after_the_other_and_more_than_may_wait_are_refused(slow):
    model, session = slow
    scoring = [asyncio.ensure_future(model.score(PCM)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(EngineFull, match="3 scores to make"):
        await model.score(PCM)
    session.may_go_on.set()
    assert await asyncio.gather(*scoring) == [0.25] * 3
    assert session.most == 1
    assert await model.score(PCM) == 0.25


async def test_a_score_that_is_not_wanted_any_more_is_not_made(slow):
    model, session = slow
    scoring = [asyncio.ensure_future(model.score(PCM)) for _ in range(3)]
    await asyncio.sleep(0)
    for unwanted in scoring[1:]:
        unwanted.cancel()
    await asyncio.gather(*scoring[1:], return_exceptions=True)
    session.may_go_on.set()
    assert await scoring[0] == 0.25
    assert await model.score(PCM) == 0.25
    assert session.runs == 2


@pytest.mark.parametrize("answer", [ValueError("bad tensor"), float("nan"), 1.5])
async def test_a_model_that_fails_or_gives_no_probability_is_an_error_of_the_engine(slow, answer):
    model, session = slow
    session.answer = answer
    session.may_go_on.set()
    with pytest.raises(EngineError, match=r"bad tensor|no probability"):
        await model.score(PCM)
    session.answer = 0.5
    assert await model.score(PCM) == 0.5


async def test_a_score_before_the_start_and_after_the_end_is_refused(slow):
    model, session = slow
    session.may_go_on.set()
    await model.close()
    await model.close()
    with pytest.raises(EngineError, match="not been started"):
        await model.score(PCM)


async def test_a_file_that_is_not_there_or_no_model_stops_the_start(tmp_path):
    for path, message in [(tmp_path / "no.onnx", "is not there"), (tmp_path / "text.onnx", "no ONNX model")]:
        (tmp_path / "text.onnx").write_text("not a model")
        model = SmartTurnModel(SmartTurnOptions(model=str(path)))
        assert str(path) in model.describe().weights
        with pytest.raises(EngineError, match=message) as error:
            await model.start()
        assert error.value.permanent
        await model.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "needs the option 'model'"), ({"model": "x", "max_waiting": 0}, "at least 1"), ({"file": "x"}, "no option")],
)
def test_options_are_checked(options, message):
    with pytest.raises(EngineError, match=message):
        make_engine("turn", {"BACKEND": BACKEND, "OPTIONS": options})


@pytest.mark.turn_weights
@pytest.mark.human
async def test_a_whole_sentence_sounds_finished_and_its_beginning_does_not(smart_turn, speech_dir):
    model = SmartTurnModel(SmartTurnOptions(model=str(smart_turn)))
    await model.start()
    await model.start()
    pcm = read(speech_dir / "google-samples__brooklyn.wav")
    quiet = np.zeros(800, np.int16)
    whole, cut = await model.score(np.concatenate([pcm, quiet])), await model.score(pcm[: len(pcm) // 2])
    assert whole > 0.8
    assert cut < 0.2
    assert model.describe().memory_bytes > 8_000_000
    await model.close()
