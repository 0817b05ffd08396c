"""
The three engines of a call, as small Protocols.

An engine is made once per process by ``inference.backends`` and serves many calls. What belongs to
one utterance or to one call lives in the object that ``open()`` returns. All methods are called
on the event loop's thread and none may block it: heavy work belongs in a worker process, a thread or
a server elsewhere. Any method may raise ``EngineError``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Protocol

from inference.types import NO_TOOLS, AudioChunk, Description, Message, Pcm, TextDelta, Tools, Transcript


class Engine(Protocol):
    """
    What all three have in common.

    An engine may also have ``broken: str``: why it can serve nobody until its process is started again, "" while all is
    well. Its worker then ends, so that no more calls come to it.
    """

    @property
    def may_speculate(self) -> bool:
        """Whether work may be started that is likely to be thrown away (own hardware: yes; paid by the token: no)."""

    async def start(self) -> None:
        """Load what is needed; returns when the first request would be served at full speed. Idempotent."""

    async def close(self) -> None:
        """Release everything. Idempotent."""

    def describe(self) -> Description:
        """Where its weights come from, what it needs, how much it serves; at any time, without loading anything."""


class Transcription(Protocol):
    """
    One utterance being recognised.

    ``push`` never waits. ``snapshot`` gives the best words for everything pushed before it and does
    not disturb recognition: pushing goes on as if it had not happened. ``finish`` gives the last word
    and releases the utterance; ``cancel`` releases it without one. Both are idempotent; after either,
    ``push`` is ignored.
    """

    def push(self, pcm: Pcm) -> None:
        """Take the next samples, shape ``(n,)``, any n, at the engine's ``rate_hz``."""

    async def snapshot(self) -> Transcript: ...

    async def finish(self) -> Transcript: ...

    def cancel(self) -> None: ...


class SpeechToText(Engine, Protocol):
    @property
    def rate_hz(self) -> int:
        """The rate of the sound that it is given."""

    @property
    def gives_partials(self) -> bool:
        """Whether it calls ``on_partial``."""

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: Callable[[Transcript], None] | None = None,
    ) -> Transcription:
        """
        Begin an utterance.

        ``hint`` is what the agent said last, for engines that can bias recognition by it.
        ``on_partial`` is called on the loop's thread each time the words so far change, if
        ``gives_partials``.
        """


class LanguageModel(Engine, Protocol):
    def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        """
        Answer the conversation, piece by piece. Closing the iterator (``aclose``) cancels the work at its source.

        ``messages`` is append-only from one turn to the next as far as the call allows, so that a
        prefix cache hits. A ``speculative`` request gives way to a real one. The model is told of ``tools``, and may
        ask for others nevertheless.
        """

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        """Prepare for a ``stream`` that will begin with these messages and tools; where there is nothing, a no-op."""


class Speech(Protocol):
    """The voice of one call. It keeps what the engine wants to remember of it (prosody, context)."""

    def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        """
        Say the clauses that ``text`` yields, as they come; ends when ``text`` has ended and all is said.

        Audio of a clause starts before later clauses are known. Closing the iterator stops within a chunk.
        """

    def heard(self, samples: int) -> None:
        """Of the last ``speak()``, the caller heard only this many samples (at ``rate_hz``): forget the rest."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """A turn of the caller, in words and sound, for a voice that answers to it. Never waits."""

    async def close(self) -> None: ...


class TextToSpeech(Engine, Protocol):
    @property
    def rate_hz(self) -> int:
        """The rate of the audio that it makes."""

    @property
    def hears_caller(self) -> bool:
        """Whether it wants to be told what the caller said; else nobody need keep the sound."""

    def open(self, *, voice: str = "", language: str = "en") -> Speech:
        """Prepare to speak on one call; ``""`` is the default voice. An unknown one raises a permanent error."""
