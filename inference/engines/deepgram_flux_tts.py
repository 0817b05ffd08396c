"""
Deepgram's Flux TTS: a voice that keeps its tone through a call, and learns what the caller has heard of it.

A reply is one turn of the service. It is said while its text still comes; what the service holds back until more text
comes is flushed. A call keeps its socket, because the service carries the tone from turn to turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import msgspec

from inference import usage
from inference.deepgram.flux_session import FluxSession
from inference.deepgram.voices import (
    LONGEST_SESSION,
    DeepgramVoiceOptions,
    DeepgramVoices,
    speakable_by_deepgram,
)
from inference.hosted.context import Heard, Manner
from inference.hosted.lease import Lease
from inference.hosted.messages import number_of, text_of
from inference.hosted.plan import Frame, Listener, Plan
from inference.hosted.sockets import SocketPool
from inference.hosted.speech import HostedSpeech
from inference.types import AudioChunk

FLUSH_AFTER = 0.3
"""Seconds without sound after which text is flushed although more may come: the service may wait for its end."""
SETTLE = 1.0
"""Seconds for the answer to ``Interrupt``."""
RENEW = 600.0
"""Seconds after which an unused socket is replaced. A call keeps its socket, so it must not get one that is
nearly as old as Deepgram allows."""
LONGEST_CALL = LONGEST_SESSION - RENEW
"""Seconds for which a call keeps a socket. It then goes on with another one, between two replies."""
SAMPLES_PER_MS = 8

IGNORED = frozenset({"NO_AUDIO_GENERATED", "INTERRUPT_IN_PROGRESS", "INVALID_INTERRUPT_OFFSET"})
"""Warnings that say that ``Interrupt`` was ignored, so that the turn goes on."""

_FLUSH = '{"type":"Flush"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxOptions(DeepgramVoiceOptions):
    """The options of ``FluxTextToSpeech``."""


@dataclass(slots=True)
class Turn:
    """What the service says between two ``Flush``."""

    clauses: int = 0
    """The clauses of the utterance up to its end."""
    samples: int = 0
    """Samples that were received of it."""
    is_flushed: bool = False


class FluxContext:
    """One utterance: usually one turn, and more if the text came so slowly that a turn was flushed before its end."""

    def __init__(self, session: FluxSession) -> None:
        self.heard_samples: int | None = None
        """How much of the utterance the caller has heard, if it was interrupted."""
        self._session = session
        self._begun_ms = session.played_ms
        self._clauses = 0
        self._turns: deque[Turn] = deque()
        """Those that are not over, the active one first."""
        self._speech_id = ""
        """The service's name of the active turn."""
        self._text_ended = False
        self._is_cancelled = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Sequence[Frame]:
        return ()

    def say(self, text: str) -> Sequence[Frame]:
        self._clauses += 1
        if not self._turns or self._turns[-1].is_flushed:
            self._turns.append(Turn())
            self._flush_later()
        self._turns[-1].clauses = self._clauses
        self._session.is_idle = False
        # The texts join verbatim, and a full stop is a boundary only with a blank behind it.
        return (_message({"type": "Speak", "text": f"{speakable_by_deepgram(text).strip()} "}),)

    def end(self) -> Sequence[Frame]:
        self._text_ended = True
        return self._flush()

    def cancel(self) -> Sequence[Frame]:
        self._is_cancelled = True
        self._stop_timer()
        if not self._turns:
            return ()
        offset = {}
        if self.heard_samples is not None:
            at = self._begun_ms + self.heard_samples // SAMPLES_PER_MS
            if at > self._session.interrupted_ms:
                offset = {"playback_offset": {"type": "time_ms", "value": at}}
                self._session.interrupted_ms = at
        return (_message({"type": "Interrupt", **offset}),)

    def hear(self, message: Any) -> Heard | None:
        match message:
            case bytes():
                return self._hear_sound(message)
            case {"type": "SpeechStarted"}:
                self._speech_id = text_of(message, "speech_id")
            case {"type": "SpeechMetadata"} if self._is_of_active_turn(message):
                return self._end_turn(message)
            case {"type": "SpeechInterrupted"} if self._is_cancelled:
                return self._interrupted(message)
            case {"type": "Warning", "code": str(code)} if self._is_cancelled:
                return self._hear_warning(code)
        return None

    # -- turns --------------------------------------------------------------------------------------------

    def _hear_sound(self, sound: bytes) -> Heard | None:
        if self._is_cancelled or not self._turns:
            return None
        self._turns[0].samples += len(sound)
        if not self._turns[-1].is_flushed:
            self._flush_later()
        return Heard(audio=sound)

    def _is_of_active_turn(self, message: dict[str, Any]) -> bool:
        """Whether a turn is over, and not one of an earlier utterance."""
        speech_id = text_of(message, "speech_id")
        if speech_id and speech_id == self._session.ended_id != self._speech_id:
            return False  # it comes again
        return bool(self._turns) and ("" in (speech_id, self._speech_id) or speech_id == self._speech_id)

    def _end_turn(self, message: dict[str, Any]) -> Heard | None:
        turn, self._speech_id = self._turns.popleft(), ""
        self._session.ended_id = text_of(message, "speech_id")
        self._session.played_ms += _milliseconds(message, "audio_duration_ms", turn.samples // SAMPLES_PER_MS)
        if not self._turns:
            self._stop_timer()
            self._session.is_idle = not self._is_cancelled
        if self._is_cancelled:
            return None  # ``Interrupt`` is answered nevertheless, and that answer must not be taken for a later one
        return Heard(clauses=turn.clauses, ended=self._text_ended and not self._turns)

    def _interrupted(self, message: dict[str, Any]) -> Heard:
        turn = self._turns.popleft() if self._turns else Turn()
        session = self._session
        received = session.played_ms + turn.samples // SAMPLES_PER_MS
        played = session.interrupted_ms if self.heard_samples is not None else received
        session.played_ms = session.interrupted_ms = _milliseconds(message, "audio_played_ms", played)
        # A turn that waited behind the interrupted one is said now. Only a new socket is without it.
        session.is_idle = not self._turns
        return Heard(ended=True)

    def _hear_warning(self, code: str) -> Heard | None:
        if code in IGNORED:
            return Heard(ended=True)  # it speaks on: the session is not idle, so its socket is given up
        if code == "NO_ACTIVE_SPEECH":
            self._session.is_idle = not self._turns
            return Heard(ended=True)
        return None

    # -- flushing -----------------------------------------------------------------------------------------

    def _flush(self) -> Sequence[Frame]:
        self._stop_timer()
        if not self._turns or self._turns[-1].is_flushed:
            return ()
        self._turns[-1].is_flushed = True
        return (_FLUSH,)

    def _flush_later(self) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self._flush_now)

    def _flush_now(self) -> None:
        for frame in self._flush():
            self._session.send(frame)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class FluxSpeech(HostedSpeech):
    """The voice of one call, on a socket of its own from its first words on."""

    def __init__(self, manner: Manner, call: _Call) -> None:
        super().__init__(manner)
        self._call = call

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        self._call.forget()
        async with aclosing(super().speak(text)) as chunks:
            async for chunk in chunks:
                yield chunk

    def heard(self, samples: int) -> None:
        """Tell the service at the interruption which follows, so that its voice goes on from there."""
        self._call.heard(samples)

    async def close(self) -> None:
        await super().close()
        self._call.close()


