"""The engines of ``inference.fallback``, under the paths that a ``BACKEND`` setting names."""

from inference.fallback.llm import FallbackLanguageModel
from inference.fallback.stt import FallbackSpeechToText
from inference.fallback.tts import FallbackTextToSpeech

__all__ = ["FallbackLanguageModel", "FallbackSpeechToText", "FallbackTextToSpeech"]
