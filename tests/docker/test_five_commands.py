"""Five commands lead from a bare directory to a call that is answered through TLS (docs/deploying.md)."""

from __future__ import annotations

import psycopg

from tests.docker.five_commands import call, deployed
from tests.media.whole_calls import callback_statuses


async def test_five_commands_answer_a_call_through_tls(tmp_path, postgres_server, redis_server):
    """In the environment of the tests: ``python -m tests.benchmarks.five_commands`` installs one as well."""
    database = postgres_server.create_database("five_commands")
    settings = {"ENGINES_PROFILE": "scripted"}
    async with deployed(
        tmp_path, database_url=database, redis_url=redis_server.url, settings=settings, installed=True
    ) as (network, began):
        caller, _ = await call(network, began)
        assert caller.hung_up
        assert not caller.gave_up
        assert callback_statuses(network) <= {200, 204}
    with psycopg.connect(database) as connection:
        calls = connection.execute("SELECT direction, status FROM calls_call").fetchall()
    assert calls == [("inbound", "completed")]
