"""Background tasks end with their owner, and a failure of one is logged."""

from __future__ import annotations

import asyncio

from media.background import BackgroundTasks


async def fail() -> None:
    raise ValueError("out of paper")


async def test_a_task_that_fails_is_logged_with_its_owner(caplog):
    tasks = BackgroundTasks("Call 1")
    await asyncio.wait([tasks.start(fail())])
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.getMessage() == "Call 1: a background task failed"
    assert "out of paper" in caplog.text


async def test_cancelling_waits_until_the_tasks_have_ended():
    tasks, ended = BackgroundTasks("Call 1"), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    task = tasks.start(work())
    await asyncio.sleep(0)
    await tasks.cancel()
    assert ended.is_set()
    assert task.cancelled()
    await tasks.cancel()
