"""Judges by the first words on an outbound call who has answered it."""

from __future__ import annotations

from media.turns.lexicon import Lexicon, words_of

_GREETS = frozenset(("presence", "nod", "agreement", "murmur", "go_on", "address"))
"""The kinds of phrases that a hello is made of: "hello", "yes?", "mm-hm", "go ahead"."""
LONGEST_NAME = 4
"""Words of a name or a company's name in a hello: "Acme Dental, Julie speaking" has three."""
LONGEST_WITHOUT_LIST = 2
"""Words that are taken for a hello in a language without lists."""


def is_hello(text: str, lexicon: Lexicon | None, *, unfinished: bool = False) -> bool:
    """
    Whether these words answer the telephone and no more: a hello, a name, or a question who is calling.

    The greeting of the agent is the answer to them. ``unfinished``: the speaker is still speaking, so that "who" may be
    the beginning of "who is this?".
    """
    words = words_of(text)
    if lexicon is None:
        return 0 < len(words) <= LONGEST_WITHOUT_LIST
    names = 0
    says_name = complete = False
    capitals = _capitalised(text)
    while words:
        if unfinished and any(words == asked[: len(words)] for asked in lexicon.openings["asks_who"]):
            return True
        phrase = lexicon.split(words)[0]
        asked, named = lexicon.words_after("asks_who", words), lexicon.words_after("gives_name", words)
        rest = min((after for after in (asked, named) if after is not None), key=len, default=words)
        if phrase.kind and len(phrase.words) >= len(words) - len(rest):
            if phrase.kind not in _GREETS:
                return False
            complete, rest = True, words[len(phrase.words) :]
        elif rest is not words:
            says_name |= rest is named
            complete = rest is asked or words[len(words) - len(rest) - 1] not in lexicon.unfinished
        else:
            if words[0] in lexicon.unfinished or (capitals is not None and words[0] not in capitals):
                return False
            complete, names, rest = True, names + 1, words[1:]
        words = rest
    return complete and names <= (LONGEST_NAME if says_name or capitals is not None else 1)


def _capitalised(text: str) -> frozenset[str] | None:
    """The words that are written with a capital letter; None if recognition writes none."""
    found = frozenset(word for token in text.split() if token[:1].isupper() for word in words_of(token))
    return found or None
