"""The language model that answers by rules: what it understands and what it answers."""

import pytest

from inference.engines import front_desk
from inference.engines.front_desk import intent_of
from inference.engines.front_desk_phrases import sentences
from inference.engines.receptionist import ReceptionistLanguageModel
from inference.types import Message, Tools
from tests.inference.contract import LanguageModelContract
from tests.inference.held_out import HELD_OUT


class TestContract(LanguageModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        return ReceptionistLanguageModel


class Conversation:
    """A conversation with the front desk."""

    def __init__(self) -> None:
        self.messages = [Message("system", "You are the front desk.")]
        self.ended = False

    def reply_to(self, text: str) -> str:
        self.messages.append(Message("user", text))
        reply = front_desk.answer(self.messages)
        self.messages.append(Message("assistant", reply.text))
        self.ended = reply.requests.end_call
        return reply.text

    def interrupt_reply(self, *, words: int) -> None:
        """Let the caller hear only this many words of the last reply."""
        self.messages[-1] = Message("assistant", " ".join(self.messages[-1].content.split()[:words]))


@pytest.fixture
def conversation():
    return Conversation()


def test_thirty_sentences_outside_the_language_model_are_understood_when_transcribed_correctly():
    assert not set(HELD_OUT) & set(sentences())
    assert {text: intent_of(text) for text in HELD_OUT} == HELD_OUT


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("What time do you open?", "hours"),
        ("WHERE ARE YOU", "address"),
        ("My number is 555-2194.", "number"),
        ("Mm-hm.", "backchannel"),
        ("I’d like to talk to a person, please.", "human"),
        ("Hello. How much is a room?", "price"),
        ("Colourless green ideas sleep furiously.", "unclear"),
        ("", "unclear"),
    ],
)
def test_case_punctuation_and_digits_of_other_recognisers_do_not_matter(text, intent):
    assert intent_of(text) == intent


def test_almost_all_sentences_that_the_recogniser_knows_have_an_answer():
    unclear = [text for text in sentences() if intent_of(text) == "unclear"]
    assert len(unclear) < 0.05 * len(sentences())


def test_replies_are_short_and_without_lists(conversation):
    for text in [*HELD_OUT, "what is your name", "what time is it", "are you there", "yes", "no", "i'm fine", "mm hmm"]:
        reply = conversation.reply_to(text)
        assert 1 <= len(reply.split()) <= 80
        assert not set(reply) & set("0123456789*-\n")


def test_a_longer_answer_can_be_interrupted_and_repeated(conversation):
    long_answer = conversation.reply_to("Tell me about yourself.")
    assert long_answer.count(".") >= 4
    conversation.interrupt_reply(words=9)
    assert conversation.reply_to("Wait a second.") == "Sure, take your time."
    assert conversation.reply_to("Tell me something about you.") != long_answer
    conversation.interrupt_reply(words=3)
    assert conversation.reply_to("Sorry, can you say that again?").startswith("There is not much more to tell.")


def test_a_repetition_is_the_whole_last_answer_even_if_only_a_part_was_heard(conversation):
    price = conversation.reply_to("How much is it?")
    conversation.interrupt_reply(words=2)
    assert conversation.reply_to("Pardon?") == price
    assert conversation.reply_to("Once more please.") == price


def test_a_repetition_before_the_first_question_is_the_greeting(conversation):
    conversation.messages.append(Message("assistant", "Hello, Harper Hall."))
    assert conversation.reply_to("Sorry, what was that?") == "Hello, Harper Hall."


def test_a_question_about_a_day_gets_the_hours_of_that_day(conversation):
    assert "nine to five" in conversation.reply_to("Are you open on Tuesday?")
    assert "closed" in conversation.reply_to("And on Sunday?")
    assert "ten to two" in conversation.reply_to("What about the weekend?")


def test_a_name_is_spelled_back(conversation):
    assert "L, I, N, D, A" in conversation.reply_to("Hi, my name is Linda.")
    assert "S, I, O, B, H, A, N" in conversation.reply_to("My name is Siobhan.")


