"""
Does the caller ask never to be called again?

A wrong answer harms somebody either way: the law gives callers this right, and only an operator can take a number off
the do-not-call list again. So there are three answers. A plain demand is obeyed at once. If a demand is only suspected,
the caller is asked. All other words are left to the language model.

Two judges work together. The rules look for the parts of a demand, not for whole phrases: who is to stop, what is to
stop, who is called and which list is meant. They take off weight for what makes it another demand: a time or a
condition, a third person, a report of what was said, another list. The model of ``media.turns.opt_out_likelihood``
knows no parts, but has learned how people talk who want no more calls. What both are sure of is obeyed; what one of
them suspects is asked about. Both know English only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from media.turns.opt_out_clauses import PLAIN_WEIGHT, STRONG_WEIGHT, YOU
from media.turns.opt_out_likelihood import likelihood
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
    likely: bool = False
    """The suspicion is strong enough to be obeyed when the caller has heard the question and says such words again."""
    strong: bool = False
    """It is strong enough to be obeyed if the call ends before the caller has answered the question."""


SUSPECTED_FROM = -1.25
"""The logarithm of the odds from which the caller is asked. If it were lower, fewer demands would be missed and more
callers asked about something else."""
PLAIN_FROM = 0.5
"""The logarithm of the odds that words must have to be obeyed at once, though the rules are sure of them."""
LIKELY_FROM = 1.0
"""The logarithm of the odds from which a suspicion may be obeyed, if the caller's behaviour agrees."""

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
"""Words which speak of something besides. They may be asked about, but are not obeyed unasked."""
_DOUBTFUL = re.compile("|".join(_DOUBTS))


def judge_opt_out(text: str, *, asked_for_number: bool = False) -> Judgement:
    """
    Judge words of a caller in English, however recognition spells them.

    ``asked_for_number``: the agent has just spoken of a telephone number, so words about one are nothing to suspect.
    """
    said = reduce_words(text)
    weight = max((weight for rule in RULES for weight in rule(said)), default=0)
    if _INVITES.search(said):
        weight -= _INVITATION_DOUBT
    log_odds = likelihood(text, said)
    likely = log_odds >= LIKELY_FROM
    doubtful = _DOUBTFUL.search(said) is not None
    if weight >= PLAIN_WEIGHT and log_odds >= PLAIN_FROM and not doubtful:
        return Judgement(Demand.PLAIN)
    if weight <= 0 and log_odds < (LIKELY_FROM if asked_for_number else SUSPECTED_FROM):
        return Judgement(Demand.NONE)
    strong = likely and weight >= STRONG_WEIGHT and not doubtful
    return Judgement(Demand.SUSPECTED, likely=likely, strong=strong)
