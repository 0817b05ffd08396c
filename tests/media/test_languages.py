"""What the engines and phrases of a process have for a language."""

from __future__ import annotations

from typing import Any

import pytest

from calls.models import Agent
from calls.services.readiness import readiness_problems
from media import runtime as media_runtime
from media.languages import judge_changes, judge_language
from media.runtime import Runtime
from tests.media.test_runtime import engines

SCRIPTED = "inference.engines.scripted.Scripted"
SPHINX = {"BACKEND": "inference.engines.sphinx.SphinxSpeechToText"}
WHISPER = "inference.engines.whisper.FasterWhisperSpeechToText"
CSM = {"BACKEND": "inference.engines.csm.CsmTextToSpeech"}


@pytest.fixture
def use(settings, monkeypatch):
    """Return a function that configures the engines of a process that takes no calls."""
    monkeypatch.setattr(media_runtime, "_runtime", None)

    def configure(**changed: Any) -> None:
        settings.CONVERSATION = {}
        settings.ENGINES = {**engines(), **changed}

    return configure


def test_a_language_with_engines_and_phrases_lacks_nothing(use):
    use()
    assert judge_language("de").problems == judge_language("pt-BR").problems == ()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stt": SPHINX}, "The recogniser (SphinxSpeechToText) has only en. Choose another recogniser"),
        ({"tts": CSM}, "The voice (CsmTextToSpeech) has only en. Choose another voice"),
        (
            {"stt": {"BACKEND": WHISPER, "OPTIONS": {"model": "tiny.en"}}},
            "The recogniser (FasterWhisperSpeechToText) has only en. Choose another recogniser",
        ),
    ],
)
def test_an_engine_that_lacks_a_language_is_named_with_what_to_do(use, changed, message):
    use(**changed)
    assert judge_language("en").problems == ()
    [problem] = judge_language("de").problems
    assert problem.startswith(message)


def test_what_only_a_loaded_model_or_a_worker_knows_is_said_to_be_unknown(use):
    use(
        stt={"BACKEND": WHISPER, "OPTIONS": {"model": "small"}},
        tts={"BACKEND": "inference.engines.remote.RemoteTextToSpeech"},
    )
    report = judge_language("de")
    assert report.problems == ()
    assert report.unknown == (
        "Whether the recogniser (FasterWhisperSpeechToText) has the language is known only when it runs.",
        "Whether the voice (RemoteTextToSpeech) has the language is known only when it runs.",
    )


@pytest.mark.parametrize(
    ("stt", "problems", "unknown"),
    [
        (engines()["stt"], 0, 0),
        (SPHINX, 1, 0),
        ({"BACKEND": WHISPER, "OPTIONS": {"model": "tiny.en"}}, 1, 0),
        ({"BACKEND": WHISPER, "OPTIONS": {"model": "small"}}, 0, 1),
        ({"BACKEND": "inference.engines.remote.RemoteSpeechToText"}, 0, 1),
    ],
)
def test_a_change_of_language_needs_a_recogniser_that_tells_languages_apart(use, stt, problems, unknown):
    use(stt=stt)
    report = judge_changes()
    assert (len(report.problems), len(report.unknown)) == (problems, unknown)
    assert all("tell" in text and "languages apart" in text for text in (*report.problems, *report.unknown))


def test_an_engine_that_cannot_be_made_is_unknown(use):
    use(stt={"BACKEND": "inference.engines.nowhere.Nothing"})
    assert judge_language("de").problems == ()
    assert len(judge_language("de").unknown) == 1


def test_a_language_without_phrases_is_a_problem_until_the_setting_has_them(use, settings):
    use()
    [problem] = judge_language("pl").problems
    assert 'Give them in CONVERSATION under "pl": agent_goodbye, apology, ' in problem
    missing = problem.rpartition(": ")[2].rstrip(".").split(", ")
    settings.CONVERSATION = {"pl": dict.fromkeys(missing, "Halo?")}
    assert judge_language("pl").problems == ()


@pytest.mark.django_db(transaction=True)
async def test_an_agent_that_lacks_its_language_is_reported_and_turns_nobody_else_away(use, settings, caplog):
    use()
    await Agent.objects.acreate(name="recepcja", language="pl")
    runtime = Runtime()
    await runtime.start()
    assert "Agent recepcja, language pl: There are no stock phrases" in caplog.text
    assert await runtime.database(readiness_problems) == []
    await runtime.close()
