"""Which requests the model takes next, and together, in virtual time."""

from dataclasses import dataclass

import pytest

from inference.types import EngineFull
from inference.whisper.batches import Batches, Urgency


@dataclass(eq=False)
class Request:
    name: str
    urgency: Urgency = Urgency.ANSWER
    shape: int = 1000


def partial_of(name: str, shape: int = 1000) -> Request:
    return Request(name, Urgency.PARTIAL, shape)


@pytest.fixture
def batches() -> Batches[Request]:
    return Batches(max_rows=4, max_partial_rows=2, gather=0.003, max_waiting=8)


def names(requests: list[Request]) -> str:
    return "".join(request.name for request in requests)


def test_without_requests_there_is_no_batch(batches):
    assert batches.take(now=0.0) == []
    assert batches.due() is None


def test_an_answer_waits_only_a_moment_for_others(batches):
    batches.add(Request("a"), now=1.0)
    assert batches.take(now=1.0) == []
    batches.add(Request("b"), now=1.002)
    assert batches.take(now=1.002) == []
    assert batches.due() == pytest.approx(1.003)
    assert names(batches.take(now=batches.due())) == "ab"
    assert len(batches) == 0


def test_a_full_batch_does_not_wait(batches):
    for name in "abcde":
        batches.add(Request(name), now=1.0)
    assert names(batches.take(now=1.0)) == "abcd"
    assert batches.take(now=1.0) == []
    assert names(batches.take(now=1.003)) == "e"


def test_answers_that_waited_while_the_model_was_busy_go_at_once(batches):
    batches.add(Request("a"), now=1.0)
    batches.add(Request("b"), now=1.029)
    assert names(batches.take(now=1.030)) == "ab"


def test_the_oldest_request_decides_the_shape_of_the_batch(batches):
    for name, shape in (("a", 1500), ("b", 1000), ("c", 1500), ("d", 1000)):
        batches.add(Request(name, shape=shape), now=1.0)
    assert names(batches.take(now=2.0)) == "ac"
    assert names(batches.take(now=2.0)) == "bd"


def test_no_partial_begins_while_an_answer_waits_for_others(batches):
    batches.add(partial_of("p"), now=1.0)
    batches.add(Request("a"), now=1.5)
    assert batches.take(now=1.501) == []
    assert names(batches.take(now=1.503)) == "a"
    assert names(batches.take(now=1.503)) == "p"


def test_partials_go_at_once_in_their_order_but_only_a_few_at_a_time(batches):
    for name in "pqrst":
        batches.add(partial_of(name), now=1.0)
    assert batches.due() == 1.0
    taken = [names(batches.take(now=1.0)) for _ in range(3)]
    assert taken == ["pq", "rs", "t"]


def test_a_rare_shape_does_not_wait_longer(batches):
    batches.add(Request("a", shape=3000), now=1.0)
    for name in "bcdefg":
        batches.add(Request(name), now=1.001)
    assert names(batches.take(now=1.004)) == "a"


def test_a_partial_that_became_an_answer_goes_with_the_answers(batches):
    late, other = partial_of("l"), partial_of("o")
    batches.add(other, now=1.0)
    batches.add(late, now=1.1)
    late.urgency = Urgency.ANSWER
    assert names(batches.take(now=1.2)) == "l"


def test_a_discarded_request_is_not_taken(batches):
    gone, kept = Request("g"), Request("k")
    batches.add(gone, now=1.0)
    batches.add(kept, now=1.0)
    batches.discard(gone)
    batches.discard(gone)
    assert names(batches.take(now=2.0)) == "k"


def test_a_request_that_is_put_back_keeps_its_position(batches):
    first, second = Request("a"), Request("b", shape=1500)
    batches.add(first, now=1.0)
    batches.add(second, now=1.001)
    assert batches.take(now=1.003) == [first]
    batches.put_back(first, asked_at=1.0)
    assert batches.take(now=1.003) == [first]


def test_too_many_requests_are_refused_but_partials_do_not_count_as_answers(batches):
    for number in range(8):
        batches.add(partial_of(str(number)), now=1.0)
    with pytest.raises(EngineFull):
        batches.add(partial_of("p"), now=1.0)
    for number in range(8):
        batches.add(Request(str(number)), now=1.0)
    with pytest.raises(EngineFull, match="8 utterances wait") as refusal:
        batches.add(Request("a"), now=1.0)
    assert not refusal.value.permanent
    assert len(batches.clear()) == 16
    assert batches.due() is None
