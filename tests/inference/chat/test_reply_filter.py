"""What is removed from a model's reply before it is spoken, and what it requests."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inference.chat.prompt import GOODBYE, OPT_OUT, RECITED, TRANSFER, WAIT
from inference.chat.reply_filter import ReplyFilter
from inference.requests import ToolRequests
from inference.types import Tools
from tests.inference.chat.spellings import END, PIECES, REQUESTS, SALES, SILENT, SPEECH, WAITS
from tests.rows import each_row

TOOLS = Tools(("sales", "the night porter"), opt_out=True)
NOTHING = ToolRequests()


def said(text: str, *, size: int = 1000, marker: str = "[END_CALL]", tools: Tools = TOOLS) -> tuple[str, ReplyFilter]:
    """The text that is spoken when the reply comes in pieces of this size, without the end of its last line."""
    reply = ReplyFilter(marker, tools)
    pieces = [reply.feed(text[start : start + size]) for start in range(0, len(text), size)]
    return ("".join(pieces) + reply.rest()).removesuffix("\n"), reply


SIZES = (1, 2, 3, 5, 1000)


@pytest.mark.parametrize("role", ["User", "Customer", "Assistant"])
def test_a_line_is_spoken_at_its_end_even_if_a_role_may_follow(role):
    """What follows may be the label of data, so the whole next line is awaited, but the caller does not wait."""
    reply = ReplyFilter("[END_CALL]", TOOLS)
    assert reply.feed("It is a bit cloudy.\n") == "It is a bit cloudy.\n"
    assert reply.feed(f"{role}: What is the weather like") == ""


@pytest.mark.parametrize(
    ("written", "requests"), [(text, requests) for requests, texts in REQUESTS.items() for text in texts]
)
@each_row("size", SIZES)
def test_a_request_is_understood_and_not_spoken_however_it_is_written(written, requests, size):
    """Near misses of markers (active-call#49, gptme#795); tool calls in the text (vllm#31871, livekit/agents#4999)."""
    words, reply = said(f"Of course, goodbye. {written}", size=size)
    assert reply.requests == requests
    assert words.removeprefix("Of course, goodbye. ").strip("\n ()[]") in ("", "print"), (
        "only debris that no voice says"
    )


@pytest.mark.parametrize("written", ["[END_CALL]", "**[END CALL]**", "*hangs up*", "END_CALL.", "<end_call/>"])
@each_row("size", SIZES)
def test_words_around_a_request_are_spoken(written, size):
    words, reply = said(f"Goodbye! {written} Thank you for calling!", size=size)
    assert words.replace(".", "") == "Goodbye!  Thank you for calling!"
    assert reply.requests == END


@pytest.mark.parametrize("written", WAITS)
@each_row("size", SIZES)
def test_the_request_to_wait_is_understood_in_place_of_words(written, size):
    words, reply = said(written, size=size, tools=Tools(may_wait=True))
    assert not words.strip()
    assert reply.requests == ToolRequests(wait=True)


@pytest.mark.parametrize("written", [text for text in WAITS if "WAIT" not in text[:5] or text[0] == "["])
@each_row("size", SIZES)
def test_the_request_to_wait_behind_words_means_nothing_and_is_not_spoken(written, size):
    words, reply = said(f"We open at nine. {written}", size=size, tools=Tools(may_wait=True))
    assert words.removesuffix(" Go on.").strip() == "We open at nine."
    assert not reply.requests


def test_a_model_that_may_not_wait_does_not_and_its_marker_is_not_spoken():
    words, reply = said("[WAIT] We open at nine.")
    assert words.strip() == "We open at nine."
    assert not reply.requests


@pytest.mark.parametrize("text", SPEECH)
@each_row("size", SIZES)
def test_text_that_only_looks_like_a_request_is_spoken(text, size):
    words, reply = said(f"Well, {text}", size=size)
    assert words == f"Well, {text}".removesuffix("\n")
    assert not reply.requests


@pytest.mark.parametrize("text", SILENT)
@each_row("size", SIZES)
def test_json_tool_calls_code_and_reasoning_are_not_spoken(text, size):
    """extended_openai_conversation#434, vllm-mlx#107, agents-js#1339."""
    words, reply = said(f"Sure. {text}", size=size)
    assert words == "Sure. "
    assert not reply.requests


@each_row("size", SIZES)
def test_words_behind_reasoning_and_tool_calls_are_spoken(size):
    assert said("<think>\nHm.\n</think>\n\nAt nine.", size=size)[0] == "At nine."
    assert said('Sure.<tool_call>{"a": "b"}</tool_call> At nine.', size=size)[0] == "Sure. At nine."
    assert said('Sure. {"a": "b}"} At nine.', size=size)[0] == "Sure.  At nine."
    assert said("(You have not said this yet: x) At nine.", size=size)[0] == "At nine."
    harmony = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>At nine."
    assert said(harmony, size=size)[0] == "At nine."


@each_row("size", SIZES)
@pytest.mark.parametrize(
    "leak",
    [
        *("<end_of_turn>", "<start_of_turn>user\nAnd then?", "<|im_end|>", "</s>", "<eos>", "<|eot_id|>", "[INST] Hm"),
        *("\nUser: And?", "\nCaller: Hm", "\nassistant\nHi", "\nmodel\nI said", "\nassistant: Hi", "\nQ: Where?"),
        *("\nYou: Hi", "\n User: Hi", "\nCustomer: Hm", "\nSystem: The call", "\n**Caller:** Hm", "\n**User**: Hm"),
        *("\nAnrufer: Hm", "\nKundin: Hm", "\nUtilisateur : Hm", "\nUsuario: Hm", "\nKlant: Hm", "\nAssistente: Hi"),
        *("\nHuman: Hm", "\nAgent: Hi", "\nAI: Hi", "\n### User: Hm", "\nA: Nine.", "\nassistant", "\nBot: Hi"),
    ],
)
def test_nothing_is_spoken_after_the_model_has_ended_or_writes_another_turn(leak, size):
    words, reply = said(f"We open at nine.{leak} [END_CALL]" if leak != "\nassistant" else f"We open at nine.{leak}")
    assert words == "We open at nine."
    assert reply.ended
    assert not reply.requests
    assert said(f"We open at nine.{leak}", size=size)[0] == words


@each_row("size", SIZES)
def test_a_model_that_begins_with_the_callers_words_is_heard_from_its_own_on(size):
    dialogue = "User: When do you open? [END_CALL]\nAssistant: We open at nine.\nUser: Thanks!"
    words, reply = said(dialogue, size=size)
    assert words == "We open at nine."
    assert not reply.requests
    chatml = "<|im_start|>user\nWhen?<|im_end|>\n<|im_start|>assistant\nAt nine.<|im_end|>"
    assert said(chatml, size=size)[0] == "At nine."
    assert said("Caller: When do you open?", size=size)[0] == ""


@each_row("size", range(9, 20))
def test_a_letter_whose_lower_case_has_two_characters_hides_no_marker(size):
    words, reply = said("Hello, İ! [END_CALL]", size=size)
    assert words == "Hello, İ! "
    assert reply.requests == END


@pytest.mark.parametrize("cut", ["<end_of", "<|im", "</", "<start_of_turn", "<tool_ca", "[TRANSFER sa", '{"na'])
def test_what_a_length_limit_leaves_of_a_token_or_a_request_is_not_spoken(cut):
    assert said(f"Goodbye.{cut}", size=4)[0] == "Goodbye."


@each_row("size", SIZES)
@pytest.mark.parametrize(
    "opening",
    [
        *("model\n", "assistant: ", "Agent: ", "**Agent:** ", "**Assistant**: ", "<bos>", "You: "),
        "<start_of_turn>model\n",
        *(" \n<|im_start|>assistant\n", "<|start_header_id|>assistant<|end_header_id|>\n\n", "A: ", "Bot: "),
    ],
)
def test_a_role_before_the_words_is_not_spoken(opening, size):
    assert said(f"{opening}Agents open it: at nine.", size=size)[0] == "Agents open it: at nine."


@each_row("size", SIZES)
def test_reasoning_before_the_words_is_not_spoken(size):
    assert said("\n<think>\nThey ask. <b> [END_CALL]\n</think>\n\nAt nine.", size=size)[0].strip() == "At nine."
    words, reply = said("<think>They ask, and so on", size=size)
    assert words == ""
    assert not reply.requests


def test_text_is_held_back_no_longer_than_needed():
    reply = ReplyFilter("[END_CALL]")
    pieces = ("W", "e", " op", "en [", "9]", " <", "3 (", "at", " night) ", "{so", " it")
    spoken = ["", "", "We ", "open ", "[9]", " ", "<3 ", "(", "at night) ", "", "{so "]
    assert [reply.feed(piece) for piece in pieces] == spoken
    assert ReplyFilter("").feed("A") == ""
    assert ReplyFilter("").feed("As you ") == "As you "


@each_row("size", SIZES)
def test_an_own_marker_ends_the_call_as_well(size):
    words, reply = said("Bye. <<OVER>> Really.", size=size, marker="<<over>>")
    assert (words, reply.requests) == ("Bye.  Really.", END)
    words, reply = said("Bye. Over and out. Rover.", size=size, marker="over and out")
    assert (words, reply.requests) == ("Bye. . Rover.", END)


@each_row("size", SIZES)
def test_a_model_that_may_not_end_the_call_does_not_and_its_marker_is_not_spoken(size):
    words, reply = said("Bye. [END_CALL] end_call()", size=size, marker="")
    assert (words.strip(), reply.requests) == ("Bye.", NOTHING)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("[TRANSFER the night porter]", "the night porter"),
        ("[transfer: Night Porter]", "the night porter"),
        ("[TRANSFER the president]", "the president"),
        ("[TRANSFER]", "sales"),
    ],
)
def test_the_target_of_a_transfer_is_one_of_the_call_if_its_name_is_close(text, target):
    assert said(text)[1].requests == ToolRequests(transfer=target)
    assert said("[TRANSFER]", tools=Tools())[1].requests == ToolRequests(transfer="nobody")
    assert said("[TRANSFER name]", tools=Tools(("sales",)))[1].requests == SALES


texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=7).map("".join)


@given(texts, st.integers(1, 9), st.booleans())
@example("[END_CALL", 1, True)
@example("ok [TOOL_CALLS]x", 3, True)
def test_a_reply_reads_the_same_however_it_is_cut_into_tokens(text, size, spaced):
    text = f"Hello. {text}" if spaced else text
    whole, reply = said(text)
    cut, pieces = said(text, size=size)
    assert (cut, pieces.requests, pieces.ended) == (whole, reply.requests, reply.ended)


@each_row("size", SIZES)
@pytest.mark.parametrize(
    "recited",
    [
        *(text[: text.find("{")] + "[END_CALL] and so on." for text in (GOODBYE, OPT_OUT, WAIT)),
        "When the caller wants or needs to be connected, answer with [TRANSFER sales] at the very end.",
    ],
)
def test_instructions_that_the_model_recites_are_not_spoken_and_request_nothing(recited, size):
    """Gemma 3 270M (base) recited them, and put the caller on the list of those never to be called."""
    for words in ("", "We are in Mill Lane. "):
        text, reply = said(words + recited, size=size)
        assert text.strip() == words.strip()
        assert reply.requests == NOTHING


@each_row("size", SIZES)
@pytest.mark.parametrize("verb", ["write", "answer with", 'reply with "', "Respond only with:"])
def test_a_marker_that_the_model_tells_somebody_to_write_is_no_request(verb, size):
    text, reply = said(f"If they say no, {verb} [DO_NOT_CALL] and hang up.", size=size)
    assert "hang up" not in text
    assert reply.requests == NOTHING


