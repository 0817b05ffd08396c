"""The ear of the person on the phone: it plays the application's audio in real time and notes on the tape when."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from media.phone.frames import (
    FRAME_BYTES,
    FRAME_SECONDS,
    QUIET_SECONDS,
    RATE_HZ,
    SILENT_FRAME,
    first_audible,
    last_audible,
)
from media.phone.party import Party
from media.phone.playout_queue import PlayoutQueue
from media.phone.tape import Tape

UNDERRUN_SECONDS = 1.0
"""A queue that ran dry and is filled again within this time ran dry in mid-speech; after longer, it is a new reply."""


class Earpiece:
    """
    Plays one frame to the person every 20 ms.

    ``echo(name)`` is called for each mark that is due, ``on_underrun()`` when the queue ran dry in mid-speech. Frames
    reach the ear ``delay_frames`` later than the gateway plays them.
    """

    def __init__(
        self,
        party: Party,
        tape: Tape,
        *,
        delay_frames: int,
        prebuffer_frames: int,
        echo: Callable[[str], None],
        on_underrun: Callable[[], None],
    ) -> None:
        self._party, self._tape, self._echo, self._on_underrun = party, tape, echo, on_underrun
        self.queue = PlayoutQueue(prebuffer_frames=prebuffer_frames)
        """The audio that is still to be played: how far the application is ahead of the ear."""
        self._delay_seconds = delay_frames * FRAME_SECONDS
        self._under_way = deque([SILENT_FRAME] * delay_frames)  # played by the gateway, not yet at the ear
        self._is_playing = False  # whether the last frame came from the queue
        self._dry_since: float | None = None  # when the queue ran dry; None after a `clear`
        self._is_audible = False  # whether the agent speaks, pauses below QUIET_SECONDS included
        self._audible_until = 0.0  # the instant of the last audible sample

    def mark(self, name: str) -> None:
        """Queue a mark, or echo it at once if nothing waits before it."""
        self._tape.log("mark_received", name=name, queued_bytes=self.queue.queued_bytes)
        if not self.queue.mark(name):
            self._echo(name)

    def clear(self) -> None:
        """Drop what waits, and echo its marks."""
        dropped = self.queue.queued_bytes
        marks = self.queue.clear()
        now = time.monotonic()
        if self._is_playing:
            self._stop_playing(now, "clear")
        self._dry_since = None
        self.end_speech()
        played = self.queue.played_bytes
        self._tape.log("clear", at=now, played_bytes=played, dropped_bytes=dropped, marks=marks)
        for name in marks:
            self._echo(name)

    def play(self, due: float) -> None:
        """Play the frame that is due at this instant."""
        frame, passed = self.queue.next_frame()
        for name in passed:
            self._echo(name)
        if frame is None:
            frame = SILENT_FRAME
            if self._is_playing:
                self._stop_playing(due, "dry")
        elif not self._is_playing:
            self._start_playing(due)
        onset = -1 if frame is SILENT_FRAME else first_audible(frame)
        if onset >= 0:
            if not self._is_audible:
                self._is_audible = True
                self._log_at_ear("agent_speech_start", due + onset / RATE_HZ)
            self._audible_until = due + (last_audible(frame) + 1) / RATE_HZ
        elif self._is_audible and due - self._audible_until >= QUIET_SECONDS:
            self.end_speech()
        self._tape.record_heard(due + self._delay_seconds, frame)
        self._under_way.append(frame)
        self._party.hear(self._under_way.popleft())

    def end_speech(self) -> None:
        """Note the end of what the agent says, if it speaks."""
        if self._is_audible:
            self._is_audible = False
            self._log_at_ear("agent_speech_end", self._audible_until)

    def _start_playing(self, due: float) -> None:
        self._is_playing = True
        if self._dry_since is not None and due - self._dry_since <= UNDERRUN_SECONDS:
            self._on_underrun()
            self._tape.log("underrun", at=due, seconds=round(due - self._dry_since, 4))
        self._tape.log("play_start", at=due, queued_bytes=self.queue.queued_bytes + FRAME_BYTES)

    def _stop_playing(self, at: float, reason: Literal["dry", "clear"]) -> None:
        self._is_playing = False
        self._dry_since = at if reason == "dry" else None
        self._tape.log("play_end", at=at, reason=reason, played_bytes=self.queue.played_bytes)

    def _log_at_ear(self, event: str, at: float) -> None:
        self._tape.log(event, at=at, heard_at=self._tape.seconds(at + self._delay_seconds))
