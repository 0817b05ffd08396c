"""
Weighs what stands around a demand not to be called: who is called and when, behind it, and who asks for it, in front.

All text here is as ``media.turns.opt_out_words`` leaves it.
"""

from __future__ import annotations

import re

PLAIN_WEIGHT = 3
"""All parts of a demand are there, and nothing speaks against it."""
STRONG_WEIGHT = 2
"""One part is missing or doubtful, and most who say this want no calls."""
WEAK_WEIGHT = 1
"""The words may well mean something else."""

YOU = "(?:you|YOU)"
"""Those whom the caller speaks to."""

# -- what follows the verb -----------------------------------------------------------------------------------

VERB = "CALL|RING|BOTHER"
"""The verbs for what is done to those who want no calls, also in the two forms below. Only "call" can give a name."""
ING = "CALLING|RINGING|BOTHERING"
DONE = "CALLED|RUNG|BOTHERED"
_OBJECT = re.compile(
    r"(?P<or>(?: (?:or|and|nor) (?:text|texting|email|emailing|e mail|write|writing|message|messaging"
    rf"|{VERB}|{ING}))*)"
    r"(?P<whom> (?:ME|NUMBER|HOME|NAME|KIN|THENUMBER|here|it))?"
    r"(?P<via>(?: (?:on|at|to|with) (?:ME|NUMBER|HOME|KIN|THENUMBER|it)| (?:looking |asking )?for (?:him|her"
    r"|them|KIN))?)"
    r"(?P<back> back)?"
    r"(?P<rest>(?: EVER| PLS| (?:with|by) (?:CALLS|CALLING|RINGING)| (?:by|over|on|via) (?:the )?(?:tele)?phone)*)"
    r"(?= |$)"
)
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday|weekend|weekday"
LIMIT = re.compile(
    r" (?:(?:EVER|about \w+|with \w+) )?(?:before|till?|until|unless|except|between|during|while|whilst|when"
    r"|whenever|if"
    r"|after|at(?! (?:all|this|that|ME))|today|tonight|tomorrow|later|early|late|so (?:early|late|often)|too|yet"
    r"|without|by(?! phone)|past|over the|first thing|next|mornings|evenings|nights|weekends"
    rf"|on (?:a |the |my )?(?:{_DAYS}|work|holiday|christmas|phone)|(?:{_DAYS})s?"
    r"|(?:in|this|every other) (?:the )?(?:morning|afternoon|evening|night|week|month|middle|next|summer|winter|an?)"
    r"|for (?:a|an|the next|another|now|about|\w+ (?:days|weeks|months|hours|minutes))|as (?:i|we|it)|because of)\b"
)
"""A time, a condition or an occasion: the caller may be called otherwise."""
NEW_CLAUSE = re.compile(
    r" (?:\.|text|email|message|write|send|use|any(?:time| time| day)?|i|we|you|YOU|your|and|or|but|because"
    r"|since i|it is|this is|that is|there"
    r" is|is (?:that|this)|bye|goodbye"
    r"|thanks|thank|ta|cheers|ok|okay|alright|right|now|PLS|what|why|who|how|do|did|have|stop|never|no|not|nor|yes"
    r"|yeah|yep|yup|ya|innit|eh|huh|though|(?:will|would|can|could) you|christ|god"
    r"|every|all (?:day|the|of)|constantly|off|from|to|with|out|put|take|leave|let|go|get|my|our|HOME|KIN|NUMBER|they"
    r"|he|she|got|understand|understood|end of|full stop|period|so (?!early|late|often)|for (?:christs?|gods?|heavens?"
    r"|crying|EVER)|are|look|listen|hear|goddamn|jesus|about|regarding|over|like i|as)\b"
)
"""Words that begin something new after a demand and leave it whole."""
_NAMES = re.compile(
    r" (?:a|an|the|that|names|sir|maam|madam|mam|miss|missus|mister|mr|mrs|love|darling|dear|honey|mate|buddy|bro|pal"
    r"|bob|stupid|mad|crazy|urgent|by (?:my|NAME))\b"
)
"""After "call me" these words say as what."""
_CORRECTION = re.compile(
    r"(?: (?!\w+ing\b)\w+){1,2}(?: EVER)?(?: \.)? (?:NAME\b|(?:the|my) name|i prefer|i go by|nobody|no one"
    r"|i am (?:an? |mr|mrs|miss|ms|doctor|called|\w+ (?:\.|$)|\w+$)"
    r"|it is (?!the|an?\b|not|so|too|late|getting|been|every|my|your|driving)\w+)"
)
"""After "call me" these words say as what, and what is right instead."""
_THING = re.compile(
    r" (?:that|those|the(?! (?:house|home|office|landline|mobile)\b)|them|him|her|his|their|any|some|every|such)\b"
)
"""Behind "never call" these words say who is called instead of the caller."""
VOCATIVE = re.compile(r"^ (?:man|buddy|mate|pal|love|sir|madam|darling|dear|dude|bro|boss|mister|friend|son|hon)\b")
"""Words by which the caller addresses somebody. Behind "call me" they may be names."""
GOES_ON = re.compile(r" (?:off|out|to|with|over|my|our|your|HOME|KIN|NUMBER|all|get)\b")
"""Behind a verb without an object these words belong to it: "do not ring off"."""


