"""The play-out queue, one frame at a time."""

from media.phone.playout_queue import PlayoutQueue


def test_pieces_of_any_length_are_joined_into_frames():
    playout = PlayoutQueue()
    assert playout.add(b"\x01" * 100)
    assert playout.add(b"\x02" * 100)
    assert playout.next_frame() == (b"\x01" * 100 + b"\x02" * 60, [])
    assert playout.next_frame() == (b"\x02" * 40 + b"\xff" * 120, [])
    assert playout.next_frame() == (None, [])
    assert playout.played_bytes == 200


def test_a_mark_has_passed_when_everything_before_it_was_heard_to_the_end():
    playout = PlayoutQueue()
    playout.add(bytes(320))
    assert playout.mark("end")
    assert [playout.next_frame()[1] for _ in range(3)] == [[], [], ["end"]]
    assert not playout.mark("now")


def test_clear_returns_the_marks_in_order_and_lets_the_present_frame_finish():
    playout = PlayoutQueue()
    playout.add(bytes(480))
    playout.mark("a")
    playout.mark("b")
    playout.next_frame()
    assert playout.clear() == ["a", "b"]
    assert playout.mark("c")  # the frame in flight is still being heard
    assert playout.next_frame() == (None, ["c"])
    assert playout.played_bytes == 160


def test_a_prebuffer_holds_the_first_frames_back_after_an_empty_queue():
    playout = PlayoutQueue(prebuffer_frames=2)
    playout.add(bytes(160))
    assert [playout.next_frame()[0] is None for _ in range(4)] == [True, True, False, True]
    playout.add(bytes(160))
    assert [playout.next_frame()[0] is None for _ in range(3)] == [True, True, False]


def test_at_most_ten_minutes_are_queued():
    playout = PlayoutQueue()
    assert playout.add(bytes(4_800_000))
    assert not playout.add(bytes(1))
