"""
The engines of a call, as small Protocols: three that every call needs, and a turn model, which it can do without.

``inference.backends`` makes each engine once for a process, and it serves many calls. What belongs to one utterance or
to one call is in the object that ``open()`` returns. All methods are called on the event loop's thread and none may
block it: heavy work belongs in another process, a thread or a server elsewhere. Any method may raise ``EngineError``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Protocol, runtime_checkable

from inference.types import NO_TOOLS, AudioChunk, Description, Languages, Message, Pcm, TextDelta, Tools, Transcript


class Engine(Protocol):
    """
    The methods that all engines have.

    An engine may also have ``broken: str``: why it cannot serve any call until its process is restarted, or "" while it
    can. The worker of a broken engine ends, so that it takes no more calls.

    Two errors concern the next calls as well: while an engine is full (``EngineFull``, with ``retry_after``) or its
    account is used up (``QuotaExhausted``), and no engine of a fallback serves instead, no new call is taken.
    """

    @property
    def may_speculate(self) -> bool:
        """Whether work may be started that is likely to be discarded: yes on own hardware, no if it costs money."""

    async def start(self) -> None:
        """Load the model. Returns when the first request would be served at full speed. Idempotent."""

    async def close(self) -> None:
        """Release everything. Idempotent."""

    def describe(self) -> Description:
        """Say where the weights come from, what the engine needs and how much it serves. Loads nothing."""


class Transcription(Protocol):
    """
    The recognition of one utterance.

    ``push`` never waits. ``snapshot`` returns the best words for everything pushed before it and does not disturb
    recognition; pushing may go on meanwhile. ``finish`` returns the final words and releases the utterance; ``cancel``
    releases it without an answer. Both are idempotent, and after either ``push`` is ignored.
    """

    def push(self, pcm: Pcm) -> None:
        """Take the next samples, shape ``(n,)``, any n, at the engine's ``rate_hz``."""

    async def snapshot(self) -> Transcript: ...

    async def finish(self) -> Transcript: ...

    def cancel(self) -> None: ...


@runtime_checkable
class PacedTranscription(Protocol):
    """A recognition whose partials cost it much work. A transcription need not be one."""

    hurried: bool
    """Whether partials are wanted soon, because the agent may have to give way to the words. True until the owner of
    the transcription sets it."""


@runtime_checkable
class DelayedTranscription(Protocol):
    """A recognition elsewhere, which may be out of reach for a while. A transcription need not be one."""

    @property
    def delayed(self) -> bool:
        """Whether the engine cannot be reached for the moment. It will get the sound, and answer, once it can be."""


OnPartial = Callable[[Transcript], None]
"""Gets the words of an utterance that goes on, on the event loop's thread."""


class SpeechToText(Engine, Protocol):
    @property
    def rate_hz(self) -> int:
        """The rate of the sound that is pushed."""

    @property
    def gives_partials(self) -> bool:
        """Whether the engine calls ``on_partial``."""

    @property
    def languages(self) -> Languages:
        """
        The languages that it recognises. Loads nothing.

        None where only a loaded model or a worker knows them. ``open`` raises a permanent error for any other language.
        """

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: OnPartial | None = None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> Transcription:
        """
        Begin an utterance.

        ``hint`` is what the agent said last, for engines that can bias recognition by it. If ``gives_partials``,
        ``on_partial`` is called on the loop's thread each time the words so far change or become ``settled``.
        ``others`` are languages that the caller may speak instead: an engine that can tell languages apart (``AUTO`` is
        among its ``languages``) then says which one it has found, and if that is surely one of ``others``, its words
        are in it. It ignores those that it does not know. Without ``others`` it need not look, which costs work.
        ``keyterms`` are names and words to expect, the most important first, for engines that can bias recognition by
        them; others ignore them, and one that takes only so many leaves out the rest.
        """


class LanguageModel(Engine, Protocol):
    def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        """
        Reply to the conversation, piece by piece. Closing the iterator (``aclose``) cancels the work at its source.

        From one turn to the next, messages are only appended as far as the call allows, so that a prefix cache hits. A
        ``speculative`` request gives way to a real one. The model is told about ``tools``, and may nevertheless request
        others.
        """

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        """Prepare for a ``stream`` that begins with these messages and tools. May do nothing."""


class Speech(Protocol):
    """The voice of one call. It keeps what the engine remembers of the call, such as prosody and context."""

    def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        """
        Say the clauses that ``text`` yields, as they come. Ends when ``text`` has ended and everything was said.

        The audio of a clause starts before later clauses are known. Closing the iterator stops within one chunk. The
        engine makes the silence around a clause: at most 30 ms before it, and after it the pause of a person (0.18 s
        behind a sentence, 0.08 s behind a comma, 0.03 s where the clause ends without a mark). The first and the last
        sound of a clause are whole.
        """

    def heard(self, samples: int) -> None:
        """The caller heard only this many samples (at ``rate_hz``) of the last ``speak()``: forget the rest."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """Take the caller's turn, in words and sound, if the voice adapts to it. Never waits."""

    async def close(self) -> None: ...


@runtime_checkable
class MovingSpeech(Protocol):
    """A voice that can go on elsewhere in mid-sentence. A speech need not be one."""

    sent: Callable[[], int]
    """Tells how many characters of the present ``speak()`` the caller has heard, or will certainly hear. The owner sets
    it, so that a clause of which nothing was heard is said again as a whole."""


@runtime_checkable
class RememberingSpeech(Protocol):
    """
    A voice that can take over a call, with what it would remember of it. A speech need not be one.

    Its engine says so by an attribute ``remembers``.
    """

    def agent_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """Take words that the agent has said before, elsewhere in the same voice, with their sound. Never waits."""


class TextToSpeech(Engine, Protocol):
    """
    The voices of an engine. One engine speaks for many calls.

    The engine sets the loudness: the active level of each of its voices (the RMS of the louder half of the blocks of
    20 ms) is -20 dBFS. Sentences are within 2 dB of it, and no sample clips. Nobody behind it changes that, so
    that fillers, replies and a voice that steps in for another are equally loud.

    Calls take turns: a long clause of one call does not delay the first sound of another by 0.5 s. The same text need
    not always last equally long: within 2 %, or within 10 % for a voice that samples.
    """

    @property
    def rate_hz(self) -> int:
        """The rate of the audio that the engine makes."""

    @property
    def hears_caller(self) -> bool:
        """Whether ``caller_said`` is of use; otherwise the sound of the caller need not be kept for it."""

    @property
    def languages(self) -> Languages:
        """The languages that it speaks, as in ``SpeechToText``."""

    def open(self, *, voice: str = "", language: str = "en") -> Speech:
        """
        Prepare to speak in one call. ``""`` is the default voice; an unknown voice raises a permanent error.

        ``language`` is that of the text: it chooses the voice, of the region if there is one, else of the language. A
        language that no voice speaks, or that a named voice does not speak, raises a permanent error, because a text
        that is read in the manner of another language is not understood.
        """


class TurnModel(Engine, Protocol):
    """Judges by the sound of a turn whether the caller has finished. It runs in the process that takes the call."""

    @property
    def rate_hz(self) -> int:
        """The rate of the sound that is scored."""

    @property
    def longest(self) -> float:
        """Seconds of sound that it can use."""

    async def score(self, pcm: Pcm) -> float:
        """
        Return the probability, from 0 to 1, that the caller has finished with this sound.

        It begins a little before the turn and ends in the pause. Only its last ``longest`` seconds count. A score that
        would come too late to be of use is refused (``EngineFull``). Whoever does not want it any more cancels it.
        """
