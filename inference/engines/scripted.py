"""
Engines with known delays, for tests and for load: what they say and when is written down beforehand.

Times are kept on an absolute schedule, so that a late wake-up does not delay what follows. Beyond the delays, options
make an engine misbehave: ``failures`` and ``stalls`` are lists of ``Trouble`` in plain dictionaries, such as
``{"on": 3}`` (the third request), ``{"rate": 0.1}`` (every tenth by lot) and ``{"on": 2, "at": "middle"}``.
A request is one utterance for speech to text, one ``stream()`` for the language model and one ``speak()`` for text
to speech.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from inference.requests import ToolRequests
from inference.types import NO_TOOLS, AudioChunk, Description, EngineError, Message, Pcm, TextDelta, Tools, Transcript

DEFAULT_TRANSCRIPT = "What time do you open?"
DEFAULT_REPLY = (
    "We do open our shop doors early each week day. "
    "We shut at six and you can come before then. "
    "Is there any way that I can be of use?"
)
"""30 tokens in 3 sentences of 46, 44 and 38 characters; the first has no place where it could be cut into clauses."""
BLOCK_SECONDS = 0.02
"""Voice is counted in blocks of this length."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """
    When a request goes wrong: the request number ``on`` (from 1), or a share ``rate`` of all, drawn by lot.

    ``at`` says whether that is before the first output or halfway through; ``seconds`` is how long a stall lasts.
    """

    on: int = 0
    rate: float = 0.0
    at: Literal["first", "middle"] = "first"
    seconds: float = 0.0
    permanent: bool = False


class _Troubles:
    """Deals each request of one engine its share of trouble."""

    def __init__(
        self, failures: Iterable[Mapping[str, Any]], stalls: Iterable[Mapping[str, Any]], seed: int, kind: str
    ) -> None:
        self._failures = [Trouble(**failure) for failure in failures]
        self._stalls = [Trouble(**stall) for stall in stalls]
        self._random = random.Random(seed)
        self._kind = kind
        self._request_count = 0

    def draw_for_next_request(self) -> _DrawnTroubles:
        self._request_count += 1
        name = f"{self._kind} {self._request_count}"
        return _DrawnTroubles(name, self._draw(self._failures), self._draw(self._stalls))

    def _draw(self, troubles: list[Trouble]) -> list[Trouble]:
        # The lot is drawn for each trouble in turn, so that one never changes what another one draws.
        lots = [self._random.random() for _ in troubles]
        return [t for t, lot in zip(troubles, lots, strict=True) if t.on == self._request_count or lot < t.rate]


@dataclass(frozen=True, slots=True)
class _DrawnTroubles:
    """What will go wrong with one request."""

    name: str
    failures: list[Trouble]
    stalls: list[Trouble]

    async def apply(self, at: Literal["first", "middle"]) -> float:
        """Stall, then fail, where that was dealt for this point; returns the seconds lost."""
        lost = sum(stall.seconds for stall in self.stalls if stall.at == at)
        if lost:
            await asyncio.sleep(lost)
        for failure in self.failures:
            if failure.at == at:
                raise EngineError(f"{self.name} fails, as its script says", permanent=failure.permanent)
        return lost


class _ScriptedEngine:
    may_speculate: ClassVar[bool] = True

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release."""

    def describe(self) -> Description:
        return Description("none: it follows a script")


# Speech to text


