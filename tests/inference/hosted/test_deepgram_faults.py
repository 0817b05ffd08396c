"""Recognition by Nova-3 when results come in an unusual way, and when sockets fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from inference import usage
from inference.deepgram.account import DeepgramOptions
from inference.engines.deepgram import DeepgramSpeechToText
from inference.types import EngineTimeout
from tests.inference.hosted.deepgram_faults import (
    EDITS,
    clock_runs_ahead,
    closes,
    dies,
    falls_silent,
    ignores_it,
    is_flush,
    is_sound,
    once,
    only_interim,
    reports_an_error,
    results_of,
    times_are_null,
    twice,
    without_duration,
    words_in,
)
from tests.inference.hosted.deepgram_service import KEY, DeepgramService, say
from tests.inference.hosted.test_deepgram import A_TABLE, FOR_TWO, PAUSE, recognise, started


@pytest.fixture
async def service() -> AsyncIterator[DeepgramService]:
    async with DeepgramService().serving() as service:
        yield service
        assert service.violations == []


# -- how results come -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", EDITS)
async def test_the_words_are_whole_however_the_results_come(service, edit):
    service.edit = edit
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        assert (await utterance.snapshot()).text == "one two three"
        if edit is not only_interim:
            utterance.push(np.concatenate([PAUSE, FOR_TWO]))
            assert (await utterance.snapshot()).text == "one two three four five"
            utterance.push(say("six"))
            assert (await utterance.finish()).text == "one two three four five six"
        utterance.cancel()


async def test_little_sound_after_the_last_words_brings_no_answer_and_needs_none(service):
    service.little = 2000
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        await utterance.snapshot()
        utterance.push(PAUSE[:1600])
        assert (await utterance.snapshot()).text == "one two three"
        assert len(service.sound_of_each) == 1
        utterance.cancel()


async def test_a_final_result_that_ends_before_the_last_interim_keeps_the_words_behind_it(service):
    def final_is_short(message):
        if not message.get("is_final"):
            return [message]
        words, end = words_in(message), message["start"] + message["duration"]
        return [
            results_of(message, words, message["start"], end, marked=False, is_final=False),
            results_of(message, words[:1], message["start"], words[1]["start"], marked=False),
        ]

    service.edit = final_is_short
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        assert (await utterance.snapshot()).text == "one two three"
        utterance.cancel()


async def test_an_unsure_guess_that_the_final_result_withdraws_is_no_word(service):
    def withdrawn(message):
        if not message.get("is_final"):
            return [message]
        end = message["start"] + message["duration"]
        guess = results_of(message, words_in(message), message["start"], end, marked=False, is_final=False)
        guess["channel"]["alternatives"][0]["confidence"] = 0.2
        return [guess, results_of(message, [], message["start"], end, marked=True)]

    service.edit = withdrawn
    async with started(service) as engine:
        assert (await recognise(engine, A_TABLE)).text == ""


async def test_a_mark_that_comes_twice_answers_one_request(service):
    """The words of the second request come later than the repeated mark of the first."""
    service.edit = twice
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        first = asyncio.ensure_future(utterance.snapshot())
        await asyncio.sleep(0)
        utterance.push(FOR_TWO)
        assert (await utterance.snapshot()).text == "one two three four five"
        assert (await first).text.startswith("one two three")
        utterance.cancel()


# -- sockets that fail ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", [is_sound, is_flush])
@pytest.mark.parametrize("fault", [dies, closes, reports_an_error, falls_silent])
async def test_an_utterance_is_heard_again_if_its_socket_fails(service, fault, when):
    service.intercept = once(fault, when=when)
    async with started(service, patience=0.3) as engine:
        utterance = engine.open()
        for piece in np.array_split(A_TABLE, 9):
            utterance.push(piece)
        assert (await utterance.snapshot()).text == "one two three"
        utterance.push(FOR_TWO)
        assert (await utterance.finish()).text == "one two three four five"


async def test_a_flush_that_gets_no_answer_is_asked_again_elsewhere(service):
    service.intercept = once(ignores_it, when=is_flush)
    async with started(service, patience=0.3) as engine:
        assert (await recognise(engine, A_TABLE)).text == "one two three"
    assert len(service.sound_of_each) == 2


async def test_only_the_sound_after_the_settled_words_is_sent_again(service):
    meter = usage.UsageMeter()
    async with started(service) as engine:
        with usage.metering(meter):
            utterance = engine.open()
        utterance.push(A_TABLE)
        await utterance.snapshot()
        service.intercept = once(dies, when=is_flush)
        utterance.push(FOR_TWO)
        heard = await utterance.snapshot()
        assert (heard.text, heard.samples) == ("one two three four five", len(A_TABLE) + len(FOR_TWO))
        utterance.cancel()
    assert len(service.sound_of_each[1]) == 160 + len(FOR_TWO)
    assert meter.as_json()["stt"]["deepgram/nova-3"]["seconds"] == pytest.approx(
        (len(A_TABLE) + 2 * len(FOR_TWO)) / 8000
    )


@pytest.mark.parametrize("edit", [times_are_null, clock_runs_ahead, without_duration])
async def test_words_that_were_settled_stay_known_if_later_results_have_no_times(service, edit):
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        assert (await utterance.snapshot()).text == "one two three"
        service.edit = edit
        utterance.push(FOR_TWO)
        assert (await utterance.snapshot()).text == "one two three four five"
        service.intercept = once(dies, when=is_flush)
        utterance.push(say("six"))
        heard = await utterance.snapshot()
        assert (heard.text, heard.samples) == (
            "one two three four five six",
            len(A_TABLE) + len(FOR_TWO) + len(say("six")),
        )
        utterance.cancel()
    assert len(service.sound_of_each[1]) == 160 + len(FOR_TWO) + len(say("six"))


async def test_a_service_that_never_answers_is_an_error_in_time(service):
    async def never(socket, message):
        return is_flush(message)

    service.intercept = never
    async with started(service, patience=0.2) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        with pytest.raises(EngineTimeout, match="although it owes an answer"):
            await utterance.snapshot()
        assert len(service.sound_of_each) == 3
        service.intercept = once(ignores_it, when=lambda message: False)
        assert (await utterance.snapshot()).text == "one two three"  # the next request tries again
        utterance.cancel()


async def test_an_utterance_that_has_failed_takes_no_other_socket(service):
    async def never(socket, message):
        return is_flush(message)

    service.intercept = never
    async with started(service, answer_timeout=0.2) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        with pytest.raises(EngineTimeout) as first:
            await utterance.finish()
        heard = len(service.sound_of_each)
        with pytest.raises(EngineTimeout) as second:
            await utterance.finish()
        with pytest.raises(EngineTimeout):
            await utterance.snapshot()
        assert second.value is first.value
        assert len(service.sound_of_each) == heard
        assert not any(socket.leases for socket in engine._pool._sockets)


async def test_a_service_that_talks_but_does_not_answer_is_an_error_in_time(service):
    async def chatters(socket, message):
        if is_flush(message):
            for _ in range(20):
                await socket.send({"type": "Weather"})
                await asyncio.sleep(0.1)
            return True
        return False

    service.intercept = chatters
    async with started(service, answer_timeout=0.5) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        with pytest.raises(EngineTimeout, match="gave no words within"):
            await utterance.snapshot()
        utterance.cancel()


async def test_an_utterance_waits_for_a_slow_handshake(service):
    async with started(service, warm=1) as engine:
        service.handshake.clear()
        first = engine.open()
        second = engine.open()
        second.push(A_TABLE)
        snapshot = asyncio.ensure_future(second.snapshot())
        await asyncio.sleep(0)
        service.handshake.set()
        assert (await snapshot).text == "one two three"
        first.cancel()
        second.cancel()


async def test_a_pause_between_utterances_keeps_the_sockets(service):
    service.idle = 0.6

    class Impatient(DeepgramSpeechToText):
        keep_alive_every = 0.2

    engine = Impatient(DeepgramOptions(api_key=KEY, base_url=service.base_url, warm=1))
    await engine.start()
    try:
        await service.until(1)
        while service.sockets[0].received.count({"type": "KeepAlive"}) < 6:
            assert not service.sockets[0].gone.is_set()
            await asyncio.sleep(0.05)
        assert len(service.sockets) == 1
    finally:
        await engine.close()
