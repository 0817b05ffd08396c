"""How the calls of a period went."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from calls.api import stats
from calls.api.auth import READ
from calls.api.fields import moment
from calls.api.filters import check_parameters, find_agent
from calls.api.operations import documented
from calls.api.problems import refusal
from calls.api.views.shared import Endpoint
from calls.models import Call

_LONGEST = {"hour": timedelta(days=31), "day": timedelta(days=366)}


class StatsView(Endpoint):
    scopes = {"GET": READ}

    @documented("get_stats")
    def get(self, request: Request) -> Response:
        check_parameters(request, dict.fromkeys(("from", "to", "period", "agent", "direction"), False))
        asked = request.query_params
        period = _one_of(asked.get("period", "hour"), "period", list(_LONGEST))
        until = _moment(asked.get("to"), "to") or timezone.now()
        since = _moment(asked.get("from"), "from") or until - timedelta(days=1 if period == "hour" else 30)
        if not timedelta(0) < until - since <= _LONGEST[period]:
            text = f"By {period}, give a stretch of up to {_LONGEST[period].days} days, its beginning first."
            raise refusal("invalid", "from", text)
        calls = Call.objects.filter(created_at__gte=since, created_at__lt=until)
        if (name := asked.get("agent")) is not None:
            calls = calls.filter(agent=find_agent(name))
        if (direction := asked.get("direction")) is not None:
            calls = calls.filter(direction=_one_of(direction, "direction", Call.Direction.values))
        data = {"from": since, "to": until, "period": period, **stats.report(calls, period=period)}
        return Response({**data, "current": stats.current()})


def _moment(text: str | None, name: str) -> Any:
    try:
        return None if text is None else moment(text.replace(" ", "+"))
    except ValueError as error:
        raise serializers.ValidationError({name: serializers.ErrorDetail(str(error), code="invalid")}) from error


def _one_of(value: Any, name: str, choices: list[Any]) -> Any:
    if value not in choices:
        error = serializers.ErrorDetail(f"Choose of {', '.join(choices)}.", code="invalid-choice")
        raise serializers.ValidationError({name: error})
    return value
