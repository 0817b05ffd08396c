"""A worker is announced by a thread while its event loop is held up, but not when it is stuck for good."""

from inference.remote import wire
from inference.remote.pulse import LATE, STUCK, Pulse


def test_an_announcement_is_repeated_while_the_loop_is_held_up():
    pulse = Pulse(None, "inference.tts")  # type: ignore[arg-type]
    assert pulse.due(100.0) is None
    pulse.note(wire.Announcement("a", "ready", 2, 1, 50.0, None), 100.0)
    assert pulse.due(100.0 + LATE / 2) is None
    assert pulse.due(101.0) == wire.Announcement("a", "ready", 2, 1, 51.0, None)
    assert pulse.due(100.0 + STUCK) is None


async def test_nothing_is_repeated_once_it_has_stopped():
    pulse = Pulse(None, "inference.tts")  # type: ignore[arg-type]
    pulse.note(wire.Announcement("a", "ready", 2, 1, 50.0, None), 100.0)
    await pulse.stop()
    assert pulse.due(101.0) is None
