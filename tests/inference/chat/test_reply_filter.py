"""What is removed from a model's reply before it is spoken."""

import pytest

from inference.chat.reply_filter import ReplyFilter


def said(text: str, *, size: int, marker: str = "[END_CALL]") -> tuple[str, ReplyFilter]:
    """The text that is spoken when the reply comes in pieces of this size."""
    reply = ReplyFilter(marker)
    pieces = [reply.feed(text[start : start + size]) for start in range(0, len(text), size)]
    return "".join(pieces) + reply.rest(), reply


SIZES = (1, 2, 3, 5, 1000)


@pytest.mark.parametrize(
    "text", ["See [END", "[", "a [E] b [END CALL]", "[[END_CALL", "2 < 3", "Yes\n", "a <b", "I am"]
)
@pytest.mark.parametrize("size", SIZES)
def test_text_that_only_begins_like_a_marker_is_spoken(text, size):
    words, reply = said(text, size=size)
    assert words == text
    assert not reply.requests


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "leak",
    ["<end_of_turn>", "<start_of_turn>user\nAnd then?", "<|im_end|>", "</s>", "<eos>", "\nUser: And?", "\nCaller: Hm"],
)
def test_nothing_is_spoken_after_the_model_has_ended_or_writes_the_callers_turn(leak, size):
    words, reply = said(f"We open at nine.{leak} [END_CALL]", size=size)
    assert words == "We open at nine."
    assert reply.ended
    assert not reply.requests


@pytest.mark.parametrize("size", range(9, 20))
def test_a_letter_whose_lower_case_has_two_characters_hides_no_marker(size):
    words, reply = said("Hello, İ! [END_CALL]", size=size)
    assert words == "Hello, İ! "
    assert reply.requests.end_call


@pytest.mark.parametrize("cut", ["<end_of", "<|im", "</", "<start_of_turn"])
def test_a_control_token_cut_off_by_the_length_limit_is_not_spoken(cut):
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
def test_a_role_before_the_words_is_not_spoken(opening, size):
    assert said(f"{opening}Agents open it: at nine.", size=size)[0] == "Agents open it: at nine."


@pytest.mark.parametrize("size", SIZES)
def test_reasoning_before_the_words_is_not_spoken(size):
    assert said("\n<think>\nThey ask. <b> [END_CALL]\n</think>\n\nAt nine.", size=size)[0].strip() == "At nine."
    words, reply = said("<think>They ask, and so on", size=size)
    assert words == ""
    assert not reply.requests


def test_text_is_held_back_no_longer_than_needed():
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
