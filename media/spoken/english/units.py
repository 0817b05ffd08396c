"""Amounts with a unit, percentages, sizes and rates in English."""

from __future__ import annotations

import re

from media.spoken.english.numerals import fraction, house, mixed, number
from media.spoken.spans import Match, Rule, Start, full_stop, rule, text_after, text_before

N = r"(?:\d{1,2}(?:,\d\d){1,4},\d{3}|\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,12})?|\.\d{1,12}"
"""A number: 1,234.5, .5, or 1,00,000 as in India."""

_TABLE = """
km KM | kilometer | kilometers
cm | centimeter | centimeters
mm | millimeter | millimeters
m | meter | meters
µm μm | micrometer | micrometers
nm | nanometer | nanometers
ft FT | foot | feet
yd yds | yard | yards
mi | mile | miles
kg kgs KG | kilogram | kilograms
mg | milligram | milligrams
mcg µg μg | microgram | micrograms
g | gram | grams
lb lbs LB LBS | pound | pounds
oz OZ | ounce | ounces
ml mL | milliliter | milliliters
cl cL | centiliter | centiliters
dl dL | deciliter | deciliters
l L | liter | liters
fl_oz fl._oz | fluid ounce | fluid ounces
gal | gallon | gallons
qt qts | quart | quarts
pt pts | pint | pints
tbsp Tbsp TBSP | tablespoon | tablespoons
tsp Tsp TSP | teaspoon | teaspoons
hr hrs HR HRS h | hour | hours
min mins MIN | minute | minutes
sec secs | second | seconds
s | second | seconds
ms | millisecond | milliseconds
wk wks | week | weeks
mo mos | month | months
yr yrs | year | years
mph MPH | mile per hour | miles per hour
kph kmh KPH | kilometer per hour | kilometers per hour
mpg | mile per gallon | miles per gallon
rpm | revolution per minute | revolutions per minute
bpm | beat per minute | beats per minute
fps | frame per second | frames per second
sq_ft sq._ft sqft ft^2 ft2 | square foot | square feet
sq_m sqm m^2 m2 | square meter | square meters
sq_km km^2 km2 | square kilometer | square kilometers
sq_mi mi^2 | square mile | square miles
sq_in in^2 | square inch | square inches
cm^2 cm2 | square centimeter | square centimeters
mm^2 | square millimeter | square millimeters
cu_ft cu._ft ft^3 ft3 | cubic foot | cubic feet
m^3 m3 | cubic meter | cubic meters
cm^3 cm3 cc | cubic centimeter | cubic centimeters
ha | hectare | hectares
Hz | hertz | hertz
kHz | kilohertz | kilohertz
MHz | megahertz | megahertz
GHz | gigahertz | gigahertz
W | watt | watts
kW | kilowatt | kilowatts
MW | megawatt | megawatts
kWh | kilowatt hour | kilowatt hours
Wh | watt hour | watt hours
V | volt | volts
A | amp | amps
mA | milliamp | milliamps
mAh | milliamp hour | milliamp hours
hp | horsepower | horsepower
kcal | kilocalorie | kilocalories
cal | calorie | calories
kJ | kilojoule | kilojoules
kPa | kilopascal | kilopascals
psi | pound per square inch | pounds per square inch
dB | decibel | decibels
lm | lumen | lumens
ppm | part per million | parts per million
kB KB | kilobyte | kilobytes
MB | megabyte | megabytes
GB | gigabyte | gigabytes
TB | terabyte | terabytes
kbps Kbps | kilobit per second | kilobits per second
Mbps mbps | megabit per second | megabits per second
Gbps gbps | gigabit per second | gigabits per second
px | pixel | pixels
°C ºC | degree Celsius | degrees Celsius
°F ºF | degree Fahrenheit | degrees Fahrenheit
° º | degree | degrees
% pct | percent | percent
‰ | per mille | per mille
"""
"""Symbols ("_" is a space), then the unit in singular and plural."""


def _read_table() -> dict[str, tuple[str, str]]:
    units = {}
    for line in _TABLE.strip().splitlines():
        symbols, one, many = (part.strip() for part in line.split("|"))
        units.update({symbol.replace("_", " "): (one, many) for symbol in symbols.split()})
    return units


_UNITS = _read_table()
_UNIT = "|".join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))

