"""Engines are tried in a chain. The failure of one is reported, and the others are still tried."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from inference import checking
from inference.backends import Engines
from inference.checking import QUESTION, RECORDING, Sound, check, clauses_of, describe, has_quota
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from inference.types import EngineError, QuotaExhausted
from tests import virtual_time

ALIASES = ("stt", "llm", "tts")


def scripted(**options):
    names = {"stt": "ScriptedSpeechToText", "llm": "ScriptedLanguageModel", "tts": "ScriptedTextToSpeech"}
    return {
        alias: {"BACKEND": f"inference.engines.scripted.{name}", "OPTIONS": options.get(alias, {})}
        for alias, name in names.items()
    }


async def try_engines(setting, aliases=ALIASES):
    return await check(setting, aliases, on_step=lambda step: None)


def test_the_figures_of_each_engine_are_those_of_its_script(monkeypatch):
    # Virtual time, so that the figures are those of the script alone.
    clock = SimpleNamespace(perf_counter=lambda: asyncio.get_running_loop().time())
    monkeypatch.setattr(checking, "time", clock)
    stt, llm, tts = virtual_time.run(
        try_engines(
            scripted(
                stt={"final_delay": 0.02},
                llm={"replies": ["From ten to six."], "first_delay": 0.03, "token_delay": 0.01},
                tts={"first_delay": 0.02, "chunk_delay": 0.01, "chunk_seconds": 0.1},
            )
        )
    )
    assert not any(report.error for report in (stt, llm, tts))
    assert tts.trial.words == QUESTION
    assert tts.trial.sound.seconds == pytest.approx(len(QUESTION) * 0.04)
    assert 0.02 <= tts.trial.first < tts.trial.took
    assert tts.trial.real_time_factor == tts.trial.took / tts.trial.sound.seconds
    assert stt.trial.first == stt.trial.took == pytest.approx(0.02)
    assert llm.trial.words == "From ten to six."
    assert llm.trial.first == pytest.approx(0.03)
    assert llm.trial.took == pytest.approx(0.06)
    assert llm.trial.real_time_factor is None


async def test_the_recogniser_hears_the_speech_and_the_language_model_answers_the_recognised_words():
    def echo_engine(name):
        return {"BACKEND": f"inference.engines.echo.{name}"}

    setting = {
        "stt": echo_engine("EchoSpeechToText"),
        "llm": echo_engine("EchoLanguageModel"),
        "tts": scripted()["tts"],
    }
    stt, llm, tts = await try_engines(setting)
    assert stt.trial.sound.rate_hz == 8000
    assert stt.trial.sound.seconds == pytest.approx(tts.trial.sound.seconds + 2 * checking.SILENCE_SECONDS)
    assert llm.trial.words == stt.trial.words


async def test_without_text_to_speech_the_recogniser_hears_a_recording():
    (stt,) = await try_engines(scripted(), ["stt"])
    assert stt.trial.sound.seconds == Sound.load(RECORDING).seconds + 2 * checking.SILENCE_SECONDS


async def test_a_turn_model_scores_what_the_recogniser_hears():
    setting = {**scripted(), "turn": {"BACKEND": "inference.engines.scripted.ScriptedTurnModel"}}
    stt, turn = await try_engines(setting, ["stt", "turn"])
    assert not turn.error
    assert turn.trial.words == "50 % that the caller has finished"
    assert np.array_equal(turn.trial.sound.pcm, stt.trial.sound.pcm)


async def test_a_score_that_is_no_probability_is_a_failure():
    turn = {"BACKEND": "inference.engines.scripted.ScriptedTurnModel", "OPTIONS": {"scores": [1.5]}}
    (report,) = await try_engines({**scripted(), "turn": turn}, ["turn"])
    assert "1.5, which is no probability" in report.error


async def test_each_engine_is_closed_before_the_next_is_loaded(monkeypatch):
    calls = []
    for engine_class in (ScriptedSpeechToText, ScriptedLanguageModel, ScriptedTextToSpeech):
        for method in ("start", "close"):

            async def note(self, method=method):
                calls.append((method, type(self).__name__))

            monkeypatch.setattr(engine_class, method, note)
    await try_engines(scripted())
    assert calls == [
        (method, name)
        for name in ("ScriptedTextToSpeech", "ScriptedSpeechToText", "ScriptedLanguageModel")
        for method in ("start", "close")
    ]


async def test_the_report_says_why_an_engine_failed_and_the_others_are_tried():
    stt, llm, tts = await try_engines(scripted(tts={"failures": [{"on": 1}]}))
    assert tts.error == "scripted speech 1 fails, as its script says"
    assert tts.description.weights
    assert tts.trial is None
    assert stt.trial.words
    assert llm.trial.words


@pytest.mark.parametrize(
    ("alias", "options", "message"),
    [
        ("tts", {"seconds_per_character": 0}, "made no sound"),
        ("stt", {"transcripts": [" "]}, "heard no words in 2.3 s"),
        ("llm", {"replies": [""]}, "answered nothing"),
    ],
)
async def test_an_empty_output_is_a_failure(alias, options, message):
    (report,) = await try_engines(scripted(**{alias: options}), [alias])
    assert message in report.error


async def test_the_report_names_an_engine_that_cannot_be_made():
    setting = {**scripted(), "tts": {"BACKEND": "no.such.Engine"}}
    _, _, tts = await try_engines(setting)
    assert "no.such.Engine" in tts.error
    assert tts.description is None


async def test_an_unexpected_exception_of_an_engine_is_reported_and_not_raised(monkeypatch):
    async def fail(self):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(ScriptedTextToSpeech, "start", fail)
    _, _, tts = await try_engines(scripted())
    assert tts.error == "RuntimeError: CUDA out of memory"


async def test_an_engine_that_does_not_answer_fails_after_the_timeout(monkeypatch):
    monkeypatch.setattr(checking, "TRIAL_TIMEOUT", 0.05)
    (llm,) = await try_engines(scripted(llm={"stalls": [{"on": 1, "seconds": 60}]}), ["llm"])
    assert "not done after" in llm.error


async def test_a_cancelled_check_closes_the_engine_that_it_loaded(monkeypatch):
    closed, trying = [], asyncio.Event()

    async def close(self):
        closed.append(type(self).__name__)

    def on_step(step):
        if "trying" in step:
            trying.set()

    monkeypatch.setattr(ScriptedLanguageModel, "close", close)
    setting = scripted(llm={"stalls": [{"on": 1, "seconds": 60}]})
    task = asyncio.ensure_future(check(setting, ["llm"], on_step=on_step))
    await trying.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == ["ScriptedLanguageModel"]


def test_describing_loads_nothing(monkeypatch):
    async def start(self):
        pytest.fail("describe() started the engine")

    monkeypatch.setattr(ScriptedTextToSpeech, "start", start)
    reports = describe(scripted(), ALIASES)
    assert [report.alias for report in reports] == list(ALIASES)
    assert all(report.description.weights and report.loaded is None for report in reports)


def test_a_resampled_sound_keeps_its_duration_and_its_pitch():
    at = np.arange(24000) / 24000
    sound = Sound((8000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16), 24000)
    resampled = Sound(sound.resampled(8000), 8000)
    assert resampled.seconds == sound.seconds
    assert np.abs(np.fft.rfft(resampled.pcm)).argmax() == 440


def test_a_saved_sound_is_loaded_unchanged(tmp_path):
    sound = Sound(np.array([0, 1, -32768, 32767], np.int16), 24000)
    sound.save(tmp_path / "x.wav")
    loaded = Sound.load(tmp_path / "x.wav")
    assert loaded.rate_hz == 24000
    assert loaded.pcm.tolist() == sound.pcm.tolist()


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("Good morning.", ["Good morning."]),
        ("Well, yes. We open at 10:30!", ["Well, ", "yes. ", "We open at 10:30!"]),
        ("He said “come in.” Then", ["He said “come in.” Then"]),
        ("no end to it", ["no end to it"]),
    ],
)
def test_a_text_is_cut_after_its_punctuation_and_the_clauses_join_to_the_text(text, clauses):
    assert clauses_of(text) == clauses
    assert "".join(clauses) == text


def fallback(*entries):
    return {"BACKEND": "inference.engines.fallback.FallbackLanguageModel", "OPTIONS": {"engines": list(entries)}}


async def test_a_fallback_reports_how_each_of_its_engines_did():
    works, fails = scripted()["llm"], scripted(llm={"failures": [{"rate": 1.0}]})["llm"]
    (report,) = await try_engines({"llm": fallback({**fails, "NAME": "first"}, works)}, ["llm"])
    assert report.trial
    assert [(health.state, health.served, health.failed) for health in report.health] == [
        ("ready", 0, 1),
        ("ready", 1, 0),
    ]
    assert "fails, as its script says" in report.health[0].last_error
    assert report.as_json()["health"][0]["name"] == "llm engine 1 (first)"


async def test_each_engine_of_a_fallback_can_be_tried_by_itself():
    works, fails = scripted()["llm"], scripted(llm={"failures": [{"rate": 1.0}]})["llm"]
    setting = {**scripted(), "llm": fallback({**fails, "NAME": "first"}, works)}
    reports = await check(setting, ["llm", "tts"], on_step=lambda step: None, each=True)
    assert [(report.alias, report.member, bool(report.error)) for report in reports] == [
        ("llm", "first", True),
        ("llm", "engine 2", False),
        ("tts", "", False),
    ]


@pytest.mark.parametrize(("error", "found"), [(QuotaExhausted("no credit"), False), (EngineError("away"), True)])
async def test_an_account_is_tried_by_one_utterance_and_other_errors_say_nothing_of_it(error, found):
    class Refusing(ScriptedTextToSpeech):
        def open(self, **options):
            raise error

    engines = Engines(ScriptedSpeechToText(), ScriptedLanguageModel(), Refusing())
    assert await has_quota(engines) is found
    assert await has_quota(replace(engines, tts=ScriptedTextToSpeech()))


@pytest.mark.parametrize(("languages", "asked"), [(None, "en"), ({"en", "de"}, "en"), ({"de"}, "de")])
async def test_an_account_is_tried_in_a_language_that_the_voice_has(languages, asked):
    class Refusing(ScriptedTextToSpeech):
        def open(self, *, voice="", language="en"):
            if language != asked:
                raise EngineError(f"no voice for {language}", permanent=True)
            raise QuotaExhausted("no credit")

    Refusing.languages = languages if languages is None else frozenset(languages)
    assert not await has_quota(Engines(ScriptedSpeechToText(), ScriptedLanguageModel(), Refusing()))
