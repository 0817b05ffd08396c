"""Facts reach the database in order, each once, whatever happens to the database, the disk or the process."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.services import CallsError
from calls.services.facts import EventNoted
from media.spool import FactSpool

AT = datetime(2026, 11, 21, tzinfo=UTC)


def note(n: int, *, kind: str = "note", fact_id: str = "", **data: Any) -> EventNoted:
    """Fact number ``n``."""
    fact_id = fact_id or uuid4().hex
    return EventNoted(call_id=UUID(int=7), fact_id=fact_id, kind=kind, at=AT, data={"n": n, **data})


class DatabaseAway(Exception):
    """The database does not answer."""


class Database:
    """Keeps facts; it can be away, hang, or refuse those of the kind "bad"."""

    def __init__(self) -> None:
        self.facts: list[EventNoted] = []
        self.away = False
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()

    def __call__(self, fact: EventNoted) -> None:
        self.asked.set()
        self.answers.wait()
        if self.away:
            raise DatabaseAway("no route to host")
        if fact.kind == "bad":
            raise CallsError("there is no such call")
        self.facts.append(fact)

    @property
    def numbers(self) -> list[int]:
        return [fact.data["n"] for fact in self.facts]

    async def was_asked(self) -> None:
        assert await asyncio.to_thread(self.asked.wait, 10)
        self.asked.clear()


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "facts"


def make_spool(database: Database, folder: Path, **options) -> FactSpool:
    return FactSpool(database, folder=folder, transient=(DatabaseAway,), first_retry=0.005, last_retry=0.01, **options)


@pytest.fixture
async def facts(database: Database, folder: Path):
    facts = make_spool(database, folder)
    yield facts
    database.away = False
    database.answers.set()
    await facts.close()


def files_in(folder: Path) -> list[bytes]:
    """What the files have in which facts wait. The spool may delete one while they are read."""
    contents = []
    for path in sorted(folder.glob("[0-9]*.jsonl")):
        with suppress(FileNotFoundError):
            contents.append(path.read_bytes())
    return contents


def on_disk(folder: Path) -> list[int]:
    lines = [line for content in files_in(folder) for line in content.decode().splitlines()]
    return [json.loads(line)["data"]["n"] for line in lines if not line.startswith("#")]


def rejected(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


async def until(condition) -> None:
    """Wait for the condition. A thread changes the files, so there is no event to wait for."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_facts_are_recorded_in_order(database, facts, folder):
    for n in range(100):
        facts.record(note(n))
    facts.record(note(100, fact_id="mine"))
    assert await facts.drain(60)
    assert database.numbers == list(range(101))
    assert len({fact.fact_id for fact in database.facts}) == 101
    assert database.facts[-1] == note(100, fact_id="mine")
    assert not folder.exists()


async def test_a_database_that_hangs_does_not_delay_the_calls(database, facts):
    database.answers.clear()
    facts.record(note(0))
    await database.was_asked()
    facts.record(note(1))
    assert not await facts.drain(0.01)
    database.answers.set()
    assert await facts.drain(60)
    assert database.numbers == [0, 1]


async def test_while_the_database_is_away_facts_wait_on_disk_in_order(database, facts, folder):
    facts.record(note(0))
    assert await facts.drain(60)
    database.away = True
    for n in range(1, 10):
        facts.record(note(n))
    await until(lambda: on_disk(folder) == list(range(1, 10)))
    database.away = False
    facts.record(note(10))
    assert await facts.drain(60)
    assert database.numbers == list(range(11))
    assert list(folder.iterdir()) == []


async def test_times_ids_and_odd_text_survive_the_disk(database, facts, folder):
    database.away = True
    at, call = datetime(2026, 11, 21, tzinfo=UTC), UUID(int=7)
    facts.record(EventNoted(call_id=call, kind="note", at=at, data={"n": 0, "said": "Zoë \ud800"}))
    await until(lambda: on_disk(folder) == [0])
    database.away = False
    assert await facts.drain(60)
    (fact,) = database.facts
    assert (fact.at, fact.call_id) == (at, call)
    assert fact.data["said"] == "Zoë ?"


