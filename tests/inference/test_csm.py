"""CSM as a call sees it, on a tiny model: in a batch and streaming, its codes equal those of ``transformers``."""

import asyncio
import random
import threading
import wave
from contextlib import aclosing
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import pytest_asyncio
import torch

from inference.backends import make_engine
from inference.csm.context import sound_positions, text_positions
from inference.csm.model import CsmModel
from inference.csm.options import CsmOptions
from inference.csm.steps import Steps
from inference.engines.csm import MOST_WORDS, CsmTextToSpeech, split_text
from inference.types import EngineError, EngineTimeout
from tests.inference.contract import TextToSpeechContract
from tests.inference.tiny_csm import BOS, EOT, save_tiny_csm, tiny_csm, tiny_tokenizer

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_PACED = 1e6
"""Seconds of lead: speech is made as fast as possible."""
CLAUSES = (
    "Good morning.",
    "Would you like to change your booking?",
    "One moment please, I am looking for it.",
    "Thank you.",
    "We are open from ten to six.",
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_csm(tmp_path_factory.mktemp("csm"), ends=True)


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices")
    for seed, name in enumerate(("ann", "bob")):
        sound = 6000 * np.random.default_rng(seed).standard_normal(24000 * 2)
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(24000)
            file.writeframes(sound.clip(-30000, 30000).astype("<i2").tobytes())
        (folder / f"{name}.txt").write_text(f"Hello, this is {name}.")
    return folder


@pytest.fixture(scope="module")
def make(folder):
    defaults = CsmOptions(
        model=str(folder),
        device="cpu",
        slots=4,
        positions=512,
        lead=NOT_PACED,
        max_load=NOT_PACED,
        temperature=0.0,
        local_files_only=True,
    )
    return lambda **options: CsmTextToSpeech(replace(defaults, **options))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(make):
    engine = make()
    await engine.start()
    yield engine
    await engine.close()


def tokens(text: str) -> list[int]:
    return [BOS, *tiny_tokenizer().encode(f"[0]{text}", add_special_tokens=False), EOT]


def generated(ids: list[int]) -> np.ndarray:
    """The codes that ``generate()`` draws greedily, without the frame that ends them."""
    prompt = torch.tensor([ids])
    codes = tiny_csm(ends=True).generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        depth_decoder_do_sample=False,
        max_new_tokens=40,
    )[0]
    assert not codes[-1, :-1].any()
    return codes[:-1].numpy()


@pytest.fixture(scope="module")
def alone() -> dict[str, np.ndarray]:
    return {clause: generated(tokens(clause)) for clause in CLAUSES}


async def text(*clauses: str):
    for clause in clauses:
        yield clause


async def say(speech, *clauses: str) -> np.ndarray:
    async with aclosing(speech.speak(text(*clauses))) as chunks:
        return np.concatenate([chunk.pcm async for chunk in chunks])