@each_row("size", SIZES)
def test_a_marker_that_the_model_makes_up_is_not_spoken(size):
    text, reply = said("[NOT_CALL] We are open. [CALL\\_ON\\_HOLD]", size=size)
    assert text.strip() == "We are open."
    assert reply.requests == NOTHING


def test_each_beginning_of_an_instruction_is_one():
    instructions = f"{GOODBYE} {TRANSFER} {OPT_OUT} {WAIT}"
    assert [beginning for beginning in RECITED if beginning not in instructions] == []


def test_a_caller_may_be_told_when_the_conversation_is_recorded():
    words = "When the conversation is recorded, you hear a beep. When the caller before you is done, it is your turn."
    assert said(words, size=1)[0] == words


@each_row("size", SIZES)
@pytest.mark.parametrize(
    "script",
    [
        "User: [END_CALL]\n\nWhen the caller says:\n\nAssistant: [END_CALL]\nUser: [END_CALL]\n",
        "User: [TRANSFER sales]\nName: Ann",
        "User: Hi\n\nWhen the caller says:\n\nUser: Hi",
    ],
)
def test_a_script_of_a_call_is_not_read_out(script, size):
    """Gemma 3 270M (base) wrote the first one: the names of the roles were heard as if they were data."""
    for words in ("", "We are open.\n"):
        assert "ser:" not in said(words + script, size=size)[0]
