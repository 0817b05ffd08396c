"""Numbers in English that are neither money nor times: ordinals, decimals, fractions, arithmetic, versions, ranges."""

from __future__ import annotations

import re

from media.spoken.english.context import dash, is_versioned
from media.spoken.english.dates import DAY, MONTH
from media.spoken.english.numerals import digits, fraction, house, mixed, number, ordinal
from media.spoken.english.units import N
from media.spoken.spans import Match, Rule, Start, rule, text_after, text_before

_OPERATIONS = {
    "+": "plus", "-": "minus", "−": "minus", "*": "times", "×": "times", "x": "times", "·": "times", "÷": "divided by",
    "/": "divided by", "=": "equals", "≠": "is not equal to", "≈": "is about", "<": "is less than",
    ">": "is greater than", "≤": "is at most", "≥": "is at least", "<=": "is at most", ">=": "is at least",
    "!=": "is not equal to", "==": "equals",
}  # fmt: skip
_OPERATION = "|".join(map(re.escape, sorted(_OPERATIONS, key=len, reverse=True)))
_OPERAND = rf"(?:(?:{N}|[a-zA-Z](?!\w))(?:\^-?\d{{1,3}})?)"
_EXPRESSION = rf"(?<![\w.,/:$€£])-?{_OPERAND}(?:\s?(?:{_OPERATION})\s?-?{_OPERAND}){{1,12}}(?![\w%/]|[.,:]\d)"
_PART = re.compile(rf"(?P<number>{N})|(?P<name>[a-zA-Z])|\^(?P<power>-?\d+)|(?P<operation>{_OPERATION})")
_SURE_OPERATION = re.compile(r"[=+÷≠≤≥·]|\d\s?\*\s?\d|\s[<>]\s|\d[<>]\d")

_RANGE_BEFORE = re.compile(
    rf"(?:\d|\d(?:st|nd|rd|th)|[ap]\.?m\.?|[%°$€£¥¢]|\d['\"′″]|\d\s?[A-Za-z°/]{{1,5}}"
    rf"|(?<!\w)(?:{DAY}|{MONTH})\.?|noon|midnight)$"
)
_RANGE_AFTER = re.compile(rf"[$€£¥]?\s?\.?\d|(?:{DAY}|{MONTH})\b|noon\b|midnight\b")
_MINUS_BEFORE = re.compile(r"(?:^|[\s(,;:])$")


def _expression(match: Match) -> str:
    words: list[str] = []
    operand_before = False
    for part in _PART.finditer(match[0]):
        if part["number"]:
            words.append(number(part["number"]))
        elif part["name"] and not (operand_before and part["name"] == "x"):
            words.append(part["name"])
        elif part["power"]:
            words.append(_power(part["power"]))
        elif part["operation"] == "-" and not operand_before:
            words.append("minus")
            continue
        else:
            words.append(_OPERATIONS[part["operation"] or part["name"]])
            operand_before = False
            continue
        operand_before = True
    return " ".join(words)


def _power(exponent: str) -> str:
    if exponent in ("2", "3"):
        return "squared" if exponent == "2" else "cubed"
    sign = "minus " if exponent.startswith("-") else ""
    return f"to the power of {sign}{number(exponent.lstrip('-'))}"


def _is_expression(match: Match) -> bool:
    """A dash or a slash alone is no arithmetic: "10 - 12" is a range, "3/4" a fraction. Some digit must be in it."""
    return _SURE_OPERATION.search(match[0]) is not None and any(map(str.isdigit, match[0]))


def _version(match: Match) -> str:
    return f"{'Version' if match[0].startswith('Ver') else 'version'} {_points(match[1])}"


def _points(text: str) -> str:
    return " point ".join(number(part) for part in text.split("."))


def _is_range(match: Match) -> bool:
    before, after = text_before(match), text_after(match)
    return _RANGE_BEFORE.search(before) is not None and _RANGE_AFTER.match(after) is not None


def _is_sign_of_number(match: Match) -> bool:
    return _MINUS_BEFORE.search(text_before(match)) is not None


def _in_numbers(match: Match) -> str:
    """1.000.000 is a million, 1.2.3 is read part by part, an address of the Internet digit by digit."""
    parts = match[0].split(".")
    if len(parts) == 4 and all(int(part) < 256 and len(part) < 4 for part in parts):
        return " dot ".join(map(digits, parts))
    if len(parts[0]) < 4 and parts[0][0] != "0" and all(len(part) == 3 for part in parts[1:]):
        return number(match[0].replace(".", ","))
    return _points(match[0])


def _fraction(match: Match) -> str:
    return fraction(int(match[1]), int(match[2]))


_IDIOMS = {"20/20": "twenty twenty", "50/50": "fifty-fifty", "50-50": "fifty-fifty", "9/11": "nine eleven"}
_SCALES = {"k": "thousand", "K": "thousand", "M": "million", "bn": "billion"}
_RESOLUTION = re.compile(r"K@|K\s(?:TV|video|display|resolution|monitor|screen|camera|UHD)", re.I)


def _scaled(match: Match) -> str:
    return f"{number(match[1])} {_SCALES[match[2]]}"


def _is_scaled(match: Match) -> bool:
    return _RESOLUTION.match(match.string, match.start(2)) is None


