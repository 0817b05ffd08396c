"""
Does the caller ask never to be called again?

Rules decide it, since the law gives callers this right whatever a language model makes of their words.
"""

from __future__ import annotations

import re

_SYNONYMS = [
    (r"[^\w']+", " "),
    (r"'", ""),
    (r"\b(do not|do nt|don t|donot|not to)\b", "dont"),
    (r"\b(un subscribe|opt (me|us) out|lose (my|this|our) (phone )?number)\b", "unsubscribe"),
    # What the callers want not to be called is "me", and whatever is done to it is "call".
    (r"\b(my|our|this|that) ((home|house|cell|mobile|work|office) )?((tele)?phone )?(number|phone|cell|line)\b", "me"),
    (r"\b(my|our) names?(?= (off|of|from|out)\b)", "me"),
    (r"\bus\b", "me"),
    (r"\b(phone|ring|contact|bother|dial|disturb|harass|pester|telephone)(?= (me|here|again|anymore)\b)", "call"),
    (r"\b(phon|ring|contact|bother|dial|diall|disturb|harass|pester|telephon)ing\b", "calling"),
    (r"(?<=\bcall )here\b|(?<=\bcalling )here\b|\bmy (house|home|place|mother|mom|wife|husband|family)\b", "me"),
    (r"\bany more\b", "anymore"),
    (r"\b(off of|out of|from)\b", "off"),
    (r"(?<=\bcall me )(at|on) me\b", ""),
    (r"(?<=\bme )of\b", "off"),
    # Words that change nothing.
    (r"\b(u[hm]+|er+m?|ah|oh|h?m+|like|just|really|kindly|please|ever|back|immediately)\b", " "),
    (r"\b(thanks|thank you|okay|ok)\b|\b(fucking|damn|goddamn|bloody|stupid|freaking) ", " "),
    (r" +", " "),
    # Demands phrased as a question or a condition.
    (r"\b(why|if|unless|can|could|would|will|cant|wont|couldnt|wouldnt) (dont )?you (dont |not )?", ""),
    (r"\bwhy (dont|not) ", ""),
    (r"\bdont you (dare )?(?=call\b)", "dont "),
    (r"\b(keep|try|dare|start|be) (to )?(?=call(ing)?\b)", ""),
]  # fmt: skip
"""
Regular expressions and what replaces what they match, applied one after the other. They leave few different words, so
that the patterns below stay short.
"""

_VOCABULARY = {
    # The list is not a waiting list, and not a list of the caller's own.
    "LIST": r"off (?:(?!waiting|wait|guest|email|shopping|price|wish|to|my|our|his|her|their)\w+ ){1,5}?lists?\b"
    r"|off (?:your|the|this|that) (?:calling )?(?:system|database|records?|books|files?|computer|dialer)\b",
    "EVER": r"(?:again|anymore|no more|at all|for any reason|in the future|off now on)\b",
    # No hour, place or condition may follow: with one, the demand is not for good.
    "FORGOOD": r"(?! (?:before|after|until|till?|at|on|between|during|unless|if|while|when|later|today|tonight|tomorrow"
    r"|this|in the|so (?:early|late)|without|by|the|a|an|about (?!this|that|it|any))\b)",
    # These words may follow and change nothing. Anything else may be a name ("sir") or an hour.
    "PLAIN": r"(?= ?$| (?:i|im|ill|ive|id|we|were|you|youre|youve|its|and|or|because|bye|goodbye|so (?!early|late)|what"
    r"|stop|dont|no|never|seriously|every day|all the time|all day|off your|people|guys|now$|this is)\b)",
    "CALLERS": r"(?:you|people|guys|your company|this company|anyone|anybody|someone)",
    "THESE": r"(?: (?:with|all|of|the|these|those|this|your|any|anymore|more|other|making|sales|spam|phone))*",
}
_PATTERNS = r"""
    (take|remove|get|delete|strike|cross|scratch|drop|leave|erase|keep) me (LIST)
    (remove|delete|erase) mePLAIN
    (to|i) (be (taken|removed|deleted)|get|want) (LIST)
    (put|add|place|get|have|mark) me (\w+ )?(on|to|onto|in|as)( \w+){0,3} dont call
    unsubscribe(?! off (the|your|my|a) (newsletter|channel|email))
    (want|need|wish|i|and|how do i|can i) (to )?opt out
    (dont|never) (bother )?call(ing)?( me)?( CALLERS)? EVERFORGOOD
    (dont|never) call mePLAIN
    (stop|quit|cease|dont|no more|enough|tired of|sick of)( CALLERS)?THESE( CALLERS)? calling me( EVER)?PLAIN
    (stop|quit|cease) calling( EVER)?PLAIN
    (stop|quit|cease|no more|end)THESE (robo)?callsFORGOOD
    dont (want|need|wish)( to)?( get| receive| have)?THESE callsFORGOOD
    dont (want|need|wish) (to )?(be )?(called|contacted|bothered)( by CALLERS)?( EVERFORGOOD|PLAIN)
    dont want( CALLERS)* (to )?call(ing)? me( EVERFORGOOD|PLAIN)
    (dont|never) want to hear off CALLERS EVER
"""


def _compiled() -> re.Pattern[str]:
    patterns = "|".join(line.strip() for line in _PATTERNS.strip().splitlines())
    for name, words in _VOCABULARY.items():
        patterns = patterns.replace(name, words)
    return re.compile(rf"\b(?:{patterns})")


_ASKS = _compiled()
_SUBSTITUTIONS = [(re.compile(pattern), words) for pattern, words in _SYNONYMS]

_REPORTED = re.compile(
    r"\b(?:dont|didnt|not|never|doesnt|wont|shouldnt|(?:did|do|have|had|are|thought|when) you|(?:did|do|will|should) i"
    r"|(?:he|she|they|who|you) (?:said|says|told|asked))"
    r"(?: (?:want|need|have|had|ask\w*|say|said|tell|told|you|to|even|already|going|mean|me|him|her|them))* $"
)
"""Words in front of a demand with which the caller speaks about it, or demands the opposite."""
_COMPLAINT = re.compile(r"\b(?<!told )(?<!tell )(?<!asked )(?:you|they|he|she|we|nobody|people) $")
"""Words in front of "never call me" with which the caller complains that they are not called."""


def asks_not_to_be_called(text: str) -> bool:
    """
    Whether this is a plain demand in English, however recognition spells it.

    A limit ("don't call me before nine"), a name ("don't call me sir") or another list ("take me off the waiting list")
    make it a different demand. What is not plain is left to the language model.
    """
    words = text.lower().replace("’", "'")
    for pattern, replacement in _SUBSTITUTIONS:
        words = pattern.sub(replacement, words)
    words = words.strip()
    return any(_is_demand(words[: found.start()], found.group()) for found in _ASKS.finditer(words))


def _is_demand(before: str, asked: str) -> bool:
    complains = asked.startswith(("dont", "never")) and _COMPLAINT.search(before)
    return not complains and not _REPORTED.search(before)