_RATES = {
    "h": "hour", "hr": "hour", "min": "minute", "s": "second", "sec": "second", "d": "day", "wk": "week", "mo": "month",
    "mth": "month", "yr": "year", "y": "year", "pp": "person", "sq ft": "square foot", "sqft": "square foot",
    "sf": "square foot", "km": "kilometer", "mi": "mile", "gal": "gallon", "kg": "kilogram", "g": "gram", "lb": "pound",
    "oz": "ounce", "l": "liter", "L": "liter", "dl": "deciliter", "dL": "deciliter", "ml": "milliliter",
    "mL": "milliliter", "m": "meter", "m^2": "square meter", "m^3": "cubic meter", "kWh": "kilowatt hour",
    "GB": "gigabyte", "MB": "megabyte", "ea": "each", "sq. ft": "square foot", "sq. m": "square meter", "nt": "night",
    "pers": "person",
}  # fmt: skip
"""What stands after the slash of a rate, besides whole words: "$20/hr", "5 mg/kg", "$1.50/sq ft"."""
_RATE = "|".join(map(re.escape, sorted(_RATES, key=len, reverse=True)))
_TIMES = "hr|h|hour|day|wk|week|mo|month|yr|year|min|minute|sec|second|night|person|mile|kg|lb"
"""The rates of something counted in words: "3 times/week", "20 miles/hour"."""
_DIVISOR = rf"(?:{_RATE}|[a-z]{{3,12}})"
PER = (
    rf"(?:\s?/\s?(?P<per>{_DIVISOR}(?:\s?/\s?{_DIVISOR})?)(?![\w/])(?:\.(?=\s?[a-z,;)(]))?"
    r"|\s?(?P<short>pp|p\.p\.|p/p|p\.a\.|pppn|pcm|pw|(?<=\s)ea\b\.?)(?!\w))"
)
_SHORT_RATES = {"pp": "person", "p.p": "person", "p/p": "person", "p.a": "year", "ea": "each"}
_SHORT_RATES |= {"pppn": "person per night", "pcm": "month", "pw": "week"}
"""Rates without a slash: "$20 pp", "3% p.a."."""


def per(match: Match) -> str:
    """The words for the rate of a match of ``PER``: " per hour", " per user per month"."""
    short = match["short"]
    if short:
        name = _SHORT_RATES[short.rstrip(".")]
        return " each" if name == "each" else f" per {name}"
    return _per(match["per"])


def _per(rate: str | None) -> str:
    names = [_RATES.get(part.strip(), part.strip()) for part in (rate or "").split("/") if part.strip()]
    return "".join(" each" if name == "each" else f" per {name}" for name in names)


_LASTING = ("min", "mins", "hr", "hrs", "h", "sec", "mi", "km", "m", "yr", "mo", "wk")
_ACTIVITY = re.compile(
    r"\s(?:drive|walk|ride|call|break|wait|trip|flight|delay|session|appointment|meeting|lesson|run|hike|visit|slot|plan|term|lease|loan|contract"
    r"|warranty|guarantee|trial)\b"
)
"""What lasts, or is long: "10 min drive"."""


def _is_singular(match: Match) -> bool:
    """Whether the unit describes a noun and is in the singular: "a 5 km run", "the 5-km run"."""
    if match["joint"] == "-":
        return True
    if _ACTIVITY.match(match.string, match.end()) and match["unit"] in _LASTING:
        return True
    article = re.search(r"(?:^|\s)an?\s(?:\d+(?:\.\d+)?\s?[-–]\s?)?$", text_before(match), re.I)
    return article is not None and re.match(r"\s[a-z]", text_after(match)) is not None


def _measure(match: Match) -> str:
    one, many = _UNITS[match["unit"]]
    amount = match["amount"]
    if re.fullmatch(r"\d{1,3},\d{1,2}", amount):
        amount = amount.replace(",", ".")
    words = one if amount == "1" or _is_singular(match) else many
    return f"{number(amount)} {words}{per(match)}{full_stop(match)}"


def _fraction_of(match: Match) -> str:
    """1/2 lb, 1 1/2 hrs."""
    one, many = _UNITS[match["unit"]]
    above, below = int(match["above"]), int(match["below"])
    if match["whole"]:
        words = f"{mixed(int(match['whole']), above, below)} {many}"
    elif above == 1:
        words = f"{fraction(above, below)} {one}"
    else:
        words = f"{fraction(above, below)} of {_article(one)} {one}"
    return words + full_stop(match)


def _article(word: str) -> str:
    return "an" if word[0] in "aeio" or word == "hour" else "a"


