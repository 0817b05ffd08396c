"""
The rules that find demands not to be called: "do not call me", "stop calling me", "take me off your list" and others.

Each rule looks for one kind of demand in words that ``media.turns.opt_out_words`` has reduced, and yields a weight for
each place where it finds one, 0 if the words there turn out to mean something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from media.turns.opt_out_clauses import (
    DONE,
    GOES_ON,
    ING,
    MODALS,
    NEW_CLAUSE,
    PLAIN_WEIGHT,
    PLURAL,
    POLITE_IF,
    SAID,
    STRONG_WEIGHT,
    THEY,
    TITLES,
    VERB,
    VOCATIVE,
    WEAK_WEIGHT,
    YOU,
    doubt_lead,
    ends,
    is_plural,
    lasts,
    sentence_of,
    weigh_calls,
    weigh_infinitive,
    weigh_lead,
    weigh_object,
    weigh_report,
)

# -- "do not call me" ------------------------------------------------------------------------------------------

_FORBIDDING = re.compile(
    r"(?P<before>.*?) (?:(?P<aux>do|does|did|must|may|shall|should|can|could|will|would|are|is|am|was|were|have|has|had"
    r"|might|need) )?(?P<neg>not|never)"
    r"(?P<inner>(?: (?:EVER|PLS|you|YOU|dare|BOTHER|be|keep|go|start|try|even|think|about|continue|to|supposed|allowed"
    rf"|meant|trying|and))*?) (?P<verb>{VERB}|{ING})(?= |$)(?! (?:{ING})| to (?:{VERB}))"
)


def _weigh_forbidding(said: str) -> Iterator[int]:
    position = 0
    while found := _FORBIDDING.match(said, position):
        before = said[: found.start("neg") if found["neg"] == "never" else found.end("before")]
        inner = found["inner"].split()
        ever = "EVER" in inner or (found["neg"] == "never" and found["verb"] != "CALL")
        never = found["neg"] == "never"
        weight = weigh_object(found["verb"], said[found.end() :], said=said, ever=ever)
        lasting = "EVER" in found["inner"] or lasts(said[found.end() :])
        lead = _weigh_never(before, inner) if never else _weigh_not(found["aux"], before, inner, found["verb"], lasting)
        yield min(weight, lead) - doubt_lead(before, ever=lasting)
        position = found.end() - len(found["verb"]) - 1


def _weigh_not(aux: str | None, before: str, inner: list[str], verb: str, lasting: bool) -> int:
    """Weigh who says "not" to whom; ``aux`` is the verb that it belongs to."""
    sentence = sentence_of(before)
    yours = re.search(rf"{YOU}$", sentence) is not None
    soft = re.search(rf"\b(?:rather|prefer|{POLITE_IF}|ensure|make sure|so(?: that)?|wish)\b", sentence)
    match aux:
        case "do" if "you" in inner and not {"dare", "EVER", "go", "think", "be"} & set(inner):
            return 0
        case "do":
            return _weigh_imperative(sentence, lasting)
        case "must" | "may" | "shall":
            return PLAIN_WEIGHT if yours else 0
        case "will":
            return (PLAIN_WEIGHT if lasting else STRONG_WEIGHT) if yours else 0
        case "should" | "can" | "could":
            return STRONG_WEIGHT if yours and "you" not in inner else 0
        case "are":
            return (PLAIN_WEIGHT if "to" in inner else WEAK_WEIGHT) if yours else 0
        case "does":
            return STRONG_WEIGHT if yours else 0
        case "did" | "would":
            return STRONG_WEIGHT if soft else WEAK_WEIGHT if lasting and "said" in sentence else 0
        case None:
            return _weigh_bare_not(sentence, inner, verb, lasting)
        case _:
            return 0


def _weigh_bare_not(sentence: str, inner: list[str], verb: str, lasting: bool) -> int:
    if "to" in inner:
        return weigh_infinitive(f"{sentence} to", own=PLAIN_WEIGHT)
    if verb.endswith("ING"):
        polite = re.search(r"\b(?:mind|prefer|suggest|appreciate|consider|about|recommend|you|YOU)$", sentence)
        return PLAIN_WEIGHT if polite else 0
    if re.search(rf"\b(?:can|could|will|would) {YOU}(?: PLS)*$|{YOU} (?:could|would)(?: PLS)*$", sentence):
        return PLAIN_WEIGHT if lasting else STRONG_WEIGHT
    if re.search(rf"\b(?:can|could|will|would|need|like|want|ask\w*) {YOU}\b.*\band$", sentence):
        return PLAIN_WEIGHT if lasting else STRONG_WEIGHT
    if re.search(r"\b(?:better|rather|said|say)$", sentence):
        return STRONG_WEIGHT
    return WEAK_WEIGHT if lasting and not re.search(r"\b(?:why|i|we)$", sentence) else 0


_NOT_ADDRESSED = frozenset("they he she who i we why KIN nobody".split())
"""Behind these words "do not call" is no order."""


def _weigh_imperative(sentence: str, lasting: bool = True) -> int:
    """Weigh the words in front of "do not call" or "never call": is there a subject, or is it an order?"""
    words = re.sub(r"(?: PLS| EVER)+$", "", f" {sentence}").split()
    if not words:
        return PLAIN_WEIGHT
    if said := SAID.search(" ".join(words)):
        return weigh_report(said)
    if words[-1] in ("you", "YOU"):
        asked = words[-2:-1] and words[-2] in (
            "request",
            "ask",
            "insist",
            "demand",
            "that",
            "prefer",
            "and",
            "now",
            "so",
        )
        return STRONG_WEIGHT if lasting or asked else 0
    if words[-1] in PLURAL | TITLES | _NOT_ADDRESSED:
        return 0
    return STRONG_WEIGHT if is_plural(words[-1]) else PLAIN_WEIGHT


def _weigh_never(before: str, inner: list[str]) -> int:
    sentence = sentence_of(before)
    if "to" in inner:
        return weigh_infinitive(f"{sentence} to", own=PLAIN_WEIGHT)
    if sentence.endswith(" to"):
        return weigh_infinitive(sentence, own=PLAIN_WEIGHT)
    if re.search(rf"{YOU} (?:must|should|may|will|can|shall|are to|better|need to|have to|would|could)$", sentence):
        return PLAIN_WEIGHT if not re.search(r"\b(?:said|promised|thought|why) you \w+$", sentence) else WEAK_WEIGHT
    if re.search(rf"\b(?:{MODALS}|{YOU})$", sentence):
        return 0
    if re.search(r"\b(?:am|is|are|was|were|been)$", sentence):
        return STRONG_WEIGHT if re.search(rf"{YOU} are$", sentence) else 0
    return _weigh_imperative(sentence)


# -- "I do not want any more calls" --------------------------------------------------------------------------

_ANY = (
    "(?:any|more|further|other|another|of|the|these|those|this|your|all|single|such|a|extra|additional|PLS|EVER|no"
    "|unwanted|unsolicited|constant|endless|automated|silent|nuisance|annoying|daily|random|sort|kind|type|no)"
)
_WISHES = re.compile(
    r"(?P<before>.*?) (?P<neg>(?:(?:do|would|can|could|will) not|no longer|never|not)(?: (?:EVER|PLS|be|to))*"
    r" (?:want|wanting|wish|wishing|like|care|expect|agree|consent|appreciate|accept|need|get|have|having|receive"
    r"|welcome|permit|allow|authori[sz]e|giving you permission|give you permission|make|making|place|send))(?: for)?"
    r" (?P<what>"
    rf"(?:(?:you|YOU|you or YOU)(?: EVER| PLS| to| be| keep| start)* (?P<theirs>{VERB}|{ING}))"
    rf"|(?:(?:to )?(?:be|get|being|getting)(?: EVER)* (?P<own>{DONE}))"
    r"|(?:(?:to )?(?:be )?(?:(?:get|getting|receive|receiving|have|having|take|taking|accept|accepting) )?"
    rf"(?:{_ANY} )*(?P<calls>CALLS))"
    r"|(?P<ing>CALLING|RINGING|BOTHERING)"
    r"|(?:(?:to )?be on (?P<list>\w+))"
    r"|(?P<hear>to hear from (?:you|YOU)(?: EVER)?))(?= |$)"
)


def _weigh_wishes(said: str) -> Iterator[int]:
    position = 0
    while found := _WISHES.match(said, position):
        before, following = said[: found.end("before")], said[found.end() :]
        position = found.start("neg")
        following = re.sub(rf"^ (?:by|from) {YOU}(?= |$)", "", following)
        ever = "EVER" in found["neg"] or "EVER" in found["what"] or "no longer" in found["neg"]
        lead = _weigh_wisher(sentence_of(before), found["neg"])
        if found["calls"]:
            weight = weigh_calls(following)
            if re.match(r" (?:about|regarding|to (?!ME|NUMBER))(?! (?:it|this|that|any|your)\w*)", following):
                weight = STRONG_WEIGHT
        elif found["list"]:
            weight = _LIST_WEIGHTS.get(found["list"], 0)
        elif found["hear"]:
            weight = PLAIN_WEIGHT if ever else WEAK_WEIGHT
        elif found["ing"]:
            weight = weigh_object(found["ing"], following, said=said, ever=ever, bare=STRONG_WEIGHT)
        else:
            weight = weigh_object(found["theirs"] or found["own"], following, said=said, ever=ever)
        yield min(weight, lead) - doubt_lead(before, ever=ever)


def _weigh_wisher(sentence: str, neg: str) -> int:
    """Weigh who does not want it."""
    words = sentence.split()
    if neg.endswith((" make", " making", " place", " send")):
        return _weigh_imperative(sentence) if neg.startswith(("do not", "never")) or not words else 0
    gets = re.search(r"(?:get|have|having|receive)$", neg) is not None
    if not words or words[-1] in ("i", "we", "and", "or", "but", "PLS", "both"):
        asks = words[-1:] in (["i"], ["we"]) and words[-2:-1] in (["can"], ["could"], ["did"])
        if gets and not asks:
            # "I did not get your call" says what happened.
            return STRONG_WEIGHT if neg.startswith(("will not", "can not", "would not")) else 0
        return PLAIN_WEIGHT if not gets else STRONG_WEIGHT
    if (
        gets
        and neg.startswith("not")
        and re.search(
            r"\b(?:prefer|like|want|wish|ask(?:ed|ing)?|rather"
            r"|request\w*)$",
            sentence,
        )
    ):
        return PLAIN_WEIGHT
    if gets or words[-1] in THEY or words[-1] in ("you", "YOU", "KIN"):
        return 0
    return STRONG_WEIGHT


_PASSIVES = re.compile(
    r"(?P<before>.*?) (?P<neg>(?:(?:is|are|am|do|does|must|should|may|shall|can) )?(?:not|never)(?: EVER| PLS)*"
    rf"(?P<to> to)?(?: EVER)*(?P<be> be| get)?(?: EVER)*) (?P<verb>{DONE})(?= |$)"
)


def _weigh_passives(said: str) -> Iterator[int]:
    """Weigh "this number is not to be called" and the like."""
    position = 0
    while found := _PASSIVES.match(said, position):
        position = found.end("neg")
        before, following = said[: found.end("before")], said[found.end() :]
        following = re.sub(rf"^ (?:by|from) {YOU}(?= |$)", "", following)
        sentence, neg = sentence_of(before), found["neg"]
        weight = weigh_object(found["verb"], following, said=said, ever="EVER" in neg)
        ever = "EVER" in neg or lasts(following)
        lead = _weigh_passive_lead(sentence, neg, to=found["to"] is not None, be=found["be"] is not None, ever=ever)
        yield min(weight, lead) - doubt_lead(before, ever=ever)


def _weigh_passive_lead(sentence: str, neg: str, *, to: bool, be: bool, ever: bool) -> int:
    """Weigh what is said about whom; ``to`` and ``be`` tell whether these words stand between "not" and "called"."""
    about_me = re.search(r"\b(?:NUMBER|HOME|NAME|THENUMBER)(?: \w+){0,4}$|\b(?:i|we|it|that)$", sentence) is not None
    ensures = re.search(r"\b(?:ensure|make sure|see to it|see|confirm|guarantee)(?: that)? \S+$", sentence)
    intended = re.search(r"\bso(?: that)? (?:i|we|it|NUMBER|HOME|THENUMBER)$", sentence)
    is_so = neg.startswith(("is", "are", "am", "do"))
    if (be and neg.startswith(("must", "may", "shall"))) or (to and is_so):
        return PLAIN_WEIGHT if about_me else 0
    if be and (to or sentence.endswith("rather")):
        return _weigh_request(sentence)
    if ensures and is_so:
        return PLAIN_WEIGHT
    if intended and (is_so or be):
        return STRONG_WEIGHT if ever else WEAK_WEIGHT
    return STRONG_WEIGHT if about_me and be and neg.startswith(("should", "can")) else 0


def _weigh_request(sentence: str) -> int:
    """Weigh the words in front of "not to be called"."""
    if re.search(
        r"\b(?:did|do|never|not|will|have you|had you)\b(?: \w+){0,3} (?:ask\w*|request\w*|want\w*)$", sentence
    ):
        return 0
    wants = (
        r"(?:want|wish|like|ask|asked|asking|request|requested|requesting|prefer|demand|need|expect|insist on|rather)"
    )
    if re.search(
        rf"\b(?:i|we|ME)\b(?: \w+){{0,4}} {wants}$|\b(?:my|our|formal) (?:\w+ )?(?:request|wish|right)$", sentence
    ):
        return PLAIN_WEIGHT
    return WEAK_WEIGHT


# -- "stop calling me" -----------------------------------------------------------------------------------------

_STOPPING = re.compile(
    r"(?P<before>.*?) (?P<stop>stop|quit|cease(?: and desist(?: from)?)?|desist from|discontinue|halt|knock off|lay off"
    r"|leave off|give over|give up|refrain from|pack in|cut out|end|cancel|no (?:more|further)|enough|avoid)"
    rf"(?P<inner>(?: (?:{_ANY}|it|with|all|making|sending|from|you|YOU|off|phone|trying|to|people))*?)"
    rf" (?P<verb>{ING}|CALLS|{VERB})(?= |$)"
)


def _weigh_stopping(said: str) -> Iterator[int]:
    position = 0
    while found := _STOPPING.match(said, position):
        position = found.end("stop")
        before, following, stop = said[: found.end("before")], said[found.end() :], found["stop"]
        inner = found["inner"].split()
        if found["verb"] in VERB.split("|") and "to" not in inner:
            continue
        if stop.startswith("no ") or stop == "enough":
            lead = _weigh_no_more(sentence_of(before), stop)
        else:
            lead = weigh_lead(before, own=WEAK_WEIGHT)
        if found["verb"] == "CALLS":
            weight = weigh_calls(following)
            if not inner and stop in ("stop", "end", "cancel", "avoid", "cut out", "give up"):
                weight = min(weight, STRONG_WEIGHT)
        else:
            alone = NEW_CLAUSE.match(following) is not None and not GOES_ON.match(following)
            weight = weigh_object(found["verb"], following, said=said, ever="EVER" in inner or alone)
        if re.search(r"\bhow(?: (?:can|do|could|would|to)(?: i| we)?)?$", before):
            # Whoever asks how to stop calls may mean the calls of others.
            meant = {"your", "these", "the", "you", "YOU"} & set(inner) or found["verb"] != "CALLS"
            weight = min(weight, WEAK_WEIGHT if meant else 0)
        yield min(weight, lead) - doubt_lead(before, ever=lasts(following))


def _weigh_no_more(sentence: str, stop: str) -> int:
    """Weigh the words in front of "no more calls"."""
    if re.search(r"\b(?:had|have|got|get|getting|received|since|been|has|with)$", sentence):
        return STRONG_WEIGHT if stop == "enough" else 0
    if re.search(r"\b(?:is|are|be|was|were|there|see|hear|hope|means?)$", sentence):
        return WEAK_WEIGHT
    return STRONG_WEIGHT if stop == "enough" else PLAIN_WEIGHT


# -- "take me off your list" -------------------------------------------------------------------------------------

_LIST_WEIGHTS = {
    "CALLLIST": PLAIN_WEIGHT,
    "YOURLIST": PLAIN_WEIGHT,
    "THELIST": STRONG_WEIGHT,
    "YOURDATA": STRONG_WEIGHT,
    "THEDATA": WEAK_WEIGHT,
    "MAILLIST": WEAK_WEIGHT,
}
"""The certainty, for each kind of list, that it is the one of people to be called."""
_LIST_NAMES = "|".join(_LIST_WEIGHTS)
_REMOVE = (
    "take|remove|get|delete|strike|cross|scratch|drop|erase|pull|knock|wipe|scrub|kick|rub|score|scrap|clear|purge"
    "|withdraw|pluck|bin|keep|leave|unlist|taking|removing|deleting|have|want|need|like"
)
_REMOVED = (
    "taken|removed|deleted|blocked|blacklisted|struck|stricken|crossed|scratched|dropped|erased|pulled|knocked|wiped"
    "|scrubbed|cleared"
)
_OFF = "(?:off|from|out)(?: (?:of|from|off))?"
_MINE = "(?:ME|NUMBER|NAME|THENUMBER|HOME|KIN|it)"
_LISTS = re.compile(
    rf"(?P<before>.*?) (?:(?P<active>{_REMOVE})(?: PLS)? (?P<mine>{_MINE})(?: and (?:{_MINE}|number))?"
    rf"(?: (?:{_REMOVED}))?|(?P<passive>(?:be|get|getting|being) (?:{_REMOVED})|(?:want|need)s? (?:removing"
    rf"|taking|deleting))|(?P<self>get|come|be|want|go)"
    rf"|(?P<nobody>remove|delete))(?: PLS| EVER| completely)* {_OFF}(?: PLS)* (?P<list>{_LIST_NAMES})(?= |$)"
)


def _weigh_lists(said: str) -> Iterator[int]:
    position = 0
    while found := _LISTS.match(said, position):
        before, following = said[: found.end("before")], said[found.end() :]
        position = found.end("before") + 1
        weight = _LIST_WEIGHTS[found["list"]]
        if re.match(r" (?:for|to|at|of)\b(?! (?:EVER|ME|good|CALLS|NUMBER|christ|god|goodness|crying))", following):
            weight = 0
        if found["mine"] in ("it", "KIN", "HOME") and found["list"] != "CALLLIST":
            weight = min(weight, STRONG_WEIGHT)
        if found["nobody"]:
            weight = min(weight, STRONG_WEIGHT)
        if weight == STRONG_WEIGHT and found["mine"] in ("ME", "NUMBER") and _supported(said):
            weight = PLAIN_WEIGHT
        wishes = found["passive"] or found["self"] or found["active"] in ("want", "need", "like")
        lead = _weigh_own_wish(before) if wishes else weigh_lead(before)
        yield min(weight, lead) - min(doubt_lead(before), PLAIN_WEIGHT - WEAK_WEIGHT)


def _weigh_own_wish(before: str) -> int:
    """Weigh the words in front of "be taken off your list"."""
    sentence = re.sub(r"(?: PLS| EVER)+$", "", f" {sentence_of(before)}")
    if re.search(r"\b(?:NUMBER|THENUMBER|NAME)(?: \w+){0,2} to$", sentence):
        return PLAIN_WEIGHT
    if re.search(r"\b(?:not|never)(?: \w+){0,3}$", sentence) or re.search(
        r"\b(?:he|she|they|who|KIN)\b[^.]{0,20}$", sentence
    ):
        return 0
    if sentence.endswith(" to"):
        return weigh_infinitive(sentence.strip(), own=PLAIN_WEIGHT)
    if re.search(r"\b(?:i|we)$", sentence):
        return PLAIN_WEIGHT if re.search(r"\b(?:can|could|may) (?:i|we)$", sentence) else STRONG_WEIGHT
    return STRONG_WEIGHT if re.search(r"\b(?:i|we|PLS)\b[^.]{0,20}$", sentence) or not sentence.strip() else 0


def _supported(said: str) -> bool:
    """Whether the words speak of unwanted calls besides."""
    return (
        re.search(r"CALLS|not interested|(?:not|never|stop|quit) (?:\w+ ){0,4}(?:CALL|RING|BOTHER|CALLED|RUNG)", said)
        is not None
    )


_DO_NOT_CALL = re.compile(
    rf"(?P<before>.*?) (?:(?P<put>put|add|place|get|stick|set|list|register|mark|have|include|enter|pop|bung|note|flag)"
    rf"(?: PLS)? (?P<mine>{_MINE})|(?P<wish>(?:want|like|wish|need|request|requesting|demand|asking|require)))"
    r"(?P<inner>(?: (?!\.|not|never|know|if|whether)\S+){0,6}?) DNC(?= |$)"
)


def _weigh_do_not_call_lists(said: str) -> Iterator[int]:
    if re.search(r"\b(?:if|whether|what|when|does|is there|years ago|used to|what happens)\b[^.]*DNC", said):
        return
    position = 0
    while found := _DO_NOT_CALL.match(said, position):
        before = said[: found.end("before")]
        position = found.end("before") + 1
        if found["put"]:
            yield min(weigh_lead(before), STRONG_WEIGHT if found["mine"] == "KIN" else PLAIN_WEIGHT)
        else:
            third = re.search(r"\b(?:he|she|they|you|not|never|who)(?: \w+)?$", sentence_of(before))
            yield 0 if third else PLAIN_WEIGHT
    if re.search(
        r"\b(?:i am|we are|NUMBER is|are|been|it is)(?: \w+){0,3} DNC|^ (?:on |PLS )*DNC (?:PLS |\. )*$", said
    ):
        yield WEAK_WEIGHT if not re.search(r"\b(?:does|do (?:you|i)|can|will|is it|is that)\b", said) else 0


# -- "opt me out", "delete my number" ---------------------------------------------------------------------------

_OPTING_OUT = re.compile(
    rf"(?P<before>.*?) (?:opt(?: (?P<mine>{_MINE}))? (?:out|off)|opting (?:out|off)|unsubscribe)(?= |$)"
)
_FROM_CALLS = re.compile(
    r" (?:(?:ME|NUMBER) )?(?:from |off |of |out )*(?:(?:all|any|the|these|your|this|that|further|marketing|phone) )*"
    r"(?:CALLS|CALLING|RINGING|CALLLIST|YOURLIST|THELIST|MAILLIST|NUMBER|this|it|everything|all of (?:it|this))(?= |$)"
)


def _weigh_opting_out(said: str) -> Iterator[int]:
    position = 0
    while found := _OPTING_OUT.match(said, position):
        position = found.end()
        before, following = said[: found.end("before")], said[found.end() :]
        sentence = sentence_of(before)
        if re.search(r"\b(?:not|never|what does|is there an?|if i|did i|press(?:ed)? \w+ to|does)$", sentence):
            continue
        following = re.sub(r"^(?: (?:ME|PLS|EVER))+(?= )", "", following)
        lead = max(weigh_lead(before), WEAK_WEIGHT if re.search(r"\b(?:i|we|to|how)\b", sentence) else 0)
        if _FROM_CALLS.match(following):
            yield min(lead, PLAIN_WEIGHT if re.search(r"CALLS|LIST", following) else STRONG_WEIGHT)
        elif ends(following) or (NEW_CLAUSE.match(following) and not _OFF_ANOTHER.match(following)):
            yield min(lead, STRONG_WEIGHT if found["mine"] else WEAK_WEIGHT)


_FORGET = (
    "remove|delete|erase|lose|bin|forget|scrub|wipe|ditch|dump|destroy|burn|scrap|block|blacklist|get rid of|rub out"
    "|strike|strike off|take|take off|take out|drop|cross|cross off|cross out|pull|get|tear up|throw away|trash|lost"
)
_NUMBERS = re.compile(
    rf"(?P<before>.*?) (?P<what>{_FORGET}|have|want|need|like) (?P<mine>NUMBER|THENUMBER|NAME|ME|HOME)(?P<done>"
    rf" (?:{_REMOVED}))?"
    r"(?P<off>(?: (?:off|out|down|away))?(?: (?:there|it|that|this|here|altogether|completely|entirely))?)(?= |$)"
)
_NEEDS_OFF = frozenset("take get cross pull drop strike".split())
"""These verbs remove something only with "off" or "out" behind it."""
_CAUSED = frozenset("have want need like".split())
"""With these verbs somebody else is to remove it: "I want my number deleted"."""
_OFF_ANOTHER = re.compile(r" (?:off|from|to|with|HOME|KIN|my|our)\b")
_UNCHANGING = re.compile(
    r"^(?: (?:EVER|PLS|then|today|tonight|as well|too|yeah|(?:on|at|from) your (?:end|side)))+(?= |$)"
)
"""Behind "take me off" these words leave open off what."""
_REPLACED = re.compile(r"\b(?:old|new|second|other|change|changed|update|instead|replace)\b")
"""Words that show that the number is to be corrected, not removed."""


def _weigh_numbers(said: str) -> Iterator[int]:
    """Weigh "delete my number" and "take me off", which do not say off what."""
    replaced = "OTHERLIST" in said or _REPLACED.search(said)
    position = 0
    while found := _NUMBERS.match(said, position):
        position = found.end("what")
        before, following = said[: found.end("before")], VOCATIVE.sub("", said[found.end() :], count=1)
        following = _UNCHANGING.sub("", following)
        what, off = found["what"], found["off"].strip()
        free = ends(following) or re.match(r" (?:from|off) (?:what\w*|where\w*|there|your \w+)", following)
        if not free and (not NEW_CLAUSE.match(following) or _OFF_ANOTHER.match(following)):
            continue
        if what in _CAUSED or found["done"]:
            if found["done"]:
                yield WEAK_WEIGHT
            continue
        from_there = re.match(r" from (?:what\w*|where\w*)", following)
        needs_off = found["mine"] in ("ME", "HOME") or (what in _NEEDS_OFF and not from_there)
        lift = what == "drop" and found["mine"] in ("ME", "HOME")
        if replaced or lift or (needs_off and not off):
            continue
        weight = PLAIN_WEIGHT if what == "lose" else STRONG_WEIGHT if off else WEAK_WEIGHT
        if weight == STRONG_WEIGHT and found["mine"] == "NUMBER" and _supported(said):
            weight = PLAIN_WEIGHT
        yield min(weight, weigh_lead(before, own=WEAK_WEIGHT)) - doubt_lead(before)


_ALONE = re.compile(
    r"\bleave (?:ME|NUMBER|HOME|KIN) (?:alone|be|in peace)\b(?! (?:with|for|until|while|when|in the|to))"
)
_NOT_ALONE = re.compile(r"\b(?:he|she|they|to|not|never|will|would)$")


def _weigh_alone(said: str) -> Iterator[int]:
    """Weigh "leave me alone"."""
    for found in _ALONE.finditer(said):
        before = said[: found.start()]
        if not _NOT_ALONE.search(sentence_of(before)):
            yield STRONG_WEIGHT - min(doubt_lead(before), STRONG_WEIGHT)


RULES = (
    _weigh_forbidding,
    _weigh_wishes,
    _weigh_passives,
    _weigh_stopping,
    _weigh_lists,
    _weigh_do_not_call_lists,
    _weigh_opting_out,
    _weigh_numbers,
    _weigh_alone,
)
"""All rules."""
