"""The settings of the server in ``tests.benchmarks.turns``: real recognition, a scripted model, a voice with words."""

import json
import os

from clientcaller.settings import *  # noqa: F403

ENGINES = {
    "stt": {
        "BACKEND": "inference.engines.whisper.FasterWhisperSpeechToText",
        "OPTIONS": {"model": os.environ["TURNS_MODEL"], "device": "cpu"},
    },
    "llm": {
        "BACKEND": "inference.engines.scripted.ScriptedLanguageModel",
        "OPTIONS": {"replies": json.loads(os.environ["TURNS_REPLIES"])},
    },
    "tts": {"BACKEND": "inference.engines.espeak.EspeakTextToSpeech", "OPTIONS": {}},
}
