"""The engines of ``inference.remote``, under the paths that a ``BACKEND`` setting names."""

from inference.remote.placement import RemoteLanguageModel, RemoteSpeechToText, RemoteTextToSpeech

__all__ = ["RemoteLanguageModel", "RemoteSpeechToText", "RemoteTextToSpeech"]
