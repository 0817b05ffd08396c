"""
Engines for tests and load tests whose output and delays are options.

Outputs follow an absolute schedule, so that a late wake-up does not delay the outputs after it. Two more options make
an engine fail or stall: ``failures`` and ``stalls`` are lists of ``Trouble`` as plain dictionaries, such as
``{"on": 3}`` (the third request), ``{"rate": 0.1}`` (a tenth of the requests, at random) and
``{"on": 2, "at": "middle"}``. A request is one utterance for speech to text, one ``stream()`` for the language model
and one ``speak()`` for text to speech, and one ``score()`` for a turn model.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from inference.interfaces import OnPartial
from inference.requests import ToolRequests
from inference.types import (
    ALL_LANGUAGES,
    NO_TOOLS,
    AudioChunk,
    Description,
    EngineError,
    Languages,
    Message,
    Pcm,
    TextDelta,
    Tools,
    Transcript,
)

DEFAULT_TRANSCRIPT = "What time do you open?"
DEFAULT_REPLY = (
    "We do open our shop doors early each week day. "
    "We shut at six and you can come before then. "
    "Is there any way that I can be of use?"
)
"""30 tokens in 3 sentences of 46, 44 and 38 characters. The first sentence cannot be cut into clauses."""
BLOCK_SECONDS = 0.02
"""The voice in an utterance is measured in blocks of this length: one frame."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failure or a stall, and the requests that it affects: one by its number, a random share of all, or both."""

    on: int = 0
    """The number of the request, from 1; 0 is none."""
    rate: float = 0.0
    """The probability for each request, from 0 to 1."""
    at: Literal["first", "middle"] = "first"
    """Before the first output, or halfway through."""
    seconds: float = 0.0
    """The length of a stall."""
    permanent: bool = False
    """Whether a failure is a permanent ``EngineError``."""


class _Troubles:
    """Decides which failures and stalls each request of one engine meets."""

    def __init__(
        self, failures: Iterable[Mapping[str, Any]], stalls: Iterable[Mapping[str, Any]], seed: int, kind: str
    ) -> None:
        self._failures = [Trouble(**failure) for failure in failures]
        self._stalls = [Trouble(**stall) for stall in stalls]
        self._random = random.Random(seed)
        self._kind = kind
        """The name of a request in error messages, such as ``scripted reply``."""
        self._request_count = 0

    def draw_for_next_request(self) -> _DrawnTroubles:
        self._request_count += 1
        name = f"{self._kind} {self._request_count}"
        return _DrawnTroubles(name, self._draw(self._failures), self._draw(self._stalls))

    def _draw(self, troubles: list[Trouble]) -> list[Trouble]:
        # One number is drawn for every trouble, so that no trouble changes what is drawn for the next.
        drawn = [self._random.random() for _ in troubles]
        return [t for t, number in zip(troubles, drawn, strict=True) if t.on == self._request_count or number < t.rate]


@dataclass(frozen=True, slots=True)
class _DrawnTroubles:
    """The failures and stalls of one request."""

    name: str
    failures: list[Trouble]
    stalls: list[Trouble]

    async def apply(self, at: Literal["first", "middle"]) -> float:
        """Stall and then fail, if that was drawn for this point. Return the seconds of the stall."""
        stalled = sum(stall.seconds for stall in self.stalls if stall.at == at)
        if stalled:
            await asyncio.sleep(stalled)
        for failure in self.failures:
            if failure.at == at:
                raise EngineError(f"{self.name} fails, as its script says", permanent=failure.permanent)
        return stalled


@dataclass(kw_only=True, eq=False)
class _ScriptedEngine:
    """The part that the engines share. The fields of each are its options."""

    may_speculate: ClassVar[bool] = True
    languages: ClassVar[Languages] = ALL_LANGUAGES
    request_name: ClassVar[str]
    """The name of a request in error messages."""
    failures: Iterable[Mapping[str, Any]] = ()
    stalls: Iterable[Mapping[str, Any]] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        self.troubles = _Troubles(self.failures, self.stalls, self.seed, self.request_name)

    async def start(self) -> None:
        """Do nothing: there is nothing to load."""

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def describe(self) -> Description:
        return Description("none: it follows a script")


