"""The scripted engines follow their times exactly and fail only as their options say. Time is virtual."""

import asyncio
from typing import Any

import numpy as np
import pytest

from inference.engines.scripted import (
    DEFAULT_REPLY,
    DEFAULT_TRANSCRIPT,
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
)
from inference.requests import ToolRequests
from inference.types import EngineError, Message, TextDelta
from tests.inference.speaking import clauses, sound_of
from tests.virtual_time import run

RATE_HZ = 8000
VOICE = (6000 * np.sin(np.arange(RATE_HZ))).astype(np.int16)
SILENCE = np.zeros(RATE_HZ, np.int16)
CALLER_LINE = [Message("user", "Hello?")]


def now() -> float:
    return asyncio.get_running_loop().time()


def exactly(seconds: float) -> Any:
    return pytest.approx(seconds, abs=1e-6)


async def collect_with_times(outputs) -> tuple[list[Any], list[float]]:
    collected, times = [], []
    async for output in outputs:
        collected.append(output)
        times.append(now())
    return collected, times


async def collect(outputs, into: list[Any]) -> None:
    async for output in outputs:
        into.append(output)


def voiced(seconds: float) -> np.ndarray:
    return VOICE[: round(seconds * RATE_HZ)]


class TestSpeechToText:
    def test_snapshot_and_finish_take_50_ms_each(self):
        async def story():
            utterance = ScriptedSpeechToText().open()
            utterance.push(voiced(0.5))
            snapshot = await utterance.snapshot()
            assert now() == exactly(0.05)
            utterance.push(SILENCE[:800])
            final = await utterance.finish()
            assert now() == exactly(0.10)
            assert await utterance.finish() is final
            assert now() == exactly(0.10)
            return snapshot, final

        snapshot, final = run(story())
        assert (snapshot.text, snapshot.samples) == (DEFAULT_TRANSCRIPT, 4000)
        assert (final.text, final.samples) == ("What time do you open?", 4800)

    def test_many_utterances_at_once_take_no_longer_than_one(self):
        async def story():
            engine = ScriptedSpeechToText()
            await asyncio.gather(*(engine.open().finish() for _ in range(60)))
            return now()

        assert run(story()) == exactly(0.05)

    def test_each_utterance_gets_the_next_text_and_after_the_last_the_first_again(self):
        async def story():
            engine = ScriptedSpeechToText(transcripts=["One.", "Two."])
            not_transcribed = engine.open()
            texts = []
            for _ in range(3):
                utterance = engine.open()
                texts += [(await utterance.snapshot()).text, (await utterance.finish()).text]
            not_transcribed.cancel()
            return texts

        assert run(story()) == ["One.", "One.", "Two.", "Two.", "One.", "One."]

    def test_a_short_voice_is_a_backchannel_and_does_not_use_up_a_text(self):
        async def story(seconds):
            engine = ScriptedSpeechToText(transcripts=["One.", "Two."], backchannel_below=0.45)
            utterance = engine.open()
            for start in range(0, RATE_HZ, 333):
                utterance.push(np.concatenate([voiced(seconds), SILENCE])[start : start + 333])
            return (await utterance.finish()).text, (await engine.open().finish()).text

        assert run(story(0.42)) == ("mm-hm", "mm-hm")
        assert run(story(0.48)) == ("One.", "mm-hm")

    def test_partials_reveal_more_words_as_the_voice_continues(self):
        async def story():
            partials = []
            engine = ScriptedSpeechToText(transcripts=["One two three."], partials=True)
            utterance = engine.open(on_partial=partials.append)
            for sound in (voiced(0.2), SILENCE, voiced(0.2), voiced(0.3), voiced(1.0), voiced(1.0)):
                utterance.push(sound)
                await asyncio.sleep(0)
            return [(partial.text, partial.samples / RATE_HZ) for partial in partials]

        assert run(story()) == [("One", 1.4), ("One two", 1.7), ("One two three.", 2.7)]

    def test_partials_are_settled_where_a_step_has_no_new_word(self):
        async def story():
            partials = []
            engine = ScriptedSpeechToText(transcripts=["One two  three."], partials=True)
            utterance = engine.open(on_partial=partials.append)
            for _ in range(7):
                utterance.push(voiced(0.31))
                await asyncio.sleep(0)
            return [(partial.text, partial.settled) for partial in partials], (await utterance.finish()).text

        partials, final = run(story())
        assert partials == [
            ("One", False), ("One two", False), ("One two", True), ("One two three.", False), ("One two three.", True),
        ]  # fmt: skip
        assert final == "One two three."

    def test_a_failing_utterance_fails_each_time_and_the_next_utterance_does_not(self):
        async def story():
            engine = ScriptedSpeechToText(failures=[{"on": 1}])
            utterance = engine.open()
            for transcribe in (utterance.snapshot, utterance.finish):
                with pytest.raises(EngineError, match="utterance 1"):
                    await transcribe()
            return (await engine.open().finish()).text

        assert run(story()) == DEFAULT_TRANSCRIPT


