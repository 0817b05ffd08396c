"""
The caller's voice has begun in the agent's turn: when is enough known of it, and what is done then?

There are two stages. ``judge_overlap`` decides whether the agent's sound is stopped provisionally, and ``judge_hold``
whether it then goes on from there or the caller gets the turn. Both go by what the words do (``media.turns.labels``)
and by what follows from that (``media.turns.overlap_table``); here is the timing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from media.turns.clock import samples
from media.turns.endpointing import SPECULATE
from media.turns.labels import Label
from media.turns.overlap_table import RESPONSES, Response, Situation
from media.turns.utterance import Utterance

INTERRUPTION = 0.35
"""
Seconds of voice over the agent that stop the sound provisionally. Backchannels of up to 300 ms do not; the other 50 ms
are those by which voice activity outlasts a voice.
"""
DECISION = 0.7
"""Seconds from the onset of an overlap after which words that take the turn have it, though the voice still goes on."""
OVERLAP_OVER = 1.0
"""Seconds of silence after which a short overlap is over. A caller who is only pausing in it goes on sooner."""
HOLD_GUARD = 1.2
"""Seconds on the clock for which a held agent waits for words. A longer silence would be worse than a wrong guess."""
SHORTEST_WORDS = 0.2
"""
Seconds of voice: words on no list that took less were not said. With a television behind it, a cough of which 0.13 s
counted as voice was recognised as "Here we go."
"""
BETWEEN_WORDS = 0.3
"""Seconds of silence after which a held agent goes on. A shorter gap may lie between "yes please," and "Thursday"."""
ASK_AGAIN = 0.5
"""Seconds of the stream after which recognition is asked once more for the words of a voice that goes on."""

_URGENT = frozenset((Label.OBJECTION, Label.HOLD_REQUEST))
"""The words that stop the agent as soon as they are recognised, though the voice goes on: they get no more friendly."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The label of the caller's words, and the situation in which they come."""

    label: Label
    situation: Situation

    @property
    def response(self) -> Response:
        return RESPONSES[self.situation, self.label]

    @property
    def name(self) -> str:
        """The label as it goes on record."""
        return self.label.name.lower()

    @property
    def urgent(self) -> bool:
        return self.label in _URGENT and self.response is Response.YIELD


class Move(Enum):
    """The moves in an overlap."""

    WAIT = auto()
    """Go on as before."""
    ASK = auto()
    """Ask recognition for the words so far."""
    TAKE_BACK = auto()
    """Take the reply back, of which nothing has sounded: the caller's turn was not over."""
    BRIDGE = auto()
    """The overlap is over: say a filler, and let the reply come."""
    HOLD = auto()
    """Stop the sound provisionally."""
    IGNORE = auto()
    """The overlap is over, and needs no answer."""
    PUT_ASIDE = auto()
    """The overlap is over, and its words are to be answered later."""
    INTERRUPT = auto()
    """Let the caller have the turn."""
    RESUME = auto()
    """Let the agent go on from where it was held: the overlap is over."""
    RESUME_LISTENING = auto()
    """Let the agent go on, though the words of the overlap are still to come."""


def judge_overlap(utterance: Utterance, verdict: Verdict, *, position: int, pending: bool) -> Move:
    """The first stage: the caller's voice has begun in the agent's turn. ``pending``: nothing of it has been sent."""
    response = verdict.response
    pause = utterance.pause
    if pause is None:
        return _judge_voice(utterance, verdict, position=position, pending=pending)
    silence = pause.silence(position)
    if pause.words is None:
        return Move.ASK if not pause.asked and silence >= SPECULATE else Move.WAIT
    match response:
        case Response.TAKE_BACK:
            return Move.TAKE_BACK
        case Response.BRIDGE:
            return Move.BRIDGE
        case Response.YIELD if not pending:
            return Move.HOLD
        case Response.YIELD_IF_LONG if utterance.voiced >= samples(INTERRUPTION):
            return Move.HOLD
        case Response.CARRY_ON if pending:
            return Move.IGNORE
    if silence >= OVERLAP_OVER:
        were_said = verdict.label is not Label.TAKES_TURN or utterance.voiced >= samples(SHORTEST_WORDS)
        return Move.PUT_ASIDE if were_said and response is not Response.CARRY_ON else Move.IGNORE
    return Move.WAIT


def _judge_voice(utterance: Utterance, verdict: Verdict, *, position: int, pending: bool) -> Move:
    """The voice over the agent still goes on."""
    if verdict.situation is Situation.PROTECTED:
        return Move.WAIT
    if pending:
        # People do not murmur into a silence: with the first word the caller goes on.
        return Move.TAKE_BACK if verdict.response is Response.TAKE_BACK else Move.WAIT
    if verdict.urgent:
        return Move.HOLD
    if utterance.voiced_until(position) < INTERRUPTION:
        return Move.WAIT
    if not utterance.only_words_count:
        return Move.HOLD
    if verdict.response in (Response.YIELD, Response.YIELD_IF_LONG):
        return Move.HOLD
    return _ask_again(utterance, position)


def _ask_again(utterance: Utterance, position: int) -> Move:
    stale = position >= utterance.asked_position + samples(ASK_AGAIN)
    return Move.ASK if stale and utterance.snapshot is None else Move.WAIT


def judge_hold(utterance: Utterance, verdict: Verdict, *, position: int) -> Move:
    """The second stage: the sound was stopped, and the caller's words decide whether it goes on."""
    if verdict.urgent:
        return Move.INTERRUPT
    yields = verdict.response in (Response.YIELD, Response.YIELD_IF_LONG)
    pause = utterance.pause
    if pause is None:
        # The first words of a backchannel are easily misrecognised. The agent is silent already, so there is time to
        # wait: for more words, and, while those so far take no turn, for the end of the voice.
        if position - utterance.overlap < samples(DECISION):
            return Move.WAIT
        return Move.INTERRUPT if yields else _ask_again(utterance, position)
    # Recognition has had all of the voice but a last bit, by which voice activity may outlast it.
    recognised = utterance.snapshot is None and utterance.asked_position >= pause.since - samples(SPECULATE)
    silence = pause.silence(position)
    known = recognised and verdict.label is not Label.NOISE
    if known and yields:
        return Move.INTERRUPT
    if not known and not pause.asked and silence >= SPECULATE:
        return Move.ASK
    return Move.RESUME if (known or pause.words is not None) and silence >= BETWEEN_WORDS else Move.WAIT


def judge_hold_timeout(utterance: Utterance, verdict: Verdict) -> Move:
    """The agent was held for as long as it may be, and the words are still not known, or the voice goes on."""
    if utterance.pause is not None:
        return Move.RESUME_LISTENING
    if verdict.label is Label.NOISE:
        return Move.RESUME_LISTENING if utterance.snapshot is None else Move.INTERRUPT
    # What takes no turn when it is short takes none when it is long.
    return Move.RESUME_LISTENING if verdict.response is Response.CARRY_ON else Move.INTERRUPT


def overlap_wake(utterance: Utterance) -> int:
    """The position at which ``judge_overlap`` may answer otherwise, if the voice goes on."""
    held_at = utterance.stretch + samples(INTERRUPTION) - utterance.voiced
    return max(held_at, utterance.asked_position + samples(ASK_AGAIN)) if utterance.only_words_count else held_at


def hold_wake(utterance: Utterance) -> int:
    """The position at which ``judge_hold`` may answer otherwise, if the voice goes on."""
    return utterance.overlap + samples(DECISION)
