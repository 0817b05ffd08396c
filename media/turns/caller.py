"""Follows the caller's voice and words, and judges whether their turn is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto

from media.turns import events as ev
from media.turns.acoustic import BEFORE, is_due
from media.turns.barge_in import INTERRUPTION
from media.turns.clock import RATE_HZ, StreamClock, samples
from media.turns.commands import CloseUtterance, Command, Noted, OpenUtterance, ScoreTurn, TakeSnapshot, TurnEnded
from media.turns.endpointing import COUNTED_PAUSE, SPECULATE, Endpointing, Judgement
from media.turns.lexicon import words_of
from media.turns.long_talk import LongTalk
from media.turns.options import ConversationOptions
from media.turns.timing import Timing
from media.turns.utterance import AwaitedSnapshot, Pause, Utterance, Words

CLOSURE = 0.2
"""A gap as short as this lies inside a word, or between two that belong together: it counts as voice."""
NOTHING_SAID = 1.0
"""Silence after which an utterance without words is given up. Recognition may still find soft words before."""
MUMBLED = 0.6
"""Voice without words for which the agent asks the caller to repeat; a shorter one was a noise."""
WORDLESS = 6.0
"""Seconds of unbroken sound without a word after the last words of a call: it is a noise, and nobody is waiting.
Keys that are complete wait as long for the end of a voice."""
WORDLESS_TURN = 20.0
"""The same in the course of a call. A recogniser that is slow or out of order gets the time to find a word."""
MISSED = 3
"""After so many utterances without words, one after the other, asking the caller to repeat does not help."""
CUT_IN = 1.0
"""A caller who speaks so soon after the agent's first sound had not finished: the agent cut in."""


class CallerMove(Enum):
    """The consequences of the caller's silence while it is their turn."""

    WAIT = auto()
    ASK = auto()
    """Ask recognition for the words so far."""
    SPECULATE = auto()
    """There are new words: start a reply to them while the caller may still go on."""
    GIVE_UP = auto()
    """No words were found."""
    END_OF_TURN = auto()
    """The caller has finished."""
    CUT_SHORT = auto()
    """The caller goes on, and it is time that the agent answers."""


class Unheard(Enum):
    """The kinds of utterances without words."""

    NOISE = auto()
    """Nothing to react to."""
    MUMBLE = auto()
    """The caller said something that was not recognised: ask them to repeat it."""
    RECOGNITION_FAILED = auto()
    """Recognition has failed again and again: asking does not help."""


