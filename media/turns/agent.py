"""The agent's side of a call: what it is saying, what became of it, and what to do when its engines do not deliver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from inference.requests import NO_REQUESTS, ToolRequests
from media.turns.commands import (
    ClearPlayout,
    Command,
    Line,
    Noted,
    Played,
    SayLine,
    SendAudio,
    SendMark,
    StartReply,
    StopReply,
    TurnEnded,
)
from media.turns.events import ReplyEnded, Revision
from media.turns.options import ConversationOptions
from media.turns.playout import FinalMark, Heard, Playout, Segment
from media.turns.timing import Timing


class Kind(Enum):
    REPLY = auto()
    """The language model's answer."""
    LINE = auto()
    """Fixed words."""
    FILLER = auto()
    """Fixed words that bridge a wait."""


@dataclass(slots=True, eq=False)
class Reply:
    """One revision being made. Until it is released its audio is held back."""

    revision: Revision
    kind: Kind
    segment: Segment
    timing: Timing
    history: tuple[Line, ...] = ()
    held: list[tuple[bytes, int]] = field(default_factory=list)
    released: bool = False
    ended: bool = False
    requests: ToolRequests = NO_REQUESTS
    """What the language model asks for beside its words."""
    requested: bool = False
    """Somebody outside asked for these words: they must not be lost."""

    @property
    def in_between(self) -> bool:
        """Fixed words in the middle of being said."""
        return self.kind is not Kind.REPLY and self.segment.received > 0 and not self.ended


@dataclass(slots=True, eq=False)
class AgentTurn:
    """The agent has the floor: the speech of this turn, in the order in which it is said."""

    started: float
    timing: Timing
    waiting_since: float
    """Since when nothing new was asked of the engines: what the filler counts from."""
    protected: bool = False
    """Cannot be interrupted."""
    replies: list[Reply] = field(default_factory=list)
    """In the order in which they sound; those that have no sound yet come last."""
    attempts: int = 0
    fillers: int = 0
    fallback: bool = False

    @property
    def pending(self) -> bool:
        """Nothing of it has been sent yet."""
        return self.timing.sent is None

    @property
    def complete(self) -> bool:
        """All of its words were made into speech."""
        return all(reply.segment.complete for reply in self.replies if reply.kind is not Kind.FILLER)

    @property
    def said(self) -> str:
        return " ".join(reply.segment.text.strip() for reply in self.replies if reply.segment.received)

    @property
    def heard(self) -> str:
        """The words heard, in order; what comes after a word that was not heard was not heard either."""
        texts: list[str] = []
        for reply in self.replies:
            if not reply.segment.received:
                continue
            text = reply.segment.heard_text.strip()
            if text:
                texts.append(text)
            if text != reply.segment.text.strip():
                break
        return " ".join(texts)


class Progress(Enum):
    GOING = auto()
    FINISHED = auto()
    """Everything that this turn will say was heard."""
    SPEECHLESS = auto()
    """Not even fixed words can be said: the voice is gone."""


