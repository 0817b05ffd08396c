"""
What one call used at engines that bill: seconds of sound, characters of text, tokens.

The process of a call makes a meter for it and sets it around the requests (``metering``). An engine that bills asks for
``current()`` in ``open()`` or at the start of ``stream()`` and keeps the answer, because the tasks of its sockets run
in another context. It adds what its provider bills, when the provider counts it: also for work that is discarded.
"""

from __future__ import annotations

from contextvars import ContextVar

Usage = dict[str, dict[str, dict[str, float]]]
"""The amounts by kind of engine (``stt``, ``llm``, ``tts``), name (``deepgram/nova-3``) and unit (``seconds``)."""


class UsageMeter:
    """Adds up the amounts of one call. All methods are called on the event loop's thread."""

    def __init__(self, call: str = "") -> None:
        self.call = call
        """The id of the call, for the log."""
        self._amounts: Usage = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was used. A meter itself is always true, so that ``if meter := current()`` means a call."""
        return not self._amounts

    def add(self, kind: str, name: str, **amounts: float) -> None:
        """
        Count what an engine used: ``meter.add("stt", "deepgram/nova-3", seconds=1.2)``.

        ``kind`` is ``stt``, ``llm`` or ``tts``. ``name`` is that of the provider, then that of its model: prices are
        set by it. The units are ``seconds`` (of sound), ``characters``, ``input_tokens``, ``cached_input_tokens`` (at
        the price of the provider's cache; they are not among the ``input_tokens``) and ``output_tokens``. An amount of
        0 is not counted; a negative one raises ``ValueError``.
        """
        if wrong := [unit for unit, amount in amounts.items() if not amount >= 0]:
            raise ValueError(f"the amount of {', '.join(wrong)} at {name} is negative or no number")
        for unit, amount in amounts.items():
            if amount > 0:
                units = self._amounts.setdefault(kind, {}).setdefault(name, {})
                units[unit] = units.get(unit, 0.0) + amount

    def add_all(self, usage: Usage) -> None:
        """Count what another meter has counted."""
        for kind, by_name in usage.items():
            for name, units in by_name.items():
                self.add(kind, name, **units)

    def take(self) -> Usage:
        """Return the amounts and forget them, for a meter that passes them on to another one."""
        usage = self.as_json()
        self._amounts.clear()
        return usage

    def as_json(self) -> Usage:
        """Return a copy of the amounts, rounded to millionths."""
        return {
            kind: {name: {unit: round(amount, 6) for unit, amount in units.items()} for name, units in by_name.items()}
            for kind, by_name in self._amounts.items()
        }


_current: ContextVar[UsageMeter | None] = ContextVar("usage_meter", default=None)


def current_call() -> str:
    """Return the id of the call that makes this request; empty if none does."""
    meter = _current.get()
    return meter.call if meter is not None else ""


def current() -> UsageMeter | None:
    """Return the meter of the call that makes this request; None for work that belongs to no call."""
    return _current.get()


class metering:
    """
    Count what engines are asked for within the block, also by tasks that are started in it, by this meter.

    ``with metering(meter): ...``. A class, because every frame of a call enters one: it costs a quarter of what
    ``contextlib.contextmanager`` does.
    """

    __slots__ = ("_meter", "_token")

    def __init__(self, meter: UsageMeter | None) -> None:
        self._meter = meter

    def __enter__(self) -> None:
        self._token = _current.set(self._meter)

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)
