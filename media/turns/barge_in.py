"""
Is this overlap an interruption or a backchannel?

There are two stages. ``judge_overlap`` decides whether the agent's sound is stopped provisionally, and ``judge_hold``
whether it then goes on from there or the caller gets the turn.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from media.turns.clock import samples
from media.turns.endpointing import SPECULATE
from media.turns.utterance import Utterance

INTERRUPTION = 0.35
"""
Seconds of voice over the agent that stop the sound provisionally. Murmurs of up to 300 ms do not; the other 50 ms are
those by which voice activity outlasts a voice.
"""
DECISION = 0.7
"""Seconds from the onset of an overlap after which a voice that still goes on is an interruption, whatever it says."""
OVERLAP_OVER = 1.0
"""Seconds of silence after which a short overlap is over. A caller who is only pausing in it goes on sooner."""
HOLD_GUARD = 1.2
"""Seconds on the clock for which a held agent waits for words. A longer silence would be worse than a wrong guess."""
MOST_MURMURED = 4
"""A caller who murmurs four words ("yeah okay sure right") is still listening; one who says five wants the floor."""


class Overlap(Enum):
    """What the caller's words over the agent are."""

    NOTHING = auto()
    """There are no words: it was a cough or another noise."""
    BACKCHANNEL = auto()
    """Words that take no turn: "mm-hm", "right"."""
    WORDS = auto()
    """The caller is saying something."""
    STOP = auto()
    """Words that ask the agent to be silent, whatever follows them."""


# What people murmur while they listen. "Yes" is among it, since over a running reply it only agrees; as an answer it
# comes after the agent has stopped, and is then a turn like any other. "No" is not among it, since it objects.
BACKCHANNELS = frozenset(
    """
    ah aha alright cool fine good great ha haha heh hm hmm huh interesting m mhm mkay mm mmm mmhm mm-hm mm-hmm mhmm
    nice oh ok okay okey ooh really right sure true uh uh-huh uhhuh um umhum um-hum wow ya yeah yep yes yup
    exactly perfect absolutely lovely thanks
    """.split()
)
_FAREWELL_WORDS = BACKCHANNELS | frozenset(
    "bye goodbye bye-bye good-bye day night thank you too same to take care see have a lovely later that's all".split()
)
_BACKCHANNEL_PHRASES = re.compile(
    r"\b(i see|i know|i understand|of course|got it|go on|go ahead|all right|uh huh|mm hmm?|um hum|makes sense"
    r"|fair enough|no problem|thank you|sounds (good|great)|that's (right|true|good|great|fine|nice|okay))(?![\w'])"
)
_STOP_WORDS = re.compile(
    r"\b(stop|wait|hold on|hang on|shut up|(be )?quiet|enough|never ?mind|excuse me"
    r"|(one|just a) (moment|second|sec|minute))\b"
)
_WORD = re.compile(r"[a-z'-]+")


def is_farewell(text: str) -> bool:
    """Whether these words only return a goodbye."""
    words = re.findall(r"[\w'-]+", text.lower().replace("’", "'"))
    return bool(words) and all(word in _FAREWELL_WORDS for word in words)


def classify(text: str) -> Overlap:
    """Judge the words that the caller spoke over the agent."""
    text = text.lower().replace("’", "'")
    words = _WORD.findall(text)
    if not words:
        return Overlap.NOTHING if not any(character.isalnum() for character in text) else Overlap.WORDS
    plain = " ".join(words)
    plain = _BACKCHANNEL_PHRASES.sub("mm", plain)
    if _STOP_WORDS.search(plain):
        return Overlap.STOP
    remaining = plain.split()
    if len(remaining) <= MOST_MURMURED and all(word in BACKCHANNELS for word in remaining):
        return Overlap.BACKCHANNEL
    return Overlap.WORDS


class Move(Enum):
    """What to do about an overlap."""

    WAIT = auto()
    """Go on as before."""
    ASK = auto()
    """Ask recognition for the words so far."""
    WITHDRAW = auto()
    """Take the reply back, of which nothing has sounded: the caller's turn was not over."""
    HOLD = auto()
    """Stop the sound provisionally."""
    IGNORE = auto()
    """The overlap is over, and was a noise or a murmur."""
    PUT_ASIDE = auto()
    """The overlap is over, and its words are to be answered later."""
    INTERRUPT = auto()
    """Let the caller have the turn."""
    RESUME = auto()
    """Let the agent go on from where it was held: the overlap is over."""
    RESUME_LISTENING = auto()
    """Let the agent go on, though the words of the overlap are still to come."""


def judge_overlap(utterance: Utterance, *, position: int, pending: bool, protected: bool) -> Move:
    """
    The first stage: the caller's voice has begun in the agent's turn.

    ``pending``: nothing of that turn has been sent yet. ``protected``: the caller cannot interrupt it.
    """
    pause = utterance.pause
    if pause is None:
        if protected:
            return Move.WAIT
        kind = classify(utterance.text)
        if pending:
            # People do not murmur into a silence: with the first word the caller goes on.
            return Move.WAIT if kind is Overlap.NOTHING else Move.WITHDRAW
        return Move.HOLD if kind is Overlap.STOP or utterance.voiced_until(position) >= INTERRUPTION else Move.WAIT
    silence = pause.silence(position)
    if pause.words is None:
        return Move.ASK if not pause.asked and silence >= SPECULATE else Move.WAIT
    kind = classify(pause.words.text)
    words = kind in (Overlap.WORDS, Overlap.STOP)
    if pending and not protected and kind is not Overlap.NOTHING:
        return Move.WITHDRAW
    if pending and not words:
        return Move.IGNORE
    if not protected and (kind is Overlap.STOP or (words and utterance.voiced >= samples(INTERRUPTION))):
        return Move.HOLD
    if silence >= OVERLAP_OVER:
        return Move.PUT_ASIDE if words else Move.IGNORE
    return Move.WAIT


def judge_hold(utterance: Utterance, *, position: int) -> Move:
    """The second stage: the sound was stopped, and the caller's words decide whether it goes on."""
    kind = classify(utterance.text)
    if kind is Overlap.STOP:
        return Move.INTERRUPT
    pause = utterance.pause
    if pause is None:
        # The first words of a murmur are easily misrecognised. The agent is silent already, so there is time to wait.
        # A voice in which recognition finds no words may still turn out to be a noise.
        noise = kind is Overlap.NOTHING and utterance.snapshot is None
        return Move.INTERRUPT if not noise and position - utterance.overlap >= samples(DECISION) else Move.WAIT
    # Recognition has had all of the voice but a last bit, by which voice activity may outlast it.
    recognised = utterance.snapshot is None and utterance.asked_position >= pause.since - samples(SPECULATE)
    if kind is Overlap.WORDS and recognised:
        return Move.INTERRUPT
    if kind is Overlap.BACKCHANNEL and recognised:
        return Move.RESUME
    if not pause.asked and pause.silence(position) >= SPECULATE:
        return Move.ASK
    return Move.WAIT if pause.words is None else Move.RESUME


def judge_hold_timeout(utterance: Utterance) -> Move:
    """The agent was held for as long as it may be, and the words are still not known."""
    return Move.INTERRUPT if utterance.pause is None else Move.RESUME_LISTENING


def overlap_wake(utterance: Utterance) -> int:
    """The position at which ``judge_overlap`` may answer otherwise, if the voice goes on."""
    return utterance.stretch + samples(INTERRUPTION) - utterance.voiced


def hold_wake(utterance: Utterance) -> int:
    """The position at which ``judge_hold`` may answer otherwise, if the voice goes on."""
    return utterance.overlap + samples(DECISION)
