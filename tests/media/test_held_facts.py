"""Facts that redaction holds back survive the process without their digits."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from uuid import UUID

import pytest

from calls.services.facts import EventNoted, Fact, TurnEnded
from media import held_facts
from media.held_facts import HeldFacts
from media.journal import Journal
from media.redaction.redactor import Redactor
from media.spool import FactSpool
from media.turns import commands as cmd
from media.turns.clock import StreamClock
from tests.media.claims import stream_claim

AT = datetime(2026, 11, 30, tzinfo=UTC)


def note(fact_id: str) -> EventNoted:
    return EventNoted(call_id=UUID(int=7), fact_id=fact_id, kind="note", at=AT)


async def recorded_by_the_next_process(folder) -> list[Fact]:
    found: list[Fact] = []
    spool = FactSpool(found.append, folder=folder, transient=())
    spool.start()
    assert await spool.drain(10)
    await spool.close()
    return found


async def test_what_a_dead_process_held_back_is_recorded_by_the_next_behind_everything_else(tmp_path):
    held = HeldFacts(tmp_path)
    for fact_id in ("said", "given", "pressed"):
        held.keep(note(fact_id))
    held.drop(["given", "of another call"])
    held.close()
    spool = FactSpool(lambda fact: None, folder=tmp_path, transient=())
    spool._is_closing = True  # its database hangs, so that its facts go to disk
    spool.record(note("later"))
    spool._overflow.release()
    found = await recorded_by_the_next_process(tmp_path)
    # Those that were recorded meanwhile come again under their ids, which are recorded once.
    assert [fact.fact_id for fact in found] == ["later", "said", "given", "pressed"]
    assert list(tmp_path.iterdir()) == []


async def test_once_all_was_recorded_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(held_facts, "LARGEST", 100)
    held = HeldFacts(tmp_path)
    for number in range(10):
        held.keep(note(str(number)))
    held.drop([str(number) for number in range(9)])
    held.keep(note("10"))
    held.drop(["9", "10"])
    held.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_living_process_keeps_its_file(tmp_path):
    held = HeldFacts(tmp_path)
    held.keep(note("1"))
    held.drop([])
    assert held._thread is not None
    held._thread.submit(lambda: None).result()
    assert await recorded_by_the_next_process(tmp_path) == []
    held.close()


def test_a_full_disk_is_one_line_in_the_log(tmp_path, caplog):
    def pwrite(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    held = HeldFacts(tmp_path, pwrite=pwrite)
    for number in range(3):
        held.keep(note(str(number)))
    held.close()
    assert [record.getMessage() for record in caplog.records] == [
        "Words that are held back for redaction wait in memory only: [Errno 28] No space left on device"
    ]


@pytest.mark.parametrize("ends", [False, True])
async def test_a_call_that_dies_in_a_dictation_loses_no_turn_and_stores_no_digit(tmp_path, ends):
    recorded: list[Fact] = []
    spool = FactSpool(recorded.append, folder=tmp_path, transient=())
    held = HeldFacts(tmp_path)
    redactor = Redactor(language="en", mute=lambda *_: None, release=lambda _: None, keep=held.keep)
    journal = Journal(stream_claim(call_id=UUID(int=7)), spool, clock=StreamClock(), redactor=redactor, held=held)
    for number, (speaker, said) in enumerate([("caller", "It's 4111 1111"), ("agent", "4111 1111?")]):
        journal.turn_ended(cmd.TurnEnded(number=number, speaker=speaker, said=said, heard=said, started=0.0, ended=0.0))
    if ends:
        journal.close()
    held.close()
    await spool.close()
    found = [fact for fact in (*recorded, *await recorded_by_the_next_process(tmp_path)) if isinstance(fact, TurnEnded)]
    assert [fact.said for fact in found] == (
        ["It's 4111 1111", "4111 1111?"] if ends else ["It's [number]", "[number]?"]
    )
