"""What a call used: added up by kind, engine and unit, by the meter of the call that asks."""

import asyncio
import math

import pytest

from inference import usage
from inference.usage import UsageMeter, metering


def test_amounts_are_added_up_by_kind_name_and_unit():
    meter = UsageMeter()
    meter.add("stt", "deepgram/nova-3", seconds=1.5)
    meter.add("stt", "deepgram/nova-3", seconds=2)
    meter.add("llm", "openai/gpt", input_tokens=100, output_tokens=20)
    assert meter.as_json() == {
        "stt": {"deepgram/nova-3": {"seconds": 3.5}},
        "llm": {"openai/gpt": {"input_tokens": 100, "output_tokens": 20}},
    }


def test_a_meter_says_whether_anything_was_used_and_is_always_true():
    meter = UsageMeter()
    assert meter
    meter.add("tts", "cartesia/sonic", characters=0)
    assert meter.is_empty
    assert meter.as_json() == {}
    meter.add("tts", "cartesia/sonic", characters=1)
    assert not meter.is_empty


@pytest.mark.parametrize("amount", [-1, math.nan])
def test_an_amount_that_cannot_be_is_refused_and_changes_nothing(amount):
    meter = UsageMeter()
    with pytest.raises(ValueError, match="output_tokens at openai/gpt"):
        meter.add("llm", "openai/gpt", input_tokens=3, output_tokens=amount)
    assert meter.is_empty


def test_what_a_meter_tells_does_not_change_with_it():
    meter = UsageMeter()
    meter.add("tts", "cartesia/sonic", characters=1)
    told = meter.as_json()
    meter.add("tts", "cartesia/sonic", characters=1)
    assert told == {"tts": {"cartesia/sonic": {"characters": 1}}}


def test_without_a_call_there_is_no_meter():
    assert usage.current() is None


async def test_tasks_that_a_call_starts_have_its_meter():
    async def ask():
        return usage.current()

    meter, other = UsageMeter(), UsageMeter()
    with metering(meter):
        task = asyncio.create_task(ask())
        with metering(other):
            other_task = asyncio.create_task(ask())
        assert usage.current() is meter
    assert usage.current() is None
    assert await task is meter
    assert await other_task is other