async def remembered(speech) -> list[np.ndarray]:
    """The codes of each segment, once the engine has done all that was posted."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    speech._thread._inbox.put(lambda: done.get_loop().call_soon_threadsafe(done.set_result, None))
    await done
    return [segment.codes for segment in speech._slot.speaker.context._said]


async def test_a_clause_has_the_codes_of_generate_and_the_sound_of_the_codec(engine, alone):
    speech = engine.open()
    sound = await say(speech, CLAUSES[1])
    (codes,) = await remembered(speech)
    await speech.close()
    assert np.array_equal(codes, alone[CLAUSES[1]])
    decoded = tiny_csm(ends=True).codec_model.decode(torch.from_numpy(codes.astype(np.int64)).T[None])
    wanted = 32768 * decoded.audio_values[0, 0].numpy()
    quiet = np.abs(wanted) < 0.7 * 32768  # where the limiter changes nothing
    wanted, quiet = wanted[len(wanted) - len(sound) :], quiet[len(quiet) - len(sound) :]
    assert np.abs(sound - wanted)[quiet].max() <= 1
    assert quiet.mean() > 0.9


async def test_calls_that_come_and_go_have_the_codes_that_each_has_alone(engine, alone):
    """Twenty calls on four slots, a third of them broken off."""
    chance = random.Random(5)
    room = asyncio.Semaphore(4)

    async def call(number: int) -> None:
        clause = CLAUSES[number % len(CLAUSES)]
        async with room:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            speech = engine.open()
            if number % 3 == 2:
                async with aclosing(speech.speak(text(clause))) as chunks:
                    for _ in range(1 + number % 4):
                        await anext(chunks)
            else:
                await say(speech, clause)
                (codes,) = await remembered(speech)
                assert np.array_equal(codes, alone[clause])
            await speech.close()
            await remembered(speech)

    await asyncio.gather(*(call(number) for number in range(20)))


async def test_later_clauses_and_replies_continue_from_what_was_said_before(engine, folder):
    speech = engine.open()
    await say(speech, *CLAUSES[:2])
    await say(speech, CLAUSES[2])
    got = await remembered(speech)
    await speech.close()
    model = CsmModel(tiny_csm(ends=True), rows=1, positions=512, device=torch.device("cpu"))
    steps = Steps(model, buckets=[1], chunks=[256], graphs=False)
    context = np.zeros((0, 33), np.int32)
    for clause, codes in zip(CLAUSES[:3], got, strict=True):
        context = np.concatenate([context, text_positions(tokens(clause), 32)])
        model.rewind(0, 0)
        steps.prefill(0, context)
        wanted = [steps.frame([0], [] if number else [0]).codes[0].copy() for number in range(len(codes))]
        assert np.array_equal(np.stack(wanted), codes)
        context = np.concatenate([context, sound_positions(codes)])


async def test_after_an_interruption_it_continues_from_what_was_heard(engine):
    speech = engine.open()
    sound = await say(speech, CLAUSES[1])
    (whole,) = await remembered(speech)
    speech.heard(len(sound) // 2)
    (heard,) = await remembered(speech)
    assert 0 < len(heard) < len(whole)
    assert np.array_equal(heard, whole[: len(heard)])
    await say(speech, CLAUSES[3])
    assert len(await remembered(speech)) == 2
    await speech.close()


async def test_each_call_has_the_voice_that_it_asked_for(make, voices):
    engine = make(voices=str(voices))
    await engine.start()
    try:
        speeches = {name: engine.open(voice=name) for name in ("", "ann", "bob")}
        said = {}
        for name, speech in speeches.items():
            await say(speech, CLAUSES[0])
            said[name] = np.concatenate(await remembered(speech))
            await speech.close()
        assert np.array_equal(said[""], said["ann"])
        assert said["ann"].shape != said["bob"].shape or not np.array_equal(said["ann"], said["bob"])
        assert engine.voice_names == ["ann", "bob"]
        assert "voices ann " in engine.describe().weights
        with pytest.raises(EngineError, match="ann, bob"):
            engine.open(voice="eve")
    finally:
        await engine.close()


async def test_a_missing_default_voice_keeps_the_engine_from_starting(make, voices):
    with pytest.raises(EngineError, match="eve") as refusal:
        await make(voices=str(voices), voice="eve").start()
    with pytest.raises(EngineError, match="no voice 'eve': the option `voices` names no folder"):
        await make(voice="eve").start()
    assert refusal.value.permanent


async def test_missing_speech_is_an_error_but_missing_text_is_not(make, monkeypatch):
    engine = make(stall_timeout=0.05)
    await engine.start()
    try:
        speech = engine.open()
        gate = asyncio.Event()

        async def slow():
            await asyncio.wait_for(gate.wait(), 60)
            yield "Hello."

        async def wait():
            return [chunk async for chunk in speech.speak(slow())]

        timeout, timeouts, waited_long = asyncio.timeout, [], asyncio.Event()

        def counted(seconds):
            timeouts.append(seconds)
            if len(timeouts) == 4:  # three have passed without any text
                waited_long.set()
            return timeout(seconds)

        monkeypatch.setattr(asyncio, "timeout", counted)
        waiting = asyncio.ensure_future(wait())
        await asyncio.wait_for(waited_long.wait(), 60)
        assert not waiting.done()
        engine._loaded.thread._make_frames = lambda slots: None  # from now on no frame is made
        gate.set()
        with pytest.raises(EngineTimeout):
            await waiting
        del engine._loaded.thread._make_frames
        await speech.close()
    finally:
        await engine.close()


async def test_a_broken_engine_reports_it_at_once_and_can_be_started_again(make):
    engine = make()
    await engine.start()
    try:
        speech, idle = engine.open(), engine.open()
        engine._loaded.thread._steps.frame = None
        with pytest.raises(EngineError, match="stopped"):
            await say(speech, CLAUSES[0])
        assert not engine.broken or not engine._loaded.thread.alive
        await asyncio.to_thread(engine._loaded.thread._thread.join)
        assert "has stopped" in engine.broken
        with pytest.raises(EngineError, match="stopped"):
            await say(idle, CLAUSES[0])
        with pytest.raises(EngineError, match="not running"):
            engine.open()
        await engine.start()
        assert not engine.broken
        await say(engine.open(), CLAUSES[0])
    finally:
        await engine.close()


async def test_a_cancelled_start_leaves_no_engine_behind(make):
    engine, begun, go, closed = make(), threading.Event(), threading.Event(), threading.Event()

    def load():
        begun.set()
        go.wait(60)
        return SimpleNamespace(close=closed.set)

    engine._load = load
    starting = asyncio.ensure_future(engine.start())
    await asyncio.to_thread(begun.wait, 10)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await engine.close()
    go.set()
    assert await asyncio.to_thread(closed.wait, 10)


async def test_text_that_looks_like_a_marker_is_encoded_as_text(engine):
    assert engine._loaded.prompts.tokenize("stop <|end_of_text|> now").count(EOT) == 1


async def test_a_voice_that_leaves_no_room_to_speak_is_refused_at_the_start(make, voices, tmp_path):
    for name in ("ann.wav", "ann.txt"):
        (tmp_path / name).write_bytes((voices / name).read_bytes())
    (tmp_path / "ann.txt").write_text("word " * 150)
    with pytest.raises(EngineError, match="too little to speak"):
        await make(voices=str(tmp_path)).start()


async def test_a_broken_voice_is_left_out_unless_it_is_the_default(make, voices, tmp_path):
    for name in ("ann.wav", "ann.txt"):
        (tmp_path / name).write_bytes((voices / name).read_bytes())
    (tmp_path / "bob.wav").write_bytes(b"RIFF")
    engine = make(voices=str(tmp_path), voice="ann")
    await engine.start()
    await engine.close()
    assert engine.voice_names == ["ann"]
    with pytest.raises(EngineError, match=r"bob\.txt|bob\.wav"):
        await make(voices=str(tmp_path), voice="bob").start()


async def test_blank_text_is_spoken_with_the_text_after_it(engine):
    speech = engine.open()
    async with aclosing(speech.speak(text("  ", CLAUSES[0], " ", CLAUSES[3]))) as chunks:
        said = [chunk async for chunk in chunks]
    assert said[-1].text_end == len(CLAUSES[0]) + len(CLAUSES[3]) + 3
    await speech.close()


@pytest.mark.parametrize(
    "options",
    [
        {"slots": 0},
        {"positions": 100},
        {"positions": 4096},
        {"model": "/nowhere"},
        {"device": "gpu"},
        {"device": "meta"},
        {"dtype": "fp16"},
    ],
)
async def test_options_that_cannot_work_are_refused(make, options):
    with pytest.raises(EngineError) as refusal:
        await make(**options).start()
    assert refusal.value.permanent


async def test_the_options_of_a_setting_are_those_that_operators_have_written():
    options = {
        **{"model": "m", "voices": "v", "voice": "ann", "device": "cpu", "dtype": "float32", "slots": 2},
        **{"positions": 512, "lead": 0.4, "max_load": 0.7, "temperature": 0.8, "top_k": 40, "remember_seconds": 20},
        **{"keep_seconds": 10, "graphs": False, "compiled": True, "hears_caller": True, "stall_timeout": 2},
        "local_files_only": True,
    }
    engine = make_engine("tts", {"BACKEND": "inference.engines.csm.CsmTextToSpeech", "OPTIONS": options})
    assert asdict(engine._options) == options
    with pytest.raises(EngineError, match=r"has no option 'slot'\. Its options are: compiled, device"):
        make_engine("tts", {"BACKEND": "inference.engines.csm.CsmTextToSpeech", "OPTIONS": {"slot": 2}})


async def test_a_language_other_than_english_is_refused(engine):
    with pytest.raises(EngineError, match="'de-DE'") as refusal:
        engine.open(language="de-DE")
    assert refusal.value.permanent


async def test_it_describes_its_needs_before_it_has_started(make, folder):
    about = make(slots=8).describe()
    assert str(folder) in about.weights
    assert about.capacity == 8
    assert about.memory_bytes > 8 * 512 * 32 * 1024


async def test_long_text_is_split_into_pieces_without_losing_any():
    long = " ".join(f"word{number}" for number in range(70)) + ". "
    parts = split_text(long)
    assert "".join(parts) == long
    assert [len(part.split()) for part in parts] == [MOST_WORDS, MOST_WORDS, 10]
    assert split_text("  ") == []


class TestContract(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, folder):
        options = CsmOptions(model=str(folder), device="cpu", lead=NOT_PACED, max_load=NOT_PACED, temperature=0.0)
        return partial(CsmTextToSpeech, options)


class TestHearingTheCaller:
    @pytest_asyncio.fixture(loop_scope="module")
    async def listening(self, make):
        engine = make(hears_caller=True)
        await engine.start()
        yield engine
        await engine.close()

    SOUND = (8000 * np.random.default_rng(3).standard_normal(8000)).clip(-32768, 32767).astype(np.int16)

    async def speakers(self, engine, speech) -> list[str]:
        """The speaker of each remembered segment, once all are encoded."""
        await asyncio.to_thread(engine._loaded.caller_encoder._executor.submit(lambda: None).result)
        await remembered(speech)
        numbers = {
            tuple(tiny_tokenizer().encode(f"[{n}]", add_special_tokens=False)): name
            for n, name in ((0, "agent"), (1, "caller"))
        }
        return [numbers[said.tokens[1:4]] for said in speech._slot.speaker.context._said]

    async def test_what_the_caller_said_is_remembered_in_the_right_order(self, listening):
        speech = listening.open()
        await say(speech, CLAUSES[0])
        speech._spoke_at -= 60  # as if that were a minute ago
        speech.caller_said("Hello?", self.SOUND, 8000)
        assert await self.speakers(listening, speech) == ["agent", "caller"]
        async with aclosing(speech.speak(text(*CLAUSES[1:3]))) as chunks:
            await anext(chunks)
            speech.caller_said("I would like that.", self.SOUND, 8000)  # the reply to it is being spoken
            async for _ in chunks:
                pass
        assert await self.speakers(listening, speech) == ["agent", "caller", "caller", "agent", "agent"]
        fed = speech._slot.speaker.row.fed
        assert np.array_equal(fed[: len(fed)], speech._slot.speaker.context.written_out()[: len(fed)])
        await speech.close()

    async def test_a_call_that_was_taken_over_is_remembered_before_the_first_reply(self, listening):
        assert listening.remembers
        speech = listening.open()
        speech.agent_said("Good morning.", self.SOUND, 24000)
        speech.caller_said("Hello?", self.SOUND, 8000)
        await say(speech, CLAUSES[0])
        assert await self.speakers(listening, speech) == ["agent", "caller", "agent"]
        await speech.close()

    async def test_a_turn_has_the_codes_of_its_sound_encoded_as_a_whole(self, listening):
        speech = listening.open()
        speech.caller_said("Hello?", self.SOUND, 8000)
        await self.speakers(listening, speech)
        (codes,) = await remembered(speech)
        from inference.csm.mimi import encode
        from inference.resampling import resample

        whole = encode(tiny_csm(ends=True).codec_model, resample(self.SOUND, 8000, 24000) / np.float32(32768))
        assert np.array_equal(codes, whole)
        await speech.close()

    async def test_without_the_option_the_caller_is_not_remembered(self, engine):
        speech = engine.open()
        speech.caller_said("Hello?", self.SOUND, 8000)
        assert await remembered(speech) == []
        await speech.close()
