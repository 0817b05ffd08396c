"""The engines of ``inference.fallback``, under the paths that a ``BACKEND`` setting names."""

from inference.fallback.members import FallbackLanguageModel, FallbackSpeechToText, FallbackTextToSpeech

__all__ = ["FallbackLanguageModel", "FallbackSpeechToText", "FallbackTextToSpeech"]