def test_a_number_is_read_back_for_confirmation(conversation):
    assert "five five five, two one nine four" in conversation.reply_to("My number is 555 2194")
    assert "once more" in conversation.reply_to("No.")
    assert "oh" not in conversation.reply_to("It's oh one two three.").split()
    assert "got it" in conversation.reply_to("Yes, that's right.")


def test_it_refuses_a_booking_and_says_what_it_can_do(conversation):
    reply = conversation.reply_to("I'd like to book a room for Friday.")
    assert "can't book" in reply
    assert "opening hours" in reply


def test_unclear_turns_are_answered_with_a_question_then_the_menu_then_an_offer_to_end(conversation):
    assert "say it again" in conversation.reply_to("blah")
    assert "You can ask for" in conversation.reply_to("blah blah")
    assert "end the call" in conversation.reply_to("blah blah blah")
    assert not conversation.ended
    conversation.reply_to("Yes.")
    assert conversation.ended


def test_an_understood_turn_resets_the_count_of_unclear_turns(conversation):
    conversation.reply_to("blah")
    conversation.reply_to("Where are you?")
    assert "say it again" in conversation.reply_to("blah")


def test_the_caller_can_decline_the_offer_to_end_the_call(conversation):
    for _ in range(3):
        conversation.reply_to("blah")
    assert "try again" in conversation.reply_to("No.")
    assert not conversation.ended


def test_a_caller_who_wants_nothing_else_ends_the_call(conversation):
    assert "anything else" in conversation.reply_to("Thank you.")
    assert "Goodbye" in conversation.reply_to("No, that's all.")
    assert conversation.ended


async def test_goodbye_requests_the_end_of_the_call_after_its_words():
    messages = [Message("user", "Goodbye!")]
    deltas = [delta async for delta in ReceptionistLanguageModel().stream(messages)]
    assert [delta.requests.end_call for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    assert "".join(delta.text for delta in deltas).endswith("Goodbye!")


async def answer_and_transfer(text: str, *targets: str) -> tuple[str, str]:
    """Return the answer and the target of the requested transfer."""
    model = ReceptionistLanguageModel()
    deltas = [delta async for delta in model.stream([Message("user", text)], tools=Tools(targets))]
    return "".join(delta.text for delta in deltas), "".join(delta.requests.transfer for delta in deltas)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Can I talk to a person, please?", "sales"),
        ("I'd like to speak to a human", "sales"),
        ("can I talk to someone", "sales"),
        ("Can you connect me to the night porter?", "the night porter"),
        ("put me through to sales", "sales"),
        ("What time do you open?", ""),
        ("How much are your sales?", ""),
    ],
)
async def test_a_caller_who_wants_a_person_is_transferred(text, target):
    said, transfer = await answer_and_transfer(text, "sales", "the night porter")
    assert transfer == target
    assert not target or said == "Of course. One moment, I'll connect you."


async def test_without_transfer_targets_the_desk_says_that_there_is_no_one_else():
    said, transfer = await answer_and_transfer("Can I talk to a person, please?")
    assert "the only one here" in said
    assert transfer == ""


async def test_a_caller_who_wants_no_more_calls_is_opted_out():
    messages = [Message("user", "Take me off your list.")]
    model = ReceptionistLanguageModel()
    deltas = [delta async for delta in model.stream(messages, tools=Tools(opt_out=True))]
    assert deltas[-1].requests.opt_out
    assert not any([delta.requests.opt_out async for delta in model.stream(messages)])


async def test_it_greets_a_caller_who_has_not_spoken_yet():
    deltas = [delta async for delta in ReceptionistLanguageModel().stream([Message("system", "Be kind.")])]
    assert deltas[0].text == "Hello, "


@pytest.mark.parametrize("greeting", ["Good morning.", "good afternoon", "Hello, good evening!"])
def test_a_greeting_that_begins_with_good_is_no_yes(greeting):
    assert intent_of(greeting) == "hello"