# Speech to text


@dataclass(kw_only=True, eq=False)
class ScriptedSpeechToText(_ScriptedEngine):
    """
    Returns transcripts from a list. ``snapshot`` and ``finish`` each take ``final_delay`` seconds.

    Each utterance that is asked for its words gets the next of ``transcripts``, and after the last one the first again.
    An utterance with less than ``backchannel_below`` seconds of voice (blocks whose peak is above ``voice_peak``) gets
    ``backchannel`` instead, and the list does not advance. With ``partials``, every ``seconds_per_word`` of voice
    reveals one more word, and a step without a new one is reported as settled words. Each further space between two
    words of a transcript is such a step, in which the caller draws out the word before. ``found`` are
    the languages found in the sound of each of ``transcripts``, if any is.
    """

    request_name = "scripted utterance"
    transcripts: Sequence[str] = (DEFAULT_TRANSCRIPT,)
    found: Sequence[str] = ()
    final_delay: float = 0.05
    partials: bool = False
    seconds_per_word: float = 0.3
    backchannel: str = "mm-hm"
    backchannel_below: float = 0.0
    voice_peak: int = 500
    rate_hz: int = 8000

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gives_partials = self.partials
        self._next_text = 0
        """The number of transcripts that were used."""

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: OnPartial | None = None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> ScriptedTranscription:
        return ScriptedTranscription(self, on_partial if self.gives_partials else None)

    def next_text(self) -> tuple[str, str]:
        """The next transcript and its language, "" if none was found."""
        number = self._next_text
        self._next_text += 1
        language = self.found[number % len(self.found)] if self.found else ""
        return self.transcripts[number % len(self.transcripts)], language


class ScriptedTranscription:
    def __init__(self, engine: ScriptedSpeechToText, on_partial: OnPartial | None) -> None:
        self._engine = engine
        self._on_partial = on_partial
        self._loop = asyncio.get_running_loop()
        self._counts_voice = on_partial is not None or engine.backchannel_below > 0
        self._block_samples = int(engine.rate_hz * BLOCK_SECONDS)
        self._rest = np.zeros(0, np.int16)
        """The samples that do not fill a block yet."""
        self._samples = 0
        """All samples pushed so far."""
        self._voiced_samples = 0
        """The samples in blocks with voice, if they are counted."""
        self._words_revealed = 0
        """The number of steps that the last partial accounts for."""
        self._text: str | None = None
        """The transcript; None until the utterance is asked for its words."""
        self._language = ""
        """The language that was found in the sound."""
        self._drawn: _DrawnTroubles | None = None
        """The troubles of this utterance, drawn when it is first asked for its words."""
        self._final: Transcript | None = None
        self._closed = False

    def push(self, pcm: Pcm) -> None:
        if self._closed:
            return
        self._samples += len(pcm)
        if self._counts_voice:
            self._count_voice(pcm)
        if self._on_partial is not None:
            self._reveal_words()

    async def snapshot(self) -> Transcript:
        return self._final or await self._transcribe()

    async def finish(self) -> Transcript:
        self._closed = True
        if self._final is None:
            self._final = await self._transcribe()
        return self._final

    def cancel(self) -> None:
        self._closed = True
        self._on_partial = None

    async def _transcribe(self) -> Transcript:
        due = self._loop.time() + self._engine.final_delay
        text, samples = self._choose_text(), self._samples
        if self._drawn is None:
            self._drawn = self._engine.troubles.draw_for_next_request()
        due += await self._drawn.apply("first")
        await _sleep_until(due)
        return Transcript(text, samples, language=self._language, language_probability=float(bool(self._language)))

    def _choose_text(self) -> str:
        return " ".join(self._choose_script().split())

    def _choose_script(self) -> str:
        if self._voiced_samples < self._engine.backchannel_below * self._engine.rate_hz:
            return self._engine.backchannel
        if self._text is None:
            self._text, self._language = self._engine.next_text()
        return self._text

    def _count_voice(self, pcm: Pcm) -> None:
        if len(self._rest):
            pcm = np.concatenate([self._rest, pcm])
        whole = len(pcm) - len(pcm) % self._block_samples
        self._rest = pcm[whole:].copy()
        if whole:
            peaks = pcm[:whole].reshape(-1, self._block_samples).max(axis=1)
            self._voiced_samples += self._block_samples * int(np.count_nonzero(peaks > self._engine.voice_peak))

    def _reveal_words(self) -> None:
        due = int(self._voiced_samples / (self._engine.seconds_per_word * self._engine.rate_hz))
        if due <= self._words_revealed:
            return
        # One step behind the last word tells that no more follow.
        words = [*self._choose_script().split(" "), ""]
        if min(due, len(words)) > self._words_revealed:
            before, self._words_revealed = self._words_revealed, min(due, len(words))
            settled = self._words_revealed > 1 and not any(words[before : self._words_revealed])
            text = " ".join(filter(None, words[: self._words_revealed]))
            # Deferred: the caller of push() does not expect on_partial to run during the call.
            self._loop.call_soon(self._pass_partial, Transcript(text, self._samples, settled=settled))

    def _pass_partial(self, partial: Transcript) -> None:
        if self._on_partial is not None and not self._closed:
            self._on_partial(partial)


