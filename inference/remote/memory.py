"""What was said in a call, with its sound, for a worker that takes over its voice. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from inference.remote import wire
from inference.types import Pcm

MOST_SECONDS = 30.0
"""Seconds of sound that are kept: what a voice remembers of a call. They are 1.4 MB at 24 kHz."""


@dataclass(eq=False)
class _Said:
    """One turn."""

    by_agent: bool
    rate_hz: int
    text: str = ""
    pieces: list[tuple[Pcm, int]] = field(default_factory=list)
    """The sound, each piece with how many characters of the text it has reached."""

    @property
    def samples(self) -> int:
        return sum(len(pcm) for pcm, _ in self.pieces)


class CallMemory:
    """Keeps the last turns of both sides. The sound of the agent is kept as far as it was heard."""

    def __init__(self) -> None:
        self._said: deque[_Said] = deque()
        self._agent: _Said | None = None
        """The last turn of the agent."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        self._said.append(_Said(False, rate_hz, text, [(pcm, len(text))]))
        self._forget_oldest()

    def begin_turn(self, rate_hz: int) -> None:
        """The agent begins to speak."""
        self._agent = _Said(True, rate_hz)
        self._said.append(self._agent)

    def agent_said(self, text: str, pcm: Pcm, text_end: int, again_from: int | None) -> None:
        """The agent's sound goes on, and has reached ``text_end`` of the text so far."""
        turn = self._agent
        if turn is None:
            return
        if again_from is not None:
            turn.pieces = [piece for piece in turn.pieces if piece[1] <= again_from]
        turn.pieces.append((pcm, text_end))
        turn.text = text
        self._forget_oldest()

    def heard(self, samples: int) -> None:
        """Only so many samples of the agent's last turn were heard."""
        turn = self._agent
        while turn is not None and turn.pieces and turn.samples > samples:
            turn.pieces.pop()

    def messages(self, session: int) -> list[wire.AgentSaid | wire.CallerSaid]:
        """What tells a worker of all turns in which there was sound, and of the beginning of the present one."""
        messages: list[wire.AgentSaid | wire.CallerSaid] = []
        for turn in self._said:
            if not turn.pieces:
                continue
            sound = wire.encode_sound(np.concatenate([pcm for pcm, _ in turn.pieces]))[-wire.MAX_SOUND_BYTES :]
            kind = wire.AgentSaid if turn.by_agent else wire.CallerSaid
            messages.append(kind(session, turn.text[: turn.pieces[-1][1]], sound, turn.rate_hz))
        return messages

    def _forget_oldest(self) -> None:
        while len(self._said) > 1 and sum(turn.samples / turn.rate_hz for turn in self._said) > MOST_SECONDS:
            self._said.popleft()
