"""Single signs in English, where no other rule knows what they are part of."""

from __future__ import annotations

from media.spoken.signs import GREEK_NAMES, PATHS, PAUSES, named
from media.spoken.spans import Rule, rule

_NAMES = {
    "&": "and", "@": "at", "%": "percent", "=": "equals", "+": "plus", "°": "degrees", "$": "dollars", "€": "euros",
    "£": "pounds", "¥": "yen", "¢": "cents", "₹": "rupees", "§": "section", "×": "times", "÷": "divided by", "→": "to",
    "⇒": "to", "≈": "about", "≠": "is not equal to", "≤": "is at most", "≥": "is at least", "√": "the square root of",
    "±": "plus or minus", "∞": "infinity", "µ": "micro", "‰": "per mille",
}  # fmt: skip
RULES: tuple[Rule, ...] = (
    *PATHS,
    named(_NAMES | GREEK_NAMES),
    rule("sign", r"(?<=[\d)])\s?\*\s?(?=[\d(])", " times ", signs="*"),
    rule("sign", r"(?:-|=)>", " to ", signs=">"),
    rule("sign", r"(?<=[A-Za-z])\s<\s(?=[$€£]?\.?\d)", " less than ", signs="<"),
    rule("sign", r"(?<=[A-Za-z])\s>\s(?=[$€£]?\.?\d)", " more than ", signs=">"),
    rule("sign", r"\s<\s", " is less than ", signs="<"),
    rule("sign", r"\s>\s", " is more than ", signs=">"),
    rule("sign", r"\^(?=\d)", " to the power of ", signs="^"),
    rule("sign", r"(?<=\w)\\(?=\w)", " backslash ", signs="\\"),
    rule("sign", r"(?<=\w)/(?=\w)", " slash ", signs="/"),
    rule("sign", r"(?<=\b[A-G])#(?!\w)", " sharp", signs="#"),
    rule("sign", r"(?<!\w)#(?=[A-Za-z])", "hashtag ", signs="#"),
    rule("sign", r"(?<=[Tt]he )#(?!\w)|(?<![\w#])#(?=\s(?:of|is|was)\b)", "number", signs="#"),
    rule("sign", r"(?<![\w.])\.(?=[A-Za-z]{2})", "dot ", signs="."),
    *PAUSES,
)
