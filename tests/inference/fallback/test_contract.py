"""A fallback keeps the contract of a single engine, even if its first engine fails."""

from __future__ import annotations

from functools import partial

import pytest

from inference.engines.fallback import FallbackLanguageModel, FallbackSpeechToText, FallbackTextToSpeech
from tests.inference.contract import LanguageModelContract, SpeechToTextContract, TextToSpeechContract
from tests.inference.fallback.engines import PATIENT, llm, stt, tts


class TestLanguageModel(LanguageModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        quick = llm(first_delay=0.001, token_delay=0.0005)
        return partial(FallbackLanguageModel, engines=[quick, quick])


class TestLanguageModelWhoseFirstEngineFails(LanguageModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        quick = {"first_delay": 0.001, "token_delay": 0.0005}
        engines = [llm(failures=[{"rate": 1.0}], **quick), llm(**quick)]
        return partial(FallbackLanguageModel, engines=engines, **PATIENT)


class TestSpeechToText(SpeechToTextContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        # The shorter of the two utterances is a backchannel.
        quick = stt(final_delay=0.001, partials=True, backchannel_below=0.8)
        return partial(FallbackSpeechToText, engines=[quick, quick])


class TestSpeechToTextWhoseFirstEngineFails(SpeechToTextContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        quick = {"final_delay": 0.001, "backchannel_below": 0.8}
        engines = [stt(failures=[{"rate": 1.0}], **quick), stt(rate_hz=16000, **quick)]
        return partial(FallbackSpeechToText, engines=engines, **PATIENT)


class TestTextToSpeech(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        quick = tts(first_delay=0.001, chunk_delay=0.0005)
        return partial(FallbackTextToSpeech, engines=[quick, quick])


class TestTextToSpeechWhoseFirstEngineFailsInMidSentence(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        quick = {"first_delay": 0.001, "chunk_delay": 0.0005}
        engines = [tts(failures=[{"rate": 1.0, "at": "middle"}], **quick), tts(rate_hz=24000, **quick)]
        return partial(FallbackTextToSpeech, engines=engines, **PATIENT)
