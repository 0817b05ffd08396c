"""The engines of ``inference.remote``, under the paths that a ``BACKEND`` setting names."""

from inference.remote.llm import RemoteLanguageModel
from inference.remote.stt import RemoteSpeechToText
from inference.remote.tts import RemoteTextToSpeech

__all__ = ["RemoteLanguageModel", "RemoteSpeechToText", "RemoteTextToSpeech"]
