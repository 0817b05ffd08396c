"""
Finds the forms in which one telephone number is dialled or shown. Pure.

Some countries have changed their numbers, and networks show the old form, the new one or both. Where a person must be
found by the number, such as on the do-not-call list, every form is looked for. What is dialled stays as it was written:
a number in its old form may also be one in which a digit is missing.
"""

import re

_FORMS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), forms)
    for pattern, forms in (
        # Mexico had a 1 before mobile numbers until 2019. WhatsApp still shows it.
        (r"\+521?([2-9]\d{9})", (r"+52\1", r"+521\1")),
        # Argentina has a 9 before mobile numbers, which many networks leave out of the caller's number.
        (r"\+549?([1-3]\d{9})", (r"+54\1", r"+549\1")),
        # Brazil put a 9 before mobile numbers until 2016, except those of trunked radio. WhatsApp often leaves it out.
        (r"\+55([1-9]\d)9?((?!7[0789])[6-9]\d{7})", (r"+55\1\2", r"+55\g<1>9\2")),
        # Benin put 01 before all numbers in 2024.
        (r"\+229(?:01)?([2-9]\d{7})", (r"+229\1", r"+22901\1")),
        # Ivory Coast put the operator's digits before mobile numbers in 2021. The old second digit tells the operator.
        (r"\+225(?:01)?([04-9][0-3]\d{6})", (r"+225\1", r"+22501\1")),
        (r"\+225(?:05)?([04-9][4-6]\d{6})", (r"+225\1", r"+22505\1")),
        (r"\+225(?:07)?([04-9][7-9]\d{6})", (r"+225\1", r"+22507\1")),
        # San Marino is reached by its own country code, and by that of Italy.
        (r"\+(?:39|378)(0549\d{6})", (r"+39\1", r"+378\1")),
    )
)


def forms_of(number: str) -> frozenset[str]:
    """Return every form of a number in E.164 that reaches or shows the same person, this one included."""
    found = {number}
    for pattern, forms in _FORMS:
        if match := pattern.fullmatch(number):
            found.update(map(match.expand, forms))
    return frozenset(found)


def person_of(number: str) -> str:
    """
    Return one form of a number, the same for all its forms, by which two numbers of one person can be told.

    Any other text is returned as it is.
    """
    return min(forms_of(number))
