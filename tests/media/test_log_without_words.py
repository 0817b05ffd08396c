"""
No log line at INFO or above contains a word that a caller or the agent said.

The log is kept apart from the records: neither the retention of transcripts nor ``manage.py forget`` reaches it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calls.services import CallsError, Fact
from inference.engines.scripted import ScriptedLanguageModel, ScriptedTextToSpeech
from inference.types import EngineError
from media.phrases import Phrases
from media.spool import FactSpool
from media.turns import events as ev
from media.turns.options import ConversationOptions
from tests.media.scripted_call import CallResult, run_call
from tests.virtual_time import run

TRANSCRIPTS = ("marzipan zeppelin ocelot", "harpsichord rutabaga", "please take me off your list jellyfish")
REPLIES = ("Platypus haberdashery. Quokka meringue?", "Tiddlywinks pomegranate.")
PHRASES = {
    "disclosure": "Sassafras disclaimer.",
    "greeting": "Kumquat, Wilhelmina.",
    "apology": "Bagpipe.",
    "not_caught": "Xylophone.",
    "lost_thread": "Gazebo.",
    "trouble_goodbye": "Nincompoop.",
}
FILLERS = ("Butterscotch.", "Porcupine.")
OPTIONS = ConversationOptions(**PHRASES, fillers=FILLERS, transfer_targets=("sales",))
ORDER = "Hovercraft filibuster."
OPT_OUT = "please take me off your list"
"""Common words that the opt-out is recognised by; a log line may use them for reasons of its own."""

SAID = {
    word
    for line in (*TRANSCRIPTS, *REPLIES, *PHRASES.values(), *FILLERS, ORDER)
    for word in re.findall(r"\w+", line.lower())
} - set(OPT_OUT.split())


@pytest.fixture
def log(caplog) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.DEBUG)
    yield caplog
    formatter = logging.Formatter("%(name)s %(message)s")
    lines = [formatter.format(record) for record in caplog.get_records("call") if record.levelno >= logging.INFO]
    quoted = [line for line in lines if SAID & set(re.findall(r"\w+", line.lower()))]
    assert quoted == []


def talk(**engines: Any) -> CallResult:
    """Two questions and an order to say something, over a session with these engines."""
    says = [(5.0, "What time do you open?"), (13.0, "And what about Sunday mornings?"), (24.0, "Thank you very much.")]
    settings: dict[str, dict[str, Any]] = {"stt": {"transcripts": TRANSCRIPTS}, "llm": {"replies": REPLIES}, "tts": {}}
    for alias, options in engines.items():
        settings[alias] = {**settings[alias], **options}
    return run_call(
        says,
        seconds=40.0,
        options=OPTIONS,
        during=lambda session: session.receive(ev.SayRequested(ORDER)),
        at=20.0,
        **settings,
    )


def test_a_whole_conversation(log):
    result = talk()
    said = " ".join(heard for _, heard in result.turns)
    for words in (PHRASES["disclosure"], PHRASES["greeting"], *TRANSCRIPTS, ORDER):
        assert words in said
    assert "Platypus haberdashery" in said
    assert [record for record in log.records if record.levelno == logging.INFO]


@pytest.mark.parametrize(
    "engines",
    [
        pytest.param({"llm": {"failures": [{"rate": 0.6}]}}, id="language-model"),
        pytest.param({"stt": {"failures": [{"rate": 0.6}]}}, id="recognition"),
        pytest.param({"tts": {"failures": [{"rate": 0.6}]}}, id="voice"),
        pytest.param({"llm": {"transfer_after": 1, "transfer_to": "sales"}}, id="transfer"),
        pytest.param({"llm": {"stalls": [{"rate": 1.0, "seconds": 60.0}]}}, id="slow-language-model"),
    ],
)
def test_a_conversation_in_which_something_fails(log, engines):
    assert talk(**engines).turns


def test_an_error_of_ours_in_the_session(log, monkeypatch):
    def broken(*arguments: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("media.journal.Journal.turn_ended", broken)
    assert talk().hung_up == "engines-failed"


@pytest.mark.parametrize("failure", [ValueError, CallsError])
def test_a_fact_that_cannot_be_recorded(log, tmp_path: Path, failure: type[Exception]):
    """A database may quote the row that it refuses."""
    facts = talk().facts.facts

    def refuse(fact: Fact) -> None:
        raise failure("Failing row contains (marzipan)" if failure is ValueError else "there is no such call")

    async def record() -> None:
        spool = FactSpool(refuse, folder=tmp_path, transient=())
        for fact in facts:
            spool.record(fact)
        assert await spool.drain(60)
        await spool.close()

    asyncio.run(record())  # not in virtual time: the spool has a thread
    rejected = (tmp_path / "rejected.jsonl").read_text()
    assert "marzipan" in rejected


def test_a_phrase_that_cannot_be_made(log):
    class Broken(ScriptedTextToSpeech):
        def open(self, **options: Any) -> Any:
            raise RuntimeError("broken")

    async def prepare() -> None:
        for tts in (ScriptedTextToSpeech(failures=[{"rate": 1.0}]), Broken()):
            await Phrases(tts).prepare([OPTIONS.greeting], voice="", language="en")

    run(prepare())
    assert len([record for record in log.records if record.levelno >= logging.WARNING]) == 2


def test_a_language_model_that_cannot_be_warmed(log):
    class Cold(ScriptedLanguageModel):
        async def warm(self, messages: Any, **options: Any) -> None:
            raise EngineError("the model server is away")

    result = run_call(
        [(1.0, "Hello?")], seconds=8, stt={"transcripts": TRANSCRIPTS}, llm={"replies": REPLIES}, model=Cold
    )
    assert result.turns
