"""From text to the phonemes of a neural voice, with the place of each word in both."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise

from inference.voices.clause import SpokenUntil
from inference.voices.espeak_library import EspeakLibrary

_PHRASE = re.compile(r"[^,;:.!?…—]*(?:[,;:.!?…—](?![\s\"'”’»)\]]|$)[^,;:.!?…—]*)*[,;:.!?…—]*[\"'”’»)\]]*\s*")
"""Text up to a mark of punctuation that ends a phrase, and the marks and spaces behind it. "9.30" has none."""
_ENDS = ",;:.!?…—"
_CLOSERS = " \t\n\"'”’»)]"
_MARKS = {"…": ".", "—": ","}
"""The marks that voices do not know, and those that are spoken like them."""
_OPEN_END = ","
"""The mark of a text that ends without one: the sentence goes on, so its melody must not fall."""


@dataclass(frozen=True, slots=True)
class Phonemes:
    """The phonemes of a clause, one character each, with the marks of punctuation and spaces between words."""

    text: str
    words: tuple[SpokenUntil, ...]
    """For each word, how many of these characters end with it, and its end in the written text."""


def phonemes_of(
    text: str, library: EspeakLibrary, voice: str, *, convert: Callable[[str], str] = str, tie: str = ""
) -> Phonemes:
    """
    Return the phonemes of a clause in the voice of eSpeak NG. ``convert`` turns its IPA into another alphabet.

    eSpeak NG leaves out the marks of punctuation, which carry the melody, so each phrase is converted alone. Where it
    joins words ("in the") or divides them ("42"), the place of a word is estimated by how long it is alone.
    """
    spoken, words = "", list[SpokenUntil]()
    for match in _PHRASE.finditer(text):
        phrase = match[0]
        if not any(map(str.isalnum, phrase)):
            continue
        ipa = convert(library.phonemes(phrase, voice, tie=tie))
        if not ipa:
            continue
        spoken += " " if spoken else ""
        starts = len(spoken)
        written = [found.end() for found in re.finditer(r"\S*\w\S*", phrase)]
        ends = [found.end() for found in re.finditer(r"\S+", ipa)]
        if len(ends) != len(written):
            ends = _estimate(phrase, written, len(ipa), lambda word: convert(library.phonemes(word, voice, tie=tie)))
        spoken += ipa + _mark(phrase)
        words += (SpokenUntil(starts + end, match.start() + until) for end, until in zip(ends, written, strict=True))
    return Phonemes(spoken, tuple(words))


def _mark(phrase: str) -> str:
    last = phrase.rstrip(_CLOSERS)[-1:]
    return _MARKS.get(last, last) if last in _ENDS else _OPEN_END


def _estimate(phrase: str, written: list[int], length: int, convert: Callable[[str], str]) -> list[int]:
    """Return where the words end in ``length`` phonemes, by the number of phonemes that each has alone."""
    alone = [len(convert(phrase[begin:end])) or 1 for begin, end in pairwise((0, *written))]
    return [round(length * total / sum(alone)) for total in accumulate(alone)]
