"""The time that each stage of a response took."""

from __future__ import annotations

from dataclasses import dataclass

from calls.stages import STAGE_NAMES


@dataclass(slots=True)
class Timing:
    """
    The time of each step on the way from the caller's last voiced sample to the agent's first audible one.

    Seconds on the session clock; None if it has not happened.
    """

    caller_stopped: float | None = None
    """The caller's last voiced sample."""
    snapshot_asked: float | None = None
    """Recognition was asked for the words so far."""
    transcript: float | None = None
    """The words were known."""
    first_token: float | None = None
    """The language model's first token came."""
    first_clause: float | None = None
    """The first clause was given to the voice."""
    first_speech: float | None = None
    """The first audio of the reply was ready."""
    released: float | None = None
    """Endpointing decided that the turn was over."""
    sent: float | None = None
    """The first audible sample was sent."""
    heard: float | None = None
    """That sample began to be heard: the mark behind the audio that begins with it came back, less that audio."""
    overlap_started: float | None = None
    """The first voiced sample of the overlap that stopped the agent's turn."""
    cleared: float | None = None
    """The agent's sound was stopped because of that overlap."""

    def restart_reply(self) -> None:
        """The reply in the making is given up; what happens to the next one is still to come."""
        self.first_token = self.first_clause = self.first_speech = None

    def take_reply(self, other: Timing) -> None:
        """The reply is the one that was begun with this other timing."""
        self.first_token, self.first_clause, self.first_speech = (
            other.first_token,
            other.first_clause,
            other.first_speech,
        )

    def stages(self) -> dict[str, float]:
        """
        The seconds of each stage (see ``calls.stages``) and of the whole response.

        The engines work while endpointing is still waiting, so a stage counts from the latest of those before it. Work
        that was done during another stage counts nothing, and neither does work done after the first sound (that of a
        filler, for example). So the stages add up to the response latency.
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
