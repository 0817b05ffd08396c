"""Real workers, a real broker and a real database, which are killed and restarted: each call is dialled once."""

from __future__ import annotations

from tests.calls.installation import Installation, installation, survive

COUNT = 300
FAST = {"CALLS_PER_SECOND": "60", "MAX_LIVE_CALLS": "120", "OUTBOUND_MAX_CALLS": "100"}


def all_ended_and_nobody_was_rung_twice(here: Installation, ledger: dict) -> None:
    assert max(here.rung().values()) == 1
    assert len(here.rung()) == ledger["calls"] == COUNT
    assert ledger["by_status"] == {"busy": COUNT}
    assert ledger["attempts_with_sid"] == COUNT
    assert ledger["attempts"] == COUNT + ledger["attempts_not_sent"]
    assert (ledger["open_attempts"], ledger["leases"]) == (0, 0)


async def test_each_of_many_calls_is_dialled_once_whichever_process_dies(own_postgres, own_redis, tmp_path):
    servers = {"database_url": own_postgres.url, "redis_url": own_redis.url}
    async with installation(tmp_path, **servers, **FAST) as here:
        ledger = await survive(here, COUNT, redis=own_redis, postgres=own_postgres)
    all_ended_and_nobody_was_rung_twice(here, ledger)


async def test_each_call_is_dialled_once_without_redis_and_postgresql(tmp_path):
    async with installation(tmp_path, **FAST) as here:
        ledger = await survive(here, COUNT)
    all_ended_and_nobody_was_rung_twice(here, ledger)