class _Call:
    """The sockets of one call, one after the other, and the contexts on them."""

    def __init__(self, pool: SocketPool) -> None:
        self._pool = pool
        self._session: FluxSession | None = None
        self._context: FluxContext | None = None
        """The only one of the last utterance; None if it has needed several, or none yet."""
        self._contexts = 0
        """Those of the last utterance."""

    def take(self, listener: Listener) -> Lease:
        session = self._session
        if session is None or not session.is_usable or session.age > LONGEST_CALL:
            session = FluxSession(self._pool)
            if self._session is not None:
                self._session.close()
            self._session = session
        return session.take(listener)

    def open_context(self, key: str) -> FluxContext:
        assert self._session is not None
        context = FluxContext(self._session)
        self._contexts += 1
        self._context = context if self._contexts == 1 else None
        return context

    def forget(self) -> None:
        """Another utterance begins."""
        self._context, self._contexts = None, 0

    def heard(self, samples: int) -> None:
        if self._context is not None:
            self._context.heard_samples = samples

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


class FluxTextToSpeech(DeepgramVoices):
    """Deepgram's voices of the family Flux, in English."""

    options_class: ClassVar[type[FluxOptions]] = FluxOptions
    provider = "Deepgram Flux TTS"
    engine = "flux-tts"
    family = "flux"
    families = ("flux",)
    path = "/v2/speak"
    default_voice = "flux-haley-en"
    other_engine = ("aura-", "aura")

    def __init__(self, options: FluxOptions = FluxOptions()) -> None:
        super().__init__(options)

    def plan(self, name: str) -> Plan:
        return replace(super().plan(name), is_ready=_is_connected, renew_after=RENEW)

    def open(self, *, voice: str = "", language: str = "en") -> FluxSpeech:
        _, pool, memory = self.choose(voice, language)
        call = _Call(pool)
        return FluxSpeech(
            Manner(
                provider=self.provider,
                usage_name="deepgram/flux-tts",
                take=call.take,
                open_context=call.open_context,
                voice=memory,
                meter=usage.current(),
                first_audio=self.options.first_audio_timeout,
                stall=self.options.stall_timeout,
                holds_room=True,
                drain=SETTLE,
                marks_clauses=False,
            ),
            call,
        )


def _is_connected(message: Any) -> bool:
    return isinstance(message, dict) and message["type"] == "Connected"


def _message(fields: dict[str, Any]) -> str:
    return msgspec.json.encode(fields).decode()


def _milliseconds(message: dict[str, Any], name: str, otherwise: int) -> int:
    """A duration that the service names, if it does."""
    value = number_of(message, name)
    return int(value) if value is not None and value >= 0 else otherwise
