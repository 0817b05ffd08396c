"""Abbreviations, titles and streets in English. Initials and acronyms stay as they are."""

from __future__ import annotations

import re

from media.spoken.english.context import is_counted
from media.spoken.english.numerals import digits, house, ordinal
from media.spoken.spans import Match, Rule, Start, full_stop, rule, text_before

_TITLES = """
Dr Doctor | Mr Mister | Mrs Missus | Ms Ms | Mx Mix | Prof Professor | Rev Reverend | Fr Father | Hon Honorable
Gen General | Col Colonel | Maj Major | Capt Captain | Cpt Captain | Lt Lieutenant | Sgt Sergeant | Cpl Corporal
Pvt Private | Adm Admiral | Cmdr Commander | Sen Senator | Rep Representative | Gov Governor | Pres President
Supt Superintendent | Insp Inspector | Det Detective | Messrs Messieurs | Mme Madame | Mlle Mademoiselle | St Saint
Mt Mount | Ft Fort | Pt Point | Sr Senior | Jr Junior
"""
_STREETS = """
St Street | Ave Avenue | Av Avenue | Rd Road | Blvd Boulevard | Ln Lane | Hwy Highway | Pkwy Parkway | Dr Drive
Ct Court | Pl Place | Sq Square | Ter Terrace | Cir Circle | Trl Trail | Fwy Freeway | Expy Expressway | Tpke Turnpike
"""
_HOUSED = (
    "[Rr]oom|[Rr]m|[Ss]uite|[Ss]te|[Aa]partment|[Aa]pt|[Ff]light|[Bb]us|[Rr]oute|[Rr]te|[Hh]ighway|[Hh]wy|[Ff]orm"
    "|[Cc]hannel|[Bb]ox"
)
"""What is numbered like houses: "room 407" is said as room four oh seven."""
_ROOMS = """
Apt apartment | Hwy Highway | Rt Route | Rte Route | Ste suite | Rm room | Fl floor | Ext extension | ext extension
Bldg building | Unit unit | apt apartment | p page | pp pages | P page | vol volume | Vol volume | ch chapter
Ch chapter | sec section | Sec section | fig figure | Fig figure | ver version | lot lot | tel telephone
Tel telephone | art article | Art article | para paragraph
"""
_SHORT = """
e.g. for example | eg. for example | i.e. that is | ie. that is | etc. et cetera | etc et cetera | vs. versus
vs versus | v.s. versus | approx. approximately | appt. appointment | appts. appointments | dept. department
depts. departments | a.k.a. also known as | aka also known as | Inc. Incorporated | Ltd. Limited | Co. Company
Corp. Corporation | Bros. Brothers | Jr. Junior | Sr. Senior | Esq. Esquire | est. estimated | max. maximum
min. minimum | avg. average | misc. miscellaneous | incl. including | excl. excluding | govt. government
mgr. manager | mgmt. management | asst. assistant | assoc. associate | attn. attention | attn: attention:
acct. account | acct account | thru through | dist. district | tel. telephone | temp. temperature | ext. extension
qty. quantity | ref. reference | res. reservation | reg. regular | req. required | w/o without | w/in within
b/c because | b/w between | c/o care of | n/a not applicable | et al. and others | cf. compare | ca. about
viz. namely | N.B. note well | Univ. University | Assn. Association | Intl. International | Natl. National
Mfg. Manufacturing | yrs. years | yr. year | mos. months | wks. weeks | hrs. hours | hr. hour | mins. minutes
secs. seconds | lbs. pounds | and/or and or | he/she he or she | she/he she or he | his/her his or her
him/her him or her | s/he she or he | yes/no yes or no | am/pm a.m. or p.m. | AM/PM a.m. or p.m.
a/c A C | approx approximately | incl including | appt appointment | s/n serial number | p/n part number
"""


def _read(table: str) -> dict[str, str]:
    entries = (entry.strip().partition(" ") for line in table.strip().splitlines() for entry in line.split("|"))
    return {short: words for short, _, words in entries}


def _read_short() -> dict[str, str]:
    """The abbreviations in small letters; "et al." is the only one of two words."""
    entries = [entry.strip() for line in _SHORT.strip().splitlines() for entry in line.split("|")]
    pairs = [("et al.", "and others") if e.startswith("et al.") else tuple(e.split(" ", 1)) for e in entries]
    return {short.lower(): words for short, words in pairs}


_TITLE_WORDS, _STREET_WORDS, _ROOM_WORDS = _read(_TITLES), _read(_STREETS), _read(_ROOMS)
_SHORT_WORDS = _read_short()
KNOWN = frozenset(
    form
    for short in [*_STREET_WORDS, *_TITLE_WORDS, *_SHORT_WORDS, "et", "al."]
    for form in (short, f"{short}.", short.capitalize(), short.upper())
)
"""The forms of these words, with and without a full stop."""
_AFTER_NAME = ("Jr", "Sr")
_TITLE = "|".join(title for title in _TITLE_WORDS if title not in _AFTER_NAME)
_STREET = "|".join([*_STREET_WORDS, *_STREET_WORDS.values()])
_STREET_SHORT = "|".join(
    name for name in _STREET_WORDS if name not in ("St", "Dr", "Ct", "Pl", "Sq", "Ter", "Cir", "Trl", "Av")
)


def _shorts(sign: str) -> str:
    """The abbreviations whose last sign this is, so that a text without it is not searched for them."""
    last = [short for short in _SHORT_WORDS if (re.findall(r"[./:]", short) or [""])[-1] == sign]
    return "|".join(map(re.escape, sorted(last, key=len, reverse=True)))


