"""What is wrong with a call to ourselves."""

import pytest

from clientcaller.selfcall.conversation import LINES, Conversation, problems_of, recognised

GOOD = Conversation(
    LINES,
    responses=(0.6, 0.9, None),
    heard=("what time do you open", "how much does it cost", "thank you good bye"),
    replies=("We open at nine.", "Ten euros."),
)


def changed(**changes: object) -> Conversation:
    return Conversation(**{name: getattr(GOOD, name) for name in GOOD.__slots__} | changes)


@pytest.mark.parametrize(
    ("conversation", "problems"),
    [
        (GOOD, []),
        (changed(failure="Nobody answered."), ["Nobody answered."]),
        (changed(responses=(0.6, None, None)), ['There was no reply to "How much does it cost?".']),
        (
            changed(responses=(0.6, 0.9, 2.5)),
            ['The reply to "Thank you, goodbye." came after 2.50 s; the limit is 2 s (--limit).'],
        ),
        (changed(gaps=(0.05, 0.12)), ["The agent's voice had 2 gaps, the longest of 120 ms."]),
        (
            changed(is_recorded=False),
            ["The call is not in the database: the server that answered uses another one than this command."],
        ),
        (
            changed(heard=("what time do you open", "thank you goodbye")),
            ['Of "How much does it cost?" 0 % of the words were recognised, fewer than 50 %.'],
        ),
        (changed(replies=("", "...")), ["No word of the agent is in the records."]),
    ],
    ids=["good", "failed", "no reply", "slow", "gaps", "no record", "not understood", "silent"],
)
def test_each_fault_is_one_sentence(conversation, problems):
    assert list(problems_of(conversation, limit=2.0, least_words=0.5)) == problems


def test_words_are_compared_without_signs_and_letter_case():
    assert recognised("What's the price, please?", ["whats THE price"]) == 0.75


def test_the_last_line_need_not_be_answered():
    assert (
        list(problems_of(changed(lines=("Hello.",), responses=(None,), heard=("hello",)), limit=2, least_words=1)) == []
    )