_STILL_CALLS = re.compile(r" (?:EVER|here|all|of any|by|stopped|at)\b")
"""Behind "calls" these words leave open which calls are meant."""
_SOME_CALLS = re.compile(r" (?:to|with|for|from|on|about) (?!ME|NUMBER|HOME|you|YOU|it|this|that|any|your)")
"""Behind "calls" these words say which ones."""


_WITHOUT_NAME = frozenset("NUMBER HOME here".split())
"""What is called by telephone, and hardly ever by a name."""


def ends(rest: str) -> bool:
    """Whether the sentence ends here."""
    return rest.strip() == "" or rest.startswith(" .")


def weigh_object(verb: str, following: str, *, said: str, ever: bool = False, bare: int = PLAIN_WEIGHT) -> int:
    """
    Weigh who is called, and what limits it, in the words that follow a verb.

    ``ever``: "again" or the like stood before the verb. ``bare``: the weight if nothing follows.
    """
    found = _OBJECT.match(following)
    if found is None:
        return 0
    rest = following[found.end() :].rstrip()
    whom = (found["whom"] or "").strip()
    nameable = verb.startswith("CALL") and whom not in _WITHOUT_NAME
    if not nameable:
        rest = VOCATIVE.sub("", rest, count=1)
    ever = ever or "EVER" in found["rest"]
    if LIMIT.match(rest) or (whom == "NAME" and verb.startswith("CALL")):
        return 0
    weight = _weigh_whom(whom, bothers=verb.startswith("BOTHER"), ever=ever, said=said)
    if not whom and not found["via"]:
        if verb in ("BOTHER", "BOTHERING"):
            return 0
        if not ever:
            alone = NEW_CLAUSE.match(rest) and not GOES_ON.match(rest)
            weight = bare if ends(rest) else min(bare, STRONG_WEIGHT) if alone else 0
            if re.match(r" about (?:it|this|that)\b", rest):
                weight = WEAK_WEIGHT
        elif _THING.match(rest):
            return 0
    elif "EVER" not in found["rest"] and not found["via"] and not ends(rest) and not NEW_CLAUSE.match(rest):
        short = len(rest.split(".")[0].split()) <= 2
        named = verb.startswith("CALL") and (_NAMES.match(rest) or (nameable and (short or _CORRECTION.match(rest))))
        weight = 0 if named else min(weight, WEAK_WEIGHT if verb.startswith("CALL") and not nameable else STRONG_WEIGHT)
    if not ever and re.match(r" on (?:the|my|that) ", rest):
        weight = min(weight, WEAK_WEIGHT)
    if found["back"] and not ever:
        weight = min(weight, STRONG_WEIGHT)
    if re.match(r" (?:about|regarding|over)(?! (?:it|this|that|any\w*|your|these|those|EVER)\b)", rest):
        weight = min(weight, STRONG_WEIGHT)
    return weight


def weigh_calls(following: str) -> int:
    """Weigh what follows "calls": which calls, and when?"""
    if LIMIT.match(following):
        return 0
    if not ends(following) and not NEW_CLAUSE.match(following) and not _STILL_CALLS.match(following):
        return WEAK_WEIGHT
    return STRONG_WEIGHT if _SOME_CALLS.match(following) else PLAIN_WEIGHT


def _weigh_whom(whom: str, *, bothers: bool, ever: bool, said: str) -> int:
    if whom == "it":
        known = re.search(r"NUMBER|DNC|\b(?:line|phone|landline|mobile|cell)\b", said)
        return PLAIN_WEIGHT if known else WEAK_WEIGHT if ever else 0
    if whom in ("THENUMBER", "KIN") and not ever:
        return WEAK_WEIGHT
    if whom in ("KIN", "THENUMBER") or (bothers and whom == "ME" and not ever):
        return STRONG_WEIGHT
    return PLAIN_WEIGHT


