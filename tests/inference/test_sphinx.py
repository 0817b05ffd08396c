"""Recognition by PocketSphinx in processes of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from inference.engines import sphinx
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.flite import FliteTextToSpeech, is_installed
from inference.engines.front_desk import intent_of
from inference.engines.front_desk_phrases import sentences
from inference.engines.sphinx import SphinxSpeechToText
from inference.types import EngineError, Pcm
from tests.inference.contract import SpeechToTextContract
from tests.inference.held_out import HELD_OUT
from tests.inference.telephone import over_the_telephone, say, spoken

CALLER = "en-us+adam"
"""Of eSpeak's voices the one that PocketSphinx hears best: 9 % of word errors, en-us itself 54 %."""

QUESTION = "what time do you open"
ANSWER = "thank you very much"
OPT_OUTS = ("please take me off your list", "don't call me again", "stop calling me")


@pytest.fixture(scope="module")
def voices():
    """Sentences by eSpeak's best voice, as a telephone carries them."""

    async def speak() -> dict[str, Pcm]:
        tts = EspeakTextToSpeech()
        await tts.start()
        said = {
            text: over_the_telephone(await say(tts, text, voice=CALLER), tts.rate_hz)
            for text in (*HELD_OUT, QUESTION, ANSWER, *OPT_OUTS)
        }
        await tts.close()
        return said

    return asyncio.run(speak())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine():
    engine = SphinxSpeechToText(decoders=2)
    await engine.start()
    yield engine
    await engine.close()


