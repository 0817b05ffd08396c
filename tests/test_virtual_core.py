"""The virtual time that real work takes."""

import asyncio

import pytest

from tests.virtual_core import CoreLoop, VirtualCore


class Work:
    """Work that takes so many seconds of the processor, and the time of the loop at which its result came."""

    def __init__(self) -> None:
        self.processor = 0.0
        self.done: dict[str, float] = {}

    async def do(self, core: VirtualCore, name: str, seconds: float) -> None:
        def work() -> str:
            self.processor += seconds
            return name

        assert await core.run(work) == name
        self.done[name] = asyncio.get_running_loop().time()


def run(*pieces: tuple[float, float]) -> tuple[dict[str, float], float]:
    """Do pieces of work that begin at these times and take so long; when each was done, and the work of the core."""
    loop, work = CoreLoop(), Work()
    core = VirtualCore(loop, clock=lambda: work.processor)

    async def piece(number: int, start: float, seconds: float) -> None:
        await asyncio.sleep(start)
        await work.do(core, str(number), seconds)

    async def all_pieces() -> None:
        await asyncio.gather(*(piece(number, *one) for number, one in enumerate(pieces)))

    try:
        loop.run_until_complete(all_pieces())
    finally:
        loop.close()
    return work.done, core.busy


@pytest.mark.parametrize(
    ("pieces", "done"),
    [
        ([(0.0, 0.5)], [0.5]),
        ([(1.0, 0.5), (3.0, 0.2)], [1.5, 3.2]),
        # Two at once have half of the core each.
        ([(0.0, 1.0), (0.0, 1.0)], [2.0, 2.0]),
        # The second begins when the first has half of its work left, and ends after it.
        ([(0.0, 1.0), (0.5, 1.0)], [1.5, 2.0]),
        # A short one does not wait until a long one is done.
        ([(0.0, 2.0), (0.5, 0.1)], [2.1, 0.7]),
        ([(0.0, 0.0)], [0.0]),
    ],
)
def test_work_takes_its_processor_time_on_a_core_that_is_shared(pieces, done):
    ended, busy = run(*pieces)
    assert [ended[str(number)] for number in range(len(pieces))] == pytest.approx(done)
    assert busy == pytest.approx(sum(seconds for _, seconds in pieces))


def test_an_error_comes_after_the_work_too():
    loop = CoreLoop()

    def fail() -> None:
        raise ValueError("no")

    async def work() -> None:
        with pytest.raises(ValueError, match="no"):
            await loop.run_in_executor(None, fail)
        with pytest.raises(ValueError, match="no"):
            await asyncio.to_thread(fail)

    try:
        loop.run_until_complete(work())
    finally:
        loop.close()
