"""
The way into turn taking: what happens on a call comes in, what is to be done goes out.

Here is which part an event is for, which events are impossible, and when something is due without one. What it means
for the floor is in ``media.turns.floor``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from media.turns import events as ev
from media.turns.answered import LONGEST_ANNOUNCEMENT
from media.turns.barge_in import HOLD_GUARD, hold_wake, judge_hold_timeout, overlap_wake
from media.turns.clock import StreamClock, samples
from media.turns.closing import MAX_DURATION, VOICEMAIL, Ending, transferred
from media.turns.commands import Command, Line, Warm
from media.turns.floor import STALLED, FloorControl
from media.turns.floor_states import Floor
from media.turns.options import ConversationOptions

_TRANSFERRED = transferred("", revocable=False)
"""The number is on record already."""


class ImpossibleEvent(ValueError):
    """An event that cannot have happened here; the conversation is unchanged."""


class Conversation:
    """
    Turn taking for one phone call, without I/O.

    Pass each event to ``receive`` and carry out the commands it returns, in order. Pass ``TimerFired`` when
    ``deadline`` has come, and ``PositionReached`` when the stream has passed ``wake_position``. The class never reads
    a clock. Late and repeated events have no effect; impossible ones raise ``ImpossibleEvent``.
    """

    def __init__(self, options: ConversationOptions, *, clock: StreamClock, history: Sequence[Line] = ()) -> None:
        self._clock = clock
        self._commands: list[Command] = []
        """The commands of the event in hand."""
        control = FloorControl(options, clock=clock, history=history, emit=self._commands.append)
        self.control = control
        """The state of the conversation."""
        agent, caller = control.agent, control.caller
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            ev.CallStarted: control.start_call,
            ev.SpeechStarted: lambda event: control.begin_speech(event.position),
            ev.SpeechStopped: lambda event: control.consider(caller.stop(event.position)),
            ev.PositionReached: lambda event: control.consider(caller.reach(event.position)),
            ev.TranscriptPartial: lambda event: control.consider(caller.take_partial(event, control.now)),
            ev.TranscriptReady: lambda event: control.consider(caller.take_snapshot(event, control.now)),
            ev.TranscriptDelayed: lambda event: caller.take_delay(event, control.now),
            ev.TranscriptFailed: lambda event: control.consider(caller.take_failure(event, control.now)),
            ev.TurnScored: lambda event: control.consider(caller.take_score(event)),
            ev.ReplyToken: lambda event: control.consider(agent.take_token(event, control.now)),
            ev.ReplyText: lambda event: agent.take_text(event, control.now),
            ev.ReplyAudio: lambda event: agent.take_audio(event, control.now),
            ev.ReplyEnded: lambda event: control.consider(control.speculating.take_end(event, control.now)),
            ev.ReplyRefused: lambda event: control.speculating.take_refusal(event),
            ev.ReplyFailed: lambda event: agent.take_failure(event, control.now),
            ev.MarkReached: self._mark_reached,
            ev.KeyPressed: lambda event: control.press_key(event.digit),
            ev.SayRequested: lambda event: agent.queue_line(event.text),
            ev.EndRequested: lambda event: self._order_end(Ending(event.reason), self._spoken.goodbye),
            ev.TransferRequested: lambda event: self._order_end(_TRANSFERRED, self._spoken.transferring),
            ev.VoicemailReached: self._voicemail_reached,
            ev.CallerHungUp: lambda event: control.lose_caller(event.reason),
            ev.TimerFired: lambda event: None,
        }

    @property
    def floor(self) -> Floor:
        """The side that has the right to speak."""
        return self.control.floor

    @property
    def caller_asked_for(self) -> bool:
        """Whether the agent has asked if the caller is still there, and has heard no words and no key since."""
        return self.control.silence.asked

    @property
    def agent_is_silent(self) -> bool:
        """Whether the caller can hear nothing of the agent: it is not its turn, or nothing of the turn was sent."""
        turn = self.control.agent.turn
        return self.floor in (Floor.IDLE, Floor.CALLER) or (turn is not None and turn.pending)

    @property
    def _spoken(self) -> ConversationOptions:
        """The options of the language that the agent speaks."""
        return self.control.changing.options

    def sent_text(self, revision: ev.Revision) -> int:
        """How many characters of a reply the caller has heard, or will hear in any case."""
        return self.control.agent.sent_text(revision)

    def receive(self, event: ev.Event, *, now: float) -> list[Command]:
        """Take one event. Returns everything that is to be done now, in order."""
        control = self.control
        if control.floor is Floor.ENDED:
            return []
        self._check(event)
        control.now = max(control.now, now)
        self._commands.clear()
        self._handlers[type(event)](event)
        self._do_all_that_is_due()
        if control.records.warm_due:
            control.records.warm_due = False
            # While the language model is making a reply, it reads all of this anyway.
            if control.floor not in (Floor.CLOSING, Floor.ENDED) and not control.agent.replying:
                self._commands.append(Warm(control.history.lines))
        return list(self._commands)

    def _check(self, event: ev.Event) -> None:
        """Raise ``ImpossibleEvent`` for what cannot have happened, before anything is changed."""
        control = self.control
        match event:
            case ev.CallStarted():
                if control.closing.limit is not None:
                    raise ImpossibleEvent("the call has started already")
            case ev.CallerHungUp():
                pass
            case _ if control.closing.limit is None:
                raise ImpossibleEvent(f"{type(event).__name__} before the call started")
            case ev.SpeechStarted(position) | ev.SpeechStopped(position) | ev.PositionReached(position):
                if position < 0:
                    raise ImpossibleEvent(f"position {position}")
            case ev.TranscriptPartial(utterance, _):
                if utterance > control.caller.opened:
                    raise ImpossibleEvent(f"utterance {utterance} was never opened")
            case (
                ev.TranscriptReady(utterance, snapshot, _)
                | ev.TranscriptDelayed(utterance, snapshot)
                | ev.TranscriptFailed(utterance, snapshot)
            ):
                if utterance > control.caller.opened or snapshot > control.caller.snapshots:
                    raise ImpossibleEvent(f"snapshot {snapshot} of utterance {utterance} was never asked for")
            case ev.TurnScored(utterance, score, probability):
                if utterance > control.caller.opened or score > control.caller.scores or not 0 <= probability <= 1:
                    raise ImpossibleEvent(f"score {score} of utterance {utterance}: {probability}")
            case (
                ev.ReplyToken(revision=revision)
                | ev.ReplyText(revision=revision)
                | ev.ReplyAudio(revision=revision)
                | ev.ReplyEnded(revision=revision)
                | ev.ReplyFailed(revision=revision)
                | ev.ReplyRefused(revision=revision)
            ):
                try:
                    control.agent.find(revision)
                except ValueError as error:
                    raise ImpossibleEvent(str(error)) from error
            case _:
                pass

    def _mark_reached(self, event: ev.MarkReached) -> None:
        control = self.control
        # The mark came the same way as the caller's voice, and was delayed like it.
        control.agent.sender.mark_reached(event.name, control.now - self._clock.delay)
        control.opening.mark_reached(event.name, control.now)
        control.closing.mark_reached(event.name, control.now)

    def _order_end(self, ending: Ending, words: str) -> None:
        """Something outside the conversation ends the call. A call that is ending irrevocably goes on ending so."""
        if not self.control.closing.irrevocable:
            self.control.end(ending, words)

    def _voicemail_reached(self, event: ev.VoicemailReached) -> None:
        message = event.message.strip()
        if message:
            self._order_end(VOICEMAIL, message)
        elif not self.control.closing.irrevocable:
            self.control.closing.decide(VOICEMAIL)
            self.control.hang_up()

    # -- time ---------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When ``TimerFired`` is due next."""
        control = self.control
        ends_at = control.closing.deadline
        if control.floor is Floor.ENDED or ends_at is None:
            return None
        due = [ends_at]
        if (held_since := control.agent.held_since) is not None:
            due.append(held_since + HOLD_GUARD)
        if (answer_due := control.caller.deadline) is not None:
            due.append(answer_due)
        if (opens_at := control.opening.deadline(control.caller.utterance)) is not None:
            due.append(opens_at)
        if (keys_due := control.keypad.deadline) is not None and control.keys_may_count:
            due.append(keys_due)
        if control.floor is Floor.OVERLAP and not control.agent_may_start:
            due.append(self._clock.seen + STALLED)
        if (filler_due := control.filler_due) is not None:
            due.append(filler_due)
        if control.floor in (Floor.AGENT, Floor.OVERLAP, Floor.BRIDGED):
            mark = control.opening.mark
            speaking = control.agent.deadline(may_start=control.agent_may_start) if mark is None else mark.due
            if speaking is not None:
                due.append(speaking)
        return min(due)

    @property
    def wake_position(self) -> int | None:
        """The position of the stream at which ``PositionReached`` is due next; None: at no position."""
        control, utterance = self.control, self.control.caller.utterance
        if control.floor is Floor.IDLE:
            return control.silence.wake_position
        if utterance is None or control.floor in (Floor.CLOSING, Floor.ENDED):
            return None
        if utterance.pause is not None:
            # In a pause the thresholds are few and close: the next window of the stream is the right time to look.
            return control.caller.position + 1
        match control.floor:
            case Floor.CALLER if control.answering.machine:
                return utterance.onset + samples(LONGEST_ANNOUNCEMENT)
            case Floor.OVERLAP:
                return overlap_wake(utterance)
            case Floor.HELD:
                return hold_wake(utterance)
            case Floor.CALLER:
                return control.caller.overdue_at(finishing=control.finishing)
            case _:
                return None

    def _do_all_that_is_due(self) -> None:
        """Do what is due, and then what becomes due by it."""
        if self.control.closing.limit is None:
            return
        done = -1
        while done != len(self._commands) and self.control.floor is not Floor.ENDED:
            done = len(self._commands)
            self._do_what_is_due()

    def _do_what_is_due(self) -> None:
        control, agent, caller, closing = self.control, self.control.agent, self.control.caller, self.control.closing
        now = control.now
        if closing.take_warning(now):
            agent.queue_line(self._spoken.warning)
        if closing.time_is_up(now):
            if closing.irrevocable:
                control.hang_up()
            else:
                control.end(MAX_DURATION, self._spoken.time_up)
        control.consider(caller.give_up_recognition(now))
        if agent.held_since is not None and now >= agent.held_since + HOLD_GUARD and caller.utterance is not None:
            verdict = control.overlaps.verdict(caller.utterance, decide=True)
            control.answer_overlap(judge_hold_timeout(caller.utterance, verdict), caller.utterance)
        if control.keys_may_count and (pressed := control.keypad.take(now)) is not None:
            control.take_keys(pressed)
        control.let_agent_speak()
        if closing.last_words_heard(now):
            control.hang_up()
