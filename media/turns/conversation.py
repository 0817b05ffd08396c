"""Who has the floor: the state machine that turns what happens on a call into what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from inference.requests import ToolRequests
from media.turns import events as ev
from media.turns.agent import Agent, Progress
from media.turns.agent_turn import AgentTurn
from media.turns.barge_in import (
    HOLD_GUARD,
    Move,
    classify,
    hold_wake,
    judge_hold,
    judge_hold_timeout,
    judge_overlap,
    overlap_wake,
)
from media.turns.caller import Caller, CallerMove, Unheard
from media.turns.clock import StreamClock, samples
from media.turns.closing import (
    BY_AGENT,
    ENGINES_FAILED,
    MAX_DURATION,
    OPTED_OUT,
    SILENCE,
    VOICEMAIL,
    Closing,
    Ending,
    transferred,
)
from media.turns.commands import (
    Command,
    Line,
    Noted,
    OptOutHow,
    StartRecording,
    TurnEnded,
    Warm,
)
from media.turns.history import History
from media.turns.keypad import KeyInput, Keypad
from media.turns.opening import DISCLOSURE_MARK_TIMEOUT, Opening
from media.turns.options import ConversationOptions
from media.turns.timing import Timing
from media.turns.utterance import Utterance

STALLED = 1.0
"""Seconds on the clock without a frame: what the caller's voice does is not known any more."""


class ImpossibleEvent(ValueError):
    """An event that cannot have happened here; the conversation is unchanged."""


class Floor(Enum):
    """Who has the right to speak."""

    IDLE = auto()
    """Nobody: the agent has finished and the caller has not begun."""
    CALLER = auto()
    AGENT = auto()
    """The agent's turn, sounding or about to."""
    OVERLAP = auto()
    """The agent's turn; the caller's voice has begun and it is not yet clear why."""
    HELD = auto()
    """The agent was stopped provisionally."""
    CLOSING = auto()
    """The last words are out; their mark is awaited."""
    ENDED = auto()