class TestContract(SpeechToTextContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, voices):
        cls.voices = voices
        return lambda: SphinxSpeechToText(processes=1, decoders=1)

    @classmethod
    def sounds(cls, rate_hz):
        sounds = [spoken(cls.voices[text], silence=0.2) for text in (QUESTION, ANSWER)]
        return tuple(sound[: len(sound) // 160 * 160] for sound in sounds)  # whole pieces of 10 ms


def test_every_word_of_the_language_model_can_be_pronounced(tmp_path):
    options = sphinx._prepare_decoder(tmp_path)
    known = {line.split()[0] for line in Path(options["dict"]).read_text().splitlines()}
    assert {word for text in sentences() for word in text.split()} <= known


def test_the_language_model_is_the_same_every_time():
    assert sentences() == sentences()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_snapshot_100_ms_after_the_voice_gives_the_words_that_the_end_will_give(engine, voices):
    same = 0
    for text in HELD_OUT:
        utterance = engine.open()
        sound = spoken(voices[text], silence=0.3)
        at_snapshot = len(sound) - round(0.2 * engine.rate_hz)
        for start in range(0, at_snapshot, 320):
            utterance.push(sound[start : min(start + 320, at_snapshot)])
        snapshot = await utterance.snapshot()
        utterance.push(sound[at_snapshot:])
        final = await utterance.finish()
        assert (snapshot.samples, final.samples) == (at_snapshot, len(sound))
        same += snapshot.text == final.text
    assert same >= 27


@pytest.mark.asyncio(loop_scope="module")
async def test_partials_grow_while_the_caller_speaks(engine, voices):
    partials = []
    utterance = engine.open(on_partial=partials.append)
    for piece in np.array_split(spoken(voices[QUESTION], silence=0.3), 20):
        utterance.push(piece)
        await utterance.snapshot()
    await utterance.finish()
    assert len(partials) > 3
    assert [partial.samples for partial in partials] == sorted(partial.samples for partial in partials)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_heard_well_is_more_certain_than_noise(engine, voices):
    certain = engine.open()
    certain.push(spoken(voices[QUESTION], silence=0.3))
    uncertain = engine.open()
    uncertain.push(spoken(voices[QUESTION][::-1], silence=0.3))
    assert (await uncertain.finish()).confidence < (await certain.finish()).confidence <= 1


@pytest.mark.asyncio(loop_scope="module")
async def test_another_language_is_refused_for_good(engine):
    with pytest.raises(EngineError) as refusal:
        engine.open(language="de")
    assert refusal.value.permanent


async def _understood(engine, sounds: dict[str, Pcm]) -> list[str]:
    right = []
    for text, sound in sounds.items():
        utterance = engine.open()
        utterance.push(spoken(sound, silence=0.3))
        if intent_of((await utterance.finish()).text) == HELD_OUT[text]:
            right.append(text)
    return right


@pytest.mark.asyncio(loop_scope="module")
async def test_25_of_30_unseen_sentences_are_understood_from_espeak(engine, voices):
    assert len(HELD_OUT) == 30
    assert len(await _understood(engine, {text: voices[text] for text in HELD_OUT})) >= 25


@pytest.mark.asyncio(loop_scope="module")
async def test_a_caller_who_wants_no_more_calls_is_heard(engine, voices):
    for text in OPT_OUTS:
        utterance = engine.open()
        utterance.push(spoken(voices[text], silence=0.3))
        assert (await utterance.finish()).text == text


@pytest.mark.skipif(not is_installed(), reason="Flite (Debian's libflite1) is not installed")
@pytest.mark.parametrize("voice", ["slt", "rms", "awb"])
@pytest.mark.asyncio(loop_scope="module")
async def test_25_of_30_unseen_sentences_are_understood_from_flite(engine, voice):
    tts = FliteTextToSpeech(voice=voice)
    await tts.start()
    sounds = {text: over_the_telephone(await say(tts, text), tts.rate_hz) for text in HELD_OUT}
    await tts.close()
    assert len(await _understood(engine, sounds)) >= 25


@pytest.mark.human
@pytest.mark.asyncio(loop_scope="module")
async def test_people_are_heard_inside_the_domain(engine, speech_dir):
    """Short turns of dialogues; the sentences stand in the language model, the voices are strangers to it."""
    manifest = map(json.loads, (speech_dir / "manifest.jsonl").read_text().splitlines())
    known = set(sentences())
    turns = {entry["file"]: entry["transcript"] for entry in manifest if entry["transcript"] in known}
    heard = {}
    for name in turns:
        if name.startswith(("google-samples", "azure-samples")):
            with wave.open(str(speech_dir / name)) as clip:
                pcm = np.frombuffer(clip.readframes(clip.getnframes()), np.int16)
                sound = over_the_telephone(pcm, clip.getframerate())
            utterance = engine.open()
            utterance.push(spoken(sound, silence=0.3))
            heard[name] = (await utterance.finish()).text
    assert len(heard) >= 6
    assert heard == {name: turns[name] for name in heard}


# Processes


def _pids(engine) -> list[int]:
    return [worker.pid for worker in engine._workers]


async def test_a_dead_process_fails_its_utterances_and_is_replaced():
    engine = SphinxSpeechToText(processes=1, decoders=1)
    await engine.start()
    (pid,) = _pids(engine)
    utterance, other = engine.open(), engine.open()
    utterance.push(np.zeros(4000, np.int16))
    finishing = asyncio.ensure_future(utterance.finish())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="during the utterance"):
        await finishing
    with pytest.raises(EngineError, match="during the utterance"):
        await other.snapshot()
    other.push(np.zeros(4000, np.int16))
    other.cancel()
    await asyncio.wait_for(asyncio.gather(*engine._replacing), 30)
    assert _pids(engine) != [pid]
    assert (await engine.open().finish()).text == ""
    await engine.close()


async def test_without_a_process_an_utterance_cannot_be_opened():
    with pytest.raises(EngineError, match="no PocketSphinx process"):
        SphinxSpeechToText().open()


async def test_ctrl_c_is_for_the_parent_to_answer():
    engine = SphinxSpeechToText(processes=1, decoders=1)
    await engine.start()
    (pid,) = _pids(engine)
    os.kill(pid, signal.SIGINT)
    assert (await engine.open().finish()).text == ""
    assert _pids(engine) == [pid]
    await engine.close()


async def test_calls_are_spread_over_the_processes():
    engine = SphinxSpeechToText(processes=2, decoders=1)
    await engine.start()
    for _ in range(4):
        engine.open()
    assert [len(worker.utterances) for worker in engine._workers] == [2, 2]
    await engine.close()


def test_the_processes_end_when_their_parent_is_killed():
    program = """
import asyncio, sys
from inference.engines.sphinx import SphinxSpeechToText

async def main():
    await SphinxSpeechToText(processes=1, decoders=1).start()
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
    root = Path(sphinx.__file__).parents[2]
    # The recogniser shares its parent's stderr: that reaches its end when both are gone.
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, cwd=root) as parent:
        assert parent.stdout.readline() == b"started\n"
        parent.kill()
        _, stderr = parent.communicate(timeout=60)
    assert stderr == b""
