"""
Flux's protocol (``/v2/listen``) for one utterance on one socket, without I/O.

Flux divides the sound into turns. We let it end none by itself (``eot_threshold=1.0``), but a long pause may. The text
of a turn is sent again and again, each time whole, with the time up to which the sound was transcribed (the window).
``ForceEndTurn`` ends a turn on what is transcribed so far: sound behind the window belongs to the next turn. So some
silence is sent before it, which fills the window, and both are repeated until the window has reached the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from math import inf
from typing import Any

import numpy as np

from inference.deepgram.account import report_terms
from inference.deepgram.exchange import DeepgramExchange
from inference.hosted.fields import fields, items, number, share, text
from inference.hosted.plan import Frame
from inference.hosted.recognition import RATE_HZ, Heard
from inference.mulaw import encode_mulaw
from inference.types import EngineError, main_language

FORCE_END_TURN = '{"type":"ForceEndTurn"}'
SILENCE = encode_mulaw(np.zeros(640, np.int16))
"""80 ms, the length of the frames that Flux prefers."""
FILLING = 4
"""Frames of silence before a turn is ended. A window is about 0.25 s long, so these fill it."""
REPEATS = 10
"""How often a turn is ended for one answer. Each time the window has moved, so two are usually enough."""
QUIET = 0.3
"""Seconds without a message after which an answer is complete whose window has reached its sound."""
COVERED = int(0.02 * RATE_HZ)
"""Samples by which a window may be short: its time is rounded."""
BEYOND = int(0.5 * RATE_HZ)
"""Samples. A window that ends so far behind all sound that was sent has another clock than ours."""
SURE = 0.5
"""The confidence from which words are kept although the turn becomes empty."""
NO_TURN = "FORCE_END_TURN_NO_ACTIVE_TURN"


@dataclass
class Turn:
    heard: Heard = field(default_factory=Heard)
    is_over: bool = False
    is_settled: bool = False
    """It was over while the clock was known, so that its sound need not be sent again."""
    end: int = 0
    """The sample of the utterance up to which it is transcribed."""
    window: float = 0.0
    """The end of its last window, in seconds on the socket's clock."""


@dataclass
class FluxExchange(DeepgramExchange):
    """See ``Exchange``."""

    _filled: list[tuple[int, int]] = field(default_factory=list)
    """The silence that was put in: after which sample of the utterance, and how many samples."""
    _turns: dict[int, Turn] = field(default_factory=dict)
    _window: int = 0
    """The sample of the utterance up to which sound is transcribed."""
    _clock_is_known: bool = True
    _repeats: int = 0

    @property
    def heard(self) -> Heard:
        joined = self._joined([self._turns[index] for index in sorted(self._turns)])
        return replace(joined, samples=min(self._pushed, max(self._window, self._answered)))

    @property
    def settled(self) -> Heard:
        over = list(takewhile(lambda turn: turn.is_settled, (self._turns[index] for index in sorted(self._turns))))
        return replace(self._joined(over), samples=over[-1].end if over else 0)

    @property
    def quiet(self) -> float:
        if not self._flushes:
            return inf
        return QUIET if not self._clock_is_known or self._has_reached(self._flushes[-1]) else inf

    def flush(self) -> Sequence[Frame]:
        self._flushes.append(self._pushed)
        self._repeats = 0
        return self._end_turn()

    def receive(self, message: Any) -> Sequence[Frame]:
        kind = text(message.get("type"))
        if kind == "TurnInfo":
            self._take(message)
            return self._answer() if message.get("event") == "EndOfTurn" else ()
        if kind == "Warning" and message.get("code") == NO_TURN:
            return self._answer()
        if kind == "ConfigureFailure":
            report_terms(text(message.get("code")))
        return ()

    def _take(self, message: Any) -> None:
        turn = self._turns.setdefault(self._index_of(message), Turn())
        if turn.is_over:
            return
        self._move_window(message)
        turn.window = max(turn.window, number(message.get("audio_window_end")) or 0.0)
        heard = _heard(message)
        if heard.text or not turn.heard.text or turn.heard.confidence < SURE:
            turn.heard = heard
        turn.end = max(turn.end, self._window)
        turn.is_over = message.get("event") == "EndOfTurn"
        turn.is_settled = turn.is_over and self._clock_is_known

    def _index_of(self, message: Any) -> int:
        """Which turn a message is about. Without a number it is the latest, or the one after it if that has ended."""
        if (given := number(message.get("turn_index"))) is not None:
            return int(given)
        latest = max(self._turns, default=0)
        turn = self._turns.get(latest, Turn())
        window = number(message.get("audio_window_end"))
        # What repeats an ended turn, or comes late, has no later window.
        is_of_next = message.get("event") != "EndOfTurn" if window is None else window > turn.window
        return latest + 1 if turn.is_over and is_of_next else latest

    def _move_window(self, message: Any) -> None:
        end = number(message.get("audio_window_end"))
        sent = self._pushed + sum(samples for _, samples in self._filled)
        if end is None or end * RATE_HZ > sent + BEYOND:
            self._clock_is_known = False
            return
        sample = round(end * RATE_HZ)
        for after, samples in self._filled:
            # The silence that was put in is no part of the utterance.
            sample -= min(samples, max(0, sample - after))
        self._window = max(self._window, min(sample, self._pushed))

    def _answer(self) -> Sequence[Frame]:
        """No turn is active any more. Flushes that the window has reached are answered; the others go on."""
        while self._flushes and self._has_reached(self._flushes[0]):
            self._answered = self._flushes.popleft()
        if not self._flushes or self._repeats >= REPEATS or not self._clock_is_known:
            return ()
        self._repeats += 1
        return self._end_turn()

    def _has_reached(self, sample: int) -> bool:
        return self._clock_is_known and self._window >= sample - COVERED

    def _end_turn(self) -> Sequence[Frame]:
        self._filled.append((self._pushed, FILLING * len(SILENCE)))
        return (*[SILENCE] * FILLING, FORCE_END_TURN)

    @staticmethod
    def _joined(turns: Sequence[Turn]) -> Heard:
        joined = Heard()
        for turn in turns:
            joined = joined.then(turn.heard)
        return joined


def _heard(message: Any) -> Heard:
    words = [fields(word) for word in items(message.get("words"))]
    said = text(message.get("transcript")).strip()
    confidence = sum(share(word.get("confidence")) for word in words) / len(words) if words else 1.0
    languages = [main_language(each) for each in map(text, items(message.get("languages"))) if each]
    language = languages[0] if languages else ""
    # They are sorted by how much was said in each, which is not told.
    probability = 1.0 if len(languages) == 1 else 0.5 if languages else 0.0
    return Heard(said, 0, confidence, len(said.split()), language, probability)


def is_ready(message: Any) -> bool:
    return text(message.get("type")) == "Connected"


def failure(message: Any) -> EngineError | None:
    """The error that ends the socket, if the message is one."""
    if text(message.get("type")) != "Error":
        return None
    code = text(message.get("code")) or "an error"
    return EngineError(f"Deepgram reports {code}: {text(message.get('description'))[:200]}")
