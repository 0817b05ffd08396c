"""
The short words of a language by what they do: a data file for each language in ``lexicons``.

They say what a caller does who speaks over the agent. In a language without a file the length of what is said decides.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import chain, product

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*'?")
"""
A word. A hyphen separates two, so that "mm-hm" and "mm hm" are the same. An apostrophe separates none: "that's" and
"c'est" are one word.
"""
LONGEST_LISTED = 5
"""Words of the longest phrase in ``TABLES``: French "quatre-vingt-dix-sept" has four."""
_DRAWN = re.compile(r"([^\W\d_])\1{2,}")
_TYPOGRAPHY = str.maketrans("’‘ʼ´`", "'''''")

KINDS = (
    *("murmur", "nod", "agreement", "go_on", "thanks", "farewell", "closing", "presence", "hold"),
    *("objection", "refusal", "address"),
)
"""The lists of whole phrases. Each phrase belongs to one of them."""
OPENINGS = (
    *("thanks_for", "farewell_openings", "hold_openings", "correction_openings", "question_openings"),
    *("gives_time", "asks_for_number", "asks_who", "gives_name"),
    *("voicemail", "voicemail_signs", "screening", "screening_waits", "menu", "person"),
)
"""
The lists of phrases that other words may follow. "gives_time" and "asks_for_number" are what the agent says; the others
are what people and machines say who answer the telephone.
"""
_WORDS = ("not_only", "unfinished", "may_end", "unclear")
"""The lists of single words."""
TABLES = {
    "asks": (
        *(
            "request",
            "yes_or_no",
            "choice",
            "card",
            "five_digits",
            "digits",
            "telephone",
            "email",
            "date",
            "birth",
            "time",
        ),
        *("name", "full_name", "spelling", "address"),
    ),
    "dictation": (
        *("numbers", "digits", "tens", "teens", "hundreds", "thousands", "doubles", "triples", "joins", "at", "dot"),
        *("signs", "like", "case", "alphabet", "months", "days", "ordinals", "clock", "endings", "declines"),
        "telephone_digits",
    ),
    "pauses": ("hesitations", "openers"),
}
"""What the agent asks for, how people dictate, and what shows that a caller goes on."""
_SLOT = re.compile(r"\{(\w+)\}")


def words_of(text: str) -> tuple[str, ...]:
    """
    Return the words of a text in small letters, without punctuation. A long drawn "hmmmm" becomes "hmm".

    They have no accents, because recognition drops some: "sí" and "si" are the same word.
    """
    decomposed = unicodedata.normalize("NFD", text.casefold().translate(_TYPOGRAPHY))
    plain = "".join(character for character in decomposed if not unicodedata.category(character).startswith("M"))
    return tuple(_WORD.findall(_DRAWN.sub(r"\1\1", plain)))


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase that was found among the words of a text."""

    kind: str
    """The list it is from; empty for a word that is on none."""
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lexicon:
    """The lists of one language."""

    phrases: dict[tuple[str, ...], str]
    """The kind of each phrase on a list of ``KINDS``."""
    openings: dict[str, frozenset[tuple[str, ...]]]
    """The phrases of each list of ``OPENINGS``."""
    not_only: frozenset[str]
    """Words that show that a farewell is not only a farewell."""
    unfinished: frozenset[str]
    """Words with which a sentence does not end."""
    may_end: frozenset[str]
    """Those of them with which one ends now and then, so that the mark behind them counts."""
    unclear: frozenset[str]
    """Words that say, when they are asked, that the agent was not understood."""
    beginnings: dict[tuple[str, ...], str]
    """The kind of a phrase that begins with these words and goes on."""
    longest: int
    """The words of the longest phrase."""
    tables: Mapping[str, frozenset[tuple[str, ...]]]
    """The lists of ``TABLES``, each as "table.list"."""
    numbers: Mapping[tuple[str, ...], int]
    """The words for the numbers from 0 to 20."""

    def split(self, words: tuple[str, ...], *, unfinished: bool = False) -> list[Phrase]:
        """
        Split words into the phrases of the lists, the longest first, and single other words.

        ``unfinished``: the speaker is still speaking, so that the last words may be the beginning of a phrase.
        """
        found: list[Phrase] = []
        at = 0
        while at < len(words):
            if unfinished and (kind := self.beginnings.get(words[at:])):
                found.append(Phrase(self.phrases.get(words[at:], kind), words[at:]))
                break
            phrase = self._longest_phrase(words, at)
            found.append(phrase)
            at += len(phrase.words)
        return found

    def _longest_phrase(self, words: tuple[str, ...], at: int) -> Phrase:
        for end in range(min(len(words), at + self.longest), at, -1):
            if kind := self.phrases.get(words[at:end]):
                return Phrase(kind, words[at:end])
        return Phrase("", words[at : at + 1])

    def words_after(self, opening: str, words: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return what follows the longest phrase of this list of openings; None if the words begin with none."""
        for end in range(min(len(words), self.longest), 0, -1):
            if words[:end] in self.openings[opening]:
                return words[end:]
        return None

    def length_at(self, listed: str, words: tuple[str, ...], at: int) -> int:
        """Count the words of the longest phrase of this list of ``TABLES`` at a position; 0 if none stands there."""
        phrases = self.tables[listed]
        return next((n for n in range(min(LONGEST_LISTED, len(words) - at), 0, -1) if words[at : at + n] in phrases), 0)

    def has(self, listed: str, words: tuple[str, ...]) -> bool:
        """Whether a phrase of this list of ``TABLES`` is among the words."""
        return any(self.length_at(listed, words, at) for at in range(len(words)))

    def mentions(self, opening: str, words: tuple[str, ...]) -> bool:
        """Whether a phrase of this list of openings is among the words."""
        return any(self.words_after(opening, words[start:]) is not None for start in range(len(words)))


def _read_tables(content: dict[str, dict[str, str]]) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Take the tables out of a data file, each list in its order."""
    tables = {
        f"{table}.{name}": tuple(_phrases(listed, {}))
        for table in TABLES
        for name, listed in content.pop(table, {}).items()
    }
    return tables


def _phrases(listed: str, slots: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """
    The phrases of a list. ``{good}`` stands for each phrase of the slot of that name, "-" in a slot for no word.

    Raises ``ValueError`` if there is no such slot.
    """
    for part in listed.split(","):
        pieces = _SLOT.split(part)
        if unknown := set(pieces[1::2]) - set(slots):
            raise ValueError(f"no slot is called {', '.join(sorted(unknown))}")
        choices = [slots[piece].split(",") if at % 2 else [piece] for at, piece in enumerate(pieces)]
        # "-" has no words.
        for chosen in product(*[[words_of(choice) for choice in listed] for listed in choices]):
            if words := tuple(chain(*chosen)):
                yield words


def read_lexicon(text: str) -> Lexicon:
    """
    Read a data file. Raises ``ValueError`` if a list is missing or unknown, or a phrase stands in two lists.

    A phrase that is written out goes before the same phrase made of slots.
    """
    content = tomllib.loads(text)
    slots: dict[str, str] = content.pop("slots", {})
    tables = _read_tables(content)
    lists: dict[str, str] = content
    known = {f"{table}.{name}" for table, names in TABLES.items() for name in names}
    if unlike := {*lists, *tables} ^ {*KINDS, *OPENINGS, *_WORDS, *known}:
        raise ValueError(f"lists that are missing or unknown: {', '.join(sorted(unlike))}")
    phrases: dict[tuple[str, ...], str] = {}
    for made in (False, True):
        for kind in KINDS:
            listed = ",".join(part for part in lists[kind].split(",") if ("{" in part) is made)
            for words in _phrases(listed, slots):
                if phrases.setdefault(words, kind) != kind and not made:
                    raise ValueError(f"{' '.join(words)!r} stands in {phrases[words]} and in {kind}")
    openings = {name: frozenset(_phrases(lists[name], slots)) for name in OPENINGS}
    beginnings: dict[tuple[str, ...], str] = {}
    for words, kind in phrases.items():
        for end in range(1, len(words)):
            # What asks whether anybody is there comes first: it never takes a reply back.
            if kind == "presence" or words[:end] not in beginnings:
                beginnings[words[:end]] = kind
    return Lexicon(
        phrases=phrases,
        openings=openings,
        **{name: frozenset(word for words in _phrases(lists[name], slots) for word in words) for name in _WORDS},
        beginnings=beginnings,
        tables={name: frozenset(listed) for name, listed in tables.items()},
        numbers={words: value for value, words in enumerate(tables["dictation.numbers"])},
        longest=max(map(len, [*phrases, *(words for listed in openings.values() for words in listed)])),
    )


def lexicon_of(language: str) -> Lexicon | None:
    """Return the lists of a language such as ``en`` or ``en-GB``; None if there are none."""
    return _lexicon(re.split(r"[-_]", language.lower(), maxsplit=1)[0])


@cache
def _lexicon(name: str) -> Lexicon | None:
    file = files(__package__) / "lexicons" / f"{name}.toml"
    return read_lexicon(file.read_text(encoding="utf-8")) if name.isalpha() and file.is_file() else None
