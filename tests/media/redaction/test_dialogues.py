"""Numbers over the turns of random dialogues: cards are taken out in any dictation, and telephone numbers stay."""

from __future__ import annotations

import random

from media.redaction.digits import read_runs
from media.redaction.numbers import has_check_digit
from tests.media.redaction.test_redactor import Stream
from tests.thorough import size

DIALOGUES = size(usual=120, thorough=3000)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def card(chance: random.Random) -> str:
    while True:
        digits = "4" + "".join(chance.choice("0123456789") for _ in range(15))
        if has_check_digit(digits):
            return digits


def telephone(chance: random.Random) -> tuple[str, str, str]:
    area = chance.choice(("415", "212", "503", "646", "312", "202"))
    return area, str(chance.randint(200, 999)), f"{chance.randint(0, 9999):04}"


def dictate(chance: random.Random, digits: str, stream: Stream) -> None:
    """Say a card in parts of any length, as words or digits, with words around them."""
    while digits:
        count = chance.choice((1, 2, 3, 4, 4, 4, 6, 8, 16))
        part, digits = digits[:count], digits[count:]
        groups = " ".join(part[at : at + 4] for at in range(0, len(part), 4))
        said = chance.choice((part, groups, " ".join(DIGITS[int(digit)] for digit in part)))
        before, behind = chance.choice(("", "", "It's ", "uh, ", "and then ")), chance.choice(("", ".", " okay?"))
        stream.caller(before + said + behind)
        if chance.random() < 0.5:
            stream.agent(chance.choice(("Mm-hm.", "Go on.", "Yes?", "Okay.", said)))


def test_a_card_is_taken_out_however_it_is_dictated():
    left = []
    for seed in range(DIALOGUES):
        chance, stream = random.Random(seed), Stream()
        if chance.random() < 0.3:
            stream.agent("What is your card number, please?")
        dictate(chance, card(chance), stream)
        stream.agent("Thank you. What is your name?")
        stream.caller("Anna.")
        stream.end()
        digits = "".join(run.digits for words in stream.words for run in read_runs(words))
        if len(digits) > 4:  # the first digits of a turn may stay; the last four of a card may be kept
            left.append((seed, stream.words))
    assert len(left) <= DIALOGUES / 1000, left  # two of 3000 begin in the groups 3, 2 and 4


def test_telephone_numbers_times_and_order_numbers_stay_and_are_heard():
    changed = []
    for seed in range(DIALOGUES):
        chance, stream = random.Random(seed), Stream()
        number, other = telephone(chance), telephone(chance)
        lines = [
            "What is your phone number?",
            *chance.choice(([" ".join(number)], [number[0], "Mm-hm.", " ".join(number[1:])])),
            chance.choice((f"{' '.join(number)}, right?", "Thank you. And when?", "Got it.")),
            chance.choice(("Yes.", f"No, {' '.join(other)}", f"at {chance.randint(1, 12)} {chance.randint(10, 59)}")),
            chance.choice(("For how many?", "Okay.", "And your order number?")),
            chance.choice((str(chance.randint(10**5, 10**8)), str(chance.randint(2, 9)), "On the 24th")),
            "Anything else?",
            "No, thank you, that is all for today.",
        ]
        for place, line in enumerate(lines):
            (stream.caller if place % 2 else stream.agent)(line)
        stream.end()
        if stream.words != lines or any(end < 1 << 61 for _, _, end in stream.muted):
            changed.append((seed, stream.words))
    assert changed == []