async def test_a_fact_that_can_never_be_recorded_is_set_aside_and_the_next_is_recorded(database, facts, folder, caplog):
    facts.record(note(0))
    facts.record(note(1, kind="bad"))
    facts.record(note(2))
    assert await facts.drain(60)
    assert database.numbers == [0, 2]
    (entry,) = rejected(folder)
    assert entry["reason"] == "CallsError: there is no such call"
    assert json.loads(entry["fact"])["data"]["n"] == 1
    assert "no such call" in caplog.text


async def test_a_fact_that_is_not_json_is_recorded_or_set_aside(database, facts, folder):
    circular: list = []
    circular.append(circular)
    facts.record(note(0, circular=circular))
    assert await facts.drain(60)
    assert database.numbers == [0]
    database.away = True
    facts.record(note(1, circular=circular))
    facts.record(note(2))
    await until(lambda: folder.exists() and on_disk(folder) == [2])
    database.away = False
    assert await facts.drain(60)
    assert database.numbers == [0, 2]
    assert "is not JSON" in rejected(folder)[0]["reason"]


async def test_facts_beyond_the_limit_of_memory_go_to_disk_and_keep_their_order(database, folder):
    facts = make_spool(database, folder, max_waiting=3)
    database.answers.clear()
    for n in range(20):
        facts.record(note(n))
    assert on_disk(folder) == list(range(3, 20))
    assert len(facts._waiting) == 3
    database.answers.set()
    assert await facts.drain(60)
    facts.record(note(20))
    assert await facts.drain(60)
    assert database.numbers == list(range(21))
    await facts.close()


async def test_a_full_disk_keeps_facts_in_memory(database, folder, caplog):
    full = True

    def disk(file: int, content: bytes, offset: int) -> int:
        if not full:
            return os.pwrite(file, content, offset)
        if offset < 7:
            return os.pwrite(file, content[:7], offset)  # the last bytes there are
        raise OSError(errno.ENOSPC, "No space left on device")

    facts = make_spool(database, folder, pwrite=disk)
    database.away = True
    facts.record(note(0))
    facts.record(note(1))
    await until(lambda: "No space left" in caplog.text)
    await until(lambda: files_in(folder) == [b""])
    full = False
    await until(lambda: on_disk(folder) == [0, 1])
    database.away = False
    assert await facts.drain(60)
    assert database.numbers == [0, 1]
    await facts.close()


