"""
The ledger: what was sent, and what of it the caller has heard.

The carrier plays what it is sent in order and in real time, so the end of its queue is known without asking: each
send moves ``_ends_at``. Marks correct the estimate: a mark sent into an empty queue measures the round trip, one
behind audio tells how much later than that the audio really played. All times are as sent: the carrier's own time
less the way there, which cancels out when a ``clear`` travels the same way.

A piece of audio belongs to a ``Segment``, the speech of one revision, which knows the text that it says. From here come
the text that was heard, the recording and the latency figures; nothing else counts samples.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

from media.turns.clock import RATE_HZ
from media.turns.events import Revision

LOW_WATER = 0.24
"""Seconds of lead at which more is sent: late wake-ups of 200 ms stay inaudible."""
HIGH_WATER = 0.36
"""Seconds of lead that a send fills up to: more would make a barge-in and its bookkeeping worse."""
PIECE_BYTES = 480
"""60 ms a message. Smaller ones were heard as jitter on live calls, larger ones delay the first sound."""
MARK_EVERY = 0.5
"""Seconds of audio between marks; very frequent ones disturb the carrier's play-out."""


@dataclass(slots=True, eq=False)
class Segment:
    """The speech of one revision, and how its audio maps to its text."""

    revision: Revision
    text: str = ""
    received: int = 0
    """Bytes of audio handed over."""
    heard: int = 0
    """Bytes of audio that the caller has heard."""
    ended: bool = False
    """No more audio will come."""
    complete: bool = False
    """The audio says the whole text as it was given: it was not broken off."""
    _byte_ends: list[int] = field(default_factory=list)
    _text_ends: list[int] = field(default_factory=list)

    def extend(self, audio_bytes: int, text_end: int) -> None:
        """Another chunk of audio was handed over, after which ``text_end`` characters are said."""
        self.received += audio_bytes
        floor = self._text_ends[-1] if self._text_ends else 0
        self._byte_ends.append(self.received)
        self._text_ends.append(max(floor, text_end))

    def break_off(self) -> None:
        """No more will be said of the text than the audio so far does."""
        self.text = self._words_until(self._text_ends[-1] if self._text_ends else 0)

    @property
    def heard_text(self) -> str:
        """The words of the text that were heard to their end; always a prefix of ``text``."""
        if self.ended and self.heard >= self.received:
            return self.text
        index = bisect_right(self._byte_ends, self.heard)
        text_end = self._text_ends[index - 1] if index else 0
        if index < len(self._byte_ends):
            start = self._byte_ends[index - 1] if index else 0
            share = (self.heard - start) / (self._byte_ends[index] - start)
            text_end += int((self._text_ends[index] - text_end) * share)
        return self._words_until(text_end)

    def _words_until(self, text_end: int) -> str:
        """The text up to there, rounded down to a whole word."""
        if text_end >= len(self.text):
            return self.text
        if not self.text[text_end].isspace():
            text_end = max(self.text.rfind(" ", 0, text_end), 0)
        return self.text[:text_end].rstrip()


@dataclass(slots=True)
class _Piece:
    segment: Segment
    audio: bytes
    starts_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Heard:
    """Audio that was heard, from ``at`` on (session clock, as sent)."""

    audio: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Sending:
    """Something to send now: audio, then, if named, a mark behind it. ``lead_mark`` goes in front of the audio."""

    segment: Segment
    audio: bytes
    mark: str = ""
    lead_mark: str = ""


@dataclass(slots=True)
class FinalMark:
    """A mark behind all audio sent so far: its echo shows that the caller has heard everything."""

    name: str
    due: float
    """When the wait for it is over: the moment of its echo, until then the moment when patience ends. Session clock."""