RULES: tuple[Rule, ...] = (
    rule(
        "version",
        r"(?<![\w.])(?:v\.?|[Vv]er(?:sion)?\.?\s?|V(?=\d+\.))(\d{1,6}(?:\.\d{1,6}){0,4})(?![\w%]|\.\d)",
        _version,
    ),
    rule("version", r"(?<![\w.,$€£])\d{1,15}(?:\.\d{1,15}){2,}(?!\w)", _in_numbers, start=Start.NUMBER),
    rule("version", r"(?<=\w )\d{1,3}\.\d{1,3}(?![\w%]|[.,:]\d)", lambda m: _points(m[0]), is_versioned, signs="."),
    rule(
        "version",
        r"(?<=\w )(\d{1,3})/(\d{1,3})(?![\w%/]|[.,:]\d)",
        lambda m: f"{number(m[1])} slash {number(m[2])}",
        is_versioned,
        signs="/",
    ),
    rule("arithmetic", _EXPRESSION, _expression, _is_expression, signs="=+×÷≠≤≥·*<>"),
    rule("arithmetic", rf"√\s?({N})", lambda m: f"the square root of {number(m[1])}", signs="√"),
    rule("arithmetic", r"(?<=[\w)])\^(-?\d{1,3})(?![\w^])", lambda m: f" {_power(m[1])}", signs="^"),
    rule(
        "ordinal",
        r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d{1,9})(?:st|nd|rd|th)(?!\w)",
        lambda m: ordinal(int(m[1].replace(",", ""))),
        start=Start.NUMBER,
    ),
    rule("fraction", r"(?<![\w/-])(20/20|50[/-]50|9/11)(?![\w/%-])", lambda m: _IDIOMS[m[0]], start=Start.NUMBER),
    rule(
        "number",
        r"(?<![\w.,(])(\d{1,3})((?:\([a-z0-9]\)){1,3})(?!\w)",
        lambda m: " ".join(
            [house(m[1]), *(part if part.isalpha() else number(part) for part in re.findall(r"\w", m[2]))]
        ),
        start=Start.NUMBER,
        signs="(",
    ),
    rule(
        "fraction",
        r"(?<![\w/.,-])([1-9]\d)/([1-9]\d)(?![\w/%]|[.,]\d)",
        lambda m: f"{number(m[1])} {number(m[2])}",
        lambda m: int(m[1]) + int(m[2]) == 100,
        start=Start.NUMBER,
        signs="/",
    ),
    rule("fraction", r"(?<![\w/.,-])1/2-(?=[a-z])", "half-", start=Start.NUMBER, signs="/"),
    rule(
        "fraction",
        r"(?<![\d/.,])(\d{1,3})(?: {1,2}|-)(\d{1,2})/([1-9]\d?)(?![\w/%]|[.,]\d)",
        lambda m: mixed(int(m[1]), int(m[2]), int(m[3])),
        lambda m: int(m[2]) < int(m[3]),
        start=Start.NUMBER,
        signs="/",
    ),
    rule("fraction", r"(?<![\w/.,])(\d{1,3})/(\d{1,4})(?![\w/%]|[.,]\d)", _fraction, start=Start.NUMBER, signs="/"),
    rule(
        "fraction",
        r"(?<![\w/.,])(\d{1,3}\.\d{1,2})/(\d{1,3})(?![\w/]|[.,]\d)",
        lambda m: f"{number(m[1])} out of {number(m[2])}",
        start=Start.NUMBER,
        signs="/",
    ),
    rule(
        "ratio",
        r"(?<![\w:.,])(\d{1,3}):(\d{1,3})(?![\w:]|\.\d)",
        lambda m: f"{number(m[1])} to {number(m[2])}",
        signs=":",
        start=Start.NUMBER,
    ),
    rule("number", rf"(?<![\w.$€£])(?<!\d,)({N})\s?([kK]|M|bn)(?![\w&'’/])", _scaled, _is_scaled, start=Start.NUMBER),
    rule(
        "number",
        r"(?<![\w.,])(?<!\d )(?:\d{1,3}(?: 000){1,4}|[1-9](?: \d{3}){2,4})(?![\w%]|[.,:]\d| \d)",
        lambda m: number(m[0].replace(" ", ",")),
        start=Start.NUMBER,
    ),
    rule("number", r"(?:#\s?|\b[Nn]o\.\s*)(?=\d|(?<=#)[A-Za-z]{1,4}-?\d)", "number ", signs="#o"),
    rule("number", r"(?<=[A-Za-z]{2} )no\.(?=:|\s(?:is|are|was)\b)", "number", signs="o"),
    rule("number", r"\b[Nn]os\.\s*(?=\d)", "numbers ", signs="o"),
    rule("range", r"\s?[-–—]{1,2}\s?", lambda m: f" {dash(m)} ", _is_range, signs="-–—"),
    rule("sign", r"[-−–](?=[$€£¥]?\.?\d)", "minus ", _is_sign_of_number, signs="-−–"),
    rule("sign", r"(?:±|\+/-)\s?", " plus or minus ", signs="±+"),
    rule("sign", r"[~≈]\s?(?=[$€£¥]?\.?\d)", "about ", signs="~≈"),
    rule("sign", r"(?:>=|≥)\s?(?=[$€£¥]?\.?\d)", "at least ", signs=">≥"),
    rule("sign", r"(?:<=|≤)\s?(?=[$€£¥]?\.?\d)", "at most ", signs="<≤"),
    rule("sign", r">\s?(?=[$€£¥]?\.?\d)", "more than ", signs=">"),
    rule("sign", r"<\s?(?=[$€£¥]?\.?\d)", "less than ", signs="<"),
    rule(
        "number",
        r"(?<![\w.])\.\d+|\d{1,2}(?:,\d\d){1,4},\d{3}(?:\.\d+)?(?!,?\d)|\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!,?\d)|\d+(?:\.\d+)?",
        lambda m: number(m[0]),
        start=Start.NUMBER,
    ),
)