class ScriptedSpeechToText(_ScriptedEngine):
    """
    Answers every utterance from a list, ``final_delay`` after it is asked, by ``snapshot`` and ``finish`` alike.

    ``transcripts`` are dealt in order and again from the start, one per utterance that is asked about. An utterance
    with less than ``backchannel_below`` seconds of voice (blocks whose peak is over ``voice_peak``) is answered by
    ``backchannel`` instead and uses up none. With ``partials``, one more word is revealed for every
    ``seconds_per_word`` of voice.
    """

    def __init__(
        self,
        *,
        transcripts: Sequence[str] = (DEFAULT_TRANSCRIPT,),
        final_delay: float = 0.05,
        partials: bool = False,
        seconds_per_word: float = 0.3,
        backchannel: str = "mm-hm",
        backchannel_below: float = 0.0,
        voice_peak: int = 500,
        failures: Iterable[Mapping[str, Any]] = (),
        stalls: Iterable[Mapping[str, Any]] = (),
        seed: int = 0,
        rate_hz: int = 8000,
    ) -> None:
        self.rate_hz = rate_hz
        self.gives_partials = partials
        self.final_delay = final_delay
        self.seconds_per_word = seconds_per_word
        self.backchannel = backchannel
        self.backchannel_below = backchannel_below
        self.voice_peak = voice_peak
        self._transcripts = list(transcripts)
        self._next_text = 0
        self._troubles = _Troubles(failures, stalls, seed, "scripted utterance")

    def open(
        self, *, language: str = "en", hint: str = "", on_partial: Callable[[Transcript], None] | None = None
    ) -> ScriptedTranscription:
        return ScriptedTranscription(self, on_partial if self.gives_partials else None)

    def next_text(self) -> str:
        text = self._transcripts[self._next_text % len(self._transcripts)]
        self._next_text += 1
        return text

    def draw_troubles(self) -> _DrawnTroubles:
        return self._troubles.draw_for_next_request()


class ScriptedTranscription:
    def __init__(self, engine: ScriptedSpeechToText, on_partial: Callable[[Transcript], None] | None) -> None:
        self._engine = engine
        self._on_partial = on_partial
        self._loop = asyncio.get_running_loop()
        self._counts_voice = on_partial is not None or engine.backchannel_below > 0
        self._block_samples = int(engine.rate_hz * BLOCK_SECONDS)
        self._rest = np.zeros(0, np.int16)
        self._samples = 0
        self._voiced_samples = 0
        self._words_revealed = 0
        self._text: str | None = None
        self._drawn: _DrawnTroubles | None = None
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
            self._drawn = self._engine.draw_troubles()
        due += await self._drawn.apply("first")
        await _sleep_until(due)
        return Transcript(text, samples)

    def _choose_text(self) -> str:
        if self._voiced_samples < self._engine.backchannel_below * self._engine.rate_hz:
            return self._engine.backchannel
        if self._text is None:
            self._text = self._engine.next_text()
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
        words = self._choose_text().split()
        if min(due, len(words)) > self._words_revealed:
            self._words_revealed = min(due, len(words))
            # Not called from inside push(): whoever pushes need not expect to be called back meanwhile.
            self._loop.call_soon(self._pass_partial, Transcript(" ".join(words[: self._words_revealed]), self._samples))

    def _pass_partial(self, partial: Transcript) -> None:
        if self._on_partial is not None and not self._closed:
            self._on_partial(partial)


# Language model


class ScriptedLanguageModel(_ScriptedEngine):
    """
    Replies from a list: the first token ``first_delay`` after the request, then one per ``token_delay``.

    The nth line that the caller said gets the nth of ``replies`` (and again from the start), so a request that is
    made twice is answered alike. ``""`` is an empty reply. From line ``end_call_after`` on the reply asks for the end
    of the call, from ``transfer_after`` for a transfer to ``transfer_to``, from ``opt_out_after`` never to call again;
    0 is never.
    """

    def __init__(
        self,
        *,
        replies: Sequence[str] = (DEFAULT_REPLY,),
        first_delay: float = 0.05,
        token_delay: float = 0.01,
        end_call_after: int = 0,
        transfer_after: int = 0,
        transfer_to: str = "",
        opt_out_after: int = 0,
        failures: Iterable[Mapping[str, Any]] = (),
        stalls: Iterable[Mapping[str, Any]] = (),
        seed: int = 0,
    ) -> None:
        self._replies = [re.findall(r"\s*\S+", reply) for reply in replies]
        self._first_delay = first_delay
        self._token_delay = token_delay
        self._requests_after = [
            (end_call_after, TextDelta(requests=ToolRequests(end_call=True))),
            (transfer_after, TextDelta(requests=ToolRequests(transfer=transfer_to))),
            (opt_out_after, TextDelta(requests=ToolRequests(opt_out=True))),
        ]
        self._troubles = _Troubles(failures, stalls, seed, "scripted reply")

    def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        lines = sum(message.role == "user" for message in messages)
        tokens = self._replies[max(lines - 1, 0) % len(self._replies)]
        requests = [delta for after, delta in self._requests_after if 0 < after <= lines]
        return self._stream(tokens, requests, self._troubles.draw_for_next_request(), asyncio.get_running_loop().time())

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        """Nothing to prepare."""

    async def _stream(
        self, tokens: list[str], requests: list[TextDelta], drawn: _DrawnTroubles, requested_at: float
    ) -> AsyncGenerator[TextDelta, None]:
        due = requested_at + self._first_delay + await drawn.apply("first")
        middle = len(tokens) // 2
        for number, token in enumerate(tokens):
            if number == middle:
                due += await drawn.apply("middle")
            await _sleep_until(due)
            yield TextDelta(token)
            due += self._token_delay
        for delta in requests:
            yield delta


