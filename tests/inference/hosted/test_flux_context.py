"""What one utterance of Flux TTS hears, without a socket."""

from __future__ import annotations

from inference.engines.deepgram_flux_tts import FluxContext
from inference.hosted.context import Heard
from tests.inference.hosted.test_deepgram_flux_tts import FIRST, SECOND


async def test_the_end_of_a_turn_that_comes_twice_does_not_end_the_turn_that_waits_behind_it():
    class Session:
        played_ms = interrupted_ms = 0
        is_idle, ended_id = True, ""

    context = FluxContext(Session())  # type: ignore[arg-type]
    context.say(FIRST)
    context._flush()
    context.say(SECOND)
    over = {"type": "SpeechMetadata", "speech_id": "a", "audio_duration_ms": 10}
    context.hear({"type": "SpeechStarted", "speech_id": "a"})
    assert context.hear(over) == Heard(clauses=1)
    assert context.hear(over) is None
    context.hear({"type": "SpeechStarted", "speech_id": "b"})
    assert context.hear(over) is None
    context.end()
    assert context.hear({**over, "speech_id": "b"}) == Heard(clauses=2, ended=True)
