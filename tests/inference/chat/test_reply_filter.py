"""What is taken out of a model's words before they are spoken."""

import pytest

from inference.chat.reply_filter import ReplyFilter


def said(text: str, *, size: int, marker: str = "[END_CALL]") -> tuple[str, ReplyFilter]:
    """The text as it is said when it comes in pieces of this size."""
    reply = ReplyFilter(marker)
    pieces = [reply.feed(text[start : start + size]) for start in range(0, len(text), size)]
    return "".join(pieces) + reply.rest(), reply


SIZES = (1, 2, 3, 5, 1000)


@pytest.mark.parametrize(
    "text", ["See [END", "[", "a [E] b [END CALL]", "[[END_CALL", "2 < 3", "Yes\n", "a <b", "I am"]
)
@pytest.mark.parametrize("size", SIZES)
def test_what_only_begins_like_a_marker_is_text(text, size):
    words, reply = said(text, size=size)
    assert words == text
    assert not reply.requests


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "leak",
    ["<end_of_turn>", "<start_of_turn>user\nAnd then?", "<|im_end|>", "</s>", "<eos>", "\nUser: And?", "\nCaller: Hm"],
)
def test_nothing_is_said_after_the_model_has_ended_or_plays_the_caller(leak, size):
    words, reply = said(f"We open at nine.{leak} [END_CALL]", size=size)
    assert words == "We open at nine."
    assert reply.ended
    assert not reply.requests


@pytest.mark.parametrize("size", range(9, 20))
def test_a_letter_that_becomes_two_when_it_is_made_small_hides_no_marker(size):
    words, reply = said("Hello, İ! [END_CALL]", size=size)
    assert words == "Hello, İ! "
    assert reply.requests.end_call


@pytest.mark.parametrize("cut", ["<end_of", "<|im", "</", "<start_of_turn"])
def test_a_control_token_that_the_limit_of_the_reply_cuts_is_not_said(cut):
    assert said(f"Goodbye.{cut}", size=4)[0] == "Goodbye."


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "opening",
    [
        "model\n",
        "assistant: ",
        "Agent: ",
        "**Agent:** ",
        "<start_of_turn>model\n",
        "<bos>",
        " \n<|im_start|>assistant\n",
    ],
)
def test_the_role_before_the_words_is_not_said(opening, size):
    assert said(f"{opening}Agents open it: at nine.", size=size)[0] == "Agents open it: at nine."


@pytest.mark.parametrize("size", SIZES)
def test_thoughts_before_the_words_are_not_said(size):
    assert said("\n<think>\nThey ask. <b> [END_CALL]\n</think>\n\nAt nine.", size=size)[0].strip() == "At nine."
    words, reply = said("<think>They ask, and so on", size=size)
    assert words == ""
    assert not reply.requests


def test_words_are_held_back_no_longer_than_needed():
    reply = ReplyFilter("[END_CALL]")
    assert [reply.feed(piece) for piece in ("W", "e op", "en [", "9]", " <", "3")] == [
        "W",
        "e op",
        "en ",
        "[9]",
        " ",
        "<3",
    ]
    assert ReplyFilter("").feed("A") == ""
    assert ReplyFilter("").feed("As you") == "As you"
