"""Which calls a list holds. Each filter is made so that PostgreSQL can answer it from an index of ``Call``."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import django_filters as filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django_filters.fields import IsoDateTimeField
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from calls.api.fields import moment
from calls.api.problems import refusal
from calls.models import Agent, Call, DialAttempt
from calls.services import END_REASONS
from calls.status import Status

_SID = re.compile(r"[A-Z]{2}[0-9a-f]{32}")
_PREFIX = re.compile(r"\+?[0-9]{2,15}")


def check_parameters(request: Request, allowed: Mapping[str, bool]) -> None:
    """
    Refuse parameters that nobody knows, that are empty, or that are given twice where that means nothing.

    A filter with a typing error would give everything instead of what was looked for. ``allowed``: name to whether it
    may be repeated.
    """
    wrong: dict[str, serializers.ErrorDetail] = {}
    for name, values in request.query_params.lists():
        if name not in allowed:
            wrong[name] = serializers.ErrorDetail("There is no such parameter.", code="unknown-parameter")
        elif not all(values):
            wrong[name] = serializers.ErrorDetail("Leave it out, or give it a value.", code="blank")
        elif len(values) > 1 and not allowed[name]:
            wrong[name] = serializers.ErrorDetail("Give it once.", code="repeated")
    if wrong:
        raise serializers.ValidationError(wrong)
    for name, values in request.query_params.lists():
        if any("\0" in value for value in values):
            raise refusal("invalid-text", name, "It has a NUL character.")


def _unspaced(text: str) -> str:
    """A ``+`` that was not written as %2B arrives as a space."""
    return text.replace(" ", "+")


class _MomentField(IsoDateTimeField):
    def to_python(self, value: Any) -> datetime | None:
        if not value:
            return None
        try:
            return moment(_unspaced(value))
        except ValueError as error:
            raise ValidationError(str(error), code="invalid") from error


class _NumberField(forms.CharField):
    def to_python(self, value: Any) -> str | None:
        return _unspaced(value) if value and re.fullmatch(r" \d+", value) else super().to_python(value)


class _TruthField(forms.ChoiceField):
    def __init__(self, **options: Any) -> None:
        super().__init__(choices=[("true", "true"), ("false", "false")], **options)


class MomentFilter(filters.IsoDateTimeFilter):
    field_class = _MomentField


class TruthFilter(filters.Filter):
    """Unlike its base it refuses what is neither ``true`` nor ``false``."""

    field_class = _TruthField


class NumberFilter(filters.CharFilter):
    field_class = _NumberField

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, strip=False, **options)


class CallFilter(filters.FilterSet):
    """The filters of the list of calls. Those whose names end in ``_`` are words of Python."""

    status = filters.MultipleChoiceFilter(
        choices=[(status.value, status.value) for status in Status], method="any_of", help_text="May be repeated."
    )
    direction = filters.ChoiceFilter(choices=Call.Direction.choices)
    agent = filters.CharFilter(method="of_agent", help_text="The name of the agent.")
    to = NumberFilter(field_name="to_number", help_text="The number in full; write + as %2B.")
    from_ = NumberFilter(field_name="from_number", help_text="The number in full; write + as %2B.")
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte", help_text="At this time or later.")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt", help_text="Before this time.")
    scheduled_after = MomentFilter(field_name="scheduled_for", lookup_expr="gte", help_text="At this time or later.")
    scheduled_before = MomentFilter(field_name="scheduled_for", lookup_expr="lt", help_text="Before this time.")
    answered_by = filters.CharFilter(help_text="What machine detection found, such as human.")
    end_reason = filters.CharFilter(help_text=f"Such as {', '.join(sorted(END_REASONS)[:4])}.")
    has_recording = TruthFilter(method="with_recording")
    search = NumberFilter(
        method="look_for",
        help_text="A call's id or CallSid, the beginning of a number, or a caller's address.",
    )

    class Meta:
        model = Call
        fields: list[str] = []

    @classmethod
    def get_filters(cls) -> OrderedDict[str, filters.Filter]:
        return OrderedDict((name.rstrip("_"), one) for name, one in super().get_filters().items())

    def any_of(self, calls: QuerySet[Call], name: str, values: list[str]) -> QuerySet[Call]:
        match values:
            case []:
                return calls
            case [value]:
                return calls.filter(**{name: value})
        return calls.filter(**{f"{name}__in": values})

    def of_agent(self, calls: QuerySet[Call], name: str, value: str) -> QuerySet[Call]:
        return calls.filter(agent=find_agent(value))

    @extend_schema_field({"type": "boolean", "description": "Whether it can be heard."})
    def with_recording(self, calls: QuerySet[Call], name: str, value: str) -> QuerySet[Call]:
        return calls.exclude(recording="") if value == "true" else calls.filter(recording="")

    def look_for(self, calls: QuerySet[Call], name: str, text: str) -> QuerySet[Call]:
        text = text.strip()
        if (call_id := as_uuid(text)) is not None:
            return calls.filter(pk=call_id)
        if _SID.fullmatch(text):
            # Looked up first: as one query it would be no matter of two indexes, but of reading all calls.
            earlier = list(DialAttempt.objects.filter(sid=text).values_list("call_id", flat=True))
            return calls.filter(Q(sid=text) | Q(pk__in=earlier))
        if _PREFIX.fullmatch(text):
            digits = f"+{text.lstrip('+')}"
            return calls.filter(_begins("to_number", digits) | _begins("from_number", digits))
        return calls.filter(Q(to_number=text) | Q(from_number=text))


def find_agent(name: str) -> int:
    """The id of the agent of this name, as a filter means it: a name of nobody is a typing error."""
    agent = Agent.objects.filter(name=name).values_list("pk", flat=True).first()
    if agent is None:
        raise refusal("unknown-agent", "agent", f"There is no agent {name!r}.")
    return agent


def as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def _begins(field: str, prefix: str) -> Q:
    """
    What begins with these digits, and, for the index, the range that it lies in: LIKE needs an index of its own
    unless the collation is C, while every collation puts digits in order.
    """
    last = prefix.rstrip("9")
    until = Q() if last == "+" else Q(**{f"{field}__lt": f"{last[:-1]}{int(last[-1]) + 1}"})
    return Q(**{f"{field}__gte": prefix, f"{field}__startswith": prefix}) & until
