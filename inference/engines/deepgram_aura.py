"""
Deepgram Aura: one WebSocket says one reply after the other, clause by clause.

Its audio frames carry no id. So a socket serves one reply at a time, and a reply that nobody hears any more keeps it
until the service has said that its buffer is empty.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import msgspec

from inference import usage
from inference.deepgram.voices import (
    DeepgramVoiceOptions,
    DeepgramVoices,
    in_parts,
    reason_of,
    speakable_by_deepgram,
)
from inference.hosted.context import Heard, Manner
from inference.hosted.lease import Lease
from inference.hosted.messages import number_of
from inference.hosted.plan import Frame, Listener, Plan
from inference.hosted.speech import HostedSpeech
from inference.types import AudioChunk, EngineError

WINDOW = 60.0
"""Seconds in which Deepgram counts what a socket is asked for."""
FLUSHES = 20
"""The most ``Flush`` of a socket within ``WINDOW``. More are answered with a warning."""
CHARACTERS = 2400
"""The most characters for a socket within ``WINDOW``. Deepgram closes it for more."""
USUAL_CLAUSES = 5
"""A reply seldom has more. A socket that has no room for them is replaced between two replies, not within one."""
LONGEST = 500
"""Characters of the longest clause: a longer one is divided. Deepgram takes no ``Speak`` of more than 2,000."""
CLEAR = 1.0
"""Seconds for the answer to ``Clear``."""

BILINGUAL = frozenset("aquila carina diana javier selena".split())
"""Aura-2's Spanish voices that speak English as well (Deepgram's list of voices, November 2026)."""

_FLUSH, _CLEAR = '{"type":"Flush"}', '{"type":"Clear"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class AuraOptions(DeepgramVoiceOptions):
    """The options of ``AuraTextToSpeech``."""


@dataclass(slots=True)
class Budget:
    """What a socket was asked for within the last minute."""

    asked: deque[tuple[float, int]] = field(default_factory=deque)
    """The time and the characters of each ``Flush``."""
    is_exhausted: bool = False
    """Deepgram has refused a ``Flush``."""
    answered: float | None = None
    """The number of the last ``Flushed``, until sound follows it. The same one without sound only comes again."""

    def add(self, at: float, characters: int) -> None:
        self.asked.append((at, characters))

    def has_room(self, now: float, clauses: int, characters: int) -> bool:
        """Whether so much may be asked for now."""
        while self.asked and now - self.asked[0][0] > WINDOW:
            self.asked.popleft()
        said = sum(each for _, each in self.asked)
        return not self.is_exhausted and len(self.asked) + clauses <= FLUSHES and said + characters <= CHARACTERS


class AuraContext:
    """One reply on a socket. Each clause is flushed, and ``Flushed`` says that its sound is complete."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._budget = Budget()
        """What this reply has asked for, until the socket is connected and its own budget is known."""
        self._said = 0
        """Clauses that were sent."""
        self._complete = 0
        """Clauses whose sound is complete."""
        self._refused = 0
        """The latest clauses, which Deepgram has refused to flush."""
        self._is_cancelled = False

    @property
    def budget(self) -> Budget:
        notes = self._lease.notes
        if isinstance(notes, Budget) and notes is not self._budget:
            notes.asked.extend(self._budget.asked)
            self._budget = notes
        return self._budget

    @property
    def has_room(self) -> bool:
        """Whether the socket takes another clause."""
        return self.budget.has_room(asyncio.get_running_loop().time(), 1, LONGEST)

    def begin(self) -> Sequence[Frame]:
        return ()

    def say(self, text: str) -> Sequence[Frame]:
        self._said += 1
        self.budget.add(asyncio.get_running_loop().time(), len(text))
        speak = {"type": "Speak", "text": speakable_by_deepgram(text)}
        return (msgspec.json.encode(speak).decode(), _FLUSH)

    def end(self) -> Sequence[Frame]:
        return ()

    def cancel(self) -> Sequence[Frame]:
        self._is_cancelled = True
        return (_CLEAR,) if self._complete < self._said else ()

    def hear(self, message: Any) -> Heard | None:
        if self._is_cancelled:
            is_cleared = isinstance(message, dict) and message["type"] == "Cleared"
            return Heard(ended=True) if is_cleared else None
        match message:
            case bytes():
                self.budget.answered = None
                return Heard(audio=message)
            case {"type": "Flushed"} if self._complete + self._refused < self._said:
                number, before = number_of(message, "sequence_id"), self.budget.answered
                if number is not None and number == before:
                    return None
                self.budget.answered = number
                self._complete += 1
                return Heard(clauses=self._complete, error=self._refusal())
            case {"type": "Warning"} if "flush" in reason_of(message).lower():
                self.budget.is_exhausted = True
                self._refused = min(self._refused + 1, self._said - self._complete)
                return Heard(error=self._refusal())
        return None

    def _refusal(self) -> EngineError | None:
        """The error once everything was said that Deepgram will say on this socket."""
        if self._refused and self._complete + self._refused == self._said:
            return EngineError("Deepgram Aura flushes no more text on this connection for now")
        return None


class AuraSpeech(HostedSpeech):
    """The voice of one call."""

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        async with aclosing(in_parts(text, LONGEST)) as parts, aclosing(super().speak(parts)) as chunks:
            async for chunk in chunks:
                yield chunk


class AuraTextToSpeech(DeepgramVoices):
    """Deepgram's voices of the families Aura and Aura-2, in English and six other languages."""

    options_class: ClassVar[type[AuraOptions]] = AuraOptions
    provider = "Deepgram Aura"
    engine = "aura"
    family = "aura-2"
    families = ("aura-2", "aura")
    path = "/v1/speak"
    default_voice = "aura-2-thalia-en"
    other_engine = ("flux-", "flux-tts")

    def __init__(self, options: AuraOptions = AuraOptions()) -> None:
        super().__init__(options)

    def plan(self, name: str) -> Plan:
        return replace(super().plan(name), notes=Budget)

    def languages_of(self, name: str) -> frozenset[str]:
        languages = super().languages_of(name)
        is_bilingual = languages == {"es"} and name.removeprefix("aura-2-").partition("-")[0] in BILINGUAL
        return languages | {"en"} if is_bilingual else languages

    def open(self, *, voice: str = "", language: str = "en") -> AuraSpeech:
        name, pool, memory = self.choose(voice, language)
        taking = _Taking(pool.take)
        return AuraSpeech(
            Manner(
                provider=self.provider,
                usage_name=f"deepgram/{name.rsplit('-', 2)[0]}",
                take=taking.take,
                open_context=taking.open_context,
                voice=memory,
                meter=usage.current(),
                first_audio=self.options.first_audio_timeout,
                stall=self.options.stall_timeout,
                holds_room=True,
                has_room=taking.has_room,
                drain=CLEAR,
            )
        )


class _Taking:
    """Takes sockets that have room for a reply, and opens the contexts on them."""

    def __init__(self, take: Callable[[Listener], Lease]) -> None:
        self._take = take
        self._lease: Lease | None = None
        self._context: AuraContext | None = None

    def take(self, listener: Listener) -> Lease:
        now = asyncio.get_running_loop().time()
        while True:
            lease = self._take(listener)
            budget = lease.notes
            if not isinstance(budget, Budget) or budget.has_room(now, USUAL_CLAUSES, LONGEST):
                self._lease = lease
                return lease
            lease.release(reuse=False)  # another one is connected in its place

    def open_context(self, key: str) -> AuraContext:
        assert self._lease is not None
        self._context = AuraContext(self._lease)
        return self._context

    def has_room(self) -> bool:
        return self._context is None or self._context.has_room
