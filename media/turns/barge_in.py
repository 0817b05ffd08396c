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


# What listeners murmur. "Yes" is here as well: over a running reply it agrees; as an answer it comes when the agent
# has stopped, and is then a turn like any other. "No" is not: it objects.
BACKCHANNELS = frozenset(
    """
    ah aha alright cool fine good great ha haha heh hm hmm huh interesting m mhm mkay mm mmm mmhm mm-hm mm-hmm mhmm
    nice oh ok okay okey ooh really right sure true uh uh-huh uhhuh um umhum um-hum wow ya yeah yep yes yup
    exactly perfect absolutely lovely thanks
    """.split()
)
_FAREWELLS = BACKCHANNELS | frozenset(
    "bye goodbye bye-bye good-bye day night thank you too same to take care see have a lovely later that's all".split()
)
_PHRASES = re.compile(
    r"\b(i see|i know|i understand|of course|got it|go on|go ahead|all right|uh huh|mm hmm?|um hum|makes sense"
    r"|fair enough|no problem|thank you|sounds (good|great)|that's (right|true|good|great|fine|nice|okay))(?![\w'])"
)
_STOP = re.compile(
    r"\b(stop|wait|hold on|hang on|shut up|(be )?quiet|enough|never ?mind|excuse me"
    r"|(one|just a) (moment|second|sec|minute))\b"
)
_WORD = re.compile(r"[a-z'-]+")


def is_farewell(text: str) -> bool:
    """Nothing but what is said to someone who says goodbye."""
    words = re.findall(r"[\w'-]+", text.lower().replace("’", "'"))
    return bool(words) and all(word in _FAREWELLS for word in words)


def classify(text: str) -> Overlap:
    """Judge the words that the caller spoke over the agent."""
    text = text.lower().replace("’", "'")
    words = _WORD.findall(text)
    if not words:
        return Overlap.NOTHING if not any(character.isalnum() for character in text) else Overlap.WORDS
    plain = " ".join(words)
    plain = _PHRASES.sub("mm", plain)
    if _STOP.search(plain):
        return Overlap.STOP
    # Four murmured words in a row ("yeah okay sure right") are still listening; a fifth is someone wanting the floor.
    remaining = plain.split()
    if len(remaining) <= 4 and all(word in BACKCHANNELS for word in remaining):
        return Overlap.BACKCHANNEL
    return Overlap.WORDS
