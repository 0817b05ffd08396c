"""Whether English words that seldom end a sentence do end it: "I'm not feeling well", "that's what I'm looking for"."""

from __future__ import annotations

from collections.abc import Sequence

_WH = frozenset("what when where who whom whose which why how what's where's who's that's".split())
_WHOLE_PAIRS = frozenset(
    (
        "i do,i am,i will,i would,i could,it is,they are,we are,you are,i don't,i can't,i did,it does,that is,who is,"
        "thank you,about you,with you,for you,help you,like that,over there,in there,very well,of may,in may,by may,"
        "not really,love to,happy to,i'd rather not,hope not,guess not,certainly not,of course not,why not,if not,"
        "me too,just because,since when,a while,just now,right now,call you,called you,see you,told you,tell you"
    ).split(",")
)
"""These pairs end a sentence, although their last word alone does not."""
_WHOLE_PAIRS_AT_THE_END = frozenset(
    (
        "are you,can i,do you,will you,is it,was it,is there,are there,i need,i want,i have,i can,i like,are they,"
        "it's not,i'm not"
    ).split(",")
)
"""These end a sentence behind other words only: "where are you" does, but "are you ..." has just begun."""
WHOLE_PAIRS = _WHOLE_PAIRS | _WHOLE_PAIRS_AT_THE_END
"""All of them: behind a yes or no, both kinds are whole."""
_BEGIN_QUESTIONS = frozenset(
    "is are was were do does did can could will would should may have what's where's who's when's how's".split()
)
_BEFORE = {
    "well": frozenset(
        "as very feeling feel felt going go goes went doing do did done works work working sleep sleeping slept eating "
        "quite pretty really too know speak hear unwell getting get it's me you that".split()
    ),
    "so": frozenset("think hope guess suppose believe say said told do did that is if not afraid even ever".split()),
    "like": frozenset("feel look taste sound you they we".split()),
    "anyway": frozenset("it that this them much more in out there thanks you".split()),
}
"""The words behind which these end a sentence; behind others they are hesitations."""
_WITH_PARTICLE = {
    "in": frozenset(
        "come comes came coming go going get log logged sign signed check checked checking drop call called move moved "
        "fill it that them bring pay live interested stay".split()
    ),
    "on": frozenset("go going goes come log hang carry move it that what's try turn put depend later so early".split()),
    "by": frozenset("come stop drop swing go get pass".split()),
    "about": frozenset("think forget it's".split()),
    "with": frozenset("to live deal".split()),
    "for": frozenset("pay paid".split()),
    "to": frozenset("listen spoken spoke talking speaking talk speak".split()),
}
"""Words that end a sentence together with the word before them: "come in", "turn it on"."""
_STRANDED = frozenset("to for with from about like need want have get do at in on of by into".split())
_PRONOUNS = frozenset("i you he she it we they that this there".split())
_AUXILIARIES = frozenset(
    "is are was were am be been would could should will can may might must do does did have has had".split()
)
_PROMISE = frozenset("like want need have going trying able used got wanted needed had".split())
"""Before "to", these promise a verb: "I would like to"."""


def ends_whole(words: Sequence[str]) -> bool:
    """Whether words whose last one seldom ends a sentence are likely to be whole. In small letters."""
    last, pair = words[-1], " ".join(words[-2:])
    before = words[-2] if len(words) > 1 else ""
    if pair in _WHOLE_PAIRS or " ".join(words[-3:]) in _WHOLE_PAIRS:
        return True
    if len(words) > 2 and pair in _WHOLE_PAIRS_AT_THE_END and words[-3] not in _BEGIN_QUESTIONS:
        return True
    if len(words) > 2 and (before in _BEFORE.get(last, ()) or before in _WITH_PARTICLE.get(last, ())):
        return True
    if last == "like":
        return any(word in ("what", "what's") for word in words[:-2]) and before not in _PRONOUNS
    if last == "to":
        return before in _PROMISE and any(word.endswith("n't") or word == "not" for word in words)
    # "I know where you are", "as soon as you can"
    clause = any(word in _WH or word in ("as", "if", "than", "wish") for word in words[:-2])
    return clause and before in _PRONOUNS and last in _AUXILIARIES


def is_stranded(words: Sequence[str]) -> bool:
    """
    Whether the last word may belong to one at the beginning: "that's what I'm looking for", "where do I go to".

    Only a mark tells, because something else may follow: "that's what I'm looking for in a hotel".
    """
    opens = next((at for at, word in enumerate(words) if word in _WH and word != "how"), None)
    return opens is not None and opens < len(words) - 2 and words[-1] in _STRANDED


def promises_verb(words: Sequence[str]) -> bool:
    """Whether a verb must follow, whatever the mark: "I would like to"."""
    return len(words) > 1 and words[-1] == "to" and words[-2] in _PROMISE
