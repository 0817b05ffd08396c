"""The engine on the scripted machine, for the tests that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from inference.csm.engine import CsmThread
    from tests.inference.csm.machine import Machine


@pytest.fixture
def machine() -> Machine:
    from tests.inference.csm.machine import Machine  # here, because it imports torch, which most tests do not need

    return Machine()


@pytest.fixture
def engine(machine: Machine) -> Iterator[CsmThread]:
    from inference.csm.engine import CsmThread
    from inference.csm.scheduler import Scheduler
    from tests.inference.csm.machine import ROWS, tokens

    scheduler = Scheduler(ROWS, buckets=machine.buckets, lead=1e6, prefill_tokens=16)
    engine = CsmThread(lambda: (machine, machine), scheduler, tokenize=tokens, temperature=0.9, top_k=50)
    engine.start()
    machine.frames_made.clear()
    yield engine
    engine.close()