def _counted(amount: str, one: str, many: str) -> str:
    return f"{number(amount)} {one if amount == '1' else many}"


def _feet_and_inches(match: Match) -> str:
    return f"{_counted(match[1], 'foot', 'feet')} {_counted(match[2], 'inch', 'inches')}"


def _hours_and_minutes(match: Match) -> str:
    return f"{_counted(match[1], 'hour', 'hours')} {_counted(match[2], 'minute', 'minutes')}"


def _inches(match: Match) -> str:
    return f"{number(match[1])} {'inch' if match[1] == '1' or _before_noun(match) else 'inches'}{full_stop(match)}"


def _before_noun(match: Match) -> bool:
    """Whether the size describes a noun: "a 12-inch pizza", but not "12 inches wide"."""
    return "-" in match[0] or _NOUN.match(match.string, match.end()) is not None


_NOUN = re.compile(r"\s(?!and|or|by|wide|tall|long|deep|high|thick|in|of)[a-z]{3}")


def _opens_no_apostrophe(match: Match) -> bool:
    return re.search(r"(?<!\w)'", text_before(match)) is None


def _inch_fraction(match: Match) -> str:
    words = fraction(int(match[1]), int(match[2]))
    if match[1] != "1" and re.search(r"(?:^|\s)(?:an?|the)\s$", text_before(match), re.I):
        return f"{words.removesuffix('s')} inch"
    return f"{words} inch" if match[1] == "1" else f"{words} of an inch"


def _size(text: str, unit: str) -> str:
    return f"{' by '.join(map(number, re.findall(N, text)))} {unit}"


def _by(match: Match) -> str:
    """10 x 12 is a size, 10 × 12 a product unless a unit follows."""
    measured = re.match(rf"(?:{N})(?:\s?[x×]\s?(?:{N}))?\s?({_UNIT}|in|inch|[\"″'])(?!\w)", text_after(match))
    if measured and measured[1] not in _LENGTHS:
        return " times "
    return " by " if match[1] == "x" or measured else " times "


_LENGTHS = frozenset("in inch ft yd yds mi m cm mm km nm px μm KM FT \" ″ '".split())
"""What has sides: "10 x 12 ft" is a size, "2 x 330 ml" a number of bottles."""


def _opens_no_quote(match: Match) -> bool:
    """Whether the quotation mark stands for inches: no quotation is open in front of it."""
    is_open = False
    for quote in re.finditer('"', match.string[: match.start()]):
        is_open = not is_open and not match.string[quote.start() - 1 : quote.start()].isdigit()
    return not is_open


_NAMED_BY_LETTER = re.compile(
    r"\b(?:seats?|rows?|exits?|gates?|apt|rm|ste|bldg|fl|apartment|units?|suite|room|flat|building|block|platform|bay|spot|stall|table"
    r"|number|no|route|bus|line|section|form|house|door|locker|bed|class)\.?(?:'s|\sis|\snumber|\sno\.)?\s$",
    re.I,
)
"""What has a number with a letter: seat 12A is no current."""


def _is_measure(match: Match) -> bool:
    if re.search(r"\b[A-Z]-$", text_before(match)):  # a road: I-90 W
        return False
    named = len(match["unit"]) == 1 and match["unit"].isupper() and not match["joint"]
    return not named or _NAMED_BY_LETTER.search(text_before(match)) is None


def _sides(match: Match) -> str:
    """25m x 10m."""
    return f"{number(match[1])} by {number(match[3])} {_UNITS[match[2]][1]}"


