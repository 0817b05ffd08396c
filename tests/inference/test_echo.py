"""The caller hears their own voice, however the text is changed on its way, and memory is limited."""

import numpy as np
import pytest

from inference.engines import echo
from inference.engines.echo import EchoLanguageModel, EchoSpeechToText, EchoStore, EchoTextToSpeech
from inference.types import Message
from tests.inference.speaking import sound_of

VOICE = (9000 * np.sin(np.arange(4000))).astype(np.int16)
SILENCE = np.zeros(1600, np.int16)


@pytest.fixture(autouse=True)
def store(monkeypatch):
    store = EchoStore()
    monkeypatch.setattr(echo, "STORE", store)
    return store


async def transcribe(*sounds) -> str:
    utterance = EchoSpeechToText().open()
    for sound in sounds:
        utterance.push(sound)
    return (await utterance.finish()).text


async def say(*given) -> np.ndarray:
    return await sound_of(EchoTextToSpeech(), *given)


async def test_the_caller_hears_their_own_voice_without_the_silence_around_it():
    transcript = await transcribe(SILENCE, VOICE, SILENCE)
    assert transcript == "Echo zero zero one."
    messages = [Message("assistant", "Hello."), Message("user", transcript)]
    reply = "".join([delta.text async for delta in EchoLanguageModel().stream(messages)])
    assert np.array_equal(await say(reply), VOICE)


async def test_a_name_is_recognised_after_changes_of_case_punctuation_and_context():
    await transcribe(VOICE[:2000])
    await transcribe(VOICE)
    for text in ("echo zero zero two", "ECHO ZERO ZERO TWO!", " so: Echo, zero, zero, two. "):
        assert np.array_equal(await say(text), VOICE)
    both = await say("Echo zero zero two. Echo zero zero one.")
    assert np.array_equal(both, np.concatenate([VOICE, VOICE[:2000]]))


async def test_the_snapshot_and_the_final_transcript_have_the_same_name(store):
    utterance = EchoSpeechToText().open()
    utterance.push(VOICE)
    snapshot = await utterance.snapshot()
    utterance.push(VOICE)
    final = await utterance.finish()
    assert snapshot.text == final.text
    assert (snapshot.samples, final.samples) == (4000, 8000)
    assert len(store) == 1
    assert len(await say(final.text)) == 8000


async def test_silence_has_no_words():
    assert await transcribe(SILENCE, SILENCE) == ""
    assert await transcribe() == ""


async def test_a_clause_without_the_name_of_an_utterance_is_a_beep():
    beep = await say("Hello, this is the echo test.")
    assert len(beep) == 1600
    assert np.array_equal(await say("Echo nine nine nine."), beep)


async def test_the_oldest_utterances_are_discarded(store):
    names = [await transcribe(VOICE) for _ in range(echo.KEPT_UTTERANCES + 2)]
    assert len(store) == echo.KEPT_UTTERANCES
    assert store.find_sounds(names[1]) == []
    assert len(store.find_sounds(names[2])) == 1
    assert len(set(names)) == len(names)


async def test_the_rest_of_a_long_utterance_is_discarded(store):
    name = await transcribe(*[VOICE] * 100)
    (sound,) = store.find_sounds(name)
    assert len(sound) == echo.LONGEST_SECONDS * echo.RATE_HZ
