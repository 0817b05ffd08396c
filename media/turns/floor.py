"""Passes the floor between the caller and the agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from media.turns.agent import Agent, Progress
from media.turns.answered import PERSON_COMES, AnsweredMove, Answerer, Answering
from media.turns.barge_in import Move, judge_hold, judge_overlap
from media.turns.beginning import Beginning
from media.turns.caller import Caller, CallerMove, Unheard
from media.turns.changing_language import ChangingLanguage
from media.turns.clock import StreamClock
from media.turns.closing import (
    ENGINES_FAILED,
    MENU,
    NOBODY_LISTENS,
    OPTED_OUT,
    SILENCE,
    VOICEMAIL,
    Closing,
    Ending,
)
from media.turns.commands import Command, Line, Noted, OptOutHow, StartRecording
from media.turns.endpointing import COMPLETE
from media.turns.events import CallStarted
from media.turns.floor_states import Floor
from media.turns.history import History
from media.turns.keypad import KeyInput, Keypad
from media.turns.labels import Label
from media.turns.opening import DISCLOSURE_MARK_TIMEOUT, Opening
from media.turns.opting_out import OptingOut, OptOutMove
from media.turns.options import ConversationOptions
from media.turns.overlap import OverlapJudge
from media.turns.requesting import Requesting
from media.turns.silence import Silence, SilenceMove
from media.turns.speculating import Speculating
from media.turns.timing import Timing
from media.turns.turn_records import TurnRecords
from media.turns.utterance import Utterance

STALLED = 1.0
"""
Seconds on the clock without a frame, after which it is not known any more whether the caller is speaking. The agent
then waits for the caller no longer.
"""


class FloorControl:
    """
    Passes the floor between the caller and the agent.

    Each part below owns its facts and answers questions about them; here is what follows for the floor. Commands go to
    ``emit``. ``Conversation`` tells what has happened and when something is due.
    """

    def __init__(
        self,
        options: ConversationOptions,
        *,
        clock: StreamClock,
        history: Sequence[Line],
        emit: Callable[[Command], None],
    ) -> None:
        self._options = options
        self._clock = clock
        self._emit = emit
        self.now = 0.0
        """The session clock at the event in hand. ``Conversation`` sets it."""
        self.floor = Floor.IDLE
        self.agent = Agent(options, emit)
        self.caller = Caller(
            options,
            clock=clock,
            agent_said=lambda: self.overlaps.agent_said,
            keys_due=lambda: self.keypad.deadline,
            emit=emit,
        )
        self.history = History(emit, history)
        self.opening = Opening(options)
        self.answering = Answering(options, emit)
        self.closing = Closing(options, emit)
        self.opting_out = OptingOut(options, emit)
        self.silence = Silence(options)
        self.keypad = Keypad(options, emit)
        self.overlaps = OverlapJudge(
            options, agent=self.agent, closing=self.closing, history=self.history, opening=self.opening
        )
        self.records = TurnRecords(
            clock=clock,
            agent=self.agent,
            answering=self.answering,
            caller=self.caller,
            history=self.history,
            opening=self.opening,
            opting_out=self.opting_out,
            overlaps=self.overlaps,
            silence=self.silence,
        )
        self._beginning = Beginning(
            answering=self.answering,
            caller=self.caller,
            history=self.history,
            opening=self.opening,
            opting_out=self.opting_out,
            records=self.records,
            say=self._say,
            answer=self._answer,
        )
        self.speculating = Speculating(
            options, agent=self.agent, caller=self.caller, lines_to_answer=self._lines_to_answer
        )
        self._requesting = Requesting(
            options,
            agent=self.agent,
            caller=self.caller,
            closing=self.closing,
            history=self.history,
            overlaps=self.overlaps,
            say=self._say,
            opt_out=self._opt_out,
        )
        self.changing = ChangingLanguage(
            options,
            emit,
            history=self.history,
            parts=(self.agent, self.caller, self.opting_out, self.overlaps, self._requesting),
        )

    # -- the call and the caller's voice ---------------------------------------------------------------------

    def start_call(self, event: CallStarted) -> None:
        self.closing.start(self.now)
        self.opening.start(event, self.now)
        if event.resumed:
            self.answering.stop()
        self.records.warm_due = True
        if not self.opening.owes_disclosure:
            self._emit(StartRecording())
        if not self.opening.waiting:
            self._beginning.begin()

    def begin_speech(self, position: int) -> None:
        """The caller's voice has begun, or goes on after a pause."""
        self.caller.reach(position)
        if self.closing.to_a_machine:
            return
        match self.floor:
            case Floor.IDLE:
                self._open_utterance(position, Floor.CALLER)
            case Floor.CLOSING if not self.closing.irrevocable:
                self.closing.await_caller()
                self._open_utterance(position, Floor.CALLER)
            case Floor.AGENT if self.agent.may_be_taken_back:
                self._open_utterance(position, Floor.OVERLAP)
            case Floor.CALLER:
                self.speculating.went_on()
                if self.caller.resume(position, overlapping=False):
                    self.agent.drop_speculation()
            case Floor.BRIDGED:
                self.speculating.went_on()
                self.caller.resume(position, overlapping=False)
                self.agent.drop_speculation()
                self.records.finish_agent_turn(self.now, interrupted=True)
                self.floor = Floor.CALLER
            case Floor.OVERLAP | Floor.HELD:
                self.caller.resume(position, overlapping=True)
            case _:
                pass

    def _open_utterance(self, position: int, floor: Floor) -> None:
        turn = self.agent.turn
        self.caller.open(position, answering=turn.timing if turn is not None else None)
        if self.caller.utterance is not None:
            self.overlaps.open(self.caller.utterance)
        self.floor = floor

    # -- the caller's turn -----------------------------------------------------------------------------------

    def consider(self, changed: bool = True) -> None:
        """See what follows from the caller's voice, words or silence, if any of them has changed."""
        if not changed:
            return
        utterance, turn = self.caller.utterance, self.agent.turn
        if utterance is not None and self._treat_machine(utterance):
            return
        match self.floor:
            case Floor.IDLE if not self.opening.waiting:
                self._consider_silence()
            case Floor.CALLER if utterance is not None:
                self._consider_turn(utterance)
            case Floor.BRIDGED if utterance is not None and self.caller.judge_turn() is CallerMove.SPECULATE:
                self.speculating.begin(utterance)
            case Floor.OVERLAP if utterance is not None and turn is not None:
                verdict, position = self.overlaps.verdict(utterance), self.caller.position
                move = judge_overlap(utterance, verdict, position=position, pending=turn.pending)
                self.answer_overlap(move, utterance)
            case Floor.HELD if utterance is not None:
                verdict = self.overlaps.verdict(utterance)
                self.answer_overlap(judge_hold(utterance, verdict, position=self.caller.position), utterance)
            case _:
                pass

    @property
    def finishing(self) -> bool:
        """Unless the caller says something, the call ends now, or the agent begins it."""
        return self.closing.finishing or self.opening.waiting

    def _treat_machine(self, utterance: Utterance) -> bool:
        """Do what is due about a machine that has answered the call. False if it is a person, or not known."""
        floors = (Floor.CALLER, Floor.OVERLAP, Floor.HELD)
        if not self.answering.judging or self.floor not in floors or self.overlaps.is_echo(utterance):
            return False
        over_agent = self.floor is not Floor.CALLER
        move = self.answering.judge(utterance, self.caller.position, self.now, over_agent=over_agent)
        if move is AnsweredMove.TALK or self.closing.irrevocable:
            return False
        if not self.answering.introduced:
            self.records.finish_agent_turn(self.now, interrupted=True)
            self.opening.end()
            self.floor = Floor.CALLER
        match move:
            case AnsweredMove.LISTEN:
                if self.caller.judge_turn() is CallerMove.ASK:
                    self.caller.ask(self.now)
            case AnsweredMove.IGNORE:
                self.agent.drop_speculation()
                self.records.record_caller(utterance, self.now)
                self.caller.close()
                self.floor = Floor.AGENT if over_agent else Floor.IDLE
            case AnsweredMove.INTRODUCE:
                self.records.put_down_utterance(self.now)
                self.opening.await_person(self.now + PERSON_COMES)
                self._say(self.answering.introduce(), protected=True)
            case AnsweredMove.LEAVE_MESSAGE:
                self.end(VOICEMAIL, self._options.voicemail_message)
            case AnsweredMove.HANG_UP:
                self.closing.decide(MENU if self.answering.kind is Answerer.MENU else VOICEMAIL)
                self.hang_up()
        return True

    def _consider_turn(self, utterance: Utterance) -> None:
        self.caller.have_scored()
        self.speculating.follow(utterance)
        move = self.caller.judge_turn(finishing=self.finishing)
        if move is CallerMove.SPECULATE:
            self.speculating.begin(utterance)
            move = self.caller.judge_turn()
        if move is CallerMove.END_OF_TURN and (
            self.answering.suspects(utterance, self.caller.position) or self.speculating.holds(utterance, self.now)
        ):
            move = CallerMove.WAIT
        wait = self.caller.wait
        if move is CallerMove.WAIT and self.opening.hello_is_over(utterance, self.caller.position):
            move, wait = CallerMove.END_OF_TURN, COMPLETE
        match move:
            case CallerMove.ASK:
                self.caller.ask(self.now)
            case CallerMove.GIVE_UP:
                self._give_up_utterance()
            case CallerMove.END_OF_TURN:
                self.caller.long_talk.finished()
                self._end_of_turn(utterance, wait=wait)
            case CallerMove.CUT_SHORT:
                self._cut_short(utterance)
            case _:
                pass

    def _cut_short(self, utterance: Utterance) -> None:
        """The voice goes on, and the agent answers what it has heard of it."""
        self._note("cut-short", text=utterance.text)
        self.caller.long_talk.cut_short()
        if self.caller.long_talk.hopeless:
            self.end(NOBODY_LISTENS, self._options.goodbye)
            return
        utterance.timing = Timing()
        self._end_of_turn(utterance, wait=None)
        if self.agent.turn is not None:
            self.agent.turn.insists = self.agent.turn.only_words_count = True

    def _consider_silence(self) -> None:
        match self.silence.judge(self.caller.position):
            case SilenceMove.REASSURE:
                self._say(self._options.take_your_time)
            case SilenceMove.ASK if self.overlaps.caller_said_goodbye():
                self.end(SILENCE, self._options.agent_goodbye)
            case SilenceMove.ASK:
                self.opting_out.keep_silent(self.history.lines, self.now)
                self.answering.heard_nobody(self.now)
                self._say(self._options.still_there)
            case SilenceMove.HANG_UP:
                self.end(SILENCE, self._options.silence_goodbye)
            case SilenceMove.WAIT:
                pass

    def _lines_to_answer(self, utterance: Utterance) -> tuple[Line, ...] | None:
        """What the language model answers if the caller says no more than this; None if it answers nothing."""
        text = utterance.text
        ignored = self.overlaps.leaves_the_end_standing(text) or self.overlaps.is_late_echo(utterance)
        lines = self.history.with_caller(text, self.changing.note(utterance))
        ignored = ignored or self.changing.is_due(utterance)
        answered = not ignored and self.opting_out.judge(lines) is OptOutMove.ANSWER
        return lines if answered and not self.opening.waiting else None

    def _give_up_utterance(self) -> None:
        """The pause has been long, and recognition has found no words."""
        self.agent.drop_speculation()
        stopped_at = self.caller.stopped_at
        unheard = self.caller.give_up(self.now, keys_pending=self.keypad.pending is not None)
        if self.opening.waiting:
            if unheard is Unheard.NOISE and (self.opening.deadline(None) or 0.0) > self.now:
                self.floor = Floor.IDLE
            else:
                self._beginning.begin()
        elif self.history.caller_spoke_last:
            # It was taken for the caller going on after words that the agent has not answered yet.
            self.closing.revoke()
            self._answer(Timing(caller_stopped=stopped_at, released=self.now))
        elif self.closing.finishing:
            self._go_on_without_words()
        elif unheard is Unheard.RECOGNITION_FAILED:
            self.end(ENGINES_FAILED, self._options.trouble_goodbye)
        elif unheard is Unheard.MUMBLE:
            self.closing.revoke()
            self._say(self._options.not_caught)
        else:
            self._go_on_without_words()

    def _go_on_without_words(self) -> None:
        """The caller has said nothing that counts, and the agent has nothing to answer."""
        if self.closing.ending is not None:
            self._close_call()
        else:
            # The silence goes on: a noise does not show that anybody is there.
            self.floor = Floor.IDLE

    def _end_of_turn(self, utterance: Utterance, *, wait: float | None) -> None:
        """It is the agent's turn. ``wait`` is given if the caller has finished, and not if they were cut short."""
        timing = utterance.timing
        if timing.released is None:
            timing.released = self.now
        self.speculating.turn_is_over()
        if self.opening.waiting:
            self._beginning.hear_callee(utterance, self.now, wait=wait)
            return
        if self.overlaps.leaves_the_end_standing(utterance.text):
            self._close_call()
            return
        if self.overlaps.is_late_echo(utterance):
            self._note("overlap", judged="echo", text=utterance.text)
            self.agent.drop_speculation()
            self.caller.close()
            self._go_on_without_words()
            return
        self.answering.talked(utterance.text, self.now)
        self.closing.revoke()
        if self.overlaps.completes_keys(utterance.text) and (pressed := self.keypad.take_pending()) is not None:
            self.history.add_keys(pressed)
        self.history.add_caller(utterance.text, self.changing.hear(utterance, self.now))
        self._options = self.changing.options
        hit = wait is not None and self.agent.has_speculated_on(self.history.lines)
        self.records.record_caller(utterance, self.now, wait=wait, speculation_hit=hit)
        self.caller.close()
        self._answer(timing)

    # -- the caller's voice in the agent's turn --------------------------------------------------------------

    def answer_overlap(self, move: Move, utterance: Utterance) -> None:
        """Do what was judged of the caller's voice in the agent's turn."""
        turn = self.agent.turn
        if move in (Move.IGNORE, Move.RESUME) and turn is not None:
            # Words that only agree with other words of the agent's may answer this question.
            move = Move.INTERRUPT if self.opting_out.is_answer(utterance.text, heard=turn.heard) else move
        match move:
            case Move.ASK:
                self.caller.ask(self.now)
            case Move.TAKE_BACK:
                # The caller's turn was not over after all. Nothing of the reply was sent.
                self._note("caller-went-on")
                self.caller.went_on()
                self.agent.withdraw()
                self.opening.withdrawn(self.now)
                self._give_floor()
            case Move.HOLD:
                self.agent.hold(self.now, overlap_started=self._clock.time_of(utterance.overlap))
                self.floor = Floor.HELD
                if utterance.pause is None:
                    self.caller.ask(self.now)
                # The words that are known already may be enough.
                self.consider()
            case Move.PUT_ASIDE | Move.IGNORE | Move.BRIDGE:
                self._note("overlap", judged=self.overlaps.verdict(utterance).name, text=utterance.text)
                if move is Move.PUT_ASIDE:
                    self.history.put_aside(utterance.text)
                    self.opting_out.hear(self.history.with_caller(utterance.text), self.now)
                    self.records.record_caller(utterance, self.now)
                if move is Move.BRIDGE and not self.opening.is_answered(utterance.text):
                    self.agent.bridge(self.now)
                self.caller.close()
                self.floor = Floor.AGENT
            case Move.INTERRUPT:
                # The caller takes the turn. What they did not hear was never said.
                verdict = self.overlaps.verdict(utterance, decide=True)
                self._note("interruption", judged=verdict.name, text=utterance.text)
                self.records.finish_agent_turn(self.now, interrupted=True)
                self._give_floor()
            case Move.RESUME | Move.RESUME_LISTENING:
                self._resume(utterance, listening=move is Move.RESUME_LISTENING)
            case Move.WAIT:
                pass

    def _give_floor(self) -> None:
        """It is the caller's turn, and what they have said in the agent's turn belongs to it."""
        self.floor = Floor.CALLER
        self.caller.judge_words_again(self.now)
        self.consider()

    def _resume(self, utterance: Utterance, *, listening: bool) -> None:
        held_since = self.agent.held_since
        self._note(
            "false-interruption",
            judged=self.overlaps.verdict(utterance).name,
            text=utterance.text,
            gap=round(self.now - (held_since if held_since is not None else self.now), 3),
        )
        if self.overlaps.verdict(utterance).label in (Label.NOISE, Label.ECHO):
            # The same sound will go on or come back, and must not stop the agent once more.
            utterance.only_words_count = True
            if self.agent.turn is not None:
                self.agent.turn.only_words_count = True
        self.agent.resume()
        if listening:
            # More words are still to come, and only they may stop the agent again.
            utterance.only_words_count |= bool(utterance.text)
            self.floor = Floor.OVERLAP
        else:
            self.caller.close()
            self.floor = Floor.AGENT

    # -- keys ------------------------------------------------------------------------------------------------

    def press_key(self, digit: str) -> None:
        """The caller has pressed a key."""
        if not self.keypad.press(digit, self.now, number_asked=self.overlaps.asks_for_number()):
            self._opt_out("key")
            return
        self.silence.broken()
        self.caller.long_talk.finished()
        turn = self.agent.turn
        if self.floor is Floor.AGENT and self.keys_may_count and turn is not None and not turn.pending:
            # Nobody listens while they press keys.
            self._note("interruption", judged="keys")
            self.records.finish_agent_turn(self.now, interrupted=True)
            self.opening.end()
            self.closing.revoke()
            self.floor = Floor.IDLE
        elif self.floor in (Floor.IDLE, Floor.CALLER):
            # The tone of a key may be taken for a voice.
            self.records.begin_silence(self.now)

    @property
    def keys_may_count(self) -> bool:
        """Whether keys may be a turn of the caller's now: neither side speaks, or the agent may be interrupted."""
        if self.floor is Floor.AGENT:
            return self.agent.turn is not None and not self.agent.turn.protected
        return self.floor is Floor.IDLE and not self.opening.waiting

    def take_keys(self, pressed: KeyInput) -> None:
        """The keys pressed are a turn of the caller's."""
        turn = self.agent.turn
        # A caller who is waiting for an answer already does not start to wait anew.
        waiting_since = turn.waiting_since if turn is not None else None
        if turn is not None:
            self.records.finish_agent_turn(self.now, interrupted=True)
        self.closing.revoke()
        self.silence.take_back_time()
        self.history.add_keys(pressed)
        self._answer(Timing(), waiting_since)

    # -- the agent's turn ------------------------------------------------------------------------------------

    @property
    def agent_may_start(self) -> bool:
        """The caller is not speaking, or has not been heard of for so long that it is not known."""
        return self.floor in (Floor.AGENT, Floor.BRIDGED) or (
            self.floor is Floor.OVERLAP and self.now >= self._clock.seen + STALLED
        )

    @property
    def filler_due(self) -> float | None:
        """When the agent says a filler in the caller's turn, because recognition is out of reach."""
        waited, agent = self.caller.waits_until, self.agent
        if self.floor is not Floor.CALLER or self.opening.waiting or waited is None:
            return None
        if agent.bridged >= len(self._options.fillers):
            return None
        heard = max(agent.playout.quiet_at, agent.bridged_at) + self._options.filler_after
        return max(waited, heard) if agent.bridged else waited

    def let_agent_speak(self) -> None:
        """Let the agent go on with its turn, or begin one if there is a line to say."""
        due = self.opening.deadline(self.caller.utterance)
        if due is not None and self.now >= due and self.caller.utterance is None:
            self._beginning.begin()
        elif due is not None and self.now >= due:
            self._give_up_utterance()
        if self.floor is Floor.IDLE and self.agent.lines and self.keypad.pending is None and not self.opening.waiting:
            self.floor = Floor.AGENT
            self.agent.say_next_line(self.now)
        if (filler_due := self.filler_due) is not None and self.now >= filler_due:
            self.floor = Floor.BRIDGED
            self.agent.bridge(self.now)
        while self.floor in (Floor.AGENT, Floor.OVERLAP, Floor.BRIDGED):
            ending = self.closing.ending
            match self.agent.tick(self.now, may_start=self.agent_may_start):
                case Progress.GOING:
                    return
                case Progress.SPEECHLESS if ending is not None and not ending.revocable:
                    self.hang_up(ending.reason_if_unsaid)
                case Progress.SPEECHLESS:
                    self.end(ENGINES_FAILED, self._options.trouble_goodbye)
                case Progress.FINISHED if self.opening.disclosing:
                    if self.opening.mark is None:
                        self.opening.mark = self.agent.sender.send_final_mark(
                            self.now, patience=DISCLOSURE_MARK_TIMEOUT
                        )
                    if self.now < self.opening.mark.due:
                        return
                    self._disclosed()
                case Progress.FINISHED:
                    self._agent_finished()

    def _disclosed(self) -> None:
        """The caller has heard the disclosure, or should have."""
        owed = self.history.answer_owed
        self.opening.disclosed()
        turn = self.records.finish_agent_turn(self.now)
        if turn is None or not turn.complete:
            # The voice has failed in the middle of what must be said.
            self.end(ENGINES_FAILED, self._options.trouble_goodbye)
            return
        self._note("disclosed")
        self._emit(StartRecording())
        if self.opening.first_words and self.caller.wait is not None:
            # The greeting is the best answer to what the caller has said during the disclosure.
            self.records.put_down_utterance(self.now)
        if self.opting_out.opted_out or self.opting_out.doubt is not None:
            self._answer(Timing())
        elif self.opening.first_words:
            self._beginning.begin()
        else:
            self._pass_floor(owed=owed)
            return
        if self.caller.utterance is not None:
            self.floor = Floor.OVERLAP

    def _agent_finished(self) -> None:
        """The caller has heard all of the agent's turn."""
        if self.agent.lines and self.closing.ending is None and self.floor is Floor.AGENT:
            self.agent.say_next_line(self.now)
            return
        if (utterance := self.caller.utterance) is not None and self.opening.has_answered(utterance):
            self._note("overlap", judged="answered", text=utterance.text)
            self.caller.close()
        owed = self.history.answer_owed
        turn = self.records.finish_agent_turn(self.now)
        if turn is not None:
            self._requesting.carry_out(turn, self.now)
        if self.agent.turn is not None:
            return
        if self.closing.ending is None and self.agent.keeps_failing:
            self.end(ENGINES_FAILED, self._options.trouble_goodbye)
        else:
            self._pass_floor(owed=owed)

    def _pass_floor(self, *, owed: bool) -> None:
        """The agent has finished. ``owed``: it has yet to answer what the caller said in its turn."""
        if self.caller.utterance is not None and not self.closing.irrevocable:
            # The caller has begun before the agent had finished.
            self._give_floor()
        elif self.closing.ending is not None:
            self._close_call()
        elif owed:
            self._answer(Timing())
        else:
            self.floor = Floor.IDLE

    def _answer(self, timing: Timing, waiting_since: float | None = None) -> None:
        """Answer what the caller has said."""
        self.opening.end()
        match self.opting_out.answer(self.history.lines, self.now):
            case OptOutMove.OBEY:
                self._opt_out("asked")
            case OptOutMove.ASK:
                self.agent.drop_speculation()
                self._say(self._options.confirm_opt_out)
            case OptOutMove.ANSWER:
                self.floor = Floor.AGENT
                self.agent.answer(self.history.lines, timing, self.now, waiting_since=waiting_since)

    def _say(self, text: str, protected: bool = False) -> None:
        self.floor = Floor.AGENT
        self.agent.say(text, self.now, protected=protected)

    # -- the end of the call ---------------------------------------------------------------------------------

    def _opt_out(self, how: OptOutHow, words: str = "") -> None:
        """The caller is never called again: tell them so and end the call."""
        self.opting_out.opt_out(how, words)
        if self.closing.ending != OPTED_OUT:
            self.end(OPTED_OUT, self._options.opted_out)

    def end(self, ending: Ending, words: str) -> None:
        """End the call: say these last words, wait until they were heard, and hang up."""
        self._take_floor()
        self.closing.decide(ending)
        self._say(words, protected=not ending.revocable)

    def _take_floor(self) -> None:
        """Stop whatever is going on, so that the agent can say something else or the call can end."""
        if self.agent.turn is not None:
            self.records.finish_agent_turn(self.now, interrupted=True)
        self.records.put_down_utterance(self.now)
        self.agent.lines.clear()
        self.opening.end()

    def _close_call(self) -> None:
        """The last words are out: hang up when the caller has heard them."""
        self.records.put_down_utterance(self.now)
        self.floor = Floor.CLOSING
        self.closing.await_mark(self.agent.sender.send_final_mark(self.now, patience=self._options.mark_timeout))

    def hang_up(self, reason: str = "") -> None:
        """End the call now. Without a reason, that of the ending goes on record."""
        self._take_floor()
        self.opting_out.end_call(self.now, with_caller=self.closing.with_caller)
        self.floor = Floor.ENDED
        self.closing.hang_up(reason)

    def lose_caller(self, reason: str) -> None:
        """The stream is over, and nothing can be said any more."""
        self._take_floor()
        self.opting_out.end_call(self.now, with_caller=self.closing.with_caller)
        self._note("ended", reason=reason)
        self.floor = Floor.ENDED

    # -- small things ----------------------------------------------------------------------------------------

    def _note(self, kind: str, **data: object) -> None:
        self._emit(Noted(kind, self.now, data))
