"""
From Twilio's ``media`` messages to one unbroken stream of the caller's sound.

Position 0 is the first sample received. Timestamps begin anywhere, are whole milliseconds, wander by one or two of them
and run at a slightly different rate than the samples (19.97 ms for a frame of 20 was seen). So they only show how much
is missing; positions count samples.

Other senders number or time their chunks wrongly: the same number or time for each, seconds, samples, a new count in
the middle of a call, or nothing at all. So a chunk is old only if each of its signs says so, a gap is filled only if as
much time has passed, and a sign that was wrong is not heeded until it is right again.
"""

from __future__ import annotations

import sys

from media.audio import SILENCE
from media.messages import Media

_PER_MS = 8
MAX_JITTER = 40 * _PER_MS
"""Samples. Up to two frames too few or too many are jitter; more is a gap, which recognition must hear as silence."""
MAX_FILL = 10_000 * _PER_MS
"""Samples of silence for one gap (10 s). A longer jump is a fault of the sender's clock, and no sound was lost."""
_WANDER = 6 * _PER_MS
"""Samples. Two timestamps may wander apart by so much, and still agree with the sound between them."""
_DRIFT = 1 / 64
"""The share of each error by which the map from timestamps to positions follows: enough for the difference in rate."""
_PROBATION = 10
"""Consecutive timestamps that must agree with the sound before timestamps are heeded again: 0.2 s of frames."""
_HELD_SAMPLES, _HELD_CHUNKS = 200 * _PER_MS, 3
"""
A run of old chunks of so many samples (0.2 s) and so many chunks shows that the sender counts or times them wrongly.
Networks repeat and reorder a chunk or two, and the sound of the run is only late.
"""


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
        """The position that timestamp 0 has; None until the first timestamp."""
        self._probation = 0
        """The consecutive timestamps that must agree with the sound before they are heeded; 0 while they are."""
        self._last_chunk = 0
        """The number of the last chunk that was taken."""
        self._numbers_rise = True
        """Whether the number of the last chunk that was taken is above the one before."""
        self._last_at: int | None = None
        """The timestamp of the last chunk that was taken, in samples, ..."""
        self._last_audio = b""
        """... and its sound."""
        self._held: list[bytes] = []
        """Consecutive chunks that seem to be old. They are dropped when a new one comes."""

    def accept(self, media: Media, *, spoken: int = sys.maxsize) -> bytes:
        """
        The next bytes of the stream: silence for what was lost, then the payload; b"" for an old chunk.

        ``spoken`` is the position that the caller has reached by now, as far as arrivals show: no gap reaches beyond.
        """
        audio, chunk, held = media.audio(), media.chunk, b""
        if not audio:
            return b""  # without sound, a run of old chunks would never be long enough to end
        at = None if media.timestamp_ms is None else media.timestamp_ms * _PER_MS
        if chunk <= self._last_chunk or self._held or not self._numbers_rise:
            if self._is_old(chunk, at):
                if at is None or at != self._last_at or audio == self._last_audio:
                    return self._hold(audio, chunk, at)
                held = self._release(at)  # the sound goes on, so only its signs stand still
            self._held.clear()
            self._numbers_rise = chunk > self._last_chunk
        self._last_chunk = chunk or self._last_chunk
        self._last_at, self._last_audio = at, audio
        if at is not None:
            if self._origin is None:
                self._origin = float(self.position - at)
            missing = round(at + self._origin) - self.position
            if self._probation or not -MAX_JITTER <= missing <= MAX_JITTER:
                audio = self._fill(missing, at, audio, spoken)
            else:
                self._origin -= missing * _DRIFT
        self.position += len(audio)
        return held + audio

    def _is_old(self, chunk: int, at: int | None) -> bool:
        """Whether each sign that may be heeded says that the chunk came twice or too late."""
        numbered = chunk > 0 and self._numbers_rise
        if numbered and chunk > self._last_chunk:
            return False
        if at is None or self._last_at is None or self._probation:
            return numbered
        return at <= self._last_at

    def _hold(self, audio: bytes, chunk: int, at: int | None) -> bytes:
        """Keep what seems to be an old chunk; returns the whole run of them once it is too long for that."""
        self.duplicates += 1
        self._held.append(audio)
        if len(self._held) < _HELD_CHUNKS or sum(map(len, self._held)) < _HELD_SAMPLES:
            return b""
        self._numbers_rise, self._last_chunk = False, chunk or self._last_chunk
        self._last_at, self._last_audio = at, audio
        return self._release(None if at is None else at + len(audio))

    def _release(self, next_at: int | None) -> bytes:
        """Return what was held, because it was not old; timestamps are not heeded for the time being."""
        held = b"".join(self._held)
        self.duplicates -= len(self._held)
        self._held.clear()
        self.position += len(held)
        if next_at is not None:
            self._mistrust(self.position - next_at)
        return held

    def _fill(self, missing: int, at: int, audio: bytes, spoken: int) -> bytes:
        """The new chunk behind the silence that its timestamp asks for, if it may be heeded."""
        if self._probation:
            self._probation = self._probation - 1 if abs(missing) <= _WANDER else _PROBATION
            self._origin = float(self.position - at)
            return audio
        silence = min(missing, MAX_FILL, spoken + _WANDER - self.position - len(audio))
        if silence <= MAX_JITTER:  # the timestamp is behind the sound, or ahead of the time
            self._mistrust(self.position - at)
            return audio
        self.gaps += 1
        self.filled_samples += silence
        self._origin = float(self.position + silence - at)
        return SILENCE * silence + audio

    def _mistrust(self, origin: int) -> None:
        """Let timestamp 0 have this position, and heed no timestamp until they agree with the sound again."""
        self._origin = float(origin)
        self._probation = _PROBATION
