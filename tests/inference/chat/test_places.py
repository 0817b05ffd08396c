"""In which slot a request is computed: a call finds its conversation again, and no other call takes it away."""

import pytest

from inference.chat.places import FORGOTTEN, Places
from inference.chat.prompt import GOES_ON, PICKS_UP

SYSTEM = ("system", "You answer the telephone of a hotel.")
OPENING = (SYSTEM, ("user", PICKS_UP), ("assistant", "Good morning, how can I help?"))


class Calls:
    """A server with some slots, and what was computed in which."""

    def __init__(self, slots: int) -> None:
        self.places, self.now = Places(slots), 0.0

    def asks(self, *turns, reply="", warm=False) -> int:
        """Compute a request, and return the number of its slot."""
        self.now += 1
        place = self.places.take(turns, now=self.now, warm=warm)
        place.release(turns, reply)
        return place.number


class Caller:
    """One call: each turn is added to its history."""

    def __init__(self, calls: Calls, opening=OPENING) -> None:
        self.calls, self.history = calls, list(opening)

    def rings(self) -> int:
        return self.calls.asks(*self.history, ("user", GOES_ON), warm=True)

    def says(self, words: str, reply: str) -> int:
        self.history.append(("user", words))
        slot = self.calls.asks(*self.history, reply=reply)
        self.history.append(("assistant", reply))
        return slot


@pytest.mark.parametrize("warmed", [True, False])
def test_two_calls_of_one_agent_by_turns_keep_their_slots(warmed):
    calls = Calls(2)
    ann, ben = Caller(calls), Caller(calls)
    if warmed:
        assert ann.rings() != ben.rings()
    slots = [(ann.says(f"Ann says {n}", f"To Ann {n}"), ben.says(f"Ben says {n}", f"To Ben {n}")) for n in range(6)]
    settled = slots[0] if warmed else slots[2]
    assert settled[0] != settled[1]
    assert set(slots[0 if warmed else 2 :]) == {settled}


def test_a_call_that_begins_leaves_the_slot_of_a_running_one_alone():
    calls = Calls(2)
    ann, ben = Caller(calls), Caller(calls)
    ann.rings()
    slot = ann.says("Do you have a room?", "Yes, we have.")
    assert ben.rings() != slot
    assert ben.says("Hello?", "Good morning.") != slot
    assert ann.says("For two nights.", "Gladly.") == slot


def test_the_same_first_words_in_two_calls_are_no_reason_to_take_the_slot_of_the_other():
    calls = Calls(2)
    ann, ben = Caller(calls), Caller(calls)
    ann.rings()
    slot = ann.says("Hello?", "Hello, how can I help?")
    ann.says("I want a room.", "For how many?")
    ben.rings()
    assert ben.says("Hello?", "Hello, what can I do?") != slot
    assert ann.says("For two.", "Gladly.") == slot


def test_a_request_whose_last_words_were_recognised_anew_stays_in_its_slot():
    calls = Calls(3)
    ann = Caller(calls)
    slot = ann.says("I want a room.", "For how many?")
    before = ann.history
    first = calls.asks(*before, ("user", "For too"), reply="Sorry?")
    again = calls.asks(*before, ("user", "For two people"), reply="Gladly.")
    assert first == again == slot


def test_a_reply_that_was_heard_only_in_part_stays_in_its_slot():
    calls = Calls(2)
    ann = Caller(calls)
    slot = ann.says("I want a room.", "We have rooms with a view and rooms without.")
    ann.history[-1] = ("assistant", "We have rooms")
    assert ann.says("Wait, how much is one?", "Ninety.") == slot


def test_a_conversation_whose_oldest_turns_were_left_out_stays_in_its_slot():
    calls = Calls(2)
    ann, ben = Caller(calls), Caller(calls)
    ann.rings(), ben.rings()
    slots = {(ann.says(f"Ann {n}", f"To Ann {n}"), ben.says(f"Ben {n}", f"To Ben {n}")) for n in range(5)}
    ((slot, _),) = slots
    ann.history = [SYSTEM, *ann.history[-4:]]
    assert ann.says("Go on.", "Gladly.") == slot


def test_a_third_call_takes_the_slot_that_was_not_used_for_the_longest_time():
    calls = Calls(2)
    ann, ben, cora = Caller(calls), Caller(calls), Caller(calls, [("system", "You sell cars.")])
    ann.rings(), ben.rings()
    older = ann.says("Hello, it is Ann.", "Hello Ann.")
    ann.says("Bye.", "Bye.")
    newer = ben.says("Hello, it is Ben.", "Hello Ben.")
    assert cora.says("Is the red one sold?", "No.") == older != newer


def test_a_busy_slot_is_not_given_to_a_second_request():
    places = Places(2)
    turns = (*OPENING, ("user", "Hello?"))
    assert places.take(turns, now=1.0) is not places.take(turns, now=2.0)


def test_a_slot_can_be_taken_again_as_soon_as_its_request_is_cancelled():
    places = Places(1)
    place = places.take(OPENING, now=1.0)
    place.release(OPENING)
    assert places.take((*OPENING, ("user", "Hello?")), now=2.0) is place


def test_a_call_that_is_warmed_again_after_its_greeting_stays_in_its_slot():
    calls = Calls(2)
    ann = Caller(calls, OPENING[:2])
    slot = ann.rings()
    ann.history = [*OPENING]
    assert ann.rings() == slot


def test_a_call_that_begins_takes_the_slot_of_an_ended_one_of_its_agent():
    calls = Calls(3)
    other, ann = Caller(calls, [("system", "You sell cars.")]), Caller(calls)
    for caller in (other, ann):
        caller.rings()
        caller.says("Hello?", "Hello!")
    ended = ann.says("Bye.", "Bye!")
    calls.now += FORGOTTEN
    assert Caller(calls).rings() == ended
    assert Caller(calls).rings() != ended