class TestLanguageModel:
    def test_the_default_reply_is_30_tokens_in_three_sentences_10_ms_apart(self):
        deltas, times = run(reply_with_times(ScriptedLanguageModel()))
        text = "".join(delta.text for delta in deltas)
        assert text == DEFAULT_REPLY
        assert [len(sentence) for sentence in text.replace("? ", ". ").replace(". ", ".|").split("|")] == [46, 44, 38]
        assert times == [exactly(0.05 + 0.01 * n) for n in range(30)]
        assert "".join(delta.text for delta in deltas[:10]).endswith("week day.")

    def test_a_slow_reader_does_not_delay_the_later_tokens(self):
        async def story():
            times = []
            async for _ in ScriptedLanguageModel().stream(CALLER_LINE):
                times.append(now())
                if len(times) == 1:
                    await asyncio.sleep(0.1)
            return times

        times = run(story())
        assert times[1:11] == [exactly(0.15)] * 10
        assert times[11] == exactly(0.16)

    def test_the_delay_begins_at_the_request_and_not_at_the_first_read(self):
        async def story():
            deltas = ScriptedLanguageModel().stream(CALLER_LINE)
            await asyncio.sleep(0.03)
            await anext(deltas)
            return now()

        assert run(story()) == exactly(0.05)

    def test_the_nth_turn_of_the_caller_gets_the_nth_reply_each_time(self):
        async def story():
            engine = ScriptedLanguageModel(replies=["First.", "", "Third one."])
            lines = [Message("system", "Be kind."), Message("assistant", "Hello.")]
            replies = []
            for _ in range(4):
                lines.append(Message("user", "Well?"))
                for _ in range(2):
                    replies.append("".join([delta.text async for delta in engine.stream(lines)]))
            return replies

        assert run(story()) == [r for r in ("First.", "", "Third one.", "First.") for _ in range(2)]

    def test_it_requests_the_end_of_the_call_from_the_scripted_turn_on(self):
        async def story():
            engine = ScriptedLanguageModel(replies=["Hm.", "Goodbye."], end_call_after=2)
            return [[delta async for delta in engine.stream(CALLER_LINE * n)] for n in (1, 2)]

        end = TextDelta(requests=ToolRequests(end_call=True))
        assert run(story()) == [[TextDelta("Hm.")], [TextDelta("Goodbye."), end]]

    def test_it_requests_a_transfer_and_an_opt_out_from_the_scripted_turn_on(self):
        async def story():
            options = {"transfer_to": "sales", "transfer_after": 1, "opt_out_after": 2}
            engine = ScriptedLanguageModel(replies=["Hm."], **options)
            return [[delta async for delta in engine.stream(CALLER_LINE * n)][1:] for n in (1, 2)]

        transfer = TextDelta(requests=ToolRequests(transfer="sales"))
        assert run(story()) == [[transfer], [transfer, TextDelta(requests=ToolRequests(opt_out=True))]]

    def test_it_stalls_before_the_first_token_or_halfway_through_the_reply(self):
        for at, first, last in (("first", 3.05, 3.34), ("middle", 0.05, 3.34)):
            engine = ScriptedLanguageModel(stalls=[{"on": 1, "at": at, "seconds": 3.0}])
            _, times = run(reply_with_times(engine))
            assert (times[0], times[-1]) == (exactly(first), exactly(last))
            _, times = run(reply_with_times(engine))
            assert times[-1] == exactly(0.34)

    def test_it_fails_before_the_first_token_or_halfway_through_the_reply(self):
        async def tokens_before_the_failure(engine):
            deltas = []
            with pytest.raises(EngineError) as failure:
                await collect(engine.stream(CALLER_LINE), deltas)
            return len(deltas), failure.value.permanent

        failures = [{"on": 1, "permanent": True}, {"on": 2, "at": "middle"}]
        engine = ScriptedLanguageModel(failures=failures)
        assert run(tokens_before_the_failure(engine)) == (0, True)
        assert run(tokens_before_the_failure(engine)) == (15, False)

    def test_a_random_share_of_requests_fails_and_the_same_seed_gives_the_same_failures(self):
        async def story(seed):
            engine = ScriptedLanguageModel(failures=[{"rate": 0.25}], seed=seed)
            outcomes = []
            for _ in range(200):
                try:
                    await anext(engine.stream(CALLER_LINE))
                    outcomes.append(True)
                except EngineError:
                    outcomes.append(False)
            return outcomes

        assert 30 < run(story(1)).count(False) < 70
        assert run(story(1)) == run(story(1)) != run(story(2))


