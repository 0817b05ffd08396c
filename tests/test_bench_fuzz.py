"""Odd messages and callbacks, sent to a web server of its own process: the benchmark of them, in a small size."""

import asyncio
import json
import sys

from media.messages import BadMessage, Start, parse
from tests.media.odd_messages import PING, TEXT, OddMessages, frame
from tests.real_services import process, process_env
from tests.thorough import size

MESSAGES, REQUESTS = size((3000, 300), (60_000, 6000))


async def test_a_server_survives_odd_messages_and_changes_nothing_that_they_must_not(tmp_path):
    options = f"--messages {MESSAGES} --requests {REQUESTS} --database sqlite --seed 1"
    command = f"-m tests.benchmarks.fuzz {options}"
    with process(sys.executable, *command.split(), env=process_env(tmp_path)) as benchmark:
        status = await asyncio.to_thread(benchmark.wait, timeout=300.0)
        await asyncio.to_thread(benchmark.wait_for_group)
    assert status == 0, benchmark.text
    assert "no fault" in benchmark.text


def test_a_frame_is_as_the_standard_says():
    assert frame(TEXT, b"Hello") == b"\x81\x85" + bytes(4) + b"Hello"
    assert frame(PING, b"Hello", masked=False) == b"\x89\x05Hello"  # RFC 6455, section 5.7
    assert frame(TEXT, b"x" * 256, fin=False)[:4] == b"\x01\xfe\x01\x00"
    assert frame(TEXT, b"x" * 65_536)[:10] == b"\x81\xff" + (65_536).to_bytes(8)


def test_the_same_seed_makes_the_same_messages():
    def some(seed: int) -> list[bytes]:
        messages = OddMessages(seed, call_sid="CA1", account_sid="AC1")
        return [messages.opening(), *(messages.odd() + messages.misplaced() + messages.fatal() for _ in range(50))]

    assert some(1) == some(1)
    assert some(1) != some(2)


def test_genuine_messages_are_understood_and_names_that_nobody_may_have_are_not():
    messages = OddMessages(1, call_sid="CA1", account_sid="AC1")
    starts = [_start_in(messages.start_of_another()) for _ in range(50)]
    assert _start_in(messages.start()) == Start(messages.stream_sid, "CA1", "AC1")
    assert None in starts
    assert not [start for start in starts if start == Start(messages.stream_sid, "CA1", "AC1")]


def _start_in(data: bytes) -> object:
    text = data[data.index(b"{") :]
    assert json.loads(text)["event"] == "start"
    try:
        return parse(text)
    except BadMessage:
        return None
