"""Which workers a client knows, and which of them it would ask."""

from inference.remote import wire
from inference.remote.known_workers import UNHEARD_BEATS, KnownWorkers
from inference.remote.links import SILENT_BEATS


def announce(workers: KnownWorkers, sender: str, *, free: int = 1) -> None:
    assert workers.update(wire.Announcement(sender, "ready", 2, free, 0.0, wire.Facts(8000)), now=0.0)


def known(*senders: str) -> KnownWorkers:
    workers = KnownWorkers("tts", None)
    for sender in senders:
        announce(workers, sender)
    return workers


def let_pass(workers: KnownWorkers, beats: int, *, heard: str = "") -> None:
    """Only the worker ``heard`` announces itself in these beats."""
    for _ in range(beats):
        workers.beat()
        if heard:
            announce(workers, heard)


def test_a_worker_is_asked_while_it_is_heard_and_known_for_longer():
    workers = known("one")
    let_pass(workers, SILENT_BEATS)
    assert workers.has_free_slot("one")
    let_pass(workers, 1)
    assert not workers.has_free_slot("one")
    let_pass(workers, UNHEARD_BEATS - SILENT_BEATS - 1)
    assert workers.any_in_state("ready")
    let_pass(workers, 1)
    assert not workers.any_in_state("ready")


def test_a_session_that_moves_goes_to_a_worker_that_is_heard():
    workers = known("lost", "late", "heard")
    let_pass(workers, SILENT_BEATS + 1, heard="heard")
    assert workers.free_slots(without="lost") == {"heard": 1}


def test_if_none_is_heard_a_session_moves_to_the_one_that_was_heard_last():
    workers = known("dead", "lost", "late", "also late")
    let_pass(workers, 3, heard="late")
    let_pass(workers, SILENT_BEATS + 2)
    assert workers.free_slots(without="lost") == {"late": 1}
    assert known("lost").free_slots(without="lost") == {}


def test_a_worker_that_may_be_dead_makes_the_others_neither_full_nor_free():
    workers = known("late")
    announce(workers, "late", free=0)
    let_pass(workers, SILENT_BEATS + 1)
    assert not workers.full  # its sessions may have ended
    announce(workers, "heard", free=0)
    assert workers.full