async def test_without_memory_database_and_disk_a_fact_is_at_least_in_the_debug_log(database, folder, caplog):
    caplog.set_level(logging.DEBUG)

    def full_disk(file: int, content: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    facts = make_spool(database, folder, max_waiting=1, pwrite=full_disk)
    database.answers.clear()
    facts.record(note(0))
    facts.record(note(1, fact_id="lost", said="the last words"))
    assert "the last words" in caplog.text
    (record,) = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert record.getMessage().startswith(f"Lost EventNoted lost of call {UUID(int=7)}: ")
    database.answers.set()
    assert await facts.drain(60)
    assert database.numbers == [0]
    await facts.close()


async def test_facts_that_a_closed_process_has_left_are_recorded_first_by_the_next(database, folder):
    database.away = True
    first = make_spool(database, folder)
    for n in range(5):
        first.record(note(n))
    await database.was_asked()
    await first.close()
    first.record(note(5))  # after the close
    assert on_disk(folder) == list(range(6))
    database.away = False
    second = make_spool(database, folder)
    second.record(note(6))
    assert await second.drain(60)
    assert database.numbers == [0, 1, 2, 3, 4, 6]  # the process of number 5 lives
    await second.close()


async def test_the_files_of_a_living_process_are_left_to_it(database, folder):
    other = Database()
    other.away = True
    living = make_spool(other, folder)
    living.record(note(0))
    await until(lambda: folder.exists() and on_disk(folder) == [0])
    second = make_spool(database, folder)
    second.start()
    assert await second.drain(60)
    assert database.facts == []
    other.away = False
    assert await living.drain(60)
    assert other.numbers == [0]
    await second.close()
    await living.close()


async def test_a_replay_that_was_interrupted_continues_where_it_stopped(database, folder):
    database.away = True
    first = make_spool(database, folder)
    for n in range(6):
        first.record(note(n))
    await until(lambda: folder.exists() and len(on_disk(folder)) == 6)
    await first.close()

    def fragile(fact: EventNoted) -> None:
        database.away = fact.data["n"] >= 3
        database(fact)

    second = make_spool(fragile, folder)
    second.start()
    await until(lambda: on_disk(folder) == [3, 4, 5])
    await second.close()
    database.away = False
    third = make_spool(database, folder)
    third.start()
    assert await third.drain(60)
    assert database.numbers == list(range(6))
    await third.close()


CRASH = """
import os, sys, time
from pathlib import Path
import django
django.setup()
from media.spool import FactSpool
from tests.media.test_spool import note

class Away(Exception):
    pass

def record(fact):
    raise Away

folder = Path(sys.argv[1])
facts = FactSpool(record, folder=folder, transient=(Away,), first_retry=0.001)
for n in range(50):
    facts.record(note(n))
while not folder.is_dir() or sum(path.read_bytes().count(b"\\n") for path in folder.iterdir()) < 50:
    time.sleep(0.001)
os._exit(9)
"""


async def test_a_crash_loses_no_fact_on_disk_and_a_torn_line_is_set_aside(database, folder):
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", CRASH, str(folder)]
    crashed = await asyncio.to_thread(subprocess.run, command, check=False, cwd=root, timeout=60)
    assert crashed.returncode == 9
    with max(folder.iterdir()).open("ab") as file:
        file.write(b'{"type":"turn","number":50,"sa')
    facts = make_spool(database, folder)
    facts.record(note(51))
    assert await facts.drain(60)
    assert database.numbers == [*range(50), 51]
    assert rejected(folder)[0]["fact"] == '{"type":"turn","number":50,"sa'
    await facts.close()


async def test_other_files_in_the_folder_are_left_alone(database, facts, folder):
    folder.mkdir()
    (folder / "2026.jsonl").write_text("mine")
    facts.start()
    facts.record(note(0))
    assert await facts.drain(60)
    assert database.numbers == [0]
    assert (folder / "2026.jsonl").read_text() == "mine"


async def test_a_database_that_hangs_until_the_end_leaves_its_facts_to_the_next_process(database, folder):
    facts = make_spool(database, folder)
    database.answers.clear()
    facts.record(note(0))
    facts.record(note(1))
    await database.was_asked()
    await facts.close(timeout=0.01)
    assert on_disk(folder) == [0, 1]
    database.answers.set()
    await asyncio.to_thread(facts._thread.join)


async def test_closing_records_what_waits_and_is_idempotent(database, folder):
    facts = make_spool(database, folder)
    for n in range(100):
        facts.record(note(n))
    await facts.close()
    await facts.close()
    assert database.numbers == list(range(100))
    await make_spool(database, folder).close()


async def test_many_threads_may_record(database, facts):
    def record(start: int) -> None:
        for n in range(start, start + 200):
            facts.record(note(n))

    await asyncio.gather(*(asyncio.to_thread(record, 1000 * k) for k in range(4)))
    assert await facts.drain(60)
    assert sorted(database.numbers) == sorted(1000 * k + n for k in range(4) for n in range(200))
    for k in range(4):
        mine = [n for n in database.numbers if n // 1000 == k]
        assert mine == sorted(mine)


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.sampled_from(["record", "record", "record", "away", "back", "restart", "drain"]), max_size=40))
def test_every_fact_is_recorded_once_and_in_order_whatever_happens(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("facts")
    database = Database()

    async def story() -> int:
        facts, recorded = make_spool(database, folder, max_waiting=4), 0
        for step in steps:
            if step == "record":
                facts.record(note(recorded))
                recorded += 1
            elif step == "restart":
                await facts.close()
                facts = make_spool(database, folder, max_waiting=4)
                facts.start()
            elif step == "drain":
                await facts.drain(0.003)
            else:
                database.away = step == "away"
        database.away = False
        assert await facts.drain(60)
        await facts.close()
        return recorded

    recorded = asyncio.run(story())
    assert database.numbers == list(range(recorded))