class Playout:
    """The play-out of one stream. ``now`` never goes back between calls, and neither does what was heard."""

    def __init__(self) -> None:
        self._waiting: deque[_Piece] = deque()
        self._playing: deque[_Piece] = deque()
        self._rest: dict[Revision, bytearray] = {}
        self._ends_at = -1.0  # before any ``now``: the first mark measures the way
        self._now = 0.0
        self._generation = 0
        self._marks: dict[str, float] = {}
        self._mark_number = 0
        self._unmarked = 0
        self._round_trip: float | None = None
        self._lags: deque[float] = deque(maxlen=3)
        self._last: Segment | None = None
        self.underruns = 0
        """How often the queue ran dry in the middle of a segment."""
        self.cleared_at: float | None = None

    # -- what the conversation asks -------------------------------------------------------------

    @property
    def lag(self) -> float:
        """How much later than sent the carrier plays (its pre-buffer, and late packets), by the last marks; seconds."""
        return min(self._lags, default=0.0)

    @property
    def round_trip(self) -> float:
        """Seconds from a mark into an empty queue to its echo; 0.0 until one came back."""
        return self._round_trip or 0.0

    @property
    def quiet_at(self) -> float:
        """When everything sent so far will have been played, as sent. In the past: the queue is dry."""
        return self._ends_at + self.lag

    @property
    def held(self) -> bool:
        """Stopped by ``hold`` and not yet resumed or discarded."""
        return self.cleared_at is not None

    @property
    def empty(self) -> bool:
        """Nothing waits to be sent."""
        return not self._waiting

    def busy(self, now: float) -> bool:
        """There is something still to be heard."""
        return bool(self._waiting) or (not self.held and self.quiet_at > now)

    @property
    def next_due(self) -> float | None:
        """When ``due`` should be asked again."""
        if self.held or not self._waiting:
            return None
        return self._ends_at - LOW_WATER

    # -- what happens ---------------------------------------------------------------------------

    def add(self, segment: Segment, audio: bytes, text_end: int) -> None:
        """Queue speech that may be heard; it is sent as the lead allows."""
        segment.extend(len(audio), text_end)
        rest = self._rest.pop(segment.revision, bytearray())
        rest += audio
        whole = len(rest) - len(rest) % PIECE_BYTES
        for start in range(0, whole, PIECE_BYTES):
            self._waiting.append(_Piece(segment, bytes(rest[start : start + PIECE_BYTES])))
        if whole < len(rest):
            self._rest[segment.revision] = rest[whole:]

    def end(self, segment: Segment) -> None:
        """No more audio will come for this segment: a last, shorter piece may go."""
        segment.ended = True
        rest = self._rest.pop(segment.revision, None)
        if rest:
            # Behind the other pieces of the same segment, which are at the end of the queue.
            self._waiting.append(_Piece(segment, bytes(rest)))

    def due(self, now: float) -> list[Sending]:
        """What to send now so that the lead is kept."""
        self._advance(now)
        sendings: list[Sending] = []
        if self.held or not self._waiting or self._ends_at - now > LOW_WATER + 1e-9:
            return sendings
        lead_mark = ""
        if self._ends_at <= now:
            if self._ends_at + 0.2 < now:
                # Surely nothing is queued there: what comes back at once measures the way.
                lead_mark = self._mark(now, "a")
            if self._waiting[0].segment is self._last:
                self.underruns += 1
            self._ends_at = now
        while self._waiting and self._ends_at - now < HIGH_WATER - 1e-9:
            piece = self._waiting.popleft()
            piece.starts_at = self._ends_at
            self._ends_at += len(piece.audio) / RATE_HZ
            self._playing.append(piece)
            previous, self._last = self._last, piece.segment
            self._unmarked += len(piece.audio)
            mark = ""
            last = not self._waiting and piece.segment.ended
            # One behind the first piece tells when the caller heard the agent begin.
            if piece.segment is not previous or last or self._unmarked >= MARK_EVERY * RATE_HZ:
                mark = self._mark(self._ends_at, "m")
                self._unmarked = 0
            sendings.append(Sending(piece.segment, piece.audio, mark, lead_mark))
            lead_mark = ""
        return sendings

    def mark_reached(self, name: str, now: float) -> bool:
        """A mark came back. False if it proves nothing: unknown, repeated, or returned by a ``clear``."""
        self._advance(now)
        expected = self._marks.pop(name, None)
        if expected is None:
            return False
        late = now - expected
        if name.startswith("a"):
            if late >= 0:
                self._round_trip = late if self._round_trip is None else min(self._round_trip, late)
        elif self._round_trip is not None:
            self._lags.append(min(max(0.0, late - self._round_trip), 1.0))
        return True

    def last_mark(self) -> str:
        """The name of a mark to send behind everything sent so far."""
        return self._mark(self._ends_at, "m")

    def take_heard(self, now: float) -> list[Heard]:
        """The audio whose playing has ended since the last time this was asked, joined where it is seamless."""
        self._advance(now)
        runs: list[tuple[float, bytearray]] = []
        while self._playing and self._heard_bytes(self._playing[0]) == len(self._playing[0].audio):
            piece = self._playing.popleft()
            self._collect(runs, piece)
        return [Heard(bytes(audio), at) for at, audio in runs]

    def hold(self, now: float) -> list[Heard]:
        """
        A ``clear`` is being sent: what was not heard by now goes back to the front of the queue.

        Returns the last audio that was heard. ``resume`` goes on from there, ``discard`` forgets it.
        """
        heard = self.take_heard(now)
        if self._playing:
            piece = self._playing[0]
            count = self._heard_bytes(piece)
            if count:
                heard.append(Heard(piece.audio[:count], piece.starts_at))
                piece.segment.heard += count
                piece.audio = piece.audio[count:]
        self._waiting.extendleft(reversed(self._playing))
        self._playing.clear()
        self._ends_at = min(self._ends_at, now)
        self._last = None
        self._unmarked = 0
        # Every mark that comes back from here on was returned by the clear.
        self._marks.clear()
        self._generation += 1
        self.cleared_at = now
        return heard

    def resume(self) -> None:
        """Go on from where it was held."""
        self.cleared_at = None

    def discard(self) -> None:
        """Forget everything that was not heard."""
        self._waiting.clear()
        self._rest.clear()
        self.cleared_at = None

    # -- inside -----------------------------------------------------------------------------------

    def _mark(self, expected: float, kind: str) -> str:
        self._mark_number += 1
        name = f"{kind}{self._generation}.{self._mark_number}"
        self._marks[name] = expected
        return name

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)

    def _heard_bytes(self, piece: _Piece) -> int:
        # Rounded, since sums of floats fall short of whole samples.
        played = round((self._now - piece.starts_at - self.lag) * RATE_HZ)
        return min(max(played, 0), len(piece.audio))

    @staticmethod
    def _collect(runs: list[tuple[float, bytearray]], piece: _Piece) -> None:
        piece.segment.heard += len(piece.audio)
        if runs and abs(runs[-1][0] + len(runs[-1][1]) / RATE_HZ - piece.starts_at) < 0.001:
            runs[-1][1].extend(piece.audio)
        else:
            runs.append((piece.starts_at, bytearray(piece.audio)))
