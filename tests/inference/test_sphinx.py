"""Recognition with PocketSphinx, and its worker processes."""

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
"""The voice of eSpeak NG that PocketSphinx recognises best: 9 % word errors, against 54 % for en-us."""

QUESTION = "what time do you open"
ANSWER = "thank you very much"
OPT_OUTS = ("please take me off your list", "don't call me again", "stop calling me")


@pytest.fixture(scope="module")
def voices():
    """Return the sound of the sentences, spoken by ``CALLER`` over a telephone."""

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
        return tuple(sound[: len(sound) // 160 * 160] for sound in sounds)  # a whole number of 10 ms


def test_every_word_of_the_language_model_can_be_pronounced(tmp_path):
    options = sphinx._prepare_decoder(tmp_path)
    known = {line.split()[0] for line in Path(options["dict"]).read_text().splitlines()}
    assert {word for text in sentences() for word in text.split()} <= known


def test_the_language_model_is_the_same_every_time():
    assert sentences() == sentences()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_snapshot_100_ms_after_the_voice_has_the_final_words(engine, voices):
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
async def test_partials_cover_more_and_more_sound_while_the_caller_speaks(engine, voices):
    partials = []
    utterance = engine.open(on_partial=partials.append)
    for piece in np.array_split(spoken(voices[QUESTION], silence=0.3), 20):
        utterance.push(piece)
        await utterance.snapshot()
    await utterance.finish()
    assert len(partials) > 3
    assert [partial.samples for partial in partials] == sorted(partial.samples for partial in partials)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_confidence_is_higher_for_speech_than_for_noise(engine, voices):
    speech = engine.open()
    speech.push(spoken(voices[QUESTION], silence=0.3))
    noise = engine.open()
    noise.push(spoken(voices[QUESTION][::-1], silence=0.3))
    assert (await noise.finish()).confidence < (await speech.finish()).confidence <= 1


@pytest.mark.asyncio(loop_scope="module")
async def test_another_language_is_a_permanent_error(engine):
    with pytest.raises(EngineError) as refusal:
        engine.open(language="de")
    assert refusal.value.permanent


async def _understood_sentences(engine, sounds: dict[str, Pcm]) -> list[str]:
    understood = []
    for text, sound in sounds.items():
        utterance = engine.open()
        utterance.push(spoken(sound, silence=0.3))
        if intent_of((await utterance.finish()).text) == HELD_OUT[text]:
            understood.append(text)
    return understood


@pytest.mark.asyncio(loop_scope="module")
async def test_25_of_30_unseen_sentences_spoken_by_espeak_are_understood(engine, voices):
    assert len(HELD_OUT) == 30
    assert len(await _understood_sentences(engine, {text: voices[text] for text in HELD_OUT})) >= 25


@pytest.mark.asyncio(loop_scope="module")
async def test_requests_for_no_more_calls_are_recognised(engine, voices):
    for text in OPT_OUTS:
        utterance = engine.open()
        utterance.push(spoken(voices[text], silence=0.3))
        assert (await utterance.finish()).text == text


@pytest.mark.skipif(not is_installed(), reason="Flite (Debian's libflite1) is not installed")
@pytest.mark.parametrize("voice", ["slt", "rms", "awb"])
@pytest.mark.asyncio(loop_scope="module")
async def test_25_of_30_unseen_sentences_spoken_by_flite_are_understood(engine, voice):
    tts = FliteTextToSpeech(voice=voice)
    await tts.start()
    sounds = {text: over_the_telephone(await say(tts, text), tts.rate_hz) for text in HELD_OUT}
    await tts.close()
    assert len(await _understood_sentences(engine, sounds)) >= 25


@pytest.mark.human
@pytest.mark.asyncio(loop_scope="module")
async def test_people_who_say_sentences_of_the_language_model_are_recognised(engine, speech_dir):
    """The sentences are in the language model. The voices are of real people, in recordings of short dialogues."""
    manifest = map(json.loads, (speech_dir / "manifest.jsonl").read_text().splitlines())
    known = set(sentences())
    turns = {entry["file"]: entry["transcript"] for entry in manifest if entry["transcript"] in known}
    recognised = {}
    for name in turns:
        if name.startswith(("google-samples", "azure-samples")):
            with wave.open(str(speech_dir / name)) as clip:
                pcm = np.frombuffer(clip.readframes(clip.getnframes()), np.int16)
                sound = over_the_telephone(pcm, clip.getframerate())
            utterance = engine.open()
            utterance.push(spoken(sound, silence=0.3))
            recognised[name] = (await utterance.finish()).text
    assert len(recognised) >= 6
    assert recognised == {name: turns[name] for name in recognised}


# Processes


def _pids(engine) -> list[int]:
    return [worker.pid for worker in engine._workers]


async def test_the_utterances_of_a_killed_process_fail_and_the_process_is_replaced():
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


async def test_ctrl_c_does_not_end_a_process():
    engine = SphinxSpeechToText(processes=1, decoders=1)
    await engine.start()
    (pid,) = _pids(engine)
    os.kill(pid, signal.SIGINT)
    assert (await engine.open().finish()).text == ""
    assert _pids(engine) == [pid]
    await engine.close()


async def test_utterances_are_spread_over_the_processes():
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
    # The worker process shares the stderr of its parent, which is closed only when both have ended.
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, cwd=root) as parent:
        assert parent.stdout.readline() == b"started\n"
        parent.kill()
        _, stderr = parent.communicate(timeout=60)
    assert stderr == b""
