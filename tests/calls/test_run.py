"""``manage.py run``: several processes in one terminal."""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from calls.management.commands.run import run_together


@pytest.fixture(autouse=True)
def _ctrl_c_interrupts() -> Iterator[None]:
    """A shell ignores Ctrl-C on behalf of what it runs in the background, and the tests would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Out(io.StringIO):
    """Collects lines as Django's output wrapper does. ``wait_for`` returns when a line has come."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.written = threading.Condition()

    def write(self, line: str) -> int:
        with self.written:
            self.lines.append(line)
            self.written.notify_all()
        return len(line)

    def wait_for(self, line: str) -> None:
        with self.written:
            assert self.written.wait_for(lambda: line in self.lines, 20), self.lines


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


FOREVER = "import time; print('here'); time.sleep(600)"


def test_when_one_process_ends_the_others_are_stopped_and_its_name_is_returned():
    out = Out()
    assert run_together({"web": python(FOREVER), "worker": python("print('ready')")}, out=out) == "worker"
    assert "worker | ready" in out.lines


def test_ctrl_c_ends_all_processes():
    out = Out()

    def interrupt() -> None:
        out.wait_for("web | here")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert run_together({"web": python(FOREVER)}, out=out) == ""


def test_a_second_ctrl_c_kills_a_process_that_ignores_the_first():
    out = Out()
    stubborn = f"import signal; signal.signal(signal.SIGTERM, lambda *_: print('ignored')); {FOREVER}"

    def interrupt_twice() -> None:
        out.wait_for("web | here")
        os.kill(os.getpid(), signal.SIGINT)
        out.wait_for("web | ignored")  # now the command waits for its process to end
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_twice).start()
    assert run_together({"web": python(stubborn)}, out=out) == ""
