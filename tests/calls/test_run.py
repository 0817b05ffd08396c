"""Several processes in one window."""

import io
import os
import signal
import sys
import threading
import time

from calls.management.commands.run import run_together


class Out(io.StringIO):
    """Collects lines as Django's output wrapper does, and says when one has come."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.came = threading.Condition()

    def write(self, line: str) -> int:
        with self.came:
            self.lines.append(line)
            self.came.notify_all()
        return len(line)

    def wait_for(self, line: str) -> None:
        with self.came:
            assert self.came.wait_for(lambda: line in self.lines, 20), self.lines


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


FOREVER = "import time; print('here'); time.sleep(600)"


def test_when_one_ends_the_others_are_stopped_and_it_is_named():
    out = Out()
    assert run_together({"web": python(FOREVER), "worker": python("print('ready')")}, out=out) == "worker"
    assert "worker | ready" in out.lines


def test_ctrl_c_ends_them_all():
    out = Out()

    def interrupt() -> None:
        out.wait_for("web | here")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert run_together({"web": python(FOREVER)}, out=out) == ""


def test_who_is_impatient_ends_what_does_not_want_to_end():
    out = Out()
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here'); time.sleep(600)"

    def interrupt_twice() -> None:
        out.wait_for("web | here")
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    threading.Thread(target=interrupt_twice).start()
    assert run_together({"web": python(stubborn)}, out=out) == ""
