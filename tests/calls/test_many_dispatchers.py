"""Each call is dialled once by real workers, while they, the broker and the database are killed and restarted."""

from __future__ import annotations

from tests.calls.installation import Installation, installation, survive
from tests.thorough import size

COUNT = size(100, 300)
"""Calls. Most of the processor time is that of the processes, and each call takes 0.1 s more."""
FAST = {"CALLS_PER_SECOND": "60", "MAX_LIVE_CALLS": "120", "OUTBOUND_MAX_CALLS": "100"}


def check_that_each_call_was_dialled_once(here: Installation, database: dict) -> None:
    dialled = here.calls_by_number()
    assert max(dialled.values()) == 1
    assert len(dialled) == database["calls"] == COUNT
    assert database["by_status"] == {"busy": COUNT}
    assert database["attempts_with_sid"] == COUNT
    assert database["attempts"] == COUNT + database["attempts_not_sent"]
    assert (database["open_attempts"], database["leases"]) == (0, 0)


async def test_each_of_many_calls_is_dialled_once_whichever_process_dies(own_postgres, own_redis, tmp_path):
    servers = {"database_url": own_postgres.url, "redis_url": own_redis.url}
    async with installation(tmp_path, **servers, **FAST) as here:
        database = await survive(here, COUNT, redis=own_redis, postgres=own_postgres)
    check_that_each_call_was_dialled_once(here, database)


async def test_each_call_is_dialled_once_without_redis_and_postgresql(tmp_path):
    async with installation(tmp_path, **FAST) as here:
        database = await survive(here, COUNT)
    check_that_each_call_was_dialled_once(here, database)
