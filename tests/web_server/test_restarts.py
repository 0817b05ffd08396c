"""A web server is killed and a worker restarted: the calls go on. Real processes behind a proxy."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path

from media.phone.caller import HangUp, ScriptedCaller, WaitForAgent
from tests.calls.installation import ask_database
from tests.media.whole_calls import ask
from tests.web_server.deployment import ANSWERS, deployment, kill_in_answer, silence_after


def select(folder: Path, query: str, *values: str) -> list[tuple[str, str]]:
    with sqlite3.connect(folder / "db.sqlite3") as database:
        return database.execute(query, values).fetchall()


async def test_calls_outlive_a_web_server_that_is_killed_and_a_worker_that_is_restarted(tmp_path):
    async with deployment(tmp_path, outbound=2) as here:
        # The caller waits for longer than the kill takes, and hears that the conversation goes on.
        steps = [WaitForAgent(), ask(), WaitForAgent(quiet=2.0), ask(), WaitForAgent(), HangUp()]
        here.callers.append(caller := ScriptedCaller(steps))
        call = await here.call_in(caller)
        restarting = asyncio.ensure_future(here.restart_worker())
        killed_at = await kill_in_answer(here, call)
        await call.wait()
        await restarting
        # On a slow machine the call that the worker left is dialled later than all others have ended.
        await asyncio.to_thread(ask_database, here.env, "wait")
        await here.network.wait_until_idle()
        await asyncio.to_thread(
            here.webs[here.ports[1]].wait_for, f"Call {call_id(tmp_path, call.sid)}: stream 2 ended"
        )
        assert silence_after(call, killed_at) > 0.0
        assert here.dropped() == 0
        assert here.dialled() == Counter({"+12025550000": 1, "+12025550001": 1})
    verbs = [event["verb"] for event in call.events if event["event"] == "twiml"]
    assert verbs == ["Connect", "Connect"]  # nothing is said between the streams
    lines = "SELECT heard FROM calls_turn WHERE call_id = ? AND speaker = 'agent' ORDER BY number"
    heard = [line for (line,) in select(tmp_path, lines, call_id(tmp_path, call.sid).replace("-", ""))]
    assert "Sorry, we were cut off. Please go on." in heard
    # The agent counts the questions, and has not forgotten the first one.
    assert heard[-1] == ANSWERS[1]
    assert [*select(tmp_path, "SELECT status, count(*) FROM calls_call GROUP BY status")] == [("completed", 3)]


def call_id(folder: Path, sid: str) -> str:
    from uuid import UUID

    return str(UUID(select(folder, "SELECT id FROM calls_call WHERE sid = ?", sid)[0][0]))
