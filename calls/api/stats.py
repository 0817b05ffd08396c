"""Statistics of calls: how many there were, how long they lasted, and how quickly the agent answered."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import connection
from django.db.models import Aggregate, Avg, Count, Expression, F, FloatField, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, TruncDay, TruncHour
from django.db.models.functions.datetime import TruncBase

from calls.api.dialling import describe_dialler
from calls.models import Call, Turn
from calls.services.pacing import get_dialler_state
from calls.services.slots import live_calls
from calls.stages import STAGE_NAMES
from calls.status import UNANSWERED, Status

MEASURES = ("response_latency", *STAGE_NAMES, "heard_latency", "barge_in_stop")
"""
The measures of each turn of the agent: the whole response, its stages in the order of the work, the response as the
caller heard it, and how quickly the agent fell silent when it was interrupted.
"""
FRACTIONS = (0.5, 0.9, 0.95, 0.99)
"""The percentiles of a report, as fractions."""
MAX_TURNS = 50_000
"""The newest turns from which percentiles are computed in Python, if the database cannot compute them."""
_TRUNC = {"hour": TruncHour, "day": TruncDay}


def report_calls(calls: QuerySet[Call], *, period: str) -> dict[str, object]:
    """
    Return the figures of these calls, in total and by ``hour`` or ``day`` (UTC).

    A call from a number to itself is left out: no customer makes one, and ``manage.py selfcall`` does.
    """
    calls = calls.exclude(~Q(from_number=""), from_number=F("to_number")).order_by()
    turns = Turn.objects.filter(call__in=calls, speaker=Turn.Speaker.AGENT).order_by()
    start = _TRUNC[period]
    figures = _figures(calls, start("created_at"))
    latencies = _latencies(turns, start("call__created_at"))
    periods = [
        {"start": begin, **figures[begin], "latency": latencies.get(begin, {})}
        for begin in sorted(moment for moment in figures if moment is not None)
    ]
    total = figures.get(None) or _count_calls([])
    return {"total": {**total, "latency": latencies.get(None, {})}, "periods": periods}


def report_present() -> dict[str, object]:
    """Return the figures of the present moment: live and waiting calls, and the state of the dialler."""
    live, dialler = live_calls(), get_dialler_state()
    shown = describe_dialler(dialler)
    return {
        "live_calls": live,
        "free_slots": max(0, settings.MAX_LIVE_CALLS - live),
        "waiting_calls": dialler.due + dialler.held + dialler.later,
        "due_calls": dialler.due,
        "held_calls": dialler.held,
        "dialling_paused_until": shown["paused_until"],
        "dialling_paused_because": shown["paused_because"],
        "pauses": shown["pauses"],
    }


# --- Calls -------------------------------------------------------------------------------------------------


def _figures(calls: QuerySet[Call], start: TruncBase) -> dict[datetime | None, dict[str, object]]:
    """Return the figures by the start of the period. ``None`` is the key of the total."""
    rows = (
        calls.annotate(start=start)
        .values("start", "status")
        .annotate(
            calls=Count("pk"),
            answered=Count("pk", filter=Q(answered_at__isnull=False) | Q(status=Status.COMPLETED)),
            lasted=Avg("duration"),
            measured=Count("duration"),
        )
    )
    by_start: dict[datetime | None, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_start[row["start"]].append(row)
        by_start[None].append(row)
    return {start: _count_calls(some) for start, some in by_start.items()}


def _count_calls(rows: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    by_status = dict.fromkeys(map(str, Status), 0)
    answered = answered_or_over = measured = 0
    seconds = 0.0
    for row in rows:
        by_status[row["status"]] += row["calls"]
        answered += row["answered"]
        waits = row["status"] in UNANSWERED
        answered_or_over += row["answered"] if waits else row["calls"]
        measured += row["measured"]
        seconds += (row["lasted"] or 0.0) * row["measured"]
    return {
        "calls": sum(by_status.values()),
        "by_status": by_status,
        "answer_rate": answered / answered_or_over if answered_or_over else None,
        "average_duration": seconds / measured if measured else None,
    }


# --- Latencies ---------------------------------------------------------------------------------------------


class _Percentiles(Aggregate):
    """PostgreSQL's percentiles at ``FRACTIONS``: exact, interpolated, and without the nulls of the column."""

    function = "percentile_cont"
    template = f"%(function)s(ARRAY{list(FRACTIONS)}) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = ArrayField(FloatField())


def _expression(name: str) -> Expression | F:
    # KeyTextTransform is ->>, which makes the null of JSON a null of the database.
    return F(name) if name == "response_latency" else Cast(KeyTextTransform(name, "stages"), FloatField())


def _latencies(turns: QuerySet[Turn], start: TruncBase) -> dict[datetime | None, dict[str, dict[str, float]]]:
    """Return count and percentiles in seconds, by the start of the period and by measure. ``None`` is the total."""
    return _in_database(turns, start) if connection.vendor == "postgresql" else _in_python(turns, start)


def _in_database(turns: QuerySet[Turn], start: TruncBase) -> dict[datetime | None, dict[str, dict[str, float]]]:
    wanted: dict[str, Aggregate] = {}
    for name in MEASURES:
        wanted |= {f"n_{name}": Count(_expression(name)), f"p_{name}": _Percentiles(_expression(name))}
    by_start = turns.annotate(start=start).values("start").annotate(**wanted)
    rows: list[tuple[datetime | None, Mapping[str, Any]]] = [(row["start"], row) for row in by_start]
    if rows:
        rows.append((None, turns.aggregate(**wanted)))
    return {
        begin: {name: _percentiles_entry(row[f"n_{name}"], row[f"p_{name}"]) for name in MEASURES if row[f"n_{name}"]}
        for begin, row in rows
    }


def _in_python(turns: QuerySet[Turn], start: TruncBase) -> dict[datetime | None, dict[str, dict[str, float]]]:
    values: dict[datetime | None, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    newest = turns.annotate(start=start).order_by("-pk").values_list("start", "response_latency", "stages")
    for begin, latency, stages in newest[:MAX_TURNS]:
        for name in MEASURES:
            value = latency if name == "response_latency" else stages.get(name)
            if value is not None:
                values[begin][name].append(value)
                values[None][name].append(value)
    return {
        begin: {
            name: _percentiles_entry(len(known), percentiles(known))
            for name in MEASURES
            if (known := by_name.get(name))
        }
        for begin, by_name in values.items()
    }


def _percentiles_entry(count: int, values: Sequence[float]) -> dict[str, float]:
    return {
        "count": count,
        **{f"p{fraction * 100:.0f}": value for fraction, value in zip(FRACTIONS, values, strict=True)},
    }


def percentiles(values: Sequence[float]) -> list[float]:
    """Return the values at ``FRACTIONS``, interpolated as PostgreSQL's ``percentile_cont`` does."""
    ranked = sorted(values)
    found = []
    for fraction in FRACTIONS:
        position = fraction * (len(ranked) - 1)
        low, high = ranked[math.floor(position)], ranked[math.ceil(position)]
        found.append(low + (high - low) * (position - math.floor(position)))
    return found
