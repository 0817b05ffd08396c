"""
From Twilio's ``media`` messages to one unbroken stream of the caller's voice.

Position 0 is the first sample received. Timestamps begin anywhere, come in whole milliseconds, wander
by one or two of them and run at a slightly different rate than the samples (19.97 ms for
a frame of 20 was seen); so they only tell how much is missing. The stream itself counts samples.
"""

from __future__ import annotations

from media.audio import SILENCE
from media.messages import Media

_PER_MS = 8
MAX_JITTER = 40 * _PER_MS
"""Samples. Up to two frames missing or too many is jitter; more is a gap, which the recogniser must hear as silence."""
MAX_FILL = 10_000 * _PER_MS
"""Samples of silence for one gap; a jump beyond that is a clock gone wrong, not a caller who was quiet."""
_LATE = 3 * _PER_MS  # a whole chunk lying this far back is an old one; timestamps of new ones wander less
_DRIFT = 1 / 64  # share of the error by which the map from timestamps to positions follows
_DEAF = 50  # old chunks in a row (1 s) after which it is the clock that was set back


class Intake:
    """
    The caller's stream of one call, as mu-law bytes that lie end to end.

    ``position`` is how many samples there are so far; it never falls. ``gaps`` and ``filled_samples`` count what
    was lost on the way, ``duplicates`` what came twice or too late and was dropped.
    """

    def __init__(self) -> None:
        self.position = 0
        self.gaps = 0
        self.filled_samples = 0
        self.duplicates = 0
        self._origin: float | None = None  # the position at which timestamp 0 would lie
        self._last_chunk = 0
        self._old_in_a_row = 0

    def accept(self, media: Media) -> bytes:
        """What to append to the stream: silence for what was lost, then the payload; b"" for an old chunk."""
        audio = media.audio()
        at = media.timestamp_ms * _PER_MS
        if self._origin is None:
            self._origin = float(-at)
        missing = round(at + self._origin) - self.position
        repeated = 0 < media.chunk <= self._last_chunk
        if repeated or (missing < -_LATE and missing + len(audio) <= _LATE):
            self.duplicates += 1
            self._old_in_a_row += 1
            if self._old_in_a_row < _DEAF:
                return b""
            missing = 0
            self._origin = float(self.position - at)
        self._old_in_a_row = 0
        self._last_chunk = media.chunk
        if missing > MAX_JITTER:
            silence = SILENCE * min(missing, MAX_FILL)
            self.gaps += 1
            self.filled_samples += len(silence)
            audio = silence + audio
            self._origin -= missing - len(silence)
        elif missing < -MAX_JITTER:  # the front of a long chunk was heard before
            audio = audio[-missing:]
        else:
            self._origin -= missing * _DRIFT
        self.position += len(audio)
        return audio
