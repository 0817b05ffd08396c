"""
From Twilio's ``media`` messages to one unbroken stream of the caller's sound.

Position 0 is the first sample received. Timestamps begin anywhere, are whole milliseconds, wander by one or two of them
and run at a slightly different rate than the samples (19.97 ms for a frame of 20 was seen). So they only show how much
is missing; positions count samples.
"""

from __future__ import annotations

from media.audio import SILENCE
from media.messages import Media

_PER_MS = 8
MAX_JITTER = 40 * _PER_MS
"""Samples. Up to two frames too few or too many are jitter; more is a gap, which recognition must hear as silence."""
MAX_FILL = 10_000 * _PER_MS
"""Samples of silence for one gap (10 s). A longer jump is a fault of the sender's clock, and no sound was lost."""
_LATE = 3 * _PER_MS
"""Samples. A whole chunk so far back is an old one; the timestamps of new ones wander less."""
_DRIFT = 1 / 64
"""The share of each error by which the map from timestamps to positions follows: enough for the difference in rate."""
_MAX_OLD = 50
"""Consecutive old chunks (1 s) after which the sender's clock was set back, and the chunks are new."""


class Intake:
    """The caller's stream of one call, as mu-law bytes without gaps."""

    def __init__(self) -> None:
        self.position = 0
        """The number of samples so far; it never decreases."""
        self.gaps = 0
        """The number of times that silence replaced what was lost on the way, ..."""
        self.filled_samples = 0
        """... and of how many samples."""
        self.duplicates = 0
        """The chunks that came twice or too late and were dropped."""
        self._origin: float | None = None
        """The position that timestamp 0 has; None until the first chunk."""
        self._last_chunk = 0
        """The number of the last chunk that was taken."""
        self._old_chunks = 0
        """Consecutive chunks that were dropped."""

    def accept(self, media: Media) -> bytes:
        """The next bytes of the stream: silence for what was lost, then the payload; b"" for an old chunk."""
        audio = media.audio()
        at = media.timestamp_ms * _PER_MS
        if self._origin is None:
            self._origin = float(-at)
        missing = round(at + self._origin) - self.position
        repeated = 0 < media.chunk <= self._last_chunk
        if repeated or (missing < -_LATE and missing + len(audio) <= _LATE):
            self.duplicates += 1
            self._old_chunks += 1
            if self._old_chunks < _MAX_OLD:
                return b""
            missing = 0
            self._origin = float(self.position - at)
        self._old_chunks = 0
        self._last_chunk = media.chunk
        if missing > MAX_JITTER:
            silence = SILENCE * min(missing, MAX_FILL)
            self.gaps += 1
            self.filled_samples += len(silence)
            audio = silence + audio
            self._origin -= missing - len(silence)
        elif missing < -MAX_JITTER:  # the beginning of a long chunk is in the stream already
            audio = audio[-missing:]
        else:
            self._origin -= missing * _DRIFT
        self.position += len(audio)
        return audio