_NEVER_LAST = frozenset(
    "e.g. eg. i.e. ie. vs. v.s. approx. a.k.a. max. min. avg. incl. excl. est. cf. ca. viz. attn. ref. acct. tel. ext."
    " appt. dept. dist.".split()
)
"""Abbreviations that need a word behind them: their full stop ends no sentence."""


_NEVER_CAPITAL = frozenset("est. ca. co. res. mos. ie. eg. cf.".split())
"""Abbreviations that are something else in capital letters: Eastern time, California, Colorado."""


def _is_short(match: Match) -> bool:
    return not match[0].isupper() or match[0].lower() not in _NEVER_CAPITAL


def _housed(match: Match) -> str:
    name = match[1]
    return f"{_ROOM_WORDS.get(name, name)} {house(match[2])} {match[3]}".rstrip()


def _address(match: Match) -> str:
    """12 Main St.: the house number as people say it, the street in full."""
    flat = f" {match[2]}" if match[2] else ""
    return f"{house(match[1])}{flat} {_street_name(match[3])}{_STREET_WORDS.get(match[4], match[4])}{full_stop(match)}"


def _street_name(text: str) -> str:
    text = re.sub(r"(\d+)(?:st|nd|rd|th)\b", lambda m: ordinal(int(m[1])), text)
    return re.sub(r"\d+", lambda m: digits(m[0]), text)


def _street(match: Match) -> str:
    return _STREET_WORDS[match[1]] + full_stop(match)


def _is_street(match: Match) -> bool:
    """Behind a name or a number: "Smith St", "5th Ave". "Ask Dr." is no drive."""
    before = re.search(r"(?:\b[A-Z][a-z]+|\d(?:st|nd|rd|th))\s$", text_before(match))
    return before is not None and (match[1] != "Dr" or before.start() > 0)


def _junior(match: Match) -> str:
    return _TITLE_WORDS[match[1]] + (full_stop(match) if _AFTER_NAMED.search(text_before(match)) else "")


def _is_junior(match: Match) -> bool:
    return match[0].endswith(".") or _AFTER_NAMED.search(text_before(match)) is not None


_AFTER_NAMED = re.compile(r"[a-z],?\s$")


def _short(match: Match) -> str:
    short = match[0].lower()
    words = _SHORT_WORDS[short]
    if match[0][0].isupper() and not match[0].isupper():
        words = words[0].upper() + words[1:]
    return words if short in _NEVER_LAST else words + full_stop(match)


def _closing(match: Match) -> str:
    """Behind what it speaks of: "drinks excl." are drinks excluded."""
    return f"{match[1]}cluded{full_stop(match)}"


RULES: tuple[Rule, ...] = (
    rule(
        "address",
        r"(?<![\w.,$€£/:#-])(\d{1,5})([A-Za-z]?)\s+((?:[NSEW]{1,2}\.?\s+)?(?:(?:[A-Z][\w'’]*|\d{1,3}(?:st|nd|rd|th))\s+){1,3})"
        rf"({_STREET})\b\.?(?!\s[a-z]+ing\b)",
        _address,
        start=Start.NUMBER,
    ),
    rule(
        "address",
        rf"\b({_HOUSED})(?:\.\s*|\s+)(?:#\s?)?(\d{{3,4}})([A-Z]?)(?![\w%-]|[.,:/]\d)",
        _housed,
        lambda m: not is_counted(m),
    ),
    rule(
        "abbreviation",
        r"(?<![\w.,])(\d{1,3})(?:st|nd|rd|th)\s[Ff]lr?\b\.?",
        lambda m: f"{ordinal(int(m[1]))} floor{full_stop(m)}",
        start=Start.NUMBER,
    ),
    rule("abbreviation", r"(?<!\w)([Ii]n|[Ee]x)cl\b\.?(?=\s*(?:$|[).,;!?]))", _closing, signs="cl"),
    rule(
        "abbreviation",
        rf"(?<![\w&.'/-])({'|'.join(_ROOM_WORDS)})\b(?:\.\s*|\s+)(?:#\s?)?(?=\d)",
        lambda m: _ROOM_WORDS[m[1]] + " ",
    ),
    rule(
        "abbreviation",
        r"(?<=[a-z0-9,] )([A-Z][a-z]+) (St|Dr)\.(?=\s+[A-Z])",
        lambda m: f"{m[1]} {_STREET_WORDS[m[2]]}.",
        signs=".",
    ),
    rule("abbreviation", r"(?<=[a-z]\s)(St|Dr)\b\.?(?!\s+[A-Z])", _street, _is_street, signs="SD", start=Start.CAPITAL),
    rule(
        "abbreviation",
        rf"(?<=[a-z]\s)({_STREET_SHORT})\b\.?",
        _street,
        _is_street,
        signs="ABRLHPFET",
        start=Start.CAPITAL,
    ),
    rule(
        "title",
        rf"\b({_TITLE})\b\.?(?=\s+(?:[A-Z]|&\s|and\s[MD]))",
        lambda m: _TITLE_WORDS[m[1]],
        signs="DMPRFHGCLSAI",
        start=Start.CAPITAL,
    ),
    rule("title", r"\b(Jr|Sr)\b\.?", _junior, _is_junior, signs="JS", start=Start.CAPITAL),
    *(
        rule("abbreviation", rf"(?<![\w.])(?:{_shorts(sign)})(?!\w)", _short, _is_short, signs=sign, flags=re.I)
        for sign in (".", "/", ":", "")
    ),
    rule("abbreviation", r"\b[Ee]st\.?\s(?=(?:1[5-9]|20)\d\d\b)", "established "),
    rule("abbreviation", r"\b[Ww]/(?=\s\w|\w\w)", "with ", signs="/"),
)