# Text to speech


class ScriptedTextToSpeech(_ScriptedEngine):
    """
    Says a clause as a tone: the first chunk ``first_delay`` after the clause is given, then one per ``chunk_delay``.

    A clause lasts ``seconds_per_character`` for each of its characters and is given when the text's iterator yields
    it. The tone's phase runs on from clause to clause.
    """

    def __init__(
        self,
        *,
        first_delay: float = 0.05,
        chunk_delay: float = 0.02,
        chunk_seconds: float = 0.1,
        seconds_per_character: float = 0.04,
        tone_hz: int = 220,
        tone_peak: int = 8000,
        failures: Iterable[Mapping[str, Any]] = (),
        stalls: Iterable[Mapping[str, Any]] = (),
        seed: int = 0,
        rate_hz: int = 8000,
        voices: Sequence[str] = ("tone",),
        hears_caller: bool = False,
    ) -> None:
        self.rate_hz = rate_hz
        self.first_delay = first_delay
        self.chunk_delay = chunk_delay
        self.chunk_samples = int(chunk_seconds * rate_hz)
        self.samples_per_character = seconds_per_character * rate_hz
        self.period_samples = rate_hz // math.gcd(rate_hz, tone_hz)
        # Chunks are views into one table, long enough to cut a chunk at any phase: a call costs no arithmetic.
        at = np.arange(self.period_samples + self.chunk_samples) / rate_hz
        self.tone: Pcm = np.rint(tone_peak * np.sin(2 * np.pi * tone_hz * at)).astype(np.int16)
        self.tone.flags.writeable = False
        self._voices = frozenset(voices)
        self.hears_caller = hears_caller
        self.caller_said: deque[tuple[str, Pcm, int]] = deque(maxlen=100)
        """What it was told of callers, the last of it."""
        self._troubles = _Troubles(failures, stalls, seed, "scripted speech")

    def open(self, *, voice: str = "", language: str = "en") -> ScriptedSpeech:
        if voice and voice not in self._voices:
            known = ", ".join(sorted(self._voices))
            raise EngineError(f"no scripted voice {voice!r}; there is: {known}", permanent=True)
        return ScriptedSpeech(self)

    def draw_troubles(self) -> _DrawnTroubles:
        return self._troubles.draw_for_next_request()


class ScriptedSpeech:
    def __init__(self, engine: ScriptedTextToSpeech) -> None:
        self._engine = engine

    def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        return self._speak(text, self._engine.draw_troubles())

    def heard(self, samples: int) -> None:
        """Nothing is remembered."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        self._engine.caller_said.append((text, pcm, rate_hz))

    async def close(self) -> None:
        """Nothing to release."""

    async def _speak(self, text: AsyncIterator[str], drawn: _DrawnTroubles) -> AsyncGenerator[AudioChunk, None]:
        engine, loop = self._engine, asyncio.get_running_loop()
        phase = said = 0
        middle_met = False
        async for clause in text:
            due = loop.time() + engine.first_delay
            if not said:
                due += await drawn.apply("first")
            samples = round(len(clause) * engine.samples_per_character)
            for start in range(0, samples, engine.chunk_samples):
                end = min(start + engine.chunk_samples, samples)
                if not middle_met and 2 * end > samples:
                    middle_met = True
                    due += await drawn.apply("middle")
                await _sleep_until(due)
                spoken = len(clause) if end == samples else int(end / engine.samples_per_character)
                yield AudioChunk(engine.tone[phase : phase + end - start], said + spoken, exact=True)
                phase = (phase + end - start) % engine.period_samples
                due += engine.chunk_delay
            said += len(clause)


async def _sleep_until(due: float) -> None:
    await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