def lasts(following: str) -> bool:
    """Whether the words behind a verb say that it holds for ever."""
    found = _OBJECT.match(following)
    return found is not None and "EVER" in found["rest"]


# -- what stands in front of the demand --------------------------------------------------------------------------

MODALS = "must|should|can|could|will|would|may|might|shall"
THEY = frozenset("they he she it who which".split())
"""Words for third persons."""
_CAUSES = frozenset("make makes making let lets help get see hear did does do will would can could should why".split())
"""Behind these words a third person may be the subject of a verb: "make it stop"."""
TITLES = frozenset("song film movie book track tune album single sings sang".split())
"""Behind these words a demand is the title of a work: "the song Don't Call Me Angel"."""
PLURAL = frozenset("people kids children men women guys folks drivers doctors nurses".split())
_NO_PLURAL = frozenset(
    "this thus yes thanks us is was as his hers theirs times christmas business lists calls days weeks months always"
    " guess pass address less unless plus perhaps access process class interests cards ours ss gas bus news".split()
)
"""Words that end like a plural and are no subject of a verb."""
_GOVERNOR = re.compile(
    r"(?P<before>.*)\b(?P<verb>wants?|wanted|needs?|like|asks?|asking|asked|tells?|telling|told|request\w*|order\w*"
    r"|instruct\w*|direct\w*|demand\w*|beg\w*|require\w*|warn\w*|advis\w*|expect\w*|have|has|got|going|ought|supposed"
    r"|wish|prefer|love|trying|urge\w*|remind\w*|get|getting|said|saying|say|right|notice|mean|meant|try|hoping|hope"
    r"|allowed|permission|promised?|better)(?P<object>(?: \S+){0,4}?) to$"
)
_ADVERBS = frozenset(
    "PLS EVER nicely politely repeatedly now before today once twice three four five six ten several many times time"
    " to".split()
)
"""Words that do not say whom something is asked of."""
SAID = re.compile(
    r"(?P<who>\S+)(?: (?:have|had|has|am|is|are|already|clearly|EVER|PLS))* (?P<verb>said|says?|saying|told"
    r"|tells?|telling"
    r"|asked|asking|wrote|shouted|thought)(?P<whom>(?: (?!to\b)\S+){0,4})$"
)


_NEGATED = re.compile(
    r"\b(?:(?!tomorrow|today|no\b|or\b|interested)\w+ not|never)(?: (?:to|be|even|want|need|ask\w*|say|said))*$"
)
"""The caller says that something is not to be done, or was not asked for."""


LONGEST_LEAD = 200
"""Characters in front of a demand that are read. Without full stops nothing tells where its sentence begins."""


def sentence_of(before: str) -> str:
    """The part of the words in front that belongs to the sentence of the demand."""
    sentence = before[-LONGEST_LEAD:].rpartition(" . ")[2]
    return sentence.strip() if len(before) <= LONGEST_LEAD else sentence.partition(" ")[2].strip()


def weigh_infinitive(before: str, *, own: int) -> int:
    """
    Weigh who wants it from whom in the words in front of "to stop", "to take me off" or "not to call".

    ``own``: the weight if the caller wants to do it, as in "I want to come off your list".
    """
    found = _GOVERNOR.search(before)
    if found is None:
        return WEAK_WEIGHT
    addressed = re.sub(r"\bfor the \w+ time\b", "", found["object"])
    addressed = " ".join(word for word in addressed.split() if word not in _ADVERBS)
    if re.search(r"\b(?:not|never)(?: \w+){0,2}$", found["before"].strip()):
        return 0
    if re.search(rf"\b{YOU}\b", addressed):
        own_words = re.search(r"\b(?:i|we|have|ME)\b", found["before"][-20:]) or found["verb"] not in ("told", "asked")
        return PLAIN_WEIGHT if own_words else WEAK_WEIGHT
    if addressed in ("them", "someone", "somebody") or re.search(r"\b(?:last|other|your)\b", addressed):
        return WEAK_WEIGHT
    if addressed:
        return 0
    subject = " ".join(found["before"].split()[-4:])
    if re.search(rf"\b{YOU}\b", subject) and not re.search(r"\b(?:if|when|did|do|until) (?:you|YOU)\b", subject):
        return PLAIN_WEIGHT
    if re.search(r"\b(?:i|we|both|ME)\b", subject) or not subject:
        return own
    return 0