class Agent:
    """
    Keeps the agent's turn going, from the first word asked for to the last one heard.

    Commands go to ``emit``. It is ``Conversation`` that decides when a turn begins, is held or ends.
    """

    def __init__(self, options: ConversationOptions, emit: Callable[[Command], None]) -> None:
        self._options = options
        self._emit = emit
        self.playout = Playout()
        self.turn: AgentTurn | None = None
        self.speculation: Reply | None = None
        self.failed_turns = 0
        """Turns in a row in which the engines did not deliver."""
        self._exchange = 0
        self._revision = 0
        self._first_marks: dict[str, Timing] = {}

    # -- starting to speak --------------------------------------------------------------------------

    def _new_reply(self, kind: Kind, timing: Timing) -> Reply:
        self._revision += 1
        # What is said outside a turn is said for the next one.
        revision = Revision(self._exchange + (self.turn is None), self._revision)
        return Reply(revision, kind, Segment(revision), timing)

    def speculate(self, history: tuple[Line, ...], timing: Timing) -> None:
        """Begin to answer before the caller has surely finished."""
        self.drop_speculation()
        reply = self._new_reply(Kind.REPLY, timing)
        reply.history = history
        self.speculation = reply
        self._emit(StartReply(reply.revision, history, speculative=True))

    def has_speculated_on(self, history: tuple[Line, ...]) -> bool:
        """Whether the reply that was started early answers this."""
        return self.speculation is not None and self.speculation.history == history

    def drop_speculation(self) -> bool:
        """The caller went on: what was begun is dead. True if there was something."""
        reply, self.speculation = self.speculation, None
        if reply is None:
            return False
        self._emit(StopReply(reply.revision))
        return True

    def answer(
        self, history: tuple[Line, ...], timing: Timing, now: float, *, waiting_since: float | None = None
    ) -> None:
        """Take the turn and answer; what was speculated on the same words is used."""
        self._exchange += 1
        # A caller who was left to finish has waited already.
        stopped = now if timing.caller_stopped is None else timing.caller_stopped
        if waiting_since is None:
            waiting_since = min(now, stopped + self._options.longest_silence - self._options.filler_after)
        self.turn = AgentTurn(started=now, timing=timing, waiting_since=waiting_since)
        speculation, self.speculation = self.speculation, None
        if speculation is not None and speculation.history == history:
            self.turn.replies.append(speculation)
            speculation.released = True
            self._pass_on()
        else:
            if speculation is not None:
                self._emit(StopReply(speculation.revision))
            self._start_reply(history)

    def say(self, text: str, now: float, *, protected: bool = False, requested: bool = False) -> None:
        """Say fixed words: in the turn that the agent has, else in a new one."""
        if self.turn is None:
            self._exchange += 1
            self.turn = AgentTurn(started=now, timing=Timing(), waiting_since=now)
        self.turn.protected = self.turn.protected or protected
        self._say(Kind.LINE, text, now, requested=requested)

    @property
    def held_since(self) -> float | None:
        """When the sound was stopped provisionally; None while it is not."""
        return self.playout.cleared_at

    @property
    def replying(self) -> bool:
        """The language model is making a reply, speculative or not."""
        replies = self.turn.replies if self.turn is not None else []
        return self.speculation is not None or any(r.kind is Kind.REPLY and not r.ended for r in replies)

    @property
    def unsaid(self) -> list[str]:
        """What was asked for from outside in this turn, and was not heard at all."""
        replies = self.turn.replies if self.turn is not None else []
        return [reply.segment.text for reply in replies if reply.requested and not reply.segment.heard]

    def _start_reply(self, history: tuple[Line, ...]) -> None:
        assert self.turn is not None
        if self.turn.pending:
            self.turn.timing.begin_anew()
        reply = self._new_reply(Kind.REPLY, self.turn.timing)
        reply.history = history
        reply.released = True
        self.turn.replies.append(reply)
        self._emit(StartReply(reply.revision, history, speculative=False))

    def _say(self, kind: Kind, text: str, now: float, *, requested: bool = False) -> None:
        assert self.turn is not None
        reply = self._new_reply(kind, self.turn.timing if not self.turn.replies else Timing())
        reply.requested = requested
        reply.segment.text = text
        reply.released = True
        self.turn.replies.append(reply)
        self.turn.waiting_since = now
        self._emit(SayLine(reply.revision, text))

    def _pass_on(self) -> None:
        """Let sound what may; what is said in between is said to its end before a reply goes on."""
        if self.turn is None:
            return
        for reply in list(self.turn.replies):
            if not reply.released or any(other is not reply and other.in_between for other in self.turn.replies):
                continue
            if reply.held:
                self._sounds(reply)
            for audio, text_end in reply.held:
                self.playout.add(reply.segment, audio, text_end)
            reply.held.clear()
            if reply.ended and not reply.segment.ended:
                self.playout.end(reply.segment)

    def _break_off(self, reply: Reply) -> None:
        reply.ended = True
        reply.held.clear()
        reply.segment.break_off()
        self.playout.end(reply.segment)
        self._pass_on()

    # -- what the engines deliver ---------------------------------------------------------------------

    def find(self, revision: Revision) -> Reply | None:
        """The living reply of this revision; None for a dead one. One that never was raises ``ValueError``."""
        if revision.number > self._revision:
            raise ValueError(f"{revision} was never started")
        if self.speculation is not None and self.speculation.revision == revision:
            return self.speculation
        if self.turn is not None:
            for reply in self.turn.replies:
                if reply.revision == revision:
                    return None if reply.ended else reply
        return None

    def token(self, revision: Revision, now: float) -> None:
        reply = self.find(revision)
        if reply is not None and reply.timing.first_token is None:
            reply.timing.first_token = now

    def text(self, revision: Revision, text: str, now: float) -> None:
        reply = self.find(revision)
        if reply is None or reply.kind is not Kind.REPLY:
            return
        reply.segment.text += text
        if reply.timing.first_clause is None:
            reply.timing.first_clause = now

    def audio(self, revision: Revision, audio: bytes, text_end: int, now: float) -> None:
        reply = self.find(revision)
        if reply is None or not audio:
            return
        if reply.timing.first_speech is None:
            reply.timing.first_speech = now
        reply.held.append((audio, text_end))
        self._pass_on()

    def ended(self, event: ReplyEnded, now: float) -> None:
        reply = self.find(event.revision)
        if reply is None:
            return
        if reply.segment.received == 0 and not reply.held and not event.requests:
            self.failed(event.revision, "empty", now)
            return
        reply.ended = True
        reply.requests = event.requests
        reply.segment.complete = bool(reply.segment.received or reply.held)
        self._pass_on()

    def failed(self, revision: Revision, reason: str, now: float) -> None:
        """An engine gave up on this revision; see DESIGN: filler, then a second try, then an apology, then goodbye."""
        reply = self.find(revision)
        if reply is None:
            return
        self._emit(Noted("engine-failed", now, {"reason": reason, "kind": reply.kind.name.lower()}))
        if reply is self.speculation:
            self.speculation = None
            return
        self._break_off(reply)
        if reply.kind is Kind.REPLY:
            self._go_on_without(reply, now)

    def _go_on_without(self, reply: Reply, now: float) -> None:
        turn = self.turn
        assert turn is not None
        turn.fallback = True
        turn.attempts += 1
        if reply.segment.received:
            self.failed_turns += 1
            # The rest of a broken sentence is worth less than a clean new start.
            self._say(Kind.LINE, self._options.lost_thread, now)
        elif turn.attempts == 1:
            if not turn.fillers:
                self._fill(now)
            self._start_reply(reply.history)
        else:
            self.failed_turns += 1
            self._say(Kind.LINE, self._options.apology, now)

    def _fill(self, now: float) -> None:
        assert self.turn is not None
        self.turn.fallback = True
        if self.turn.fillers < len(self._options.fillers):
            self._say(Kind.FILLER, self._options.fillers[self.turn.fillers], now)
            self.turn.fillers += 1

    def _sounds(self, reply: Reply) -> None:
        """Keep the order of ``replies`` when one of them gets its first sound, which makes a late filler needless."""
        assert self.turn is not None
        if reply.segment.received:
            return
        replies = self.turn.replies
        replies.remove(reply)
        replies.insert(sum(1 for other in replies if other.segment.received), reply)
        if reply.kind is not Kind.REPLY:
            return
        for other in replies:
            if other.kind is Kind.FILLER and not other.ended and not other.segment.received:
                other.ended = True
                self._emit(StopReply(other.revision))

    # -- time -------------------------------------------------------------------------------------------

    def tick(self, now: float, *, may_start: bool = True) -> Progress:
        """
        Send what is due and notice what was heard.

        Without ``may_start`` (the caller's voice sounds) nothing new begins: neither a turn that has not sounded
        yet nor a filler.
        """
        turn = self.turn
        if turn is None or self.playout.held:
            return Progress.GOING
        if may_start or not turn.pending:
            self._send(turn, now)
        self._report(self.playout.take_heard(now))
        if self.playout.busy(now):
            return Progress.GOING
        open_replies = [reply for reply in turn.replies if not reply.ended]
        if not open_replies:
            last = next((reply for reply in reversed(turn.replies) if reply.kind is not Kind.FILLER), None)
            mute = last is not None and last.kind is Kind.LINE and not last.segment.received
            return Progress.SPEECHLESS if mute else Progress.FINISHED
        if may_start and now >= self._patience_ends(turn):
            self._fill_or_give_up(turn, open_replies, now)
            return self.tick(now, may_start=may_start)
        return Progress.GOING

    def deadline(self, *, may_start: bool = True) -> float | None:
        """When ``tick`` has something to do again."""
        turn = self.turn
        if turn is None or self.playout.held:
            return None
        if not self.playout.empty:
            return self.playout.next_due if may_start or not turn.pending else None
        if any(not reply.ended for reply in turn.replies):
            return self._patience_ends(turn) if may_start else None
        return self.playout.quiet_at

    def _patience_ends(self, turn: AgentTurn) -> float:
        return max(turn.waiting_since, self.playout.quiet_at) + self._options.filler_after

    def _fill_or_give_up(self, turn: AgentTurn, open_replies: list[Reply], now: float) -> None:
        for reply in open_replies:
            if reply.kind is Kind.FILLER:
                self._break_off(reply)
                self._emit(StopReply(reply.revision))
        late = [reply for reply in open_replies if reply.kind is not Kind.FILLER]
        if not late:
            return
        if turn.fillers < len(self._options.fillers):
            self._emit(Noted("filler", now, {"after": round(now - turn.started, 3)}))
            self._fill(now)
            return
        for reply in late:
            turn.attempts = max(turn.attempts, 1)
            self._emit(StopReply(reply.revision))
            self.failed(reply.revision, "too slow", now)

    def _send(self, turn: AgentTurn, now: float) -> None:
        underruns = self.playout.underruns
        sendings = self.playout.due(now)
        if self.playout.underruns > underruns:
            self._emit(Noted("underrun", now))
        for sending in sendings:
            if sending.lead_mark:
                self._emit(SendMark(sending.lead_mark))
            self._emit(SendAudio(sending.audio))
            if sending.mark:
                self._emit(SendMark(sending.mark))
            if turn.timing.sent is None:
                turn.timing.sent = now
                if sending.mark:
                    self._first_marks[sending.mark] = turn.timing

    def _report(self, heard: list[Heard]) -> None:
        for run in heard:
            self._emit(Played(run.audio, run.at))

    def send_final_mark(self, now: float, *, patience: float) -> FinalMark:
        """Send a mark behind everything sent so far; it is awaited for ``patience`` seconds."""
        mark = FinalMark(self.playout.last_mark(), now + patience)
        self._emit(SendMark(mark.name))
        return mark

    def mark_reached(self, name: str, now: float) -> None:
        if self.playout.mark_reached(name, now):
            timing = self._first_marks.pop(name, None)
            if timing is not None:
                timing.heard = now

    # -- the end of a turn ---------------------------------------------------------------------------------

    def hold(self, now: float, *, overlap_started: float) -> None:
        """Stop the sound at once, keeping the place."""
        assert self.turn is not None
        heard = self.playout.hold(now)
        self._emit(ClearPlayout())
        self.turn.timing.overlap_started = overlap_started
        self.turn.timing.cleared = now
        self._report(heard)

    def resume(self) -> None:
        """It was no interruption: go on from where it was held."""
        assert self.turn is not None
        self.playout.resume()
        self.turn.timing.overlap_started = self.turn.timing.cleared = None

    def withdraw(self) -> None:
        """Take back a turn of which nothing was sent."""
        assert self.turn is not None
        assert self.turn.pending
        self._stop_all()
        self.playout.discard()
        self.turn = None

    def finish(self, now: float, *, interrupted: bool = False) -> tuple[TurnEnded | None, list[ToolRequests]]:
        """The turn is over. Returns what goes on record (None: nothing of it sounded), and what its replies request."""
        turn = self.turn
        assert turn is not None
        requests = [reply.requests for reply in turn.replies if reply.requests]
        if interrupted:
            if not self.playout.held:
                unheard = self.playout.busy(now)
                self._report(self.playout.hold(now))
                if unheard:
                    self._emit(ClearPlayout())
            self._stop_all()
            self.playout.discard()
        elif any(reply.kind is Kind.REPLY and reply.segment.complete for reply in turn.replies):
            self.failed_turns = 0
        self.turn = None
        if turn.pending:
            return None, requests
        fact = TurnEnded(
            number=0,
            speaker="agent",
            said=turn.said,
            heard=turn.heard,
            started=turn.timing.sent if turn.timing.sent is not None else turn.started,
            ended=now,
            interrupted=interrupted,
            fallback=turn.fallback,
            stages=turn.timing.stages(),
        )
        return fact, requests

    def _stop_all(self) -> None:
        assert self.turn is not None
        for reply in self.turn.replies:
            if not reply.ended or reply.segment.heard < reply.segment.received:
                self._emit(StopReply(reply.revision, reply.segment.heard))
                reply.ended = True
