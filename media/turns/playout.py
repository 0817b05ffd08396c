"""
The ledger of the audio that was sent, and of how much of it the caller has heard.

``Playout`` is the ledger. The carrier plays what it is sent in order and in real time, so the end of its queue is known
without asking: each send moves it. Marks correct the estimate. A mark sent into an empty queue measures the round trip;
one behind audio shows how much later than that the audio was really played. All times are "as sent": the carrier's time
less the way to it. That way cancels out, since a ``clear`` travels it too.

A piece of audio belongs to a ``Segment``, the speech of one revision, which knows the text that the audio says. The
text that was heard, the recording and the latency figures all come from here; nothing else counts samples.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, field

from media.turns.clock import RATE_HZ
from media.turns.events import Revision

LOW_WATER = 0.24
"""Seconds of lead at which more is sent. A wake-up that is 200 ms late stays inaudible."""
HIGH_WATER = 0.36
"""Seconds of lead up to which is sent. With a longer one the agent stops later when it is interrupted."""
PIECE_BYTES = 480
"""Bytes of audio in a message: 60 ms. Smaller ones were heard as jitter on live calls, larger ones delay the sound."""
MOST_MARKS = 200
"""Marks that are waited for. A mark comes back within seconds, and one is sent about every half second."""
MARK_EVERY = 0.5
"""Seconds of audio between marks. Very frequent marks disturb the carrier's play-out."""
SURELY_EMPTY = 0.2
"""Seconds after the end of its queue when the carrier has surely played all of it, however late packets arrived."""
MOST_LAG = 1.0
"""Seconds of lag that are believed. A mark that is later than this was delayed on its way back."""
SAME_SAMPLE = 1e-9
"""Sums of floats that differ by less than this are the same time."""
SEAMLESS = 0.001
"""Seconds between two pieces that were played without a gap: sums of floats are not exact."""


@dataclass(slots=True, eq=False)
class Segment:
    """The speech of one revision, and how its audio maps to its text."""

    revision: Revision
    text: str = ""
    """The words that are said, so far as they are known."""
    received: int = 0
    """Bytes of audio handed over."""
    heard: int = 0
    """Bytes of audio that the caller has heard."""
    ended: bool = False
    """No more audio will come."""
    complete: bool = False
    """The audio says the whole text as it was given: it was not broken off."""
    _byte_ends: list[int] = field(default_factory=list)
    """For each chunk of audio, the bytes received by the end of it."""
    _text_ends: list[int] = field(default_factory=list)
    """For each chunk of audio, the characters said by the end of it."""

    def extend(self, audio_bytes: int, text_end: int) -> None:
        """Another chunk of audio was handed over, after which ``text_end`` characters are said."""
        self.received += audio_bytes
        said = self._text_ends[-1] if self._text_ends else 0
        self._byte_ends.append(self.received)
        self._text_ends.append(max(said, text_end))

    def break_off(self) -> None:
        """No more audio will come: the text is cut to what the audio so far says."""
        self.text = self._words_until(self._text_ends[-1] if self._text_ends else 0)

    def take_back(self, text_end: int, sent: int) -> int:
        """
        The sound behind this character is void, but for what was sent already (bytes).

        Returns the bytes that are left.
        """
        kept = max(sent, self._bytes_until(text_end))
        index = bisect_left(self._byte_ends, kept)
        del self._byte_ends[index:], self._text_ends[index:]
        if kept > (self._byte_ends[-1] if self._byte_ends else 0):
            self._byte_ends.append(kept)
            self._text_ends.append(text_end)
        self._text_ends = [min(end, text_end) for end in self._text_ends]
        self.received = kept
        return kept

    @property
    def heard_text(self) -> str:
        """The words of the text that were heard to their end; always a prefix of ``text``."""
        if self.ended and self.heard >= self.received:
            return self.text
        return self._words_until(self.text_until(self.heard))

    def text_until(self, audio_bytes: int) -> int:
        """The number of characters that so much of the audio says, without one that it only begins."""
        return int(self._text_at(audio_bytes))

    def text_begun(self, audio_bytes: int) -> int:
        """The same with a character of which it says half."""
        return int(self._text_at(audio_bytes) + 0.5)

    def _text_at(self, audio_bytes: int) -> float:
        index = bisect_right(self._byte_ends, audio_bytes)
        text_end = self._text_ends[index - 1] if index else 0
        if index == len(self._byte_ends):
            return text_end
        start = self._byte_ends[index - 1] if index else 0
        share = (audio_bytes - start) / (self._byte_ends[index] - start)
        return text_end + (self._text_ends[index] - text_end) * share

    def _bytes_until(self, text_end: int) -> int:
        """How much of the audio says so many characters."""
        index = bisect_right(self._text_ends, text_end)
        start = self._byte_ends[index - 1] if index else 0
        if index == len(self._text_ends):
            return start
        said = self._text_ends[index - 1] if index else 0
        return start + int((self._byte_ends[index] - start) * (text_end - said) / (self._text_ends[index] - said))

    def _words_until(self, text_end: int) -> str:
        """The text up to this character, rounded down to a whole word."""
        if text_end >= len(self.text):
            return self.text
        if not self.text[text_end].isspace():
            text_end = max(self.text.rfind(" ", 0, text_end), 0)
        return self.text[:text_end].rstrip()