async def reply_with_times(engine):
    return await collect_with_times(engine.stream(CALLER_LINE))


class TestTextToSpeech:
    def test_the_first_chunk_comes_50_ms_after_the_clause_and_then_one_every_20_ms(self):
        async def story():
            return await collect_with_times(ScriptedTextToSpeech().open().speak(clauses(0.3, "x" * 46, 1.0, "y" * 11)))

        chunks, times = run(story())
        # 46 characters are 1.84 s of sound, 11 are 0.44 s.
        assert [len(chunk.pcm) for chunk in chunks] == [800] * 18 + [320] + [800] * 4 + [320]
        first_ends = 0.35 + 0.02 * 18
        assert times[:19] == [exactly(0.35 + 0.02 * n) for n in range(19)]
        assert times[19:] == [exactly(first_ends + 1.05 + 0.02 * n) for n in range(5)]

    def test_each_chunk_says_exactly_how_far_in_the_text_it_ends(self):
        async def story():
            return await collect_with_times(ScriptedTextToSpeech().open().speak(clauses("x" * 6, "", "y" * 3)))

        chunks, _ = run(story())
        assert [chunk.text_end for chunk in chunks] == [2, 5, 6, 8, 9]
        assert all(chunk.exact for chunk in chunks)

    @pytest.mark.parametrize("rate_hz", [8000, 16000, 24000])
    def test_the_sound_is_one_continuous_audible_tone(self, rate_hz):
        sound = run(sound_of(ScriptedTextToSpeech(rate_hz=rate_hz), "abc", "defgh", "ij"))
        assert len(sound) == round(10 * 0.04 * rate_hz)
        tone = 8000 * np.sin(2 * np.pi * 220 * np.arange(len(sound)) / rate_hz)
        assert np.abs(sound - tone).max() < 0.51

    def test_a_slow_reader_does_not_delay_the_later_chunks(self):
        async def story():
            times = []
            async for _ in ScriptedTextToSpeech().open().speak(clauses("x" * 25)):
                times.append(now())
                if len(times) == 1:
                    await asyncio.sleep(0.05)
            return times

        assert run(story())[1:5] == [exactly(0.10), exactly(0.10), exactly(0.11), exactly(0.13)]

    def test_it_stalls_before_the_first_chunk_or_halfway_through_the_first_clause(self):
        for at, first, last in (("first", 2.05, 2.23), ("middle", 0.05, 2.23)):

            async def story(at=at):
                engine = ScriptedTextToSpeech(stalls=[{"on": 1, "at": at, "seconds": 2.0}])
                return await collect_with_times(engine.open().speak(clauses("x" * 25)))

            _, times = run(story())
            assert (times[0], times[-1]) == (exactly(first), exactly(last))

    def test_it_fails_halfway_through_the_clause(self):
        async def story():
            engine = ScriptedTextToSpeech(failures=[{"on": 2, "at": "middle"}])
            await collect_with_times(engine.open().speak(clauses("hello")))
            chunks = []
            with pytest.raises(EngineError, match="speech 2"):
                await collect(engine.open().speak(clauses("x" * 25)), chunks)
            return len(chunks)

        assert run(story()) == 5


def test_an_unknown_key_of_a_failure_is_refused():
    with pytest.raises(TypeError):
        ScriptedLanguageModel(failures=[{"nth": 3}])
