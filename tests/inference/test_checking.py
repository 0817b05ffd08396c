"""Engines are tried as one chain; what goes wrong with one is told and stops nothing else."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from inference import checking
from inference.checking import QUESTION, RECORDING, Sound, check, clauses_of, describe
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from tests import virtual_time

ALIASES = ("stt", "llm", "tts")


def scripted(**options):
    names = {"stt": "ScriptedSpeechToText", "llm": "ScriptedLanguageModel", "tts": "ScriptedTextToSpeech"}
    return {
        alias: {"BACKEND": f"inference.engines.scripted.{name}", "OPTIONS": options.get(alias, {})}
        for alias, name in names.items()
    }


async def tried(setting, aliases=ALIASES):
    return await check(setting, aliases, on_step=lambda step: None)


def test_each_engine_is_tried_and_its_figures_are_those_of_its_script(monkeypatch):
    # Virtual time, so that the figures are those of the script alone.
    clock = SimpleNamespace(perf_counter=lambda: asyncio.get_running_loop().time())
    monkeypatch.setattr(checking, "time", clock)
    stt, llm, tts = virtual_time.run(
        tried(
            scripted(
                stt={"final_delay": 0.02},
                llm={"replies": ["From ten to six."], "first_delay": 0.03, "token_delay": 0.01},
                tts={"first_delay": 0.02, "chunk_delay": 0.01, "chunk_seconds": 0.1},
            )
        )
    )
    assert not any(report.error for report in (stt, llm, tts))
    assert tts.utterance.words == QUESTION
    assert tts.utterance.sound.seconds == pytest.approx(len(QUESTION) * 0.04)
    assert 0.02 <= tts.utterance.first < tts.utterance.took
    assert tts.utterance.real_time_factor == tts.utterance.took / tts.utterance.sound.seconds
    assert stt.utterance.first == stt.utterance.took == pytest.approx(0.02)
    assert llm.utterance.words == "From ten to six."
    assert llm.utterance.first == pytest.approx(0.03)
    assert llm.utterance.took == pytest.approx(0.06)
    assert llm.utterance.real_time_factor is None


async def test_the_recogniser_hears_the_voice_and_the_language_model_what_was_heard():
    def echoes(name):
        return {"BACKEND": f"inference.engines.echo.{name}"}

    setting = {
        "stt": echoes("EchoSpeechToText"),
        "llm": echoes("EchoLanguageModel"),
        "tts": scripted()["tts"],
    }
    stt, llm, tts = await tried(setting)
    assert stt.utterance.sound.rate_hz == 8000
    assert stt.utterance.sound.seconds == pytest.approx(tts.utterance.sound.seconds + 2 * checking.QUIET_SECONDS)
    assert llm.utterance.words == stt.utterance.words


async def test_without_a_voice_a_recording_is_heard():
    (stt,) = await tried(scripted(), ["stt"])
    assert stt.utterance.sound.seconds == Sound.load(RECORDING).seconds + 2 * checking.QUIET_SECONDS


async def test_each_is_closed_before_the_next_is_loaded(monkeypatch):
    journal = []
    for engine_class in (ScriptedSpeechToText, ScriptedLanguageModel, ScriptedTextToSpeech):
        for method in ("start", "close"):

            async def write(self, method=method):
                journal.append((method, type(self).__name__))

            monkeypatch.setattr(engine_class, method, write)
    await tried(scripted())
    assert journal == [
        (method, name)
        for name in ("ScriptedTextToSpeech", "ScriptedSpeechToText", "ScriptedLanguageModel")
        for method in ("start", "close")
    ]


async def test_an_engine_that_fails_says_why_and_the_others_are_tried():
    stt, llm, tts = await tried(scripted(tts={"failures": [{"on": 1}]}))
    assert tts.error == "scripted speech 1 fails, as its script says"
    assert tts.description.weights
    assert tts.utterance is None
    assert stt.utterance.words
    assert llm.utterance.words


@pytest.mark.parametrize(
    ("alias", "options", "message"),
    [
        ("tts", {"seconds_per_character": 0}, "made no sound"),
        ("stt", {"transcripts": [" "]}, "heard no words in 2.3 s"),
        ("llm", {"replies": [""]}, "answered nothing"),
    ],
)
async def test_nothing_is_no_answer(alias, options, message):
    (report,) = await tried(scripted(**{alias: options}), [alias])
    assert message in report.error


async def test_an_engine_that_cannot_be_made_is_named():
    setting = {**scripted(), "tts": {"BACKEND": "no.such.Engine"}}
    _, _, tts = await tried(setting)
    assert "no.such.Engine" in tts.error
    assert tts.description is None


async def test_a_fault_of_an_engine_is_reported_and_not_raised(monkeypatch):
    async def burst(self):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(ScriptedTextToSpeech, "start", burst)
    _, _, tts = await tried(scripted())
    assert tts.error == "RuntimeError: CUDA out of memory"


async def test_an_engine_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(checking, "PATIENCE", 0.05)
    (llm,) = await tried(scripted(llm={"stalls": [{"on": 1, "seconds": 60}]}), ["llm"])
    assert "not done after" in llm.error


async def test_a_check_that_is_stopped_closes_what_it_loaded(monkeypatch):
    closed, asked = [], asyncio.Event()

    async def close(self):
        closed.append(type(self).__name__)

    def on_step(step):
        if "trying" in step:
            asked.set()

    monkeypatch.setattr(ScriptedLanguageModel, "close", close)
    setting = scripted(llm={"stalls": [{"on": 1, "seconds": 60}]})
    checking_it = asyncio.ensure_future(check(setting, ["llm"], on_step=on_step))
    await asked.wait()
    checking_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking_it
    assert closed == ["ScriptedLanguageModel"]


def test_describing_loads_nothing(monkeypatch):
    async def start(self):
        pytest.fail("it was started")

    monkeypatch.setattr(ScriptedTextToSpeech, "start", start)
    reports = describe(scripted(), ALIASES)
    assert [report.alias for report in reports] == list(ALIASES)
    assert all(report.description.weights and report.loaded is None for report in reports)


def test_a_sound_keeps_its_length_and_its_pitch_at_another_rate():
    at = np.arange(24000) / 24000
    sound = Sound((8000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16), 24000)
    slower = Sound(sound.at(8000), 8000)
    assert slower.seconds == sound.seconds
    assert np.abs(np.fft.rfft(slower.pcm)).argmax() == 440


def test_a_sound_survives_its_file(tmp_path):
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
def test_a_text_is_cut_behind_its_punctuation_and_nothing_of_it_is_lost(text, clauses):
    assert clauses_of(text) == clauses
    assert "".join(clauses) == text