class Caller:
    """
    Follows the caller's voice and words.

    Commands go to ``emit``. It knows nothing of the floor: ``Conversation`` decides what an utterance means, and asks
    ``judge_turn`` only in the caller's own turn.
    """

    def __init__(
        self,
        options: ConversationOptions,
        *,
        clock: StreamClock,
        agent_said: Callable[[], str],
        keys_due: Callable[[], float | None],
        emit: Callable[[Command], None],
    ) -> None:
        self._options = options
        self._clock = clock
        self._agent_said = agent_said
        """Tells what the caller's words may be an answer to."""
        self._keys_due = keys_due
        """Tells when the keys that the caller has pressed are complete; None without keys. Session clock."""
        self._emit = emit
        self._endpointing = Endpointing(options.language)
        self.position = 0
        """The position up to which voice activity has judged the stream, in samples."""
        self.utterance: Utterance | None = None
        """The caller's present utterance; None while they say nothing."""
        self.opened = 0
        """How many utterances were opened."""
        self.snapshots = 0
        """How many snapshots were asked for."""
        self.scores = 0
        """How often the turn model was asked."""
        self.long_talk = LongTalk(options)
        self._missed = 0
        """The number of utterances in succession that had voice enough for words and none that was recognised."""

    def change_language(self, options: ConversationOptions) -> None:
        self._options = options
        self._endpointing.change_language(options.language)

    # -- the voice ----------------------------------------------------------------------------------------

    def open(self, position: int, *, answering: Timing | None) -> None:
        """The caller begins to speak; ``answering`` is the timing of the agent's turn, if it has one."""
        self.opened += 1
        self.long_talk.begin(position)
        utterance = self.utterance = Utterance(self.opened, position, position, position)
        if answering is not None and answering.caller_stopped is not None:
            onset = self._clock.time_of(position)
            utterance.cut_in = answering.sent is not None and onset - answering.sent < CUT_IN
            if answering.sent is None or utterance.cut_in:
                utterance.gap = onset - answering.caller_stopped
        self._emit(OpenUtterance(self.opened, position, self._agent_said()))

    def resume(self, position: int, *, overlapping: bool) -> bool:
        """The voice goes on after a pause. False if there was no pause. ``overlapping``: it is the agent's turn."""
        utterance = self.utterance
        if utterance is None or utterance.pause is None:
            return False
        silence = utterance.pause.silence(position)
        if not overlapping:
            self._endpointing.resumed_after(silence)
            utterance.has_paused |= silence >= COUNTED_PAUSE
        elif silence > INTERRUPTION:
            # Two murmurs with a gap between are two murmurs, not one long one.
            utterance.voiced = 0
            utterance.overlap = position
        elif silence <= CLOSURE:
            utterance.voiced += position - utterance.pause.since
        utterance.pause = None
        utterance.snapshot = None
        utterance.stretch = position
        return True

    def reach(self, position: int) -> bool:
        """Voice activity has judged the stream up to here. False if it had already."""
        if position <= self.position:
            return False
        self.position = position
        return True

    def stop(self, position: int) -> bool:
        """The voice pauses; ``position`` is its last sample. False if there was no voice."""
        self.reach(position)
        utterance = self.utterance
        if utterance is None or utterance.pause is not None:
            return False
        since = max(position, utterance.stretch)
        utterance.voiced += since - utterance.stretch
        utterance.pause = Pause(since)
        return True

    # -- the words ------------------------------------------------------------------------------------------

    def ask(self, now: float) -> None:
        """Ask recognition for the words so far."""
        utterance = self.utterance
        if utterance is None:
            return
        self.snapshots += 1
        utterance.snapshot = AwaitedSnapshot(self.snapshots, now)
        utterance.asked_position = self.position
        if utterance.pause is not None:
            utterance.pause.asked = True
            utterance.timing = Timing(caller_stopped=self._clock.time_of(utterance.pause.since), snapshot_asked=now)
        self._emit(TakeSnapshot(utterance.number, self.snapshots))

    @property
    def deadline(self) -> float | None:
        """When recognition has failed if it has not answered by then; None if it was not asked."""
        if self.utterance is None or self.utterance.snapshot is None:
            return None
        return self.utterance.snapshot.patience_ends(self._options.transcript_timeout)

    @property
    def waits_until(self) -> float | None:
        """When the caller has waited too long in silence for recognition; None while it is not out of reach."""
        utterance = self.utterance
        if utterance is None or utterance.pause is None:
            return None
        if utterance.snapshot is None or utterance.snapshot.delayed_at is None:
            return None
        return self._clock.time_of(utterance.pause.since) + self._options.longest_silence

    def take_partial(self, event: ev.TranscriptPartial, now: float) -> bool:
        """Recognition has more words. False if they say nothing new."""
        utterance = self.utterance
        if utterance is None or utterance.number != event.utterance:
            return False
        text = event.text.strip()
        if utterance.pause is not None and utterance.pause.words is not None:
            if not _adds_words(utterance.pause.words.text, text):
                return False
            # Recognition had more to say than the snapshot knew.
            self._take_words(utterance, text, event.stop_counts, now)
        elif text:
            agreed = event.settled or text == utterance.text
            utterance.text, utterance.stop_counts = text, event.stop_counts
            if self._options.begin_early and self._options.speculate:
                self._find_whole_turn(utterance, agreed=agreed)
        return True

    def _find_whole_turn(self, utterance: Utterance, *, agreed: bool) -> None:
        """The voice goes on: see whether the words so far make a whole turn. ``agreed``: they have come twice."""
        text = utterance.text
        if utterance.early is not None and words_of(utterance.early.text) != words_of(text):
            utterance.early = None
        if agreed and utterance.early is None:
            judgement = self._judge_words(utterance, text)
            utterance.early = Words(text, judgement) if judgement.complete else None

    def take_snapshot(self, event: ev.TranscriptReady, now: float) -> bool:
        """Recognition answers. False if that answer is not awaited."""
        utterance = self._awaiting(event.utterance, event.snapshot)
        if utterance is None:
            return False
        utterance.language, utterance.language_probability = event.language, event.language_probability
        self._take_words(utterance, event.text.strip(), event.stop_counts, now)
        return True

    def take_delay(self, event: ev.TranscriptDelayed, now: float) -> None:
        """Recognition is out of reach, and will answer later."""
        utterance = self.utterance
        if utterance is None or utterance.number != event.utterance or utterance.snapshot is None:
            return
        if utterance.snapshot.number == event.snapshot:
            utterance.snapshot = replace(utterance.snapshot, delayed_at=now)

    def take_failure(self, event: ev.TranscriptFailed, now: float) -> bool:
        """Recognition does not answer: the last partial is better than nothing. False if no answer is awaited."""
        utterance = self._awaiting(event.utterance, event.snapshot)
        if utterance is None:
            return False
        self._emit(Noted("transcript-failed", now))
        if utterance.pause is not None:
            utterance.pause.failed = True
        self._take_words(utterance, utterance.text, utterance.stop_counts, now)
        return True

    def give_up_recognition(self, now: float) -> bool:
        """Whether recognition has taken too long to answer, which then counts as a failure."""
        utterance = self.utterance
        if utterance is None or utterance.snapshot is None:
            return False
        late = now >= utterance.snapshot.patience_ends(self._options.transcript_timeout)
        return late and self.take_failure(ev.TranscriptFailed(utterance.number, utterance.snapshot.number), now)

    def judge_words_again(self, now: float) -> None:
        """The caller has got the turn: what they have said so far is judged like something they have just said."""
        utterance = self.utterance
        if utterance is not None and utterance.pause is not None and utterance.pause.words is not None:
            self._take_words(utterance, utterance.pause.words.text, utterance.stop_counts, now)

    def _awaiting(self, number: int, snapshot: int) -> Utterance | None:
        """The utterance, if it awaits this snapshot, which it then does no longer."""
        utterance = self.utterance
        if utterance is None or utterance.number != number or utterance.snapshot is None:
            return None
        if utterance.snapshot.number != snapshot:
            return None
        utterance.snapshot = None
        return utterance

    def _take_words(self, utterance: Utterance, text: str, stop_counts: bool, now: float) -> None:
        utterance.text, utterance.stop_counts = text, stop_counts
        pause = utterance.pause
        # An answer to a question asked before the pause does not cover the words just before it.
        if pause is None or not pause.asked:
            return
        judgement = self._judge_words(utterance, text)
        pause.words = Words(text, judgement)
        utterance.timing.transcript, utterance.timing.released = now, None
        utterance.timing.restart_reply()

    def _judge_words(self, utterance: Utterance, text: str) -> Judgement:
        return self._endpointing.judge(
            text,
            agent_said=self._agent_said(),
            stop_counts=utterance.stop_counts,
            has_paused=utterance.has_paused,
        )

    # -- the sound ------------------------------------------------------------------------------------------

    def have_scored(self) -> None:
        """Have the turn model judge the sound of the pause, if there is one and it is time to ask it."""
        utterance = self.utterance
        if utterance is None or utterance.pause is None or not self._options.scores_turns:
            return
        pause = utterance.pause
        if pause.words is not None and pause.words.model_waits:
            return
        judgement = pause.words.judgement if pause.words is not None else None
        if not is_due(pause.silence(self.position), judgement, pause.score, asked=pause.scores_asked):
            return
        self.scores += 1
        pause.scores_asked += 1
        pause.awaited_score = self.scores
        self._emit(ScoreTurn(utterance.number, self.scores, max(0, utterance.onset - samples(BEFORE))))

    def take_score(self, event: ev.TurnScored) -> bool:
        """The turn model answers. False if that answer is not awaited."""
        utterance = self.utterance
        if utterance is None or utterance.number != event.utterance or utterance.pause is None:
            return False
        if event.score != utterance.pause.awaited_score:
            return False
        utterance.pause.score = event.probability
        return True

    # -- is it over? ------------------------------------------------------------------------------------------

    def judge_turn(self, *, finishing: bool = False) -> CallerMove:
        """
        Say what to do in the caller's turn, given the length of their silence and their words.

        ``finishing``: the call is about to end, unless the caller says something.
        """
        utterance = self.utterance
        if utterance is None:
            return CallerMove.WAIT
        move = self._judge_voice(utterance, self.overdue_at(finishing=finishing))
        pause, early = utterance.pause, utterance.early
        is_early = early is not None and early.speculate_at is not None and (pause is None or pause.words is None)
        if move is CallerMove.WAIT and is_early:
            return CallerMove.SPECULATE
        if move is not CallerMove.WAIT or pause is None:
            return move
        silence = pause.silence(self.position)
        if pause.words is None:
            return CallerMove.ASK if not pause.asked and silence >= SPECULATE else CallerMove.WAIT
        if not pause.words.text:
            # A noise that comes again every second is no voice either.
            lasts = (self.position - utterance.onset) / RATE_HZ
            given_up = silence >= NOTHING_SAID or lasts >= self._options.still_there_after
            return CallerMove.GIVE_UP if given_up else CallerMove.WAIT
        if pause.words.speculate_at is not None and silence >= pause.words.speculate_at:
            return CallerMove.SPECULATE
        return CallerMove.END_OF_TURN if pause.wait is not None and silence >= pause.wait else CallerMove.WAIT

    def _judge_voice(self, utterance: Utterance, due: int | None) -> CallerMove:
        """Say what to do about a voice that goes on, with short pauses or none."""
        if due is None or self.position < due or utterance.snapshot is not None:
            return CallerMove.WAIT
        if utterance.asked_position < due:
            return CallerMove.ASK
        if not utterance.text:
            return CallerMove.GIVE_UP
        if (keys_end := self._keys_overdue_at) is not None and self.position >= keys_end:
            return CallerMove.CUT_SHORT
        return CallerMove.CUT_SHORT if self.long_talk.judge(utterance.text, self.position) else CallerMove.WAIT

    @property
    def _keys_overdue_at(self) -> int | None:
        """The position by which the keys pressed want an answer, though the voice goes on; None without keys."""
        due = self._keys_due()
        return None if due is None else self._clock.position_at(due + WORDLESS)

    def overdue_at(self, *, finishing: bool = False) -> int | None:
        """The position at which a voice that goes on has gone on for too long; None while nobody speaks."""
        utterance = self.utterance
        if utterance is None:
            return None
        due = [position for position in (self.long_talk.due, self._keys_overdue_at) if position is not None]
        if not utterance.text and utterance.pause is None:
            due.append(utterance.onset + samples(WORDLESS if finishing else WORDLESS_TURN))
        return min(due, default=None)

    @property
    def stopped_at(self) -> float | None:
        """When the caller's voice stopped; None while it sounds."""
        pause = self.utterance.pause if self.utterance is not None else None
        return None if pause is None else self._clock.time_of(pause.since)

    @property
    def wait(self) -> float | None:
        """Seconds of silence before the turn is over; None while the words of the pause are not known."""
        pause = self.utterance.pause if self.utterance is not None else None
        return pause.wait if pause is not None else None

    def words_considered(self) -> None:
        """The words of the pause, or those before it, are not new any more."""
        if self.utterance is not None and (words := self.utterance.words) is not None:
            words.speculate_at = None

    def agent_was_heard(self) -> None:
        """The agent's turn is over, and the caller has heard something of it."""
        self.long_talk.answered()
        if self.utterance is not None:
            self.long_talk.begin(self.position)

    def went_on(self) -> None:
        """The caller's turn was not over when the agent took it: learn from that pause."""
        if self.utterance is not None and self.utterance.gap is not None:
            self._endpointing.resumed_after(self.utterance.gap)

    def give_up(self, now: float, *, keys_pending: bool) -> Unheard:
        """No words were found. With ``keys_pending`` the caller is pressing keys, which sound like a voice."""
        utterance = self.utterance
        if utterance is None:
            return Unheard.NOISE
        self.close()
        self._emit(Noted("nothing-understood", now, {"voiced": round(utterance.voiced / RATE_HZ, 2)}))
        if utterance.voiced < samples(MUMBLED) or keys_pending or utterance.only_words_count:
            return Unheard.NOISE
        self._missed += 1
        if self._missed < MISSED:
            return Unheard.MUMBLE
        failed = utterance.pause is not None and utterance.pause.failed
        return Unheard.RECOGNITION_FAILED if failed else Unheard.NOISE

    def finish(
        self, utterance: Utterance, now: float, *, wait: float | None = None, speculation_hit: bool = False
    ) -> TurnEnded:
        """Return the caller's turn for the record. ``wait`` is given if endpointing ended the turn."""
        self._missed = 0
        if utterance.cut_in and utterance.gap is not None:
            self._emit(Noted("cut-in", now, {"after": round(utterance.gap, 3)}))
            self._endpointing.resumed_after(utterance.gap)
        until = utterance.pause.since if utterance.pause is not None else self.position
        return TurnEnded(
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

    def close(self) -> None:
        """The utterance is over; no more of its words are wanted."""
        if self.utterance is not None:
            self._emit(CloseUtterance(self.utterance.number))
            self.utterance = None


def _adds_words(known: str, text: str) -> bool:
    """Whether the new text has more words than the known one, and not only other spellings."""
    return len(text.split()) > len(known.split())
