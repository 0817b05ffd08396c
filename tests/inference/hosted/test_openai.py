"""What the three engines of OpenAI's requests have in common."""

from __future__ import annotations

import pytest

from inference.engines.openai_realtime import OpenAIRealtimeOptions, OpenAIRealtimeSpeechToText
from inference.engines.openai_speech import OpenAISpeechOptions, OpenAISpeechTextToSpeech
from inference.engines.openai_transcribe import OpenAITranscribeOptions, OpenAITranscribeSpeechToText
from inference.types import EngineError, has_language


@pytest.mark.parametrize(
    "engine",
    [
        OpenAISpeechTextToSpeech(OpenAISpeechOptions(api_key="k", languages=["pt-BR", "en"])),
        OpenAITranscribeSpeechToText(OpenAITranscribeOptions(api_key="k", languages=["pt-BR", "en"])),
        OpenAIRealtimeSpeechToText(OpenAIRealtimeOptions(api_key="k", languages=["pt-BR", "en"])),
    ],
)
def test_the_option_languages_may_name_a_region(engine):
    assert has_language(engine.languages, "pt-BR")
    assert has_language(engine.languages, "pt")
    assert not has_language(engine.languages, "de")


@pytest.mark.parametrize("base_url", ["http://[::1/v1", "ftp://x.io", "x.io/v1", ""])
def test_an_address_that_cannot_be_one_is_a_permanent_error(base_url):
    with pytest.raises(EngineError, match="base_url must be") as refusal:
        OpenAISpeechOptions(api_key="k", base_url=base_url)
    assert refusal.value.permanent
