"""Reads whether the caller says yes or no when asked whether their number is to be taken off the list."""

from __future__ import annotations

import re
from enum import Enum

from media.turns.labels import Label, label_words
from media.turns.lexicon import lexicon_of
from media.turns.opt_out import Demand, judge_opt_out


class Answer(Enum):
    """The caller's answer to the question. The values go on record."""

    YES = "yes"
    """They agree, or demand it again."""
    NO = "no"
    GOODBYE = "goodbye"
    """They say only goodbye, which leaves the question open."""
    OTHER = "other"
    """They say something else: a question, or words that agree and object."""


_ENGLISH = lexicon_of("en")
_FILLERS = re.compile(r"^(?:(?:u[hm]+(?! huh)|er+m?|ah|oh|well|look|listen|so|and|hey|hello|sorry|jesus|god|christ) )+")
_YES = re.compile(
    r"(?:yes+|yeah+|yea|yep|yup|yah?|aye|ye|sure(?: thing)?|ok|okay|all ?right|of course|course (?:i do|you should)"
    r"|go (?:ahead|on|for it)(?: then)?|please(?: do| yes)?|(?:you )?(?:just )?do (?:it|that|so)|absolutely|definitely"
    r"|certainly|exactly|precisely|correct|indeed|obviously|affirmative|(?:too|damn|bloody|that is) right|right"
    r"|i (?:do|would|did|want (?:it|that|you to))|if you (?:would|could|can|do not mind)"
    r"|that (?:is|would be) (?:\w+ )?(?:great|good|lovely|grand|perfect|fine|it|nice|appreciated|correct"
    r"|what i (?:want|said|asked|mean|am asking))"
    r"|you (?:bet|got it|heard me)|what (?:do|did) you think|u+h? ?huh|m+ ?h+m+|by all means|fine)\b"
)
_NO = re.compile(
    r"(?:no+|nope|nah|naw|not (?:at all|that|really|me|yet|now)|do not|of course not|never ?mind|leave (?:it|me on)"
    r"|keep|i (?:do|would|did) not(?! (?:know|care))|that is not|(?:absolutely|definitely|certainly) not"
    r"|there is no need)\b"
)
_CONTRARY = re.compile(
    r"\b(?:no|nope|not|but|only|wait|actually|except|instead|unless|if|or|hang on|hold on|mean|meant)\b"
)
"""Behind a yes these words take some of it back."""
_ON_THE_MATTER = frozenset(
    """
    yes yeah please i you we me us my our your the this that it its them do does did would will could can want like
    need to take takes taken remove removed delete off from out of list number phone name call calls calling ring
    ringing bother bothering again anymore ever stop now right today immediately straight away so much very just all
    everything everyone as well too and a is am are be have has had been was asked ask told tell said say saying before
    already three four five ten several many times time long enough thank thanks sir madam love mate god gods sake
    heavens christs for good bloody damn fucking great lovely grand perfect fine sick tired fed up sure absolutely
    definitely okay ok what exactly correct course quickly soon possible finally never thats im ive id
    """.split()
)
"""Words of which a longer yes consists. A word that is not among them may begin something else."""
_STRAY_WORDS = 1
"""A yes may have one word that is not among them: a name, or a word that was recognised wrongly."""
_OPEN_QUESTION = re.compile(r"\b(?:what|when|who|where|why|how|which)\b(?! (?:i|we) )")


def judge_answer(text: str) -> Answer:
    """Judge what the caller says to the question."""
    judgement = judge_opt_out(text)
    if judgement.demand is Demand.PLAIN:
        return Answer.YES
    words = _FILLERS.sub("", f"{_plain(text)} ").strip() or _plain(text)
    if _NO.match(words):
        return Answer.NO if not re.search(r"\b(?:yes|yeah)\b", words) else Answer.OTHER
    if judgement.likely:
        return Answer.YES
    agreed = _YES.match(words)
    if agreed is None:
        return Answer.GOODBYE if label_words(words, _ENGLISH) is Label.FAREWELL else Answer.OTHER
    rest = words[agreed.end() :]
    strays = [word for word in rest.split() if word not in _ON_THE_MATTER]
    if _CONTRARY.search(rest) or _OPEN_QUESTION.search(rest) or len(strays) > _STRAY_WORDS:
        return Answer.OTHER
    return Answer.YES


def _plain(text: str) -> str:
    """The words in lower case, without punctuation and with contractions written out."""
    words = text.lower().replace("’", "'")
    words = re.sub(r"\b(do|did|would|could|is|does)n'?t\b", r"\1 not", words)
    words = re.sub(r"\b(that|it|what)'?s\b", r"\1 is", words)
    words = re.sub(r"\b(i)'?d\b|\b(that|you)'d\b", r"\1\2 would", words)
    return " ".join(re.findall(r"[\w]+", words.replace("'", "")))
