"""Serializer fields that take what their schema says, and nothing that merely looks like it."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from calls.api.problems import refusal

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
VARIABLE = r"^[a-z_][a-z0-9_]{0,63}$"
LONGEST_VARIABLE = 1000
"""Characters of a variable's value."""
LARGEST_OBJECT = 4096
"""Bytes of ``metadata``, and of ``variables``, as JSON."""


def moment(text: str) -> datetime:
    """
    An RFC 3339 time with its offset, in UTC. Raises ``ValueError``.

    Without an offset nobody can know when it is. Beyond the years that can be reckoned with it is the nearest of them.
    """
    if not _RFC_3339.fullmatch(text):
        raise ValueError("Write the time with its offset from UTC, as 2030-01-31T09:30:00+01:00.")
    found = parse_datetime(text.upper().replace(":60", ":59", 1) if text[17:19] == "60" else text.upper())
    if found is None:
        raise ValueError("There is no such time.")
    return min(max(found, _FIRST), _LAST).astimezone(UTC)


class Text(serializers.CharField):
    """A text, and no number."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Whole(serializers.IntegerField):
    """A whole number, and no text or truth value."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not (isinstance(data, int) or (isinstance(data, float) and data.is_integer())):
            self.fail("invalid")
        return int(data)


class Truth(serializers.BooleanField):
    """``true`` or ``false``."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Choice(serializers.ChoiceField):
    """One of a few words; none of them is null."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        return super().to_internal_value(data)

    def to_representation(self, value: Any) -> Any:
        return super().to_representation(value) or None


class Moment(serializers.DateTimeField):
    """A time with its offset."""

    def to_internal_value(self, value: Any) -> datetime:
        if not isinstance(value, str):
            raise serializers.ValidationError("Write the time as text.", code="invalid")
        try:
            return moment(value)
        except ValueError as error:
            raise serializers.ValidationError(str(error), code="invalid") from error


@extend_schema_field({"type": "object", "additionalProperties": True})
class Anything(serializers.Field[dict[str, Any], Any, Any, Any]):
    """A small object of whatever JSON has."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("This must be an object.", code="invalid")
        _check_size(self.field_name or "", data)
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(
    {
        "type": "object",
        "propertyNames": {"pattern": VARIABLE},
        "additionalProperties": {
            "type": ["string", "number", "boolean", "null"],
            "maxLength": LONGEST_VARIABLE,
        },
    }
)
class Variables(Anything):
    """Names as agents' texts have them, each with something that can be said."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        variables = super().to_internal_value(data)
        wrong: dict[str, list[str]] = {}
        for name, value in variables.items():
            if not re.fullmatch(VARIABLE[1:-1], name):
                wrong[name] = ["Names are small letters, digits and _, up to 64."]
            elif not isinstance(value, (str, int, float, bool, type(None))):
                wrong[name] = ["This must be a text, a number, true, false or null."]
            elif isinstance(value, str) and len(value) > LONGEST_VARIABLE:
                wrong[name] = [f"This must have {LONGEST_VARIABLE} characters at most."]
        if wrong:
            raise serializers.ValidationError(wrong)
        return variables


def _check_size(name: str, data: dict[str, Any]) -> None:
    size = len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
    if size > LARGEST_OBJECT:
        detail = f"{name} has {size} bytes as JSON; at most {LARGEST_OBJECT} are kept."
        raise refusal("too-large", name, detail)
