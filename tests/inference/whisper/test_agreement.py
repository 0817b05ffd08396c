"""The words and tokens on which two consecutive hypotheses agree."""

import pytest

from inference.whisper.agreement import agreed_text, agreed_tokens


@pytest.mark.parametrize(
    ("before", "after", "agreed"),
    [
        ("", "I would", ""),
        ("I would", "I would like", "I would"),
        ("I would, like", "I would like to", "I would like"),
        ("i wood like", "I would like", "I"),
        ("I'd like", "I'd like two", "I'd like"),
    ],
)
def test_hypotheses_agree_on_their_common_beginning(before, after, agreed):
    assert agreed_text(before, after) == agreed


def test_a_language_without_spaces_agrees_by_characters():
    assert agreed_text("明日の予約は", "明日の予約を変更", spaced=False) == "明日の予約"


def test_tokens_agree_on_their_common_beginning():
    assert agreed_tokens([1, 2, 3], [1, 2, 4, 5]) == (1, 2)
    assert agreed_tokens([], [1]) == ()