class Conversation:
    """
    Turn taking for one phone call, without I/O.

    Tell it each thing that happens; carry out, in order, the commands it returns; tell it ``TimerFired`` once
    ``deadline`` has come, and ``PositionReached`` once the stream has passed ``wake_position``. It never reads a
    clock. Late and repeated events are no-ops; impossible ones raise ``ImpossibleEvent``.
    """

    def __init__(self, options: ConversationOptions, *, clock: StreamClock, history: Sequence[Line] = ()) -> None:
        self._options = options
        self._clock = clock
        self._commands: list[Command] = []
        self.agent = Agent(options, self._commands.append)
        self.caller = Caller(options, clock=clock, agent_said=self._agent_said, emit=self._commands.append)
        self._history = History(self._commands.append, history)
        self._opening = Opening(options)
        self._closing = Closing(options, self._commands.append)
        self._keypad = Keypad(options, self._commands.append)
        self.floor = Floor.IDLE
        self._now = 0.0
        self._idle_since = 0
        self._silences = 0
        self._agent_turn_ended = False
        """The event in hand has ended a turn of the agent's: its words are new to the language model."""
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            ev.CallStarted: self._call_started,
            ev.SpeechStarted: self._speech_started,
            ev.SpeechStopped: lambda event: self._consider(self.caller.stop(event.position)),
            ev.PositionReached: lambda event: self._consider(self.caller.reach(event.position)),
            ev.TranscriptPartial: lambda event: self._consider(self.caller.take_partial(event, self._now)),
            ev.TranscriptReady: lambda event: self._consider(self.caller.take_snapshot(event, self._now)),
            ev.TranscriptFailed: lambda event: self._consider(self.caller.take_failure(event, self._now)),
            ev.ReplyToken: lambda event: self.agent.take_token(event, self._now),
            ev.ReplyText: lambda event: self.agent.take_text(event, self._now),
            ev.ReplyAudio: lambda event: self.agent.take_audio(event, self._now),
            ev.ReplyEnded: lambda event: self.agent.take_end(event, self._now),
            ev.ReplyFailed: lambda event: self.agent.take_failure(event, self._now),
            ev.MarkReached: self._mark_reached,
            ev.KeyPressed: self._key_pressed,
            ev.SayRequested: self._say_requested,
            ev.EndRequested: self._end_requested,
            ev.TransferRequested: self._transfer_requested,
            ev.VoicemailReached: self._voicemail_reached,
            ev.CallerHungUp: self._caller_hung_up,
            ev.TimerFired: lambda event: None,
        }

    # -- the interface ----------------------------------------------------------------------------------

    def receive(self, event: ev.Event, *, now: float) -> list[Command]:
        """Take one event; returns everything that is to be done now, in order."""
        if self.floor is Floor.ENDED:
            return []
        self._check(event)
        self._now = max(self._now, now)
        self._commands.clear()
        self._handlers[type(event)](event)
        self._tick()
        if self._agent_turn_ended:
            self._agent_turn_ended = False
            self._warm()
        return list(self._commands)

    @property
    def deadline(self) -> float | None:
        """When ``TimerFired`` is due next."""
        closing = self._closing.deadline
        if self.floor is Floor.ENDED or closing is None:
            return None
        due = [closing]
        if self.agent.held_since is not None:
            due.append(self.agent.held_since + HOLD_GUARD)
        if (recognition_due := self.caller.deadline) is not None:
            due.append(recognition_due)
        keys_due = self._keypad.deadline
        if keys_due is not None and self._keys_may_count:
            due.append(keys_due)
        if self.floor is Floor.OVERLAP and not self._agent_may_start:
            due.append(self._clock.seen + STALLED)
        if self._opening.mark is not None:
            speaking: float | None = self._opening.mark.due
        else:
            speaking = self.agent.deadline(may_start=self._agent_may_start)
        if speaking is not None and self.floor in (Floor.AGENT, Floor.OVERLAP):
            due.append(speaking)
        return min(due)

    @property
    def wake_position(self) -> int | None:
        """The position of the stream that is awaited; None: no need to tell."""
        utterance = self.caller.utterance
        if self.floor is Floor.IDLE:
            return self._idle_since + samples(self._options.still_there_after)
        if utterance is None or self.floor in (Floor.CLOSING, Floor.ENDED):
            return None
        if utterance.pause is not None:
            # In a pause the thresholds are few and close: the next window of the stream is the right time to look.
            return self.caller.position + 1
        match self.floor:
            case Floor.OVERLAP:
                return overlap_wake(utterance)
            case Floor.HELD:
                return hold_wake(utterance)
            case _:
                return None

    # -- checks -------------------------------------------------------------------------------------------

    def _check(self, event: ev.Event) -> None:
        """Raise ``ImpossibleEvent`` for what cannot have happened, before anything is changed."""
        match event:
            case ev.CallStarted():
                if self._closing.limit is not None:
                    raise ImpossibleEvent("the call has started already")
            case ev.CallerHungUp():
                pass
            case _ if self._closing.limit is None:
                raise ImpossibleEvent(f"{type(event).__name__} before the call started")
            case ev.SpeechStarted(position) | ev.SpeechStopped(position) | ev.PositionReached(position):
                if position < 0:
                    raise ImpossibleEvent(f"position {position}")
            case ev.TranscriptPartial(utterance, _):
                if utterance > self.caller.opened:
                    raise ImpossibleEvent(f"utterance {utterance} was never opened")
            case ev.TranscriptReady(utterance, snapshot, _) | ev.TranscriptFailed(utterance, snapshot):
                if utterance > self.caller.opened or snapshot > self.caller.snapshots:
                    raise ImpossibleEvent(f"snapshot {snapshot} of utterance {utterance} was never asked for")
            case (
                ev.ReplyToken(revision=revision)
                | ev.ReplyText(revision=revision)
                | ev.ReplyAudio(revision=revision)
                | ev.ReplyEnded(revision=revision)
                | ev.ReplyFailed(revision=revision)
            ):
                try:
                    self.agent.find(revision)
                except ValueError as error:
                    raise ImpossibleEvent(str(error)) from error
            case _:
                pass

    # -- the caller's voice ---------------------------------------------------------------------------------

    def _call_started(self, event: ev.CallStarted) -> None:
        self._closing.start(self._now)
        self._opening.start(event)
        self._emit(Warm(self._history.lines))
        if self._opening.disclosing:
            self._say(self._options.disclosure, protected=True)
            return
        self._emit(StartRecording())
        if self._opening.first_words:
            self._say(self._opening.first_words, protected=self._opening.protected)

    def _speech_started(self, event: ev.SpeechStarted) -> None:
        self.caller.reach(event.position)
        if self._closing.to_a_machine:
            return
        match self.floor:
            case Floor.IDLE:
                self._open_utterance(event.position, Floor.CALLER)
            case Floor.CLOSING if not self._closing.irrevocable:
                self._closing.await_caller()
                self._open_utterance(event.position, Floor.CALLER)
            case Floor.AGENT:
                self._open_utterance(event.position, Floor.OVERLAP)
            case Floor.CALLER:
                if self.caller.resume(event.position, overlapping=False):
                    self.agent.drop_speculation()
            case Floor.OVERLAP | Floor.HELD:
                self.caller.resume(event.position, overlapping=True)
            case _:
                pass

    def _open_utterance(self, position: int, floor: Floor) -> None:
        turn = self.agent.turn
        self.caller.open(position, answering=turn.timing if turn is not None else None)
        self.floor = floor

    # -- decisions ---------------------------------------------------------------------------------------------

    def _consider(self, changed: bool = True) -> None:
        """See what follows from the caller's voice, words or silence, if any of them has changed."""
        if not changed:
            return
        utterance, turn = self.caller.utterance, self.agent.turn
        match self.floor:
            case Floor.IDLE:
                self._consider_silence()
            case Floor.CALLER if utterance is not None:
                self._consider_turn(utterance)
            case Floor.OVERLAP if utterance is not None and turn is not None:
                position = self.caller.position
                move = judge_overlap(utterance, position=position, pending=turn.pending, protected=turn.protected)
                self._answer_overlap(move, utterance)
            case Floor.HELD if utterance is not None:
                self._answer_overlap(judge_hold(utterance, position=self.caller.position), utterance)
            case _:
                pass

    def _consider_turn(self, utterance: Utterance) -> None:
        move = self.caller.judge_turn()
        if move is CallerMove.SPECULATE:
            self._speculate(utterance)
            move = self.caller.judge_turn()
        match move:
            case CallerMove.ASK:
                self.caller.ask(self._now)
            case CallerMove.GIVE_UP:
                self._give_up_utterance()
            case CallerMove.END_OF_TURN:
                self._end_of_turn(utterance)
            case _:
                pass

    def _speculate(self, utterance: Utterance) -> None:
        """Start the reply to the caller's words, unless they are of the kind that no language model answers."""
        self.caller.words_considered()
        text = utterance.text
        answered = not self._closing.is_goodbye(text) and not self._closing.asks_to_opt_out(text)
        if answered and self._options.speculate:
            utterance.speculations += 1
            self.agent.speculate(self._history.with_caller(text), utterance.timing)

    def _give_up_utterance(self) -> None:
        """The pause has been long and no words were found."""
        self.agent.drop_speculation()
        stopped_at = self.caller.stopped_at
        unheard = self.caller.give_up(self._now, keys_pending=self._keypad.pending is not None)
        if self._history.caller_spoke_last:
            # It was taken for the caller going on, and the agent still owes an answer.
            self._closing.revoke()
            self._answer(Timing(caller_stopped=stopped_at, released=self._now))
        elif unheard is Unheard.RECOGNITION_FAILED:
            self._end(ENGINES_FAILED, self._options.trouble_goodbye)
        elif unheard is Unheard.MUMBLE:
            self._closing.revoke()
            self._say(self._options.not_caught)
        elif self._closing.ending is not None:
            self._close_call()
        else:
            self._be_idle()

    def _end_of_turn(self, utterance: Utterance) -> None:
        """The caller has finished: the agent's turn."""
        timing = utterance.timing
        timing.released = self._now
        if self._closing.is_goodbye(utterance.text):
            self._close_call()
            return
        self._closing.revoke()
        self._history.add_caller(utterance.text)
        hit = self.agent.has_speculated_on(self._history.lines)
        self._record_caller(utterance, wait=self.caller.wait, speculation_hit=hit)
        self.caller.close()
        self._answer(timing)

    def _record_caller(self, utterance: Utterance, *, wait: float | None = None, speculation_hit: bool = False) -> None:
        self._silences = 0
        if self._closing.asks_to_opt_out(utterance.text):
            # At once, whatever becomes of the answer: callers who say this often hang up while they say it.
            self._closing.opt_out("asked", utterance.text)
        self._history.record(self.caller.finish(utterance, self._now, wait=wait, speculation_hit=speculation_hit))

    def _answer_overlap(self, move: Move, utterance: Utterance) -> None:
        """Do what was judged of the caller's voice in the agent's turn."""
        match move:
            case Move.ASK:
                self.caller.ask(self._now)
            case Move.WITHDRAW:
                self._withdraw_reply()
            case Move.HOLD:
                self._hold(utterance)
            case Move.PUT_ASIDE:
                self._history.put_aside(utterance.text)
                self._record_caller(utterance)
                self._end_overlap(utterance)
            case Move.IGNORE:
                self._end_overlap(utterance)
            case Move.INTERRUPT:
                # The caller takes the turn. What they did not hear was never said.
                self._finish_turn(interrupted=True)
                self._give_floor()
            case Move.RESUME | Move.RESUME_LISTENING:
                self._resume(utterance, listening=move is Move.RESUME_LISTENING)
            case Move.WAIT:
                pass

    def _end_overlap(self, utterance: Utterance) -> None:
        self._note("overlap", judged=classify(utterance.text).name.lower(), text=utterance.text)
        self.caller.close()
        self.floor = Floor.AGENT

    def _withdraw_reply(self) -> None:
        """The caller's turn was not over after all, and nothing of the reply was sent: as if it never was."""
        self._note("caller-went-on")
        self.caller.went_on()
        self.agent.withdraw()
        self._give_floor()

    def _give_floor(self) -> None:
        """It is the caller's turn, with all that they said."""
        self.floor = Floor.CALLER
        self.caller.judge_words_again(self._now)
        self._consider()

    def _hold(self, utterance: Utterance) -> None:
        self.agent.hold(self._now, overlap_started=self._clock.time_of(utterance.overlap))
        self.floor = Floor.HELD
        if utterance.pause is None:
            self.caller.ask(self._now)
        # What is known already may be enough.
        self._consider()

    def _resume(self, utterance: Utterance, *, listening: bool) -> None:
        held_since = self.agent.held_since
        self._note(
            "false-interruption",
            judged=classify(utterance.text).name.lower(),
            text=utterance.text,
            gap=round(self._now - (held_since if held_since is not None else self._now), 3),
        )
        self.agent.resume()
        if listening:
            # The words are still to come, and may be more than a murmur.
            self.floor = Floor.OVERLAP
        else:
            self.caller.close()
            self.floor = Floor.AGENT

    def _consider_silence(self) -> None:
        if self.caller.position - self._idle_since < samples(self._options.still_there_after):
            return
        self._silences += 1
        if self._silences == 1:
            self._say(self._options.still_there)
        else:
            self._end(SILENCE, self._options.silence_goodbye)

    # -- keys ----------------------------------------------------------------------------------------------------

    def _key_pressed(self, event: ev.KeyPressed) -> None:
        if not self._keypad.press(event.digit, self._now):
            self._opt_out("key")
            return
        self._silences = 0
        if self.floor is Floor.IDLE:
            self._be_idle()

    @property
    def _keys_may_count(self) -> bool:
        if self.floor is Floor.AGENT:
            return self.agent.turn is not None and not self.agent.turn.protected
        return self.floor is Floor.IDLE

    def _take_keys(self, pressed: KeyInput) -> None:
        """The keys pressed are a turn of the caller's."""
        turn = self.agent.turn
        # A caller who is waiting for an answer goes on waiting.
        waiting_since = turn.waiting_since if turn is not None else None
        if turn is not None:
            self._finish_turn(interrupted=True)
        self._closing.revoke()
        text, at = pressed.text, pressed.pressed_at
        self._history.record(TurnEnded(0, "caller", text, text, started=at, ended=at))
        self._history.add_caller(text)
        self._answer(Timing(), waiting_since)

    # -- not to be called again ------------------------------------------------------------------------------------

    def _opt_out(self, how: OptOutHow, words: str = "") -> None:
        """Never call again, say so, and end the call."""
        self._closing.opt_out(how, words)
        if self._closing.ending != OPTED_OUT:
            self._end(OPTED_OUT, self._options.opted_out)

    # -- what is asked for from outside ----------------------------------------------------------------------------

    def _say_requested(self, event: ev.SayRequested) -> None:
        if event.text.strip():
            self.agent.lines.append(event.text)

    def _end_requested(self, event: ev.EndRequested) -> None:
        if not self._closing.irrevocable:
            self._end(Ending(event.reason), self._options.goodbye)

    def _transfer_requested(self, event: ev.TransferRequested) -> None:
        if not self._closing.irrevocable:
            self._end(transferred("", revocable=False), self._options.transferring)

    def _voicemail_reached(self, event: ev.VoicemailReached) -> None:
        if self._closing.irrevocable:
            return
        if message := event.message.strip():
            self._end(VOICEMAIL, message)
        else:
            self._closing.decide(VOICEMAIL)
            self._hang_up()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _end(self, how: Ending, words: str) -> None:
        """Say these last words, see that they were heard, and hang up."""
        self._take_floor()
        self._closing.decide(how)
        self._say(words, protected=not how.revocable)

    def _take_floor(self) -> None:
        """Whatever goes on, the agent speaks now."""
        if self.agent.turn is not None:
            self._finish_turn(interrupted=True)
        self._put_down_utterance()
        self.agent.lines.clear()
        self._opening.end()

    def _put_down_utterance(self) -> None:
        """The caller will not be answered; what is known of their words goes on record."""
        self.agent.drop_speculation()
        utterance = self.caller.utterance
        if utterance is None:
            return
        if utterance.text:
            self._record_caller(utterance)
            self._history.add_caller(utterance.text)
        self.caller.close()

    def _caller_hung_up(self, event: ev.CallerHungUp) -> None:
        self._take_floor()
        self._note("ended", reason=event.reason)
        self.floor = Floor.ENDED

    def _mark_reached(self, event: ev.MarkReached) -> None:
        # It came the way that the caller's voice comes, and was held up like it.
        self.agent.mark_reached(event.name, self._now - self._clock.delay)
        self._closing.mark_reached(event.name, self._now)
        self._opening.mark_reached(event.name, self._now)

    # -- time ------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Do everything that is due, and what becomes due by it."""
        if self._closing.limit is None:
            return
        done = -1
        while done != len(self._commands) and self.floor is not Floor.ENDED:
            done = len(self._commands)
            self._do_what_is_due()

    def _do_what_is_due(self) -> None:
        self._watch_duration()
        self._consider(self.caller.give_up_recognition(self._now))
        held_since, utterance = self.agent.held_since, self.caller.utterance
        if held_since is not None and self._now >= held_since + HOLD_GUARD and utterance is not None:
            self._answer_overlap(judge_hold_timeout(utterance), utterance)
        if self._keys_may_count and (pressed := self._keypad.take(self._now)) is not None:
            self._take_keys(pressed)
        if self.floor is Floor.IDLE and self.agent.lines:
            self.floor = Floor.AGENT
            self.agent.say_next_line(self._now)
        self._let_agent_speak()
        if self._closing.last_words_heard(self._now):
            self._hang_up()

    def _watch_duration(self) -> None:
        if self._closing.take_warning(self._now):
            self.agent.lines.append(self._options.warning)
        if self._closing.time_is_up(self._now):
            if self._closing.irrevocable:
                self._hang_up()
            else:
                self._end(MAX_DURATION, self._options.time_up)

    def _let_agent_speak(self) -> None:
        while self.floor in (Floor.AGENT, Floor.OVERLAP):
            ending = self._closing.ending
            match self.agent.tick(self._now, may_start=self._agent_may_start):
                case Progress.GOING:
                    return
                case Progress.SPEECHLESS if ending is not None and not ending.revocable:
                    self._hang_up(ending.reason_if_unsaid)
                case Progress.SPEECHLESS:
                    self._end(ENGINES_FAILED, self._options.trouble_goodbye)
                case Progress.FINISHED if self._opening.disclosing:
                    if self._opening.mark is None:
                        self._opening.mark = self.agent.send_final_mark(self._now, patience=DISCLOSURE_MARK_TIMEOUT)
                    if self._now < self._opening.mark.due:
                        return
                    self._disclosed()
                case Progress.FINISHED:
                    self._agent_finished()

    def _disclosed(self) -> None:
        """The caller has surely heard the disclosure."""
        owed = self._history.answer_owed
        self._opening.end()
        turn = self._finish_turn()
        if turn is None or not turn.complete:
            # The voice broke off in the middle of what must be said.
            self._end(ENGINES_FAILED, self._options.trouble_goodbye)
            return
        self._note("disclosed")
        self._emit(StartRecording())
        if self._opening.first_words and self.caller.wait is not None:
            # What the caller has said into the disclosure, the greeting answers best.
            self._put_down_utterance()
        if self._closing.opted_out:
            self._opt_out("asked")
        elif self._opening.first_words:
            self._say(self._opening.first_words, protected=self._opening.protected)
            if self.caller.utterance is not None:
                self.floor = Floor.OVERLAP
        else:
            self._pass_floor(owed=owed)

    def _agent_finished(self) -> None:
        """The caller has heard all of the agent's turn."""
        if self.agent.lines and self._closing.ending is None and self.floor is Floor.AGENT:
            self.agent.say_next_line(self._now)
            return
        owed = self._history.answer_owed
        turn = self._finish_turn()
        for requests in turn.requests if turn is not None else ():
            self._carry_out(requests)
        if self.agent.turn is not None:
            return
        if self._closing.ending is None and self.agent.keeps_failing:
            self._end(ENGINES_FAILED, self._options.trouble_goodbye)
        else:
            self._pass_floor(owed=owed)

    def _pass_floor(self, *, owed: bool) -> None:
        """The agent has finished; ``owed``: it has yet to answer what the caller said meanwhile."""
        if self.caller.utterance is not None and not self._closing.irrevocable:
            # The caller began before the agent was through.
            self._give_floor()
        elif self._closing.ending is not None:
            self._close_call()
        elif owed:
            self._answer(Timing())
        else:
            self._be_idle()

    def _finish_turn(self, *, interrupted: bool = False) -> AgentTurn | None:
        """The agent's turn is over: what was heard of it goes on record."""
        turn = self.agent.finish(self._now, interrupted=interrupted)
        record = turn.record(self._now, interrupted=interrupted) if turn is not None else None
        if record is not None:
            self._history.record(record)
            self._agent_turn_ended = True
            if record.heard:
                self._history.add_agent(record.heard)
        self._history.take_up_aside()
        return turn

    def _close_call(self) -> None:
        """All was said: hang up when the caller's end has surely played it."""
        self._put_down_utterance()
        self.floor = Floor.CLOSING
        self._closing.await_mark(self.agent.send_final_mark(self._now, patience=self._options.mark_timeout))

    def _hang_up(self, reason: str = "") -> None:
        self._take_floor()
        self.floor = Floor.ENDED
        self._closing.hang_up(reason)

    # -- what the language model asks for ---------------------------------------------------------------------------

    def _carry_out(self, requests: ToolRequests) -> None:
        """The words of the reply were heard: do what it requests beside them, if that is allowed."""
        closing = self._closing
        if requests.opt_out and closing.accept("opt_out", self._now, allowed=self._options.hears_opt_out):
            self._opt_out("agent", self._history.caller_said_last)
        if requests.transfer:
            self._transfer_to(requests.transfer)
        # A caller who was promised a transfer that is refused is not hung up on.
        if requests.end_call and closing.accept("end_call", self._now, allowed=not requests.transfer):
            closing.decide(BY_AGENT)

    def _transfer_to(self, name: str) -> None:
        target = self._closing.find_target(name)
        if target is None:
            self._closing.accept("transfer", self._now, allowed=False, target=name)
            self.agent.lines.append(self._options.no_transfer)
        elif self._closing.accept("transfer", self._now, target=target):
            self._closing.decide(transferred(target, revocable=True))
            if self._history.caller_spoke_last and self.caller.utterance is None:
                # The reply had no words, and no caller is transferred without a word.
                self._say(self._options.transferring)

    # -- small things -------------------------------------------------------------------------------------------------

    def _emit(self, command: Command) -> None:
        self._commands.append(command)

    def _note(self, kind: str, **data: object) -> None:
        self._emit(Noted(kind, self._now, data))

    def _warm(self) -> None:
        """Let the language model read ahead, unless it is replying already or has nothing more to say."""
        if self.floor not in (Floor.CLOSING, Floor.ENDED) and not self.agent.replying:
            self._emit(Warm(self._history.lines))

    def _answer(self, timing: Timing, waiting_since: float | None = None) -> None:
        words = self._history.caller_said_last
        if self._closing.opted_out or self._closing.asks_to_opt_out(words):
            self._opt_out("asked", words)
            return
        self.floor = Floor.AGENT
        self.agent.answer(self._history.lines, timing, self._now, waiting_since=waiting_since)

    def _say(self, text: str, *, protected: bool = False) -> None:
        self.floor = Floor.AGENT
        self.agent.say(text, self._now, protected=protected)

    def _be_idle(self) -> None:
        self.floor = Floor.IDLE
        self._idle_since = max(self.caller.position, self._clock.position_at(self._now))

    @property
    def _agent_may_start(self) -> bool:
        """Nobody is spoken over."""
        return self.floor is Floor.AGENT or (self.floor is Floor.OVERLAP and self._now >= self._clock.seen + STALLED)

    def _agent_said(self) -> str:
        """What the caller's words may be an answer to."""
        if self.agent.turn is not None:
            return self.agent.turn.said
        return self._history.agent_said_last
