"""Deepgram's Flux TTS, ``/v2/speak``, over real sockets, message for message. It says every text as a tone."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.inference.hosted.deepgram_voice import DeepgramVoice, tone_of
from tests.inference.hosted.service import Socket

MODELS = ("flux-haley-en", "flux-kit-en")
BOUNDARY = re.compile(r"[,;:.!?]\s+")
"""Text is said up to here before the turn is flushed."""


@dataclass
class Turn:
    """What is said between two ``Flush``."""

    speech_id: str
    text: str = ""
    said: int = 0
    """Characters that were said."""
    samples: int = 0
    """Samples that were sent."""
    flushed: bool = False
    spans: list[tuple[int, int]] = field(default_factory=list)
    """The ends of what was said, in characters and samples."""


@dataclass
class State:
    """What the service knows of one socket."""

    turns: list[Turn] = field(default_factory=list)
    """The active turn and those that wait."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ids: count[int] = field(default_factory=count)
    played_ms: int = 0
    """The session's audio before the active turn."""
    interrupted_ms: int = -1
    """The position of the last interruption."""
    has_sounded: bool = False
    characters: int = 0


class FluxService(DeepgramVoice):
    path = "/v2/speak"
    parameters = frozenset({"model", "encoding", "sample_rate", "speed", "expressivity", "mip_opt_out", "tag"})
    models = MODELS

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        """The text of every turn that was said to its end."""
        self.interruptions: list[dict[str, Any]] = []
        """Every ``SpeechInterrupted`` that was sent."""
        self.warnings: list[str] = []
        """The codes of all warnings that were sent."""
        self.states: dict[Socket, State] = {}
        self.answers_interrupts = True
        self.after_interrupt: list[Any] = []
        """What is still sent after ``Interrupt`` and before the answer."""
        self.holds_text = False
        """Nothing is said before the turn is flushed."""

    async def opened(self, socket: Socket) -> None:
        state = self.states[socket] = State()
        await socket.send(
            {
                "type": "Connected",
                "request_id": "550e8400-e29b-41d4-a716-446655440000",
                "model_name": socket.request.query["model"],
                "model_version": "2026.06.01",
                "model_uuids": ["b3e47c20-9f81-4a2e-bd15-8d7c6e2a1f09"],
            }
        )
        socket.tasks.append(asyncio.create_task(self._say(socket, state)))

    async def warn(self, socket: Socket, code: str) -> None:
        self.warnings.append(code)
        await socket.send({"type": "Warning", "code": code, "description": "The request will be ignored."})

    async def fail(self, socket: Socket, code: str) -> None:
        await socket.send({"type": "Error", "code": code, "description": "A fatal error."})
        await socket.close(1011 if code.startswith("NET") else 1008, code)

    async def _say(self, socket: Socket, state: State) -> None:
        while True:
            while not state.turns:
                state.news.clear()
                await state.news.wait()
            turn = state.turns[0]
            await socket.send({"type": "SpeechStarted", "speech_id": turn.speech_id})
            while (end := self._ready(turn)) is not None or not turn.flushed:
                if end is None:
                    state.news.clear()
                    await state.news.wait()
                    continue
                await self._say_piece(socket, state, turn, end)
            await socket.send({"type": "Flushed", "speech_id": turn.speech_id})
            if not turn.samples:
                await self.warn(socket, "NO_SYNTHESIZABLE_TEXT")
            state.turns.pop(0)
            state.played_ms += turn.samples // 8
            self.said.append(turn.text)
            await socket.send({"type": "SpeechMetadata", **self._metadata(turn)})

    async def _say_piece(self, socket: Socket, state: State, turn: Turn, end: int) -> None:
        piece = turn.text[turn.said : end]
        sound = tone_of(piece) if any(character.isalnum() for character in piece) else b""
        turn.said = end
        turn.spans.append((end, turn.samples + len(sound)))
        state.has_sounded = state.has_sounded or bool(sound)
        turn.samples += len(sound)
        await self.send_sound(socket, sound)

    def _ready(self, turn: Turn) -> int | None:
        """Up to which character the turn can be said now."""
        if self.holds_text and not turn.flushed:
            return None
        boundary = next((match.end() for match in BOUNDARY.finditer(turn.text, turn.said)), None)
        if boundary is None and turn.flushed and turn.said < len(turn.text):
            return len(turn.text)
        return boundary

    def _metadata(self, turn: Turn) -> dict[str, Any]:
        return {
            "speech_id": turn.speech_id,
            "audio_duration_ms": turn.samples // 8,
            "input_character_count": len(turn.text),
            "billable_character_count": len(turn.text),
            "controls_applied": {"pronunciations_applied": 0, "breaks_applied": 0, "pronunciation_warnings": 0},
        }

    async def handle(self, socket: Socket, message: Any) -> None:
        state = self.states[socket]
        match message:
            case {"type": "Speak", "text": str(text)}:
                if "\\{" in text:
                    await self.fail(socket, "DATA-0002")
                    return
                if not state.turns or state.turns[-1].flushed:
                    state.turns.append(Turn(f"dg_sp_{next(state.ids):012x}"))
                state.turns[-1].text += text
                state.characters += len(text)
                state.news.set()
            case {"type": "Flush"} if state.turns and not state.turns[-1].flushed:
                state.turns[-1].flushed = True
                state.news.set()
            case {"type": "Flush"}:
                await self.warn(socket, "NO_ACTIVE_SPEECH")
            case {"type": "Interrupt", **fields} if set(fields) <= {"playback_offset"}:
                if self.answers_interrupts:
                    await self._interrupt(socket, state, fields.get("playback_offset"))
            case {"type": "Close"}:
                characters = ("total_input_character_count", "total_billable_character_count")
                total = dict.fromkeys(characters, state.characters)
                await socket.send({"type": "SessionMetadata", "total_audio_duration_ms": state.played_ms, **total})
                await socket.close()
            case _:
                await self.fail(socket, "MESSAGE-0000")

    async def _interrupt(self, socket: Socket, state: State, offset: dict[str, Any] | None) -> None:
        if not state.turns:
            await self.warn(socket, "NO_ACTIVE_SPEECH")
            return
        if not state.has_sounded:
            await self.warn(socket, "NO_AUDIO_GENERATED")
            return
        if offset is not None and offset["value"] <= state.interrupted_ms:
            await self.warn(socket, "INVALID_INTERRUPT_OFFSET")
            return
        assert offset is None or (offset["type"] == "time_ms" and isinstance(offset["value"], int))
        (task,) = socket.tasks
        task.cancel()
        await asyncio.wait([task])
        turn = state.turns.pop(0)
        for message in self.after_interrupt:
            await socket.send(message)
        played = state.played_ms + turn.samples // 8 if offset is None else offset["value"]
        answer: dict[str, Any] = {"type": "SpeechInterrupted", "audio_played_ms": played}
        if offset is not None:
            heard = (played - state.played_ms) * 8
            spoken = max((end for end, samples in turn.spans if samples <= heard), default=0)
            answer |= {"text_spoken": turn.text[:spoken], "text_remaining": turn.text[spoken:]}
        answer["metadata"] = self._metadata(turn)
        state.played_ms = state.interrupted_ms = played
        self.interruptions.append(answer)
        await socket.send(answer)
        socket.tasks[:] = [asyncio.create_task(self._say(socket, state))]
