"""Filters for the list of calls. PostgreSQL can answer each of them from an index of ``Call``."""

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

from calls.api.fields import parse_timestamp
from calls.api.problems import unprocessable
from calls.models import Agent, Call, DialAttempt
from calls.number_forms import forms_of
from calls.numbers import canonical, read_beginning
from calls.stages import END_REASONS
from calls.status import Status

_SID = re.compile(r"[A-Z]{2}[0-9a-f]{32}")
"""An identifier of Twilio's, such as a CallSid."""
_PREFIX = re.compile(r"\+[0-9]{2,15}")
"""The beginning of a telephone number. One digit would find most calls."""


def check_parameters(request: Request, allowed: Mapping[str, bool]) -> None:
    """
    Refuse query parameters that are unknown, that are empty, or that are repeated where only one is used.

    If they were ignored, a misspelled filter would return all calls. ``allowed`` has the names of the parameters, and
    whether each may be repeated.
    """
    wrong: dict[str, serializers.ErrorDetail] = {}
    for name, values in request.query_params.lists():
        if name not in allowed:
            wrong[name] = serializers.ErrorDetail("This parameter is unknown.", code="unknown-parameter")
        elif not all(value.strip() for value in values):
            wrong[name] = serializers.ErrorDetail(
                "This parameter is empty. Give it a value or leave it out.", code="blank"
            )
        elif len(values) > 1 and not allowed[name]:
            wrong[name] = serializers.ErrorDetail("This parameter may be given only once.", code="repeated")
    if wrong:
        raise serializers.ValidationError(wrong)
    for name, values in request.query_params.lists():
        if any("\0" in value for value in values):
            raise unprocessable("invalid-text", name, "The value has a NUL character.")


def _restore_plus(text: str) -> str:
    """Turn spaces back into ``+``, which arrives as a space if the client does not write it as %2B."""
    return text.replace(" ", "+")


class _TimestampField(IsoDateTimeField):
    def to_python(self, value: Any) -> datetime | None:
        if not value:
            return None
        try:
            return parse_timestamp(_restore_plus(value))
        except ValueError as error:
            raise ValidationError(str(error), code="invalid") from error


class _SearchField(forms.CharField):
    def to_python(self, value: Any) -> str | None:
        text: str | None = super().to_python(value)
        return f"+{text[1:]}" if text and re.match(r" \(?\d", text) else text


class _NumberField(_SearchField):
    def to_python(self, value: Any) -> str | None:
        text = super().to_python(value)
        # Of white space alone nothing would be left, and a filter without a value is none.
        return (canonical(text) or text) if text else text


class TimestampFilter(filters.IsoDateTimeFilter):
    field_class = _TimestampField


class SearchFilter(filters.CharFilter):
    field_class = _SearchField

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, strip=False, **options)


class NumberFilter(SearchFilter):
    """Finds a number in all its forms, and any other address as it is."""

    field_class = _NumberField

    def filter(self, qs: QuerySet[Call], value: str | None) -> QuerySet[Call]:
        return qs.filter(**{f"{self.field_name}__in": forms_of(value)}) if value else qs


class CallFilter(filters.FilterSet):
    """The filters of the list of calls. A name that Python reserves ends in ``_`` here and without it in the API."""

    status = filters.MultipleChoiceFilter(
        choices=[(status.value, status.value) for status in Status],
        method="filter_status",
        help_text="Repeat it for several statuses.",
    )
    direction = filters.ChoiceFilter(choices=Call.Direction.choices)
    agent = filters.CharFilter(method="filter_agent", help_text="The name of the agent.")
    to = NumberFilter(field_name="to_number", help_text="The full number or address. Write + as %2B.")
    from_ = NumberFilter(field_name="from_number", help_text="The full number or address. Write + as %2B.")
    created_after = TimestampFilter(field_name="created_at", lookup_expr="gte", help_text="At or after this time.")
    created_before = TimestampFilter(field_name="created_at", lookup_expr="lt", help_text="Before this time.")
    scheduled_after = TimestampFilter(field_name="scheduled_for", lookup_expr="gte", help_text="At or after this time.")
    scheduled_before = TimestampFilter(field_name="scheduled_for", lookup_expr="lt", help_text="Before this time.")
    answered_by = filters.CharFilter(help_text="The result of machine detection, such as human.")
    end_reason = filters.CharFilter(help_text=f"Why the call ended, such as {', '.join(sorted(END_REASONS)[:4])}.")
    # django-filter's filter for booleans ignores any other value than these.
    has_recording = filters.ChoiceFilter(choices=[("true", "true"), ("false", "false")], method="filter_recording")
    search = SearchFilter(
        method="filter_search",
        help_text="The id or CallSid of a call, the beginning of a number, or the full address of a caller.",
    )

    class Meta:
        model = Call
        fields: list[str] = []

    @classmethod
    def get_filters(cls) -> OrderedDict[str, filters.Filter]:
        return OrderedDict((name.rstrip("_"), one) for name, one in super().get_filters().items())

    def filter_status(self, calls: QuerySet[Call], name: str, values: list[str]) -> QuerySet[Call]:
        match values:
            case []:
                return calls
            case [value]:
                return calls.filter(**{name: value})
        return calls.filter(**{f"{name}__in": values})

    def filter_agent(self, calls: QuerySet[Call], name: str, value: str) -> QuerySet[Call]:
        return calls.filter(agent=find_agent(value))

    @extend_schema_field({"type": "boolean", "description": "Whether the call has a recording."})
    def filter_recording(self, calls: QuerySet[Call], name: str, value: str) -> QuerySet[Call]:
        return calls.exclude(recording="") if value == "true" else calls.filter(recording="")

    def filter_search(self, calls: QuerySet[Call], name: str, text: str) -> QuerySet[Call]:
        text = text.strip()
        if (call_id := as_uuid(text)) is not None:
            return calls.filter(pk=call_id)
        if _SID.fullmatch(text):
            # Two queries, because the database would answer one with a join by reading all calls.
            earlier = list(DialAttempt.objects.filter(sid=text).values_list("call_id", flat=True))
            return calls.filter(Q(sid=text) | Q(pk__in=earlier))
        digits = read_beginning(text)
        if _PREFIX.fullmatch(digits):
            return calls.filter(_starts_with("to_number", digits) | _starts_with("from_number", digits))
        if not (address := canonical(text)):
            return calls.none()
        return calls.filter(Q(to_number=address) | Q(from_number=address))


def find_agent(name: str) -> int:
    """Return the id of the agent that a filter names. An unknown name is refused, because it is probably misspelled."""
    agent = Agent.objects.filter(name=name).values_list("pk", flat=True).first()
    if agent is None:
        raise unprocessable("unknown-agent", "agent", f"No agent is called {name!r}.")
    return agent


def as_uuid(text: str) -> UUID | None:
    """Parse a UUID in its usual form, with hyphens. Return ``None`` for any other text."""
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def _starts_with(field: str, prefix: str) -> Q:
    """
    Match the values that begin with ``prefix``, a ``+`` and digits.

    The range of the values is part of the condition, so that an ordinary index can be used. For LIKE alone, PostgreSQL
    needs an index of its own unless the collation is C. Every collation sorts digits in the same order.
    """
    # The upper bound of +1999 is +2: its trailing nines go, and the digit before them grows. Nines alone have no bound.
    stem = prefix.rstrip("9")
    until = Q() if stem == "+" else Q(**{f"{field}__lt": f"{stem[:-1]}{int(stem[-1]) + 1}"})
    return Q(**{f"{field}__gte": prefix, f"{field}__startswith": prefix}) & until
