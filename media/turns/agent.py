"""Follows the agent's turn: what it says, what was heard of it, and what helps when its engines do not deliver."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from media.turns import events as ev
from media.turns.agent_turn import AgentTurn, Kind, QueuedLine, Reply, asks_the_same
from media.turns.commands import (
    Command,
    Line,
    Noted,
    SayLine,
    StartReply,
    StopReply,
)
from media.turns.options import ConversationOptions
from media.turns.playout import Playout, Segment
from media.turns.sender import Sender
from media.turns.timing import Timing

MOST_FAILED_TURNS = 2
"""After so many turns in succession in which the engines failed, another try is only more of the caller's time."""


class Progress(Enum):
    """The progress of the agent's turn."""

    GOING = auto()
    FINISHED = auto()
    """Everything that this turn will say was heard."""
    SPEECHLESS = auto()
    """Not even fixed words can be said: the voice has failed."""


class Agent:
    """
    Keeps the agent's turn going, from the first word asked for to the last one heard.

    Commands go to ``emit``. It is ``Conversation`` that decides when a turn begins, is held or ends.

    When an engine does not deliver, the caller hears a filler, then the reply of a second try, or an apology; what
    they hear after two such turns is up to ``Conversation``.
    """

    def __init__(self, options: ConversationOptions, emit: Callable[[Command], None]) -> None:
        self._options = options
        self._emit = emit
        self.playout = Playout()
        self.sender = Sender(self.playout, emit)
        self.turn: AgentTurn | None = None
        """Set while the agent has the floor."""
        self.speculation: Reply | None = None
        """The reply to a caller who may still go on. Set in the caller's turn only."""
        self.lines: deque[QueuedLine] = deque()
        """The lines to say as soon as the agent may, in this order, beside its replies."""
        self.bridged = 0
        """The number of fillers since the caller has finished, before their words are known."""
        self.bridged_at = 0.0
        """When the last of them was asked for. Session clock."""
        self._failed_turns = 0
        """The number of turns in succession that had failing engines."""
        self._turns = 0
        """Counts the agent's turns: the first half of a revision."""
        self._revisions = 0
        """Counts the revisions of the call: the second half of a revision."""

    def change_language(self, options: ConversationOptions) -> None:
        self._options = options

    # -- starting to speak --------------------------------------------------------------------------

    def speculate(
        self, history: tuple[Line, ...], timing: Timing, *, finished: bool = False, early: bool = False
    ) -> None:
        """
        Start a reply before it is certain that the caller has finished.

        ``finished``: the language model is to answer these words in any case. ``early``: they have not even paused.
        """
        self.drop_speculation()
        # It belongs to the turn that the agent will have.
        reply = self._new_reply(Kind.REPLY, timing, turn=self._turns + 1)
        reply.history, reply.finished, reply.early = history, finished, early
        self.speculation = reply
        self._emit(StartReply(reply.revision, history, speculative=True, finished=finished, early=early))

    def has_speculated_on(self, history: tuple[Line, ...]) -> bool:
        """Whether the reply that was started early answers this."""
        return self.speculation is not None and asks_the_same(self.speculation.history, history)

    def drop_speculation(self) -> None:
        """The caller goes on: the reply that was started early is not needed."""
        if self.speculation is not None:
            self._emit(StopReply(self.speculation.revision))
            self.speculation = None

    def answer(
        self, history: tuple[Line, ...], timing: Timing, now: float, *, waiting_since: float | None = None
    ) -> None:
        """
        Take the turn and answer, with the reply that was started early if it answers the same.

        ``waiting_since`` is given if the caller has been waiting for the answer to something they said before.
        """
        if waiting_since is None:
            # A caller whose end of turn was long in doubt has waited already.
            stopped = now if timing.caller_stopped is None else timing.caller_stopped
            decided = now if timing.released is None else timing.released
            waiting_since = min(decided, stopped + self._options.longest_silence - self._options.filler_after)
        turn = self._begin_turn(AgentTurn(started=now, timing=timing, waiting_since=waiting_since))
        turn.fillers_before, self.bridged = self.bridged, 0
        if self.speculation is not None and self.has_speculated_on(history):
            reply, self.speculation = self.speculation, None
            reply.released = True
            turn.replies.append(reply)
            self._release_audio(turn)
        else:
            self.drop_speculation()
            self._start_reply(turn, history)

    def say(self, text: str, now: float, *, protected: bool = False, queued: QueuedLine | None = None) -> None:
        """Say fixed words: in the turn that the agent has, else in a new one."""
        turn, self.bridged = self.turn, 0
        if turn is None:
            turn = self._begin_turn(AgentTurn(started=now, timing=Timing(), waiting_since=now))
        turn.protected = turn.protected or protected
        self._say(turn, Kind.LINE, text, now, queued=queued)

    def queue_line(self, text: str) -> None:
        """Say this as soon as the agent may speak."""
        if text.strip():
            self.lines.append(QueuedLine(text))

    def say_next_line(self, now: float) -> None:
        """Say the first of ``lines``."""
        line = self.lines.popleft()
        self.say(line.text, now, queued=line)

    def _begin_turn(self, turn: AgentTurn) -> AgentTurn:
        self._turns += 1
        self.turn = turn
        return turn

    def _new_reply(self, kind: Kind, timing: Timing, *, turn: int) -> Reply:
        self._revisions += 1
        revision = ev.Revision(turn, self._revisions)
        return Reply(revision, kind, Segment(revision), timing)

    def _start_reply(self, turn: AgentTurn, history: tuple[Line, ...]) -> None:
        if turn.pending:
            turn.timing.restart_reply()
        reply = self._new_reply(Kind.REPLY, turn.timing, turn=self._turns)
        reply.history, reply.finished = history, self._options.may_wait
        reply.released = True
        turn.replies.append(reply)
        self._emit(StartReply(reply.revision, history, speculative=False, finished=reply.finished))

    def ask_again(self, reply: Reply, now: float) -> None:
        """The language model wants to wait, but the turn is the agent's: it is to answer, else the agent apologises."""
        turn = self.turn
        if turn is None:
            return
        self._break_off(turn, reply)
        if reply.finished or not self._options.may_wait:
            self._emit(Noted("engine-failed", now, {"reason": "waits", "kind": reply.kind.name.lower()}))
            turn.fallback = True
            self._say(turn, Kind.LINE, self._options.apology, now)
        else:
            self._start_reply(turn, reply.history)

    def _say(self, turn: AgentTurn, kind: Kind, text: str, now: float, *, queued: QueuedLine | None = None) -> None:
        reply = self._new_reply(kind, Timing() if turn.replies else turn.timing, turn=self._turns)
        reply.queued = queued
        reply.segment.text = text
        reply.released = True
        turn.replies.append(reply)
        turn.waiting_since = now
        if text.strip():
            self._emit(SayLine(reply.revision, text))
        else:
            reply.skip()
            self._release_audio(turn)

    def _say_filler(self, turn: AgentTurn, now: float) -> None:
        turn.fallback = True
        fillers = self._options.fillers
        if turn.fillers < len(fillers):
            text = fillers[(turn.fillers_before + turn.fillers) % len(fillers)]
            self._say(turn, Kind.FILLER, text, now)
            turn.fillers += 1

    def bridge(self, now: float) -> None:
        """
        Say a filler, if one is left.

        The caller asks whether anybody is there while the reply is made, or has finished and is waiting in their turn.
        """
        turn = self.turn
        if turn is None:
            turn = self._begin_turn(AgentTurn(started=now, timing=Timing(), waiting_since=now, in_callers_turn=True))
            turn.fillers_before, self.bridged, self.bridged_at = self.bridged, self.bridged + 1, now
            self._say_filler(turn, now)
        elif turn.pending and turn.replies[-1].kind is not Kind.FILLER:
            self._say_filler(turn, now)

    # -- what the engines deliver ---------------------------------------------------------------------

    def find(self, revision: ev.Revision) -> Reply | None:
        """The reply of this revision; None if it has ended. Raises ``ValueError`` if it was never started."""
        if revision.number > self._revisions:
            raise ValueError(f"{revision} was never started")
        if self.speculation is not None and self.speculation.revision == revision:
            return self.speculation
        if self.turn is not None:
            for reply in self.turn.replies:
                if reply.revision == revision:
                    return None if reply.ended else reply
        return None

    @property
    def may_be_taken_back(self) -> bool:
        """Whether the caller's voice concerns the agent's turn: they were not cut short, or it sounds already."""
        return self.turn is None or not self.turn.insists or not self.turn.pending

    @property
    def replying(self) -> bool:
        """The language model is making a reply, speculative or not."""
        return self.speculation is not None or (self.turn is not None and self.turn.replying)

    def take_token(self, event: ev.ReplyToken, now: float) -> bool:
        """Whether it is the first one of a reply that was started early."""
        reply = self.find(event.revision)
        if reply is None or reply.timing.first_token is not None:
            return False
        reply.timing.first_token = now
        return reply is self.speculation

    def take_text(self, event: ev.ReplyText, now: float) -> None:
        reply = self.find(event.revision)
        if reply is None or reply.kind is not Kind.REPLY:
            return
        reply.segment.text += event.text
        if reply.timing.first_clause is None:
            reply.timing.first_clause = now

    def take_audio(self, event: ev.ReplyAudio, now: float) -> None:
        reply = self.find(event.revision)
        if reply is None:
            return
        if event.again_from is not None:
            self.playout.take_back(reply.segment, event.again_from)
            reply.held = [held for held in reply.held if held[1] <= event.again_from]
        if not event.audio:
            return
        if reply.timing.first_speech is None:
            reply.timing.first_speech = now
        reply.held.append((event.audio, event.text_end))
        if self.turn is not None:
            self._release_audio(self.turn)

    def sent_text(self, revision: ev.Revision) -> int:
        """How many characters of this reply the caller has heard, or will hear in any case."""
        reply = self.find(revision)
        if reply is None:
            return 0
        return reply.segment.text_begun(reply.segment.received - self.playout.unsent_bytes(reply.segment))

    def take_end(self, event: ev.ReplyEnded, now: float) -> None:
        reply = self.find(event.revision)
        if reply is None:
            return
        has_audio = bool(reply.segment.received or reply.held)
        if event.unspeakable and not has_audio and reply.kind is not Kind.REPLY and self.turn is not None:
            self._emit(Noted("line-unspeakable", now, {"kind": reply.kind.name.lower()}))
            reply.skip()
            self._release_audio(self.turn)
            return
        if not has_audio and not event.requests:
            self._fail(reply, "empty", now)
            return
        reply.ended = True
        reply.requests = event.requests
        reply.unsaid = event.unsaid
        reply.segment.complete = has_audio
        if self.turn is not None:
            self._release_audio(self.turn)

    def take_failure(self, event: ev.ReplyFailed, now: float) -> None:
        reply = self.find(event.revision)
        if reply is not None:
            self._fail(reply, event.reason, now)

    def _fail(self, reply: Reply, reason: str, now: float) -> None:
        """An engine does not deliver this reply, or not all of it."""
        self._emit(Noted("engine-failed", now, {"reason": reason, "kind": reply.kind.name.lower()}))
        if reply is self.speculation:
            self.speculation = None
        elif self.turn is not None:
            self._break_off(self.turn, reply)
            if reply.kind is Kind.REPLY:
                self._replace_failed(self.turn, reply, now)

    def _replace_failed(self, turn: AgentTurn, reply: Reply, now: float) -> None:
        turn.fallback = True
        turn.failures += 1
        if reply.segment.received:
            self._failed_turns += 1
            # The rest of a broken sentence is worth less than a clean new start.
            self._say(turn, Kind.LINE, self._options.lost_thread, now)
        elif turn.failures == 1:
            if not turn.fillers:
                self._say_filler(turn, now)
            self._start_reply(turn, reply.history)
        else:
            self._failed_turns += 1
            self._say(turn, Kind.LINE, self._options.apology, now)

    @property
    def keeps_failing(self) -> bool:
        """The engines have failed in several turns, one after the other."""
        return self._failed_turns >= MOST_FAILED_TURNS

    def _release_audio(self, turn: AgentTurn) -> None:
        """Queue the audio that may be sent. A reply waits until fixed words that have begun are said to their end."""
        for reply in list(turn.replies):
            if not reply.released or any(other is not reply and other.in_between for other in turn.replies):
                continue
            if reply.held and not reply.segment.received:
                turn.put_first_unheard(reply)
                if reply.kind is Kind.REPLY:
                    self._drop_late_fillers(turn)
            for audio, text_end in reply.held:
                self.playout.add(reply.segment, audio, text_end)
            reply.held.clear()
            if reply.ended and not reply.segment.ended:
                self.playout.end(reply.segment)

    def _drop_late_fillers(self, turn: AgentTurn) -> None:
        """The reply has its first sound, so a filler that has none yet is not needed."""
        for reply in turn.replies:
            if reply.kind is Kind.FILLER and not reply.ended and not reply.segment.received:
                reply.ended = True
                self._emit(StopReply(reply.revision))

    def _break_off(self, turn: AgentTurn, reply: Reply) -> None:
        """Nothing more comes of this reply: what was received of it is all that it says."""
        reply.ended = True
        reply.held.clear()
        reply.segment.break_off()
        self.playout.end(reply.segment)
        self._release_audio(turn)

    # -- time -------------------------------------------------------------------------------------------

    def tick(self, now: float, *, may_start: bool = True) -> Progress:
        """
        Send what is due and notice what was heard.

        Without ``may_start`` (the caller is speaking) nothing new begins: neither a turn of which nothing has been
        sent nor a filler.
        """
        turn = self.turn
        if turn is None or self.playout.held:
            return Progress.GOING
        if may_start or not turn.pending:
            self.sender.send_due(turn.timing, now)
        self.sender.emit_played(now)
        if self.playout.busy(now):
            return Progress.GOING
        unfinished = turn.unfinished
        if not unfinished:
            return Progress.SPEECHLESS if turn.speechless else Progress.FINISHED
        if may_start and now >= turn.waits_until(self.playout.quiet_at, self._options.filler_after):
            self._bridge_silence(turn, unfinished, now)
            return self.tick(now, may_start=may_start)
        return Progress.GOING

    def deadline(self, *, may_start: bool = True) -> float | None:
        """When ``tick`` has something to do again."""
        turn = self.turn
        if turn is None or self.playout.held:
            return None
        if not self.playout.empty:
            return self.playout.next_due if may_start or not turn.pending else None
        if turn.unfinished:
            return turn.waits_until(self.playout.quiet_at, self._options.filler_after) if may_start else None
        return self.playout.quiet_at

    def _bridge_silence(self, turn: AgentTurn, unfinished: list[Reply], now: float) -> None:
        """The engines are slow: say the next filler. After the last one, what is still missing has failed."""
        for reply in unfinished:
            if reply.kind is Kind.FILLER:
                self._break_off(turn, reply)
                self._emit(StopReply(reply.revision))
        late = [reply for reply in unfinished if reply.kind is not Kind.FILLER]
        if not late:
            return
        if turn.fillers < len(self._options.fillers):
            self._emit(Noted("filler", now, {"after": round(now - turn.started, 3)}))
            self._say_filler(turn, now)
            return
        for reply in late:
            # After so long a wait there is no second try.
            turn.failures = max(turn.failures, 1)
            self._emit(StopReply(reply.revision))
            self._fail(reply, "too slow", now)

    # -- stopping -------------------------------------------------------------------------------------------

    @property
    def held_since(self) -> float | None:
        """When the sound was stopped provisionally; None while it is not."""
        return self.playout.cleared_at

    def hold(self, now: float, *, overlap_started: float) -> None:
        """Stop the sound at once, so that it can go on from there."""
        self.sender.hold(now)
        if self.turn is not None:
            self.turn.timing.overlap_started = overlap_started
            self.turn.timing.cleared = now

    def resume(self) -> None:
        """It was no interruption: go on from where the sound was held."""
        self.playout.resume()
        if self.turn is not None:
            self.turn.timing.overlap_started = self.turn.timing.cleared = None

    def withdraw(self) -> None:
        """Take back a turn of which nothing was sent."""
        if self.turn is not None:
            self.lines.extendleft(reversed(self.turn.unheard_lines))
            self._stop(self.turn)

    def finish(self, now: float, *, interrupted: bool = False) -> AgentTurn | None:
        """The turn is over. Returns it; None if the agent has none."""
        turn = self.turn
        if turn is None:
            return None
        if not interrupted:
            if turn.answered:
                self._failed_turns = 0
            self.turn = None
            return turn
        self.lines.extendleft(reversed(turn.unheard_lines))
        if not self.playout.held:
            self.sender.hold(now, audible=self.playout.busy(now))
        self._stop(turn)
        return turn

    def _stop(self, turn: AgentTurn) -> None:
        for reply in turn.replies:
            if not reply.ended or reply.segment.heard < reply.segment.received:
                self._emit(StopReply(reply.revision, reply.segment.heard))
                reply.ended = True
        self.playout.discard()
        self.turn = None
