"""The figures of ``manage.py engines --bench`` are those that a caller would notice."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from inference import measuring
from inference.checking import RECORDING, Sound
from inference.measuring import Measured, entries_of, measure
from tests import virtual_time
from tests.inference.test_checking import scripted


@pytest.fixture
def virtual(monkeypatch):
    """Run a measurement in virtual time, so that the figures are those of the script alone."""
    clock = SimpleNamespace(perf_counter=lambda: asyncio.get_running_loop().time())
    monkeypatch.setattr(measuring, "time", clock)

    def run(setting, aliases=("stt", "llm", "tts"), rounds=3, **options):
        return virtual_time.run(measure([(alias, setting[alias]) for alias in aliases], rounds=rounds, **options))

    return run


def figures(measured: Measured) -> dict[str, float]:
    return {name: figure.median for name, figure in measured.figures.items()}


def test_a_recogniser_is_measured_from_the_voice_in_the_recording(virtual):
    (stt,) = virtual(scripted(stt={"final_delay": 0.05, "partials": True}), ["stt"])
    assert not stt.error
    found = figures(stt)
    # The words are asked for 0.1 s after the voice.
    assert found["final after speech"] == pytest.approx(0.15, abs=0.005)
    assert 0 < found["first word"] < 2
    assert found["real-time factor"] == pytest.approx(0.05 / 2, rel=0.3)
    assert len(stt.figures["final after speech"].values) == 3


def test_a_recogniser_without_partials_has_no_first_word(virtual):
    (stt,) = virtual(scripted(stt={"final_delay": 0.05}), ["stt"])
    assert "first word" not in stt.figures


def test_a_language_model_is_measured_turn_after_turn(virtual):
    (llm,) = virtual(scripted(llm={"replies": ["From ten to six."], "first_delay": 0.2, "token_delay": 0.1}), ["llm"])
    found = figures(llm)
    assert found["first token"] == pytest.approx(0.2)
    assert found["whole reply"] == pytest.approx(0.5)
    assert found["characters per second"] == pytest.approx(len("From ten to six.") / 0.3)


def test_a_voice_is_measured_with_a_usual_and_a_long_clause(virtual):
    (tts,) = virtual(scripted(tts={"first_delay": 0.2, "chunk_delay": 0.01, "chunk_seconds": 0.1}), ["tts"])
    found = figures(tts)
    assert found["first audio"] == found["first audio, long clause"] == pytest.approx(0.2)
    assert 0 < found["real-time factor"] < 1


def test_a_turn_model_is_measured(virtual):
    setting = {**scripted(), "turn": {"BACKEND": "inference.engines.scripted.ScriptedTurnModel"}}
    (turn,) = virtual(setting, ["turn"])
    assert turn.figures["score"].values


def test_the_spread_is_that_of_the_rounds():
    measured = Measured("llm", "x")
    for value in range(1, 101):
        measured.add("first token", value / 100)
    figure = measured.figures["first token"]
    assert figure.median == pytest.approx(0.505)
    assert figure.p95 == pytest.approx(0.9505)
    assert measured.as_json()["figures"]["first token"]["rounds"] == 100


@pytest.mark.parametrize(
    ("alias", "options", "message"),
    [
        ("tts", {"seconds_per_character": 0}, "made no sound"),
        ("stt", {"transcripts": [" "]}, "heard no words"),
        ("llm", {"replies": [""]}, "answered nothing"),
        ("tts", {"failures": [{"on": 1}]}, "fails, as its script says"),
        ("tts", {"no_such_option": 1}, "no_such_option"),
    ],
)
def test_an_engine_that_fails_has_an_error_and_the_others_have_figures(virtual, alias, options, message):
    measured = virtual(scripted(**{alias: options}))
    for each in measured:
        assert (message in each.error) == (each.alias == alias)
        assert each.alias == alias or each.figures


def test_the_figures_before_a_failure_are_kept(virtual):
    (tts,) = virtual(scripted(tts={"failures": [{"on": 3}]}), ["tts"])
    assert tts.error
    assert len(tts.figures["first audio"].values) == 1


def test_each_engine_of_a_list_is_measured_by_itself():
    setting = scripted(tts={"first_delay": 0.1})
    both = {
        "BACKEND": "inference.engines.fallback.FallbackTextToSpeech",
        "OPTIONS": {"engines": [{**setting["tts"], "DEADLINE": 0.8}, {**setting["tts"], "VOICES": {}}]},
    }
    entries = entries_of({**setting, "tts": both}, ["llm", "tts"])
    assert entries == [("llm", setting["llm"]), ("tts", setting["tts"]), ("tts", setting["tts"])]


def test_each_step_is_reported(virtual):
    steps = []
    virtual(scripted(), ["tts"], rounds=2, on_step=steps.append)
    assert steps == ["tts: loading", "tts: round 1 of 2", "tts: round 2 of 2", "tts: closing"]


def test_the_voice_in_the_recording_is_found():
    sound = Sound.load(RECORDING).over_the_telephone()
    loud = np.flatnonzero(np.abs(sound.pcm.astype(np.int32)) > measuring.LOUD) / sound.rate_hz
    assert loud[0] == pytest.approx(0.33, abs=0.05)
    assert sound.seconds - loud[-1] == pytest.approx(0.6, abs=0.05)
