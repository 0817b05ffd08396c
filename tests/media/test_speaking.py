"""The agent's replies, each made in a task of its own."""

import asyncio
import gc

import pytest

from inference.backends import Engines
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from media.background import BackgroundTasks
from media.phrases import Phrases
from media.reply_load import ReplyLoad
from media.speaking import Mouth
from media.turns import commands as cmd
from media.turns import events as ev
from tests.media.claims import stream_claim


@pytest.mark.parametrize("kind", ["reply", "line"])
async def test_a_reply_that_is_stopped_before_it_begins_leaves_nothing_behind(kind):
    engines = Engines(ScriptedSpeechToText(), ScriptedLanguageModel(), ScriptedTextToSpeech())
    tasks, events = BackgroundTasks("a call"), []
    mouth = Mouth(stream_claim(), engines, Phrases(engines.tts), longest_reply=25.0, tasks=tasks, emit=events.append)
    revision = ev.Revision(1, 1)
    if kind == "reply":
        mouth.start_reply(cmd.StartReply(revision, history=(), speculative=False))
    else:
        mouth.say_line(cmd.SayLine(revision, "Hello."))
    mouth.stop_reply(cmd.StopReply(revision, heard_samples=0))
    await tasks.cancel()
    await asyncio.sleep(0)
    gc.collect()  # a coroutine that was never awaited would warn here, and a warning fails the test
    assert events == []


async def test_a_reply_is_begun_early_only_while_few_others_are_being_made():
    engines = Engines(ScriptedSpeechToText(), ScriptedLanguageModel(), ScriptedTextToSpeech())
    tasks, events = BackgroundTasks("a call"), []
    load = ReplyLoad(2)
    mouth = Mouth(
        stream_claim(), engines, Phrases(engines.tts), longest_reply=25.0, load=load, tasks=tasks, emit=events.append
    )
    for number in range(1, 4):
        mouth.start_reply(cmd.StartReply(ev.Revision(1, number), (), speculative=True, early=True))
    assert events == [ev.ReplyRefused(ev.Revision(1, 3))]
    mouth.start_reply(cmd.StartReply(ev.Revision(1, 4), (), speculative=True))
    assert load.running == 3
    await tasks.cancel()
    await asyncio.sleep(0)
    assert load.running == 0
