"""The address of the statistics."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from calls.api import stats
from calls.api.auth import READ
from calls.api.fields import parse_timestamp
from calls.api.filters import check_parameters, find_agent
from calls.api.operations import documented
from calls.api.problems import invalid, unprocessable
from calls.api.views.shared import Endpoint, headers_only
from calls.models import Call

_MAX_SPAN = {"hour": timedelta(days=31), "day": timedelta(days=366)}
"""The longest time that a report covers, by its period: at most 744 periods, and seconds of work for the database."""


class StatsView(Endpoint):
    scopes = {"GET": READ}
    permissions = {"GET": ("view_call", "view_dialpace")}

    @documented("get_stats")
    def get(self, request: Request) -> Response | HttpResponse:
        check_parameters(request, dict.fromkeys(("from", "to", "period", "agent", "direction"), False))
        query = request.query_params
        period = _one_of(query.get("period", "hour"), "period", list(_MAX_SPAN))
        until = _timestamp(query.get("to"), "to") or timezone.now()
        since = _timestamp(query.get("from"), "from") or until - timedelta(days=1 if period == "hour" else 30)
        if not timedelta(0) < until - since <= _MAX_SPAN[period]:
            text = f"By {period}, `from` must be before `to`, by up to {_MAX_SPAN[period].days} days."
            raise unprocessable("invalid", "from", text)
        calls = Call.objects.filter(created_at__gte=since, created_at__lt=until)
        if (name := query.get("agent")) is not None:
            calls = calls.filter(agent=find_agent(name))
        if (direction := query.get("direction")) is not None:
            calls = calls.filter(direction=_one_of(direction, "direction", Call.Direction.values))
        if request.method == "HEAD":
            return headers_only(request)
        data = {"from": since, "to": until, "period": period, **stats.report_calls(calls, period=period)}
        return Response({**data, "current": stats.report_present()})


def _timestamp(text: str | None, name: str) -> datetime | None:
    try:
        return None if text is None else parse_timestamp(text.replace(" ", "+"))
    except ValueError as error:
        raise invalid(name, str(error)) from error


def _one_of(value: str, name: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise invalid(name, f"Choose from: {', '.join(choices)}.", "invalid-choice")
    return value
