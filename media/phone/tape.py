"""
The evidence of one call, kept by the phone and not by the server: a stereo recording and a log of events.

The left channel is what the caller said, as it was sent; the right one is what reached the caller's ear. Both run on
one clock, so a pause in the recording is the pause that the caller heard. ``measurements.py`` works out the figures of
a call from the log alone.

Events, each with ``at`` in seconds since the tape began:

======================  ==============================================================================
``caller_speech_start``  first loud sample of a clip at the mouth; ``sent_at``: on the socket; ``clip``, ``kind``
``caller_speech_end``    last loud sample of a clip; the same fields
``agent_audio_received`` the first audible audio received after a silence, a ``clear`` or the end of a clip
``play_start``           the play-out queue began to play; ``play_end``: ran dry, or ``reason="clear"``
``agent_speech_start``   first audible sample played; ``heard_at``: at the caller's ear
``agent_speech_end``     last audible sample played before 200 ms of quiet or a clear; ``heard_at``
``underrun``             the queue had run dry for ``seconds`` before more audio came, no clear between
``clear_received``       on the socket; ``clear``: carried out, with ``played_bytes``, ``dropped_bytes``, ``marks``
``mark_received``        queued, by ``name``; ``mark_echoed``: sent back
``frames``               once a second: counters, and ``queued_bytes``: how far the application is ahead
``dtmf`` ``fault`` ``error`` ``stream_start`` ``stream_end``   as their names say
======================  ==============================================================================
"""

from __future__ import annotations

import time
import wave
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from inference.mulaw import decode_mulaw
from media.phone.frames import FRAME_BYTES, RATE_HZ

MAX_EVENTS_IN_MEMORY = 100_000
"""Hours of a busy call; then the oldest are dropped, so that a forgotten call does not fill the memory."""


class Tape:
    """
    Records one call. Without a directory it keeps the log in memory and no sound, as load tests need it.

    Instants are those of ``time.monotonic()``. With a directory, it writes ``events.jsonl`` as things happen and
    ``call.wav`` (16-bit stereo, 8 kHz) once a second, so that memory stays bounded and a crash leaves a playable file.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self.origin = time.monotonic()
        """The instant at which the tape began."""
        self.events: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS_IN_MEMORY)
        self.on_event: Callable[[dict[str, Any]], None] | None = None
        """Called with each event as it is logged; the commands print the call from it."""
        self._said, self._heard = bytearray(), bytearray()  # mu-law that waits to be written
        self._written_samples = 0  # per channel
        self._log_file: BinaryIO | None = None  # both files are None without a directory, and after `close`
        self._wave: wave.Wave_write | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._log_file = (directory / "events.jsonl").open("wb")
            self._wave = wave.open(str(directory / "call.wav"), "wb")  # noqa: SIM115 (closed by close())
            self._wave.setnchannels(2)
            self._wave.setsampwidth(2)
            self._wave.setframerate(RATE_HZ)
        self.log("tape", started_at=datetime.now(UTC).isoformat())

    def seconds(self, at: float) -> float:
        """Convert an instant of ``time.monotonic()`` to seconds on this tape."""
        return round(at - self.origin, 4)

    def log(self, event: str, *, at: float | None = None, **fields: object) -> None:
        """Log an event, now or at the given instant. Fields must be JSON; convert instants in them with ``seconds``."""
        line = {"at": self.seconds(time.monotonic() if at is None else at), "event": event, **fields}
        self.events.append(line)
        if self.on_event is not None:
            self.on_event(line)
        if self._log_file is not None:
            self._log_file.write(msgspec.json.encode(line) + b"\n")

    def record_said(self, at: float, frame: bytes) -> None:
        """Record mu-law audio that left the caller's mouth from the instant ``at`` on."""
        self._append(self._said, at, frame)

    def record_heard(self, at: float, frame: bytes) -> None:
        """Record mu-law audio that reached the caller's ear from the instant ``at`` on."""
        self._append(self._heard, at, frame)

    def close(self) -> None:
        """Write what is left and close the files. Idempotent."""
        if self._wave is not None and self._log_file is not None:
            self._flush(max(len(self._said), len(self._heard)))
            self._wave.close()
            self._log_file.close()
        self._wave = self._log_file = None

    def _append(self, channel: bytearray, at: float, frame: bytes) -> None:
        if self._wave is None:
            return
        # Frames come on an absolute schedule: less than half a frame is rounding, more is a real pause.
        missing = round((at - self.origin) * RATE_HZ) - self._written_samples - len(channel)
        if missing > FRAME_BYTES // 2:
            channel.extend(b"\xff" * missing)
        channel.extend(frame)
        if len(channel) >= 2 * RATE_HZ:
            self._flush(RATE_HZ)

    def _flush(self, samples: int) -> None:
        assert self._wave is not None
        assert self._log_file is not None
        stereo = np.empty((samples, 2), dtype="<i2")
        for index, channel in enumerate((self._said, self._heard)):
            channel.extend(b"\xff" * (samples - len(channel)))
            stereo[:, index] = decode_mulaw(bytes(channel[:samples]))
            del channel[:samples]
        self._written_samples += samples
        self._wave.writeframes(stereo.tobytes())
        self._log_file.flush()
