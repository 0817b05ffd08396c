"""Digits that were said one by one are one number; all other numbers stay as they are."""

import pytest

from inference.whisper.digits import join_digits


@pytest.mark.parametrize(
    ("recognised", "written"),
    [
        # as tiny.en and base wrote the digits of six people
        ("4 9 2 1 0 8 3 3 5 6 7 0 1 8 4 6", "4921083356701846"),
        ("4-1-1-1-2-2-2-2-3-3-3-3-4-4-4-4", "4111222233334444"),
        ("5, 5, 5, 0, 1, 4, 2.", "5550142."),
        ("5, 5, 5, 1, 2, 3, 0, 9, 8, 7,", "5551230987"),
        ("4 9 2 1 0 8 3 25 6 7 0 1 8 4 6", "4921083256701846"),
        ("5. 5. 5. 0. 1.", "55501."),
        ("It's 5, 5, 5, 0 and then 1 2 3 4, please.", "It's 5550 and then 1234, please."),
        ("Is it 5 5 5 0 1 4 2?", "Is it 5550142?"),
    ],
)
def test_digits_said_one_by_one_are_one_number(recognised, written):
    assert join_digits(recognised) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1, 2 or 3",
        "5, 5, 5",
        "10, 12, 14, 16",
        "At 2:30, 4:15, 5:20 and 6:10.",
        "It costs $1,250.50.",
        "1,250 3 4 5",
        "555-0142",
        "5551-230987",
        "on 5/6/7/8",
        "192.168.1.2",
        "Version 1.2.3.4.5",
        "Four, one, one, one, two.",
        "A1 B2 C3 D4",
        "2 pm, 3 pm, 4 pm, 5 pm",
        "予約は12日の3時です。",
    ],
)
def test_other_numbers_stay(text):
    assert join_digits(text) == text
