"""The rule-based responder and what it can talk about."""

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


class Talk:
    """A conversation with the front desk."""

    def __init__(self) -> None:
        self.messages = [Message("system", "You are the front desk.")]
        self.ended = False

    def says(self, text: str) -> str:
        self.messages.append(Message("user", text))
        reply = front_desk.answer(self.messages)
        self.messages.append(Message("assistant", reply.text))
        self.ended = reply.requests.end_call
        return reply.text

    def heard_only(self, words: int) -> None:
        """The last reply was interrupted."""
        self.messages[-1] = Message("assistant", " ".join(self.messages[-1].content.split()[:words]))


@pytest.fixture
def talk():
    return Talk()


def test_thirty_sentences_outside_the_language_model_are_understood_when_heard_right():
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
def test_casing_punctuation_and_digits_of_other_recognisers_do_not_matter(text, intent):
    assert intent_of(text) == intent


def test_almost_all_that_the_recogniser_may_hear_has_an_answer():
    unclear = [text for text in sentences() if intent_of(text) == "unclear"]
    assert len(unclear) < 0.05 * len(sentences())


def test_replies_are_short_and_without_lists(talk):
    for text in [*HELD_OUT, "what is your name", "what time is it", "are you there", "yes", "no", "i'm fine", "mm hmm"]:
        reply = talk.says(text)
        assert 1 <= len(reply.split()) <= 80
        assert not set(reply) & set("0123456789*-\n")


def test_a_longer_story_can_be_interrupted_and_told_again(talk):
    story = talk.says("Tell me about yourself.")
    assert story.count(".") >= 4
    talk.heard_only(words=9)
    assert talk.says("Wait a second.") == "Sure, take your time."
    assert talk.says("Tell me something about you.") != story
    talk.heard_only(words=3)
    assert talk.says("Sorry, can you say that again?").startswith("There is not much more to tell.")


def test_repeating_says_the_whole_of_the_last_answer_even_if_half_of_it_was_heard(talk):
    price = talk.says("How much is it?")
    talk.heard_only(words=2)
    assert talk.says("Pardon?") == price
    assert talk.says("Once more please.") == price


def test_repeating_before_anything_was_asked_repeats_the_greeting(talk):
    talk.messages.append(Message("assistant", "Hello, Harper Hall."))
    assert talk.says("Sorry, what was that?") == "Hello, Harper Hall."


def test_a_day_is_answered_for_that_day(talk):
    assert "nine to five" in talk.says("Are you open on Tuesday?")
    assert "closed" in talk.says("And on Sunday?")
    assert "ten to two" in talk.says("What about the weekend?")


def test_a_name_is_spelled_back(talk):
    assert "L, I, N, D, A" in talk.says("Hi, my name is Linda.")
    assert "S, I, O, B, H, A, N" in talk.says("My name is Siobhan.")


def test_a_number_is_read_back_and_confirmed(talk):
    assert "five five five, two one nine four" in talk.says("My number is 555 2194")
    assert "once more" in talk.says("No.")
    assert "oh" not in talk.says("It's oh one two three.").split()
    assert "got it" in talk.says("Yes, that's right.")


def test_it_cannot_book_and_says_what_it_can_do(talk):
    reply = talk.says("I'd like to book a room for Friday.")
    assert "can't book" in reply
    assert "opening hours" in reply


def test_nothing_understood_asks_again_once_then_offers_a_menu_then_an_end(talk):
    assert "say it again" in talk.says("blah")
    assert "You can ask for" in talk.says("blah blah")
    assert "end the call" in talk.says("blah blah blah")
    assert not talk.ended
    talk.says("Yes.")
    assert talk.ended


def test_an_understood_turn_forgives_the_misses_before_it(talk):
    talk.says("blah")
    talk.says("Where are you?")
    assert "say it again" in talk.says("blah")


def test_the_offer_to_end_can_be_declined(talk):
    for _ in range(3):
        talk.says("blah")
    assert "try again" in talk.says("No.")
    assert not talk.ended


def test_nothing_else_ends_the_call(talk):
    assert "anything else" in talk.says("Thank you.")
    assert "Goodbye" in talk.says("No, that's all.")
    assert talk.ended


async def test_goodbye_asks_for_the_end_of_the_call_after_its_words():
    messages = [Message("user", "Goodbye!")]
    deltas = [delta async for delta in ReceptionistLanguageModel().stream(messages)]
    assert [delta.requests.end_call for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    assert "".join(delta.text for delta in deltas).endswith("Goodbye!")


async def transfer_of(text: str, *targets: str) -> tuple[str, str]:
    """What the desk says to it, and whom it hands the caller on to."""
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
async def test_a_caller_who_wants_a_person_is_handed_on(text, target):
    said, transfer = await transfer_of(text, "sales", "the night porter")
    assert transfer == target
    assert not target or said == "Of course. One moment, I'll connect you."


async def test_where_nobody_else_is_there_the_desk_says_so():
    said, transfer = await transfer_of("Can I talk to a person, please?")
    assert "the only one here" in said
    assert transfer == ""


async def test_a_caller_who_wants_no_more_calls_is_taken_at_their_word():
    messages = [Message("user", "Take me off your list.")]
    model = ReceptionistLanguageModel()
    deltas = [delta async for delta in model.stream(messages, tools=Tools(opt_out=True))]
    assert deltas[-1].requests.opt_out
    assert not any([delta.requests.opt_out async for delta in model.stream(messages)])


async def test_without_a_word_of_the_caller_it_greets():
    deltas = [delta async for delta in ReceptionistLanguageModel().stream([Message("system", "Be kind.")])]
    assert deltas[0].text == "Hello, "
