"""What calls used at engines that bill, and what that costs by the operator's prices. Pure."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Usage: TypeAlias = Mapping[str, Mapping[str, Mapping[str, float]]]
"""The amounts by kind of engine (``stt``, ``llm``, ``tts``), name (``deepgram/nova-3``) and unit (``seconds``)."""
Prices: TypeAlias = Mapping[str, Mapping[str, float]]
"""The price of one unit, such as one second or one token, by the name of the engine and the unit."""

_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_THOUSANDS = {"1k_": 1e3, "1m_": 1e6, "": 1.0}
UNITS = ("characters", "input_tokens", "cached_input_tokens", "output_tokens")
_UNIT = re.compile(rf"(1k_|1m_|)({'|'.join(UNITS)})")


def read_prices(setting: Mapping[str, Any]) -> Prices:
    """
    Read ``{"deepgram/nova-3": {"minute": 0.0048}, "cartesia/sonic-3.5": {"1k_characters": 0.037}}``.

    Raises ``ValueError`` that says what is wrong and what may be written.
    """
    prices: dict[str, dict[str, float]] = {}
    for name, units in setting.items():
        if not isinstance(units, dict):
            raise ValueError(f'the value of {name} is not an object. Write it like {{"minute": 0.0048}}.')
        for unit, price in units.items():
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
                raise ValueError(f"the price of {name} by {unit} is not a number of at least 0.")
            amount, size = _read_unit(name, unit)
            prices.setdefault(name, {})[amount] = price / size
    return prices


def _read_unit(name: str, unit: str) -> tuple[str, float]:
    """Return the unit in which usage is counted, and how many of it the price is for."""
    if size := _SECONDS.get(unit):
        return "seconds", size
    if (match := _UNIT.fullmatch(unit)) is None:
        raise ValueError(
            f'the price of {name} is by "{unit}". Use one of: {", ".join(_SECONDS)}, {", ".join(UNITS)}, each of the '
            "latter also for a thousand or a million (1k_characters, 1m_input_tokens)."
        )
    return match[2], _THOUSANDS[match[1]]


def amounts(usage: Usage) -> Iterator[tuple[str, str, str, float]]:
    """Yield kind, name, unit and amount."""
    for kind, engines in usage.items():
        for name, units in engines.items():
            for unit, amount in units.items():
                yield kind, name, unit, amount


def add_usage(first: Usage, second: Usage) -> dict[str, dict[str, dict[str, float]]]:
    total: dict[str, dict[str, dict[str, float]]] = {}
    for usage in (first, second):
        for kind, name, unit, amount in amounts(usage):
            units = total.setdefault(kind, {}).setdefault(name, {})
            units[unit] = round(units.get(unit, 0.0) + amount, 6)
    return total


def estimate_cost(usage: Usage, prices: Prices) -> float | None:
    """What this costs. None if nothing was used, or something has no price: no figure is better than a wrong one."""
    if not usage:
        return None
    total = 0.0
    for _, name, unit, amount in amounts(usage):
        price = prices.get(name, {}).get(unit)
        if price is None:
            return None
        total += price * amount
    return round(total, 6)