def weigh_lead(before: str, *, own: int = PLAIN_WEIGHT) -> int:
    """
    Weigh the words in front of a verb that says what is to be done: an order, a request, or something else?

    ``own`` is as for ``weigh_infinitive``.
    """
    before = re.sub(r"(?: PLS| EVER| now| then)+$", "", f" {sentence_of(before)}").strip()
    words = before.split()
    if not words or re.search(rf"\bwhy do not {YOU}$", before):
        return PLAIN_WEIGHT
    if re.search(rf"\b(?:can|could|will|would) {YOU} not$|\bif {YOU} (?:do|can|will) not$", before):
        return STRONG_WEIGHT
    if _NEGATED.search(before):
        return 0
    if re.search(rf"{YOU}$", before):
        return _weigh_your_doing(" ".join(words[:-1]))
    if words[-1] == "to":
        return weigh_infinitive(before, own=own)
    if said := SAID.search(before):
        return weigh_report(said)
    if re.fullmatch(f"{MODALS}|better|does|did", words[-1]):
        if re.search(rf"{YOU}(?: \w+)?$", " ".join(words[:-1])):
            return _weigh_your_doing(" ".join(words[:-2]))
        return 0
    if words[-1] in ("i", "we"):
        asks = words[-2:-1] and words[-2] in ("can", "could", "may")
        return min(own, STRONG_WEIGHT) if asks or "how" in words[-4:] else 0
    if words[-1] in TITLES:
        return 0
    if words[-1] in THEY and (words[-1] == "they" or (words[-2:-1] and words[-2] in _CAUSES)):
        return 0
    return STRONG_WEIGHT if is_plural(words[-1]) else PLAIN_WEIGHT


def is_plural(word: str) -> bool:
    """The word may be the subject of the verb behind it: "the drivers call"."""
    return word in PLURAL or (word.islower() and len(word) > 3 and word.endswith("s") and word not in _NO_PLURAL)


def _weigh_your_doing(before: str) -> int:
    """Weigh the words in front of "you" as the subject: "will you", "did you", "when you"."""
    if re.search(
        r"\b(?:did|do|have|had|has|when|until|before|once|unless|after|are|were|what|where|who|time)$", before
    ):
        return 0
    if re.search(r"\b(?:if|said|promised|thought|when will|told ME)$", before):
        return WEAK_WEIGHT
    return PLAIN_WEIGHT


def weigh_report(said: re.Match[str]) -> int:
    """Weigh words such as "I told you" and "she said" in front of a demand."""
    whom = said["whom"].split()
    whom = [word for word in whom if word not in _ADVERBS]
    if said["who"] in ("i", "we", "to"):
        if {"you", "YOU"} & set(whom):
            return PLAIN_WEIGHT
        if not whom or whom[0] in ("you", "YOU", "stop", "no", "not") or said["verb"] in ("said", "say", "saying"):
            return PLAIN_WEIGHT
        return WEAK_WEIGHT
    # Only words that follow at once are what was said.
    return 0 if len(whom) <= 1 else PLAIN_WEIGHT


POLITE_IF = r"(?:grateful|appreciate(?: it)?|kind|nice|glad|happy|delighted|obliged|better|great|mind|good|love it)"


def doubt_lead(before: str, *, ever: bool = False) -> int:
    """The weight that a condition or an occasion in front of a demand takes off."""
    sentence = re.sub(rf"\b{POLITE_IF} if {YOU}|\bif {YOU} (?=could|would)", "you ", sentence_of(before))
    sentence = " ".join(sentence.split()[-12:])
    if re.search(r"\b(?:when|while) (?:i|we) (?:said|asked|told|was|am)\b", sentence):
        return 2
    if re.search(r"\b(?:unless|in case|whenever|supposing|provided)\b", sentence):
        return 2 if ever else 3
    for found in re.finditer(r"(?P<lead>\S+ )?\bif (?P<who>\S+)", sentence):
        if (found["lead"] or "").strip() in (
            "know",
            "see",
            "wonder",
            "wondering",
            "care",
            "matter",
            "even",
            "as",
            "mind",
        ):
            continue
        if found["who"] in ("you", "YOU"):
            return 1
        return 2 if ever else 3
    occasion = r"\b(?:when|while|whilst|until|till|once|after|before) (?:i|we|it|the|KIN|he|she|they|you)\b"
    return 1 if re.search(occasion, re.sub(r"\bbefore you (?:start|begin|go|say)", "", sentence)) else 0