# Language model


@dataclass(kw_only=True, eq=False)
class ScriptedLanguageModel(_ScriptedEngine):
    """
    Replies from a list: the first token ``first_delay`` seconds after the request, then one every ``token_delay``.

    The caller's nth turn gets the nth of ``replies``, and after the last one the first again, so that a repeated
    request gets the same reply. ``""`` is an empty reply. From turn ``end_call_after`` on, the reply requests the end
    of the call, from ``transfer_after`` on a transfer to ``transfer_to``, and from ``opt_out_after`` on that the caller
    is never called again; 0 is never.
    """

    request_name = "scripted reply"
    replies: Sequence[str] = (DEFAULT_REPLY,)
    first_delay: float = 0.05
    token_delay: float = 0.01
    end_call_after: int = 0
    transfer_after: int = 0
    transfer_to: str = ""
    opt_out_after: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._tokens = [re.findall(r"\s*\S+", reply) for reply in self.replies]
        """The tokens of each reply."""
        self._requests_after = [
            (self.end_call_after, TextDelta(requests=ToolRequests(end_call=True))),
            (self.transfer_after, TextDelta(requests=ToolRequests(transfer=self.transfer_to))),
            (self.opt_out_after, TextDelta(requests=ToolRequests(opt_out=True))),
        ]

    def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        turns = sum(message.role == "user" for message in messages)
        tokens = self._tokens[max(turns - 1, 0) % len(self._tokens)]
        requests = [delta for after, delta in self._requests_after if 0 < after <= turns]
        return self._stream(tokens, requests, self.troubles.draw_for_next_request(), asyncio.get_running_loop().time())

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        """Do nothing: there is nothing to prepare."""

    async def _stream(
        self, tokens: list[str], requests: list[TextDelta], drawn: _DrawnTroubles, requested_at: float
    ) -> AsyncGenerator[TextDelta, None]:
        due = requested_at + self.first_delay + await drawn.apply("first")
        middle = len(tokens) // 2
        for number, token in enumerate(tokens):
            if number == middle:
                due += await drawn.apply("middle")
            await _sleep_until(due)
            yield TextDelta(token)
            due += self.token_delay
        for delta in requests:
            yield delta


# Text to speech


