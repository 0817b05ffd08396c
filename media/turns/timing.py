"""From the instants of one response to the stages that are published."""

from __future__ import annotations

from dataclasses import dataclass

from calls.stages import STAGE_NAMES


@dataclass(slots=True)
class Timing:
    """
    When each thing happened on the way from the caller's last voiced sample to the agent's first audible one.

    Session-clock seconds; None: it did not happen (yet).
    """

    caller_stopped: float | None = None
    """The caller's last voiced sample."""
    snapshot_asked: float | None = None
    transcript: float | None = None
    first_token: float | None = None
    first_clause: float | None = None
    first_speech: float | None = None
    released: float | None = None
    """Endpointing decided that the turn was over."""
    sent: float | None = None
    """The first audible sample was sent."""
    heard: float | None = None
    """The mark behind that sample came back."""
    overlap_started: float | None = None
    """First voiced sample of the overlap that stopped this turn."""
    cleared: float | None = None

    def begin_anew(self) -> None:
        """What was in the making is dead: what is made now has its instants yet to come."""
        self.first_token = self.first_clause = self.first_speech = None

    def stages(self) -> dict[str, float]:
        """
        Seconds of each stage that took place.

        Work is done while the endpointing still waits, so a stage counts from the latest of those before it: what hid
        behind another counts nothing, nor does what came after the first sound (a filler's, say), and the sum of
        the waterfall is the response latency.
        """
        stages: dict[str, float] = {}
        if self.caller_stopped is not None and self.sent is not None:
            reached = self.caller_stopped
            instants = (
                self.snapshot_asked,
                self.transcript,
                self.first_token,
                self.first_clause,
                self.first_speech,
                self.released,
                self.sent,
            )
            for name, instant in zip(STAGE_NAMES, instants, strict=True):
                instant = reached if instant is None else min(max(instant, reached), self.sent)
                stages[name] = round(instant - reached, 4)
                reached = instant
            stages["response_latency"] = round(self.sent - self.caller_stopped, 4)
            if self.heard is not None:
                stages["heard_latency"] = round(self.heard - self.caller_stopped, 4)
        if self.overlap_started is not None and self.cleared is not None:
            stages["barge_in_stop"] = round(self.cleared - self.overlap_started, 4)
        return stages