RULES: tuple[Rule, ...] = (
    rule(
        "measure",
        rf"(?:(?<![\w.])|(?<=\dx))(?<!\d,)(?P<amount>\d{{1,3}},\d{{1,2}}(?!\d)|{N})(?P<joint>\s?|-)(?P<unit>{_UNIT})(?![\w^]|\.\w)(?:{PER})?\.?",
        _measure,
        _is_measure,
        start=Start.NUMBER,
    ),
    rule(
        "size",
        rf"(?<![\w.,])({N})\s?(ft|yd|m|cm|mm|km|px)\s?[x×]\s?({N})\s?\2(?!\w)",
        _sides,
        start=Start.NUMBER,
        signs="x×",
    ),
    rule(
        "measure",
        rf"(?<![\w/.,])(?:(?P<whole>\d{{1,3}})\s)?(?P<above>\d{{1,3}})/(?P<below>[1-9]\d{{0,2}})\s?(?P<unit>{_UNIT})(?![\w/^])\.?",
        _fraction_of,
        signs="/",
        start=Start.NUMBER,
    ),
    rule(
        "measure",
        r"(?<![\w.,])(\d{1,3})\s?(?:ft\.?|'|′|feet|foot)\s?(\d{1,2})\s?(?:in\b\.?|\"|″|''|inches)(?!\w)",
        _feet_and_inches,
        start=Start.NUMBER,
    ),
    rule(
        "measure",
        r"(?<![\w.,])(\d{1,3})\s?h(?:rs?)?\s?(\d{1,2})\s?m(?:ins?)?(?!\w)",
        _hours_and_minutes,
        signs="h",
        start=Start.NUMBER,
    ),
    rule(
        "measure",
        r"(?<![\w.,])(\d{1,2})h([0-5]\d)(?!\w)",
        lambda m: f"{_counted(m[1], 'hour', 'hours')} {number(m[2].lstrip('0') or '0')}",
        signs="h",
        start=Start.NUMBER,
    ),
    rule("measure", rf"(?<![\w.,])({N})\s?(?:″|-in\b\.?)", _inches, signs="″-", start=Start.NUMBER),
    rule(
        "measure",
        rf"(?<![\w.,])({N})\s?(?:in\.)(?=\s*(?:$|[,;)x]|by\b|wide|tall|long|deep|high|thick))",
        _inches,
        signs=".",
        start=Start.NUMBER,
    ),
    rule("measure", rf"(?<![\w.,])({N})\"(?!\w)", _inches, _opens_no_quote, signs='"', start=Start.NUMBER),
    rule(
        "measure",
        r"(?<![\w.,])(\d{1,3})['′](?=\s(?:tall|long|wide|high|deep|x|by)\b)",
        lambda m: f"{number(m[1])} feet",
        signs="'′",
        start=Start.NUMBER,
    ),
    rule(
        "measure",
        r"(?<![\w.,])(\d{1,3})['′](?![\w'])",
        lambda m: f"{number(m[1])} feet",
        _opens_no_apostrophe,
        signs="'′",
        start=Start.NUMBER,
    ),
    rule(
        "measure",
        r"(?<![\w/.,])(\d{1,2})/(\d{1,2})\s?[\"″](?!\w)",
        _inch_fraction,
        _opens_no_quote,
        signs='"″',
        start=Start.NUMBER,
    ),
    rule(
        "size",
        rf"(?<![\w.,])(?:{N})([\"″'′])(?:\s?[x×]\s?(?:{N})\1){{1,2}}",
        lambda m: _size(m[0], "inches" if m[1] in '"″' else "feet"),
        start=Start.NUMBER,
        signs="x×",
    ),
    rule(
        "size",
        rf"(?<![\w.,])({N})(?:\s?in\.?)?\s?[x×]\s?({N})(?:\s?[x×]\s?(?:{N}))?\s?in(?:\.|\b(?!\s[a-z]))",
        lambda m: _size(m[0], "inch" if _before_noun(m) else "inches") + full_stop(m),
        start=Start.NUMBER,
        signs="x×",
    ),
    rule(
        "size",
        r"(?<![\w.,])(?=\d{4}|\d{3}x\d{4})(\d{3,4})x(\d{3,4})(?![\w.,]\d|\w)",
        lambda m: f"{house(m[1])} by {house(m[2])}",
        start=Start.NUMBER,
        signs="x",
    ),
    rule("size", r"(?<=\d)\s?([x×])\s?(?=\d)", _by, signs="x×"),
    rule(
        "size", rf"(?<![\w.,])({N})[x×](?![a-z\d×])", lambda m: f"{number(m[1])} times", signs="x×", start=Start.NUMBER
    ),
    rule(
        "rate", r"(?<=\d)\s?/\s?(hour|day|week|month|year|minute|night|person)\b", lambda m: f" per {m[1]}", signs="/"
    ),
    rule(
        "rate",
        r"(?<=[A-Za-z%])\s?/\s?(?=\d{1,3}\s?(?:h|hrs?|hours?|mins?|minutes?|days?|weeks?|months?|yrs?|years?)\b)",
        " per ",
        signs="/",
    ),
    rule("rate", r"(?<=\d)/(?=[$€£]\s?\d)", " for ", signs="/"),
    rule("rate", rf"(?<=[a-z])\s?/\s?({_TIMES})(?![\w/])", lambda m: f" per {_RATES.get(m[1], m[1])} ", signs="/"),
)
