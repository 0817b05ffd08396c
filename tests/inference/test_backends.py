"""A setting becomes engines, and an error in it names the setting."""

import asyncio

import pytest

from inference.backends import Engines, make_engine, make_engines
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTurnModel
from inference.types import EngineError

SCRIPTED = {
    "stt": {"BACKEND": "inference.engines.scripted.ScriptedSpeechToText", "OPTIONS": {"final_delay": 0.2}},
    "llm": {"BACKEND": "inference.engines.scripted.ScriptedLanguageModel"},
    "tts": {"BACKEND": "inference.engines.scripted.ScriptedTextToSpeech", "OPTIONS": {"rate_hz": 24000}},
}


class RecordingEngine:
    """Notes its start and its end."""

    def __init__(self, *, starts: bool = True) -> None:
        self.starts = starts
        self.events: list[str] = []

    async def start(self) -> None:
        self.events.append("start")
        if not self.starts:
            raise EngineError("no model here", permanent=True)

    async def close(self) -> None:
        self.events.append("close")
        if not self.starts:
            raise RuntimeError("was never started")


def test_a_setting_becomes_three_engines_with_their_options():
    engines = make_engines(SCRIPTED)
    assert isinstance(engines.stt, ScriptedSpeechToText)
    assert engines.stt.final_delay == 0.2
    assert isinstance(engines.llm, ScriptedLanguageModel)
    assert engines.tts.rate_hz == 24000


@pytest.mark.parametrize("turn", [{}, {"turn": {}}, {"turn": None}])
def test_a_call_can_do_without_a_turn_model(turn):
    assert make_engines({**SCRIPTED, **turn}).turn is None


def test_a_turn_model_is_made_like_the_other_engines():
    backend = "inference.engines.scripted.ScriptedTurnModel"
    engines = make_engines({**SCRIPTED, "turn": {"BACKEND": backend, "OPTIONS": {"delay": 0.2}}})
    assert isinstance(engines.turn, ScriptedTurnModel)
    assert engines.turn.delay == 0.2
    with pytest.raises(EngineError, match=r"ENGINES\['turn'\]"):
        make_engines({**SCRIPTED, "turn": {"BACKEND": "no.such.Model"}})


def test_a_missing_engine_is_named():
    with pytest.raises(EngineError, match="has no llm, tts") as error:
        make_engines({"stt": SCRIPTED["stt"]})
    assert error.value.permanent


@pytest.mark.parametrize("path", ["", "nodots", "no.such.module.Engine", "inference.engines.scripted.NoSuchEngine"])
def test_a_backend_that_cannot_be_imported_is_named_with_its_alias(path):
    with pytest.raises(EngineError, match=r"ENGINES\['tts'\]") as error:
        make_engine("tts", {"BACKEND": path})
    assert repr(path) in str(error.value)
    assert error.value.permanent


@pytest.mark.parametrize("name", ["RemoteSpeechToText", "RemoteLanguageModel", "RemoteTextToSpeech"])
def test_the_former_path_of_a_remote_engine_works_with_a_warning_that_names_the_new_one(name, caplog):
    new_path = f"inference.engines.remote.{name}"
    with pytest.warns(DeprecationWarning, match=f"inference.client.{name} has moved to {new_path}"):
        former = make_engine("tts", {"BACKEND": f"inference.client.{name}"})
    assert type(former) is type(make_engine("tts", {"BACKEND": new_path}))
    assert new_path in caplog.text


def test_the_former_module_of_the_remote_engines_has_nothing_else():
    with pytest.raises(EngineError, match="has no attribute 'Remote'"):
        make_engine("tts", {"BACKEND": "inference.client.Remote"})


def test_options_that_an_engine_does_not_take_are_named():
    with pytest.raises(EngineError, match="no_such_option") as error:
        make_engine("stt", {**SCRIPTED["stt"], "OPTIONS": {"no_such_option": 1}})
    assert error.value.permanent


def test_an_error_about_options_names_them_and_hides_their_values():
    options = {"api_key": "sk-secret", "final_delay": 0.2}
    with pytest.raises(EngineError, match="api_key, final_delay") as error:
        make_engine("stt", {**SCRIPTED["stt"], "OPTIONS": options})
    assert "sk-secret" not in str(error.value)


async def test_all_engines_are_started_and_closed():
    stt, llm, tts, turn = (RecordingEngine() for _ in range(4))
    engines = Engines(stt, llm, tts, turn)
    await engines.start()
    await engines.close()
    assert stt.events == llm.events == tts.events == turn.events == ["start", "close"]


async def test_if_one_engine_does_not_start_all_are_closed_and_its_error_is_raised():
    stt, llm, tts, turn = RecordingEngine(), RecordingEngine(starts=False), RecordingEngine(), RecordingEngine()
    with pytest.raises(EngineError, match="no model here"):
        await Engines(stt, llm, tts, turn).start()
    assert stt.events == llm.events == tts.events == turn.events == ["start", "close"]


async def test_if_one_engine_does_not_start_the_others_are_not_waited_for():
    class Waiting(RecordingEngine):
        async def start(self) -> None:
            self.events.append("start")
            await asyncio.Event().wait()  # as a remote engine waits for a worker

    waiting, broken = Waiting(), RecordingEngine(starts=False)
    with pytest.raises(EngineError, match="no model here"):
        await asyncio.wait_for(Engines(waiting, broken, RecordingEngine()).start(), 60)
    assert waiting.events == ["start", "close"]