@dataclass(kw_only=True, eq=False)
class ScriptedTextToSpeech(_ScriptedEngine):
    """
    Speaks a clause as a tone: the first chunk ``first_delay`` seconds after the clause, then one every ``chunk_delay``.

    The time of a clause is when the text's iterator yields it. The clause lasts ``seconds_per_character`` for each of
    its characters. The phase of the tone continues from clause to clause.
    """

    request_name = "scripted speech"
    first_delay: float = 0.05
    chunk_delay: float = 0.02
    chunk_seconds: float = 0.1
    seconds_per_character: float = 0.04
    tone_hz: int = 220
    tone_peak: int = 8000
    rate_hz: int = 8000
    voices: Sequence[str] = ("tone",)
    hears_caller: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chunk_samples = int(self.chunk_seconds * self.rate_hz)
        self.samples_per_character = self.seconds_per_character * self.rate_hz
        self.period_samples = self.rate_hz // math.gcd(self.rate_hz, self.tone_hz)
        # Chunks are views of one table, which is long enough to cut a chunk at any phase: speaking costs no arithmetic.
        at = np.arange(self.period_samples + self.chunk_samples) / self.rate_hz
        self.tone: Pcm = np.rint(self.tone_peak * np.sin(2 * np.pi * self.tone_hz * at)).astype(np.int16)
        self.tone.flags.writeable = False
        self.caller_said: deque[tuple[str, Pcm, int]] = deque(maxlen=100)
        """The last calls of ``ScriptedSpeech.caller_said``, for tests."""

    def open(self, *, voice: str = "", language: str = "en") -> ScriptedSpeech:
        if voice and voice not in self.voices:
            known = ", ".join(sorted(self.voices))
            raise EngineError(f"there is no scripted voice {voice!r}; the voices are: {known}", permanent=True)
        return ScriptedSpeech(self)


class ScriptedSpeech:
    def __init__(self, engine: ScriptedTextToSpeech) -> None:
        self._engine = engine

    def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        return self._speak(text, self._engine.troubles.draw_for_next_request())

    def heard(self, samples: int) -> None:
        """Do nothing: a call has no context."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        self._engine.caller_said.append((text, pcm, rate_hz))

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    async def _speak(self, text: AsyncIterator[str], drawn: _DrawnTroubles) -> AsyncGenerator[AudioChunk, None]:
        engine, loop = self._engine, asyncio.get_running_loop()
        phase = spoken = 0  # samples into the tone's period; characters of the clauses before this one
        past_middle = False
        async for clause in text:
            due = loop.time() + engine.first_delay
            if not spoken:
                due += await drawn.apply("first")
            samples = round(len(clause) * engine.samples_per_character)
            for start in range(0, samples, engine.chunk_samples):
                end = min(start + engine.chunk_samples, samples)
                if not past_middle and 2 * end > samples:
                    past_middle = True
                    due += await drawn.apply("middle")
                await _sleep_until(due)
                characters = len(clause) if end == samples else int(end / engine.samples_per_character)
                yield AudioChunk(engine.tone[phase : phase + end - start], spoken + characters, exact=True)
                phase = (phase + end - start) % engine.period_samples
                due += engine.chunk_delay
            spoken += len(clause)


async def _sleep_until(due: float) -> None:
    await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


# Turn model


@dataclass(kw_only=True, eq=False)
class ScriptedTurnModel(_ScriptedEngine):
    """Each score is the next of ``scores``, and after the last one the first again. It takes ``delay`` seconds."""

    request_name = "scripted score"
    scores: Sequence[float] = (0.5,)
    delay: float = 0.08
    rate_hz: int = 8000
    longest: float = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sounds: list[Pcm] = []
        """Every sound that was to be scored."""

    async def score(self, pcm: Pcm) -> float:
        self.sounds.append(pcm)
        score = self.scores[(len(self.sounds) - 1) % len(self.scores)]
        await asyncio.sleep(self.delay)
        await self.troubles.draw_for_next_request().apply("first")
        return score