@dataclass(slots=True)
class _Piece:
    """Audio that is sent in one message."""

    segment: Segment
    audio: bytes
    starts_at: float = 0.0
    """The time at which the carrier begins to play it; session clock, as sent. Set when it is sent."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Audio that the caller has heard."""

    audio: bytes
    at: float
    """The time at which it began to sound; session clock, as sent."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A message of audio to send now, and the marks around it."""

    segment: Segment
    audio: bytes
    mark: str | None = None
    """The mark behind the audio."""
    lead_mark: str | None = None
    """The mark in front of the audio, which measures the round trip."""
    goes_on: bool = False
    """The audio begins where ``hold`` has stopped the sound."""


@dataclass(slots=True)
class FinalMark:
    """A mark behind all audio sent so far: its echo shows that the caller has heard everything."""

    name: str
    due: float
    """The end of the wait for it: the moment of its echo, until then the moment when patience ends. Session clock."""


class Playout:
    """The play-out of one stream. ``now`` never goes back between calls, and neither does what was heard."""

    def __init__(self) -> None:
        self._waiting: deque[_Piece] = deque()
        """The pieces that are still to be sent."""
        self._playing: deque[_Piece] = deque()
        """The pieces that were sent and are not known to be heard to their end."""
        self._rest: dict[Revision, bytearray] = {}
        """For each segment, the audio that does not fill a piece yet."""
        self._ends_at = -1.0
        """
        The time at which the carrier will have played everything that was sent; session clock, as sent. Before
        anything is sent it lies before any ``now``, so that a mark in front of the first audio measures the round trip.
        """
        self._now = 0.0
        """The latest ``now``."""
        self._generation = 0
        """The number of times that ``clear`` was sent. It is part of the names of marks, so that none is used twice."""
        self._marks: dict[str, float] = {}
        """The marks that have not come back, and when each is expected if there is no delay on the way."""
        self._mark_number = 0
        self._unmarked = 0
        """Bytes sent since the last mark."""
        self._round_trip: float | None = None
        """Seconds to the carrier and back, by the fastest echo. None until a mark came back from an empty queue."""
        self._lags: deque[float] = deque(maxlen=3)
        """
        Seconds by which audio was played later than sent, by the last three marks. The least counts: an echo may be
        delayed on its way back, but it is never early.
        """
        self._last: Segment | None = None
        """The segment of the piece sent last."""
        self._goes_on = False
        """The next piece goes on where the sound was stopped."""
        self.underruns = 0
        """The number of times that the queue ran dry in the middle of a segment."""
        self.cleared_at: float | None = None
        """The time at which ``hold`` stopped the sound; None unless it is held. Session clock."""

    # -- how far it is -------------------------------------------------------------

    @property
    def lag(self) -> float:
        """Seconds by which the carrier plays audio later than it was sent, by the last marks."""
        return min(self._lags, default=0.0)

    @property
    def round_trip(self) -> float:
        """Seconds from a mark into an empty queue to its echo; 0.0 until one came back."""
        return self._round_trip or 0.0

    @property
    def quiet_at(self) -> float:
        """The time at which everything sent so far will have been played, as sent. If past, the queue is empty."""
        return self._ends_at + self.lag

    @property
    def held(self) -> bool:
        """The sound was stopped by ``hold``, and neither resumed nor discarded."""
        return self.cleared_at is not None

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._waiting

    def busy(self, now: float) -> bool:
        """Whether there is something still to be heard."""
        return bool(self._waiting) or (not self.held and self.quiet_at > now)

    @property
    def next_due(self) -> float | None:
        """The time at which ``due`` should be asked again."""
        if self.held or not self._waiting:
            return None
        return self._ends_at - LOW_WATER

    # -- audio and marks ---------------------------------------------------------------------------

    def add(self, segment: Segment, audio: bytes, text_end: int) -> None:
        """Queue speech that may be heard; it is sent as the lead allows."""
        segment.extend(len(audio), text_end)
        self._queue(segment, audio)

    def _queue(self, segment: Segment, audio: bytes) -> None:
        rest = self._rest.pop(segment.revision, bytearray())
        rest += audio
        whole = len(rest) - len(rest) % PIECE_BYTES
        for start in range(0, whole, PIECE_BYTES):
            self._waiting.append(_Piece(segment, bytes(rest[start : start + PIECE_BYTES])))
        if whole < len(rest):
            self._rest[segment.revision] = rest[whole:]

    def end(self, segment: Segment) -> None:
        """No more audio will come for this segment, so its last piece may be shorter."""
        segment.ended = True
        rest = self._rest.pop(segment.revision, None)
        if rest:
            # It comes behind the other pieces of the segment, which are at the end of the queue.
            self._waiting.append(_Piece(segment, bytes(rest)))

    def unsent_bytes(self, segment: Segment) -> int:
        """How much audio of the segment waits to be sent."""
        waiting = sum(len(piece.audio) for piece in self._waiting if piece.segment is segment)
        return waiting + len(self._rest.get(segment.revision, b""))

    def take_back(self, segment: Segment, text_end: int) -> None:
        """What was received of the segment behind this character is void: do not send it, unless it was sent."""
        sent = segment.received - self.unsent_bytes(segment)
        unsent = b"".join(piece.audio for piece in self._waiting if piece.segment is segment)
        unsent += self._rest.pop(segment.revision, b"")
        # More of this segment can only come behind everything else that waits.
        self._waiting = deque(piece for piece in self._waiting if piece.segment is not segment)
        kept = segment.take_back(text_end, sent)
        self._queue(segment, unsent[: kept - sent])

    def due(self, now: float) -> list[Sending]:
        """Return what to send now so that the lead is kept."""
        self._advance(now)
        sendings: list[Sending] = []
        if self.held or not self._waiting or self._ends_at - now > LOW_WATER + SAME_SAMPLE:
            return sendings
        lead_mark: str | None = None
        if self._ends_at <= now:
            if self._ends_at + SURELY_EMPTY < now:
                # The carrier sends this mark back at once, which measures the round trip.
                lead_mark = self._mark(now, "a")
            if self._waiting[0].segment is self._last:
                self.underruns += 1
            self._ends_at = now
        while self._waiting and self._ends_at - now < HIGH_WATER - SAME_SAMPLE:
            piece = self._waiting.popleft()
            piece.starts_at = self._ends_at
            self._ends_at += len(piece.audio) / RATE_HZ
            self._playing.append(piece)
            previous, self._last = self._last, piece.segment
            self._unmarked += len(piece.audio)
            mark: str | None = None
            last = not self._waiting and piece.segment.ended
            # The mark behind the first piece tells when the caller heard the agent begin.
            if piece.segment is not previous or last or self._unmarked >= MARK_EVERY * RATE_HZ:
                mark = self._mark(self._ends_at, "m")
                self._unmarked = 0
            sendings.append(Sending(piece.segment, piece.audio, mark, lead_mark, self._goes_on))
            lead_mark, self._goes_on = None, False
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
            self._lags.append(min(max(0.0, late - self._round_trip), MOST_LAG))
        return True

    def last_mark(self) -> str:
        """A mark to send behind everything sent so far; returns its name."""
        return self._mark(self._ends_at, "m")

    def take_heard(self, now: float) -> list[Heard]:
        """The audio that was heard to its end since this was last called. Pieces without a gap are joined."""
        self._advance(now)
        runs: list[tuple[float, bytearray]] = []
        while self._playing and self._heard_bytes(self._playing[0]) == len(self._playing[0].audio):
            piece = self._playing.popleft()
            self._collect(runs, piece)
        return [Heard(bytes(audio), at) for at, audio in runs]

    def hold(self, now: float) -> list[Heard]:
        """
        A ``clear`` is being sent: what was not heard by now goes back to the front of the queue.

        Returns the last audio that was heard. ``resume`` goes on from there, ``discard`` drops what is left.
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
        self._goes_on = bool(self._waiting)
        self.cleared_at = now
        return heard

    def resume(self) -> None:
        """Go on from where the sound was held."""
        self.cleared_at = None

    def discard(self) -> None:
        """Drop everything that was not heard."""
        self._waiting.clear()
        self._rest.clear()
        self._goes_on = False
        self.cleared_at = None

    # -- inside -----------------------------------------------------------------------------------

    def _mark(self, expected: float, kind: str) -> str:
        self._mark_number += 1
        name = f"{kind}{self._generation}.{self._mark_number}"
        self._marks[name] = expected
        if len(self._marks) > MOST_MARKS:  # they do not come back
            del self._marks[next(iter(self._marks))]
        return name

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)

    def _heard_bytes(self, piece: _Piece) -> int:
        # Sums of floats fall short of whole samples, so the count is rounded.
        played = round((self._now - piece.starts_at - self.lag) * RATE_HZ)
        return min(max(played, 0), len(piece.audio))

    @staticmethod
    def _collect(runs: list[tuple[float, bytearray]], piece: _Piece) -> None:
        piece.segment.heard += len(piece.audio)
        if runs and abs(runs[-1][0] + len(runs[-1][1]) / RATE_HZ - piece.starts_at) < SEAMLESS:
            runs[-1][1].extend(piece.audio)
        else:
            runs.append((piece.starts_at, bytearray(piece.audio)))
