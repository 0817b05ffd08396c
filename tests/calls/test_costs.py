"""What calls used is added up, and costs what the operator's prices say: no figure rather than a wrong one."""

import pytest

from calls.costs import add_usage, estimate_cost, read_prices

NOVA, SONIC, LUNA = "deepgram/nova-3", "cartesia/sonic-3.5", "openai/gpt-6-luna"
PRICES = read_prices(
    {
        NOVA: {"minute": 0.0048},
        SONIC: {"1k_characters": 0.037},
        LUNA: {"1m_input_tokens": 0.1, "1m_output_tokens": 0.5},
    }
)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"stt": {NOVA: {"seconds": 90.0}}}, 0.0072),
        ({"tts": {SONIC: {"characters": 500}}}, 0.0185),
        ({"llm": {LUNA: {"input_tokens": 1_000_000, "output_tokens": 10_000}}}, 0.105),
        ({"stt": {NOVA: {"seconds": 90.0}}, "tts": {SONIC: {"characters": 500}}}, 0.0257),
        # Nothing was used, or something has no price.
        ({}, None),
        ({"stt": {NOVA: {"seconds": 90.0}}, "tts": {"unknown/voice": {"characters": 5}}}, None),
        ({"stt": {NOVA: {"seconds": 90.0, "characters": 1}}}, None),
        ({"llm": {LUNA: {"input_tokens": 10, "cached_input_tokens": 10}}}, None),
    ],
)
def test_the_cost_of_a_call_follows_from_its_usage(usage, cost):
    assert estimate_cost(usage, PRICES) == (cost if cost is None else pytest.approx(cost))


def test_without_prices_there_is_no_cost():
    assert estimate_cost({"stt": {NOVA: {"seconds": 90.0}}}, {}) is None


@pytest.mark.parametrize(("unit", "seconds"), [("second", 1), ("minute", 60), ("hour", 3600)])
def test_sound_is_priced_by_the_second_minute_or_hour(unit, seconds):
    assert estimate_cost({"stt": {NOVA: {"seconds": seconds}}}, read_prices({NOVA: {unit: 0.5}})) == 0.5


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({NOVA: 0.1}, "the value of deepgram/nova-3 is not an object"),
        ({NOVA: {"minutes": 0.1}}, r'the price of deepgram/nova-3 is by "minutes"\. Use one of: second, minute, hour'),
        ({NOVA: {"minute": "0.1"}}, "the price of deepgram/nova-3 by minute is not a number"),
        ({NOVA: {"minute": -0.1}}, "not a number of at least 0"),
        ({NOVA: {"minute": True}}, "not a number"),
        ({NOVA: {"1k_minute": 0.1}}, "1k_characters, 1m_input_tokens"),
    ],
)
def test_a_wrong_price_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        read_prices(setting)


def test_usage_is_added_by_kind_name_and_unit():
    first = {"stt": {NOVA: {"seconds": 0.1}}}
    second = {"stt": {NOVA: {"seconds": 0.2, "requests": 1}}, "tts": {SONIC: {"characters": 3}}}
    total = {"stt": {NOVA: {"seconds": 0.3, "requests": 1}}, "tts": {SONIC: {"characters": 3}}}
    assert add_usage(first, second) == add_usage(second, first) == total
    assert add_usage({}, {}) == {}
