"""
Does the caller ask never to be called again?

A wrong answer harms somebody either way: the law gives callers this right, and only an operator can take a number off
the do-not-call list again. So there are three answers. A plain demand is obeyed at once. If a demand is only suspected,
the caller is asked. All other words are left to the language model.

The judgement looks for the parts of a demand, not for whole phrases: who is to stop, what is to stop, who is called and
which list is meant. It weighs how many of the parts are there, and takes off weight for what makes it another demand: a
time or a condition, a third person, a report of what was said, another list. It knows English only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from media.turns.opt_out_clauses import PLAIN_WEIGHT, STRONG_WEIGHT, YOU
from media.turns.opt_out_hints import weigh_hints, weigh_loosely
from media.turns.opt_out_rules import RULES
from media.turns.opt_out_words import reduce_words


class Demand(Enum):
    """Whether words demand that the caller is never called again."""

    NONE = auto()
    SUSPECTED = auto()
    """They may: the caller is asked."""
    PLAIN = auto()
    """They do: it is obeyed at once."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A finding in the caller's words."""

    demand: Demand
    strong: bool = False
    """The suspicion is so strong that it is obeyed if the call ends before the caller has answered the question."""


_INVITES = re.compile(
    rf"\b{YOU} (?:can|may|could) (?:still |PLS |EVER |always )*(?:CALL|RING)(?! (?:\w+ )?(?:not|off|on no))"
    r"|(?<!not )(?<!never )(?<!not EVER )(?<!PLS not )\b(?:CALL|RING) ME (?:any ?time|whenever|tomorrow|later|next"
    r"|another|in (?:a|an|ten|the|half)|back|when|if|on \w+day)"
    r"|\bgo ahead\b|\b(?:stay|keep ME|leave ME|remain|put ME back|back) on (?:it|the|your|\w*LIST)"
    r"|(?:NUMBER|HOME|ME|here|KIN) (?:PLS |you can |instead )*(?:CALL|RING|try|use)"
    r" (?:NUMBER|HOME|KIN|ME|this|the|my)\b"
    r"|\b(?:try|use) (?:NUMBER|HOME|the (?:landline|mobile|house|office|other|new))\b"
    r"|\bhappy (?:to be|for you to)|\b(?:i|we) (?:will|ill) (?:CALL|RING)\b(?! (?:the|my|a)\b)|\bi only meant\b"
)
"""Words by which the caller is willing to be called, or is going to call."""
_INVITATION_DOUBT = 2
"""The weight that such words take off: even a demand in the plain form is then only a weak suspicion."""
_DOUBTS = (
    # Something else than a call is asked for: the caller may only mean one call.
    r"\b(?:text|email|e mail|write|whatsapp|message|post|mail) (?:ME|it|to|them)\b|\binstead\b|\bin writing\b"
    r"|\bby (?:text|email|e mail|post|letter|mail)\b|\buse (?:my|the|NUMBER|email|text)\b",
    # Others call, or are called, or were told something.
    r"\b(?:scam\w*|fraud\w*|stalk\w*|prank\w*|hoax\w*|my ex|ex (?:husband|wife|boyfriend|girlfriend))\b",
    r"\b(?:he|she|they|him|her|his|their|KIN (?:said|says|told|asked|wants)|the \w+ (?:said|says|told|asked))\b",
    r"\bmy \w+ (?:has |have )?(?:said|says|told|asked)\b",
    # Words are quoted.
    r"\b(?:message|sign|letter|song|film|movie|book|sticker|poster|voicemail|called it|it says|it said)\b",
    # The list may be one of those who want something.
    r"\b(?:booked|bought|waiting|appointments?|flights?|viewing|tickets?|class|course|orders?|delivery|bookings?|table)\b",
    # A question of fact.
    r"^ (?:so |and |but |sorry |hi |hello |hey )*(?:is|are|was|were|did|does|do(?! not)|has|have|who|whose|should|am) ",
)
"""Words which speak of something besides that a plain demand has no need of."""
_DOUBTFUL = re.compile("|".join(_DOUBTS))


def judge_opt_out(text: str) -> Judgement:
    """Judge words of a caller in English, however recognition spells them."""
    said = reduce_words(text)
    weights = [weight for rule in (*RULES, weigh_hints) for weight in rule(said)]
    weight = max(weights) if weights else weigh_loosely(said)
    if _INVITES.search(said):
        weight -= _INVITATION_DOUBT
    if weight == PLAIN_WEIGHT and _DOUBTFUL.search(said):
        weight = STRONG_WEIGHT
    if weight >= PLAIN_WEIGHT:
        return Judgement(Demand.PLAIN)
    return Judgement(Demand.SUSPECTED if weight > 0 else Demand.NONE, strong=weight == STRONG_WEIGHT)
