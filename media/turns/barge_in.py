"""Is this overlap an interruption or a backchannel?"""

from __future__ import annotations

import re
from enum import Enum, auto


class Overlap(Enum):
    NOTHING = auto()
    """No words: a cough, a door, noise."""
    BACKCHANNEL = auto()
    """Words that take no turn: "mm-hm", "right"."""
    WORDS = auto()
    """The caller is saying something."""
    STOP = auto()
    """Words that ask for silence, whatever follows."""


# Single words and the few pairs that listeners murmur. "yes" and "no" are here as well: over a running
# reply they agree or wonder; as an answer they come when the agent has stopped, and are then a turn like any other.
BACKCHANNELS = frozenset(
    """
    ah aha alright cool fine good great hm hmm huh i see interesting m mhm mm mmm mmhm mm-hm mm-hmm mhmm
    nice oh ok okay really right sure true uh uh-huh uhhuh um umhum um-hum wow ya yeah yep yes yup
    of course got it go on exactly perfect
    """.split()
)
_PHRASES = ("i see", "of course", "got it", "go on", "all right", "uh huh", "mm hm", "mm hmm", "um hum", "oh okay")
_STOP = re.compile(r"\b(stop|wait|hold on|hang on|shut up|be quiet|never ?mind|excuse me|one moment|one second)\b")
_WORD = re.compile(r"[a-z'-]+")


def classify(text: str) -> Overlap:
    """Judge the words that the caller spoke over the agent."""
    text = text.lower().replace("’", "'")
    words = _WORD.findall(text)
    if not words:
        return Overlap.NOTHING if not any(character.isalnum() for character in text) else Overlap.WORDS
    plain = " ".join(words)
    if _STOP.search(plain):
        return Overlap.STOP
    for phrase in _PHRASES:
        plain = plain.replace(phrase, "mm")
    # Four murmured words in a row ("yeah okay sure right") are still listening; a fifth is someone wanting the floor.
    remaining = plain.split()
    if len(remaining) <= 4 and all(word in BACKCHANNELS for word in remaining):
        return Overlap.BACKCHANNEL
    return Overlap.WORDS
