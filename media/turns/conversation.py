"""Who has the floor: the state machine that turns what happens on a call into what to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from inference.requests import ToolRequests
from media.turns import events as ev
from media.turns.agent import Agent, Progress
from media.turns.barge_in import DECISION, INTERRUPTION, Move, classify, judge_hold, judge_overlap
from media.turns.clock import RATE_HZ, StreamClock, samples
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
    CloseUtterance,
    Command,
    Line,
    Noted,
    OpenUtterance,
    OptOutHow,
    StartRecording,
    TakeSnapshot,
    TurnEnded,
    Warm,
)
from media.turns.endpointing import SPECULATE, Endpointing
from media.turns.history import History
from media.turns.keypad import KeyInput, Keypad
from media.turns.options import ConversationOptions
from media.turns.playout import FinalMark
from media.turns.timing import Timing
from media.turns.utterance import Pause, Utterance

CLOSURE = 0.2
"""A gap so short lies inside a word, or between two that belong together: it counts as voice."""
HOLD_GUARD = 1.2
"""Seconds on the clock after which a held agent waits no longer for words."""
STALLED = 1.0
"""Seconds on the clock without a frame: what the caller's voice does is not known any more."""
NOTHING_SAID = 1.0
"""Silence after which an utterance without words is given up."""
MUMBLED = 0.6
"""Voice without words for which the agent asks again; less was a noise."""
CUT_IN = 1.0
"""A caller's words so soon after the agent's first sound were going on: the agent cut in."""
DISCLOSED_AFTER = 1.0
"""After the end of the disclosure should have been heard, its mark is awaited so long; the greeting waits for it."""
MISSED = 3
"""Utterances in a row of which nothing was understood: asking again will not help."""


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
        self._history = History(self._commands.append, history)
        self._closing = Closing(options, self._commands.append)
        self._keypad = Keypad(options, self._commands.append)
        self.floor = Floor.IDLE
        self._endpointing = Endpointing()
        self._utterance: Utterance | None = None
        self._utterances = 0
        self._snapshots = 0
        self._lines: deque[str] = deque()
        self._now = 0.0
        self._position = 0
        self._idle_since = 0
        self._silences = 0
        self._missed = 0
        self._held_at = 0.0
        self._resumed = False
        self._disclosing = False
        self._disclosure_mark: FinalMark | None = None
        self._agent_turn_ended = False
        """The event in hand has ended a turn of the agent's: its words are new to the language model."""
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            ev.CallStarted: self._call_started,
            ev.SpeechStarted: self._speech_started,
            ev.SpeechStopped: self._speech_stopped,
            ev.PositionReached: self._position_reached,
            ev.TranscriptPartial: self._transcript_partial,
            ev.TranscriptReady: self._transcript_ready,
            ev.TranscriptFailed: self._transcript_failed,
            ev.ReplyToken: lambda event: self.agent.token(event.revision, self._now),
            ev.ReplyText: lambda event: self.agent.text(event.revision, event.text, self._now),
            ev.ReplyAudio: lambda event: self.agent.audio(event.revision, event.audio, event.text_end, self._now),
            ev.ReplyEnded: lambda event: self.agent.ended(event, self._now),
            ev.ReplyFailed: lambda event: self.agent.failed(event.revision, event.reason, self._now),
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
        if self.floor is Floor.HELD:
            due.append(self._held_at + HOLD_GUARD)
        if self._utterance is not None and self._utterance.wanted is not None:
            due.append(self._utterance.asked_at + self._options.transcript_timeout)
        keys_due = self._keypad.deadline
        if keys_due is not None and self._keys_may_count:
            due.append(keys_due)
        if self.floor is Floor.OVERLAP and not self._agent_may_start:
            due.append(self._clock.seen + STALLED)
        if self._disclosure_mark is not None:
            speaking: float | None = self._disclosure_mark.due
        else:
            speaking = self.agent.deadline(may_start=self._agent_may_start)
        if speaking is not None and self.floor in (Floor.AGENT, Floor.OVERLAP):
            due.append(speaking)
        return min(due)

    @property
    def wake_position(self) -> int | None:
        """The position of the stream that is awaited; None: no need to tell."""
        utterance = self._utterance
        if self.floor is Floor.IDLE:
            return self._idle_since + samples(self._options.still_there_after)
        if utterance is None or self.floor in (Floor.CLOSING, Floor.ENDED):
            return None
        if utterance.pause is None:
            if self.floor is Floor.HELD:
                return utterance.overlap + samples(DECISION)
            if self.floor is Floor.OVERLAP:
                return utterance.stretch + samples(INTERRUPTION) - utterance.voiced
            return None
        # In a pause the thresholds are few and close: the next window of the stream is the right time to look.
        return self._position + 1

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
                if utterance > self._utterances:
                    raise ImpossibleEvent(f"utterance {utterance} was never opened")
            case ev.TranscriptReady(utterance, snapshot, _) | ev.TranscriptFailed(utterance, snapshot):
                if utterance > self._utterances or snapshot > self._snapshots:
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
        self._resumed = event.resumed
        self._emit(Warm(self._history.lines))
        if self._options.disclosure and not event.disclosed:
            self._disclosing = True
            self._say(self._options.disclosure, protected=True)
        else:
            self._emit(StartRecording())
            self._open()

    @property
    def _opening(self) -> str:
        return self._options.resumed if self._resumed else self._options.greeting

    def _open(self) -> None:
        """Say the first words, if there are any."""
        if self._opening:
            self._say(self._opening, protected=not (self._resumed or self._options.greeting_interruptible))

    def _speech_started(self, event: ev.SpeechStarted) -> None:
        self._position = max(self._position, event.position)
        utterance = self._utterance
        if self._closing.to_a_machine:
            return
        match self.floor:
            case Floor.IDLE:
                self._open_utterance(event.position)
                self.floor = Floor.CALLER
            case Floor.CLOSING if not self._closing.irrevocable:
                self._closing.await_caller()
                self._open_utterance(event.position)
                self.floor = Floor.CALLER
            case Floor.AGENT:
                self._open_utterance(event.position)
                self.floor = Floor.OVERLAP
            case Floor.CALLER | Floor.OVERLAP | Floor.HELD if utterance is not None and utterance.pause is not None:
                self._resume_utterance(utterance, event.position)
            case _:
                pass

    def _open_utterance(self, position: int) -> None:
        self._utterances += 1
        utterance = self._utterance = Utterance(self._utterances, position, position, position)
        turn = self.agent.turn
        if turn is not None and turn.timing.caller_stopped is not None:
            onset = self._clock.time_of(position)
            utterance.cut_in = turn.timing.sent is not None and onset - turn.timing.sent < CUT_IN
            if turn.pending or utterance.cut_in:
                utterance.gap = onset - turn.timing.caller_stopped
        self._emit(OpenUtterance(self._utterances, position, self._agent_said))

    def _resume_utterance(self, utterance: Utterance, position: int) -> None:
        """The caller goes on after a pause: whatever was begun on the strength of the pause is dead."""
        assert utterance.pause is not None
        silence = (position - utterance.pause.since) / RATE_HZ
        if self.floor is Floor.CALLER:
            self._endpointing.resumed_after(silence)
            self.agent.drop_speculation()
        elif silence > INTERRUPTION:
            # Two murmurs apart are two murmurs, not one long one.
            utterance.voiced = 0
            utterance.overlap = position
        elif silence <= CLOSURE:
            utterance.voiced += position - utterance.pause.since
        utterance.pause = None
        utterance.wanted = None
        utterance.judgement = None
        utterance.stretch = position

    def _speech_stopped(self, event: ev.SpeechStopped) -> None:
        self._position = max(self._position, event.position)
        utterance = self._utterance
        if utterance is None or utterance.pause is not None:
            return
        since = max(event.position, utterance.stretch)
        utterance.voiced += since - utterance.stretch
        utterance.pause = Pause(since)
        self._consider()

    def _position_reached(self, event: ev.PositionReached) -> None:
        if event.position > self._position:
            self._position = event.position
            self._consider()

    # -- the caller's words -----------------------------------------------------------------------------------

    def _ask(self, utterance: Utterance) -> None:
        self._snapshots += 1
        utterance.wanted = self._snapshots
        utterance.asked_at = self._now
        utterance.asked_position = self._position
        if utterance.pause is not None:
            utterance.pause.asked = True
            utterance.timing = Timing(
                caller_stopped=self._clock.time_of(utterance.pause.since), snapshot_asked=self._now
            )
        self._emit(TakeSnapshot(utterance.number, self._snapshots))

    def _transcript_partial(self, event: ev.TranscriptPartial) -> None:
        utterance = self._utterance
        if utterance is None or utterance.number != event.utterance:
            return
        text = event.text.strip()
        if utterance.pause is not None and utterance.pause.text is not None:
            if not _adds_words(utterance.pause.text, text):
                return
            # Recognition had more to say than the snapshot knew.
            self._know(utterance, text)
        elif text:
            utterance.text = text
        self._consider()

    def _transcript_ready(self, event: ev.TranscriptReady) -> None:
        utterance = self._utterance
        if utterance is None or utterance.number != event.utterance or utterance.wanted != event.snapshot:
            return
        utterance.wanted = None
        self._know(utterance, event.text.strip())
        self._consider()

    def _transcript_failed(self, event: ev.TranscriptFailed) -> None:
        utterance = self._utterance
        if utterance is None or utterance.number != event.utterance or utterance.wanted != event.snapshot:
            return
        self._note("transcript-failed")
        utterance.wanted = None
        if utterance.pause is not None:
            utterance.pause.failed = True
        # The last partial is better than nothing.
        self._know(utterance, utterance.text)
        self._consider()

    def _know(self, utterance: Utterance, text: str) -> None:
        """These are the words as far as they go; in the caller's turn, start to answer them."""
        utterance.text = text
        if utterance.pause is None or not utterance.pause.asked:
            return
        utterance.pause.text = text
        utterance.timing.transcript = self._now
        utterance.timing.begin_anew()
        utterance.judgement = self._endpointing.judge(text, agent_said=self._agent_said)
        answered = text and not self._closing.is_goodbye(text) and not self._closing.asks_to_opt_out(text)
        if self.floor is Floor.CALLER and answered and self._options.speculate:
            utterance.speculations += 1
            self.agent.speculate(self._history.with_caller(text), utterance.timing)

    # -- decisions ---------------------------------------------------------------------------------------------

    def _consider(self) -> None:
        match self.floor:
            case Floor.CALLER:
                self._consider_end_of_turn()
            case Floor.OVERLAP:
                self._consider_overlap()
            case Floor.HELD:
                self._consider_held()
            case Floor.IDLE:
                self._consider_silence()
            case _:
                pass

    def _consider_end_of_turn(self) -> None:
        utterance = self._utterance
        if utterance is None or utterance.pause is None:
            return
        pause = utterance.pause
        silence = pause.silence(self._position)
        if pause.text is None:
            if not pause.asked and silence >= SPECULATE:
                self._ask(utterance)
            return
        if not pause.text:
            if silence >= NOTHING_SAID:
                self._give_up_utterance(utterance)
            return
        if utterance.judgement is None:
            self._know(utterance, pause.text)
        assert utterance.judgement is not None
        if silence >= utterance.judgement.wait:
            self._end_of_turn(utterance)

    def _give_up_utterance(self, utterance: Utterance) -> None:
        """The pause has been long and no words were found."""
        self.agent.drop_speculation()
        self._close_utterance()
        self._note("nothing-understood", voiced=round(utterance.voiced / RATE_HZ, 2))
        assert utterance.pause is not None
        mumbled = utterance.voiced >= samples(MUMBLED) and self._keypad.pending is None
        self._missed += mumbled
        if self._history.caller_spoke_last:
            # It was taken for the caller going on, and the agent still owes an answer.
            self._closing.revoke()
            self._answer(Timing(caller_stopped=self._clock.time_of(utterance.pause.since), released=self._now))
        elif mumbled and utterance.pause.failed and self._missed >= MISSED:
            self._end(ENGINES_FAILED, self._options.trouble_goodbye)
        elif mumbled and self._missed < MISSED:
            self._closing.revoke()
            self._say(self._options.not_caught)
        elif self._closing.ending is not None:
            self._close_call()
        else:
            self._be_idle()

    def _end_of_turn(self, utterance: Utterance) -> None:
        """The caller has finished: the agent's turn."""
        assert utterance.pause is not None
        assert utterance.judgement is not None
        timing = utterance.timing
        timing.released = self._now
        if self._closing.is_goodbye(utterance.text):
            self._close_call()
            return
        self._closing.revoke()
        self._history.add_caller(utterance.text)
        speculation = self.agent.speculation
        hit = speculation is not None and speculation.history == self._history.lines
        self._record_caller(utterance, wait=utterance.judgement.wait, speculation_hit=hit)
        self._close_utterance()
        self._answer(timing)

    def _record_caller(self, utterance: Utterance, *, wait: float | None = None, speculation_hit: bool = False) -> None:
        self._silences = 0
        self._missed = 0
        if self._closing.asks_to_opt_out(utterance.text):
            # At once, whatever becomes of the answer: callers who say this often hang up while they say it.
            self._closing.opt_out("asked", utterance.text)
        if utterance.cut_in:
            self._note("cut-in", after=round(utterance.gap or 0.0, 3))
            self._endpointing.resumed_after(utterance.gap or 0.0)
        until = utterance.pause.since if utterance.pause is not None else self._position
        self._history.record(
            TurnEnded(
                number=0,
                speaker="caller",
                said=utterance.text,
                heard=utterance.text,
                started=self._clock.time_of(utterance.onset),
                ended=self._clock.time_of(until),
                wait=wait,
                speculations=utterance.speculations if wait is not None else 0,
                speculation_hit=speculation_hit,
            )
        )

    def _consider_overlap(self) -> None:
        utterance, turn = self._utterance, self.agent.turn
        assert utterance is not None
        assert turn is not None
        match judge_overlap(utterance, position=self._position, pending=turn.pending, protected=turn.protected):
            case Move.ASK:
                self._ask(utterance)
            case Move.GO_ON:
                self._caller_goes_on()
            case Move.HOLD:
                self._hold(utterance)
            case Move.ASIDE:
                self._history.put_aside(utterance.text)
                self._record_caller(utterance)
                self._drop_overlap(utterance)
            case Move.OVER:
                self._drop_overlap(utterance)
            case _:
                pass

    def _drop_overlap(self, utterance: Utterance) -> None:
        self._note("overlap", judged=classify(utterance.text).name.lower(), text=utterance.text)
        self._close_utterance()
        self.floor = Floor.AGENT

    def _caller_goes_on(self) -> None:
        """The caller's turn was not over after all, and nothing of the reply was sent: as if it never was."""
        utterance = self._utterance
        assert utterance is not None
        self._note("caller-went-on")
        if utterance.gap is not None:
            self._endpointing.resumed_after(utterance.gap)
        self._lines.extendleft(reversed(self.agent.unsaid))
        self.agent.withdraw()
        self._give_floor(utterance)

    def _give_floor(self, utterance: Utterance) -> None:
        """It is the caller's turn, with all that they said."""
        self.floor = Floor.CALLER
        if utterance.pause is not None and utterance.pause.text is not None:
            self._know(utterance, utterance.pause.text)
        self._consider()

    def _hold(self, utterance: Utterance) -> None:
        self.agent.hold(self._now, overlap_started=self._clock.time_of(utterance.overlap))
        self.floor = Floor.HELD
        self._held_at = self._now
        if utterance.pause is None:
            self._ask(utterance)
        # What is known already may be enough.
        self._consider_held()

    def _consider_held(self) -> None:
        utterance = self._utterance
        assert utterance is not None
        match judge_hold(utterance, position=self._position):
            case Move.ASK:
                self._ask(utterance)
            case Move.INTERRUPT:
                self._interrupt(utterance)
            case Move.RESUME:
                self._resume(utterance)
            case _:
                pass

    def _interrupt(self, utterance: Utterance) -> None:
        """The caller takes the turn. What they did not hear was never said."""
        self._finish_turn(interrupted=True)
        self._give_floor(utterance)

    def _resume(self, utterance: Utterance, *, judged: bool = True) -> None:
        self._note(
            "false-interruption",
            judged=classify(utterance.text).name.lower(),
            text=utterance.text,
            gap=round(self._now - self._held_at, 3),
        )
        self.agent.resume()
        if judged:
            self._close_utterance()
            self.floor = Floor.AGENT
        else:
            # The words are still to come, and may be more than a murmur.
            self.floor = Floor.OVERLAP

    def _consider_silence(self) -> None:
        if self._position - self._idle_since < samples(self._options.still_there_after):
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
            self._lines.append(event.text)

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
        self._lines.clear()
        self._disclosing = False
        self._disclosure_mark = None

    def _put_down_utterance(self) -> None:
        """The caller will not be answered; what is known of their words goes on record."""
        self.agent.drop_speculation()
        utterance = self._utterance
        if utterance is not None:
            if utterance.text:
                self._record_caller(utterance)
                self._history.add_caller(utterance.text)
            self._close_utterance()

    def _caller_hung_up(self, event: ev.CallerHungUp) -> None:
        self._take_floor()
        self._note("ended", reason=event.reason)
        self.floor = Floor.ENDED

    def _mark_reached(self, event: ev.MarkReached) -> None:
        # It came the way that the caller's voice comes, and was held up like it.
        self.agent.mark_reached(event.name, self._now - self._clock.delay)
        self._closing.mark_reached(event.name, self._now)
        if self._disclosure_mark is not None and self._disclosure_mark.name == event.name:
            self._disclosure_mark.due = self._now

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
        self._watch_transcript()
        if self.floor is Floor.HELD and self._now >= self._held_at + HOLD_GUARD:
            utterance = self._utterance
            assert utterance is not None
            if utterance.pause is None:
                self._interrupt(utterance)
            else:
                self._resume(utterance, judged=False)
        if self._keys_may_count and (pressed := self._keypad.take(self._now)) is not None:
            self._take_keys(pressed)
        if self.floor is Floor.IDLE and self._lines:
            self._say(self._lines.popleft(), requested=True)
        self._let_agent_speak()
        if self._closing.last_words_heard(self._now):
            self._hang_up()

    def _watch_duration(self) -> None:
        if self._closing.take_warning(self._now):
            self._lines.append(self._options.warning)
        if self._closing.time_is_up(self._now):
            if self._closing.irrevocable:
                self._hang_up()
            else:
                self._end(MAX_DURATION, self._options.time_up)

    def _watch_transcript(self) -> None:
        utterance = self._utterance
        if utterance is None or utterance.wanted is None:
            return
        if self._now >= utterance.asked_at + self._options.transcript_timeout:
            self._transcript_failed(ev.TranscriptFailed(utterance.number, utterance.wanted))

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
                case Progress.FINISHED if self._disclosing:
                    if self._disclosure_mark is None:
                        self._disclosure_mark = self.agent.send_final_mark(self._now, patience=DISCLOSED_AFTER)
                    if self._now < self._disclosure_mark.due:
                        return
                    self._disclosed()
                case Progress.FINISHED:
                    self._agent_finished()

    def _disclosed(self) -> None:
        """The caller has surely heard the disclosure."""
        assert self.agent.turn is not None
        complete, owed = self.agent.turn.complete, self._history.answer_owed
        self._disclosing = False
        self._disclosure_mark = None
        self._finish_turn()
        if not complete:
            # The voice broke off in the middle of what must be said.
            self._end(ENGINES_FAILED, self._options.trouble_goodbye)
            return
        self._note("disclosed")
        self._emit(StartRecording())
        pause = self._utterance.pause if self._utterance is not None else None
        if self._opening and pause is not None and pause.text is not None:
            # What the caller has said into the disclosure, the greeting answers best.
            self._put_down_utterance()
        if self._closing.opted_out:
            self._opt_out("asked")
        elif self._opening:
            self._open()
            if self._utterance is not None:
                self.floor = Floor.OVERLAP
        else:
            self._pass_floor(owed=owed)

    def _agent_finished(self) -> None:
        """The caller has heard all of the agent's turn."""
        if self._lines and self._closing.ending is None and self.floor is Floor.AGENT:
            self.agent.say(self._lines.popleft(), self._now, requested=True)
            return
        owed = self._history.answer_owed
        for requests in self._finish_turn():
            self._carry_out(requests)
        if self.agent.turn is not None:
            return
        if self._closing.ending is None and self.agent.failed_turns >= 2:
            self._end(ENGINES_FAILED, self._options.trouble_goodbye)
        else:
            self._pass_floor(owed=owed)

    def _pass_floor(self, *, owed: bool) -> None:
        """The agent has finished; ``owed``: it has yet to answer what the caller said meanwhile."""
        if self._utterance is not None and not self._closing.irrevocable:
            # The caller began before the agent was through.
            self._give_floor(self._utterance)
        elif self._closing.ending is not None:
            self._close_call()
        elif owed:
            self._answer(Timing())
        else:
            self._be_idle()

    def _finish_turn(self, *, interrupted: bool = False) -> list[ToolRequests]:
        """Returns what the replies of the turn ask for, now that they were heard: nothing if they were not."""
        if interrupted:
            self._lines.extendleft(reversed(self.agent.unsaid))
        fact, requests = self.agent.finish(self._now, interrupted=interrupted)
        if fact is not None:
            self._history.record(fact)
            self._agent_turn_ended = True
            if fact.heard:
                self._history.add_agent(fact.heard)
        self._history.take_up_aside()
        return [] if interrupted else requests

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
            self._lines.append(self._options.no_transfer)
        elif self._closing.accept("transfer", self._now, target=target):
            self._closing.decide(transferred(target, revocable=True))
            if self._history.caller_spoke_last and self._utterance is None:
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

    def _say(self, text: str, *, protected: bool = False, requested: bool = False) -> None:
        self.floor = Floor.AGENT
        self.agent.say(text, self._now, protected=protected, requested=requested)

    def _be_idle(self) -> None:
        self.floor = Floor.IDLE
        self._idle_since = max(self._position, self._clock.position_at(self._now))

    def _close_utterance(self) -> None:
        assert self._utterance is not None
        self._emit(CloseUtterance(self._utterance.number))
        self._utterance = None

    @property
    def _agent_may_start(self) -> bool:
        """Nobody is spoken over."""
        return self.floor is Floor.AGENT or (self.floor is Floor.OVERLAP and self._now >= self._clock.seen + STALLED)

    @property
    def _agent_said(self) -> str:
        """What the caller's words may be an answer to."""
        if self.agent.turn is not None:
            return self.agent.turn.said
        return self._history.agent_said_last


def _adds_words(known: str, text: str) -> bool:
    """The new words are not just the same ones written otherwise."""
    return len(text.split()) > len(known.split())
