"""The recordings of one leg: when each began and ended, and what Twilio reports about it. No sound is kept."""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal

from media.phone.call_request import API_VERSION, Callback, RecordingRequest

if TYPE_CHECKING:  # leg.py imports this module
    from media.phone.leg import PhoneCall


@dataclass
class Recording:
    """One recording, as REST shows it."""

    sid: str
    request: RecordingRequest
    started_at: datetime
    """Wall clock, for REST and callbacks."""
    started: float
    """``time.monotonic()``, for the duration."""
    status: Literal["in-progress", "completed"] = "in-progress"
    duration: int = 0
    """Whole seconds, rounded up; 0 until the recording has ended."""


class LegRecordings:
    """Starts and ends the recordings of one leg and reports them to their callbacks."""

    def __init__(self, leg: PhoneCall) -> None:
        self.all: list[Recording] = []
        """Every recording of the leg, in the order in which they started."""
        self._leg = leg

    def start(self, request: RecordingRequest) -> Recording:
        """Start a recording, and report that it is in progress if its callback subscribed to that."""
        recording = Recording("RE" + uuid.uuid4().hex, request, datetime.now(UTC), time.monotonic())
        self.all.append(recording)
        self._leg.log("recording", sid=recording.sid, source=request.source)
        if request.callback is not None and "in-progress" in request.callback.events:
            self._leg.callbacks.enqueue("recording", request.callback, self._parameters(recording))
        return recording

    def end(self, recording: Recording) -> None:
        """End a recording. The carrier reports some time later that it is ready. Idempotent."""
        if recording.status == "completed":
            return
        recording.status = "completed"
        recording.duration = math.ceil(time.monotonic() - recording.started)
        callback = recording.request.callback
        if callback is not None and "completed" in callback.events:
            self._leg.network.spawn(self._report_end(recording, callback))

    def end_all(self) -> None:
        """End every recording that still runs."""
        for recording in self.all:
            self.end(recording)

    def find(self, request: RecordingRequest | None) -> Recording | None:
        """Return the recording that this request started, if any."""
        return next((recording for recording in self.all if recording.request is request), None)

    def url(self, recording: Recording) -> str:
        """Return where Twilio would serve the sound."""
        account = self._leg.network.account_sid
        return f"https://api.twilio.com/{API_VERSION}/Accounts/{account}/Recordings/{recording.sid}"

    def result(self, recording: Recording) -> dict[str, str]:
        """Return the parameters that tell the application about a recording."""
        return {
            "RecordingSid": recording.sid,
            "RecordingUrl": self.url(recording),
            "RecordingDuration": str(recording.duration),
        }

    async def _report_end(self, recording: Recording, callback: Callback) -> None:
        await self._leg.network.timing.pause_between(self._leg.network.timing.recording, self._leg.network.random)
        await self._leg.callbacks.send("recording", callback.url, self._parameters(recording), method=callback.method)

    def _parameters(self, recording: Recording) -> dict[str, str]:
        return {
            "AccountSid": self._leg.network.account_sid,
            "CallSid": self._leg.sid,
            **self.result(recording),
            "RecordingStatus": recording.status,
            "RecordingChannels": str(recording.request.channels),
            "RecordingStartTime": format_datetime(recording.started_at),
            "RecordingSource": recording.request.source,
            "RecordingTrack": recording.request.track,
        }
