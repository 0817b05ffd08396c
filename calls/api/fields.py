"""
Serializer fields that accept exactly the JSON type that their schema names.

REST framework's own fields convert: they take ``"60"`` for a number and ``"yes"`` for a boolean.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from calls.api.problems import unprocessable
from calls.numbers import LONGEST
from calls.variables import LONGEST_VALUE, VARIABLE_NAME, faults_of

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""Any database can store these, and adding an offset or some days to them does not overflow."""
NUMBER_PATTERN = "[+\uff0b]"
"""What every telephone number has, however it is written: a +, which may be full-width."""
MAX_OBJECT_BYTES = 4096
"""Bytes of ``metadata``, and of ``variables``, as JSON. They are stored with each of maybe a million calls."""


def parse_timestamp(text: str) -> datetime:
    """
    Parse an RFC 3339 time and convert it to UTC. Raises ``ValueError``.

    The offset is required, because without it the moment is unknown. A time outside of the years 1900 to 9000 becomes
    the nearest one within, since databases and time arithmetic fail beyond.
    """
    if not _RFC_3339.fullmatch(text):
        raise ValueError("Write the time with its offset from UTC, like 2030-01-31T09:30:00+01:00.")
    # RFC 3339 allows a leap second, which Python does not have: the second before it stands for it.
    text = text.upper().replace(":60", ":59", 1) if text[17:19] == "60" else text.upper()
    try:
        parsed = parse_datetime(text)
    except ValueError:
        parsed = None
    if parsed is None:
        raise ValueError("This time does not exist.")
    return min(max(parsed, _EARLIEST), _LATEST).astimezone(UTC)


class StrictText(serializers.CharField):
    """A string, with its white space as it is. A number is refused."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


def _described(**schema: Any) -> Any:
    return extend_schema_field({"type": "string", "minLength": 1, **schema})


@_described(maxLength=LONGEST, pattern=NUMBER_PATTERN, examples=["+12125550123"])
class NumberText(StrictText):
    """A telephone number in any spelling, which the services read."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=LONGEST, **options)


@_described(maxLength=64, pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", examples=["America/New_York", "UTC"])
class ZoneText(StrictText):
    """The name of a time zone, which the services look up."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=64, **options)


class ShortList(serializers.ListField):
    """A list whose length is checked before its items, of which each that is wrong has an error of its own."""

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            raise serializers.ValidationError(f"At most {self.max_length} items are allowed.", code="max_length")
        return super().to_internal_value(data)


class StrictInteger(serializers.IntegerField):
    """An integer, or a float without a fraction. A string or a boolean is refused."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not (isinstance(data, int) or (isinstance(data, float) and data.is_integer())):
            self.fail("invalid")
        return int(data)


class StrictBoolean(serializers.BooleanField):
    """``true`` or ``false``. A string or a number is refused."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictChoice(serializers.ChoiceField):
    """One of a few strings. An empty one is shown as null."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        return super().to_internal_value(data)

    def to_representation(self, value: Any) -> Any:
        return super().to_representation(value) or None


class Timestamp(serializers.DateTimeField):
    """A time with its offset from UTC, as ``parse_timestamp`` takes it."""

    def to_internal_value(self, value: Any) -> datetime:
        if not isinstance(value, str):
            raise serializers.ValidationError("Write the time as a string.", code="invalid")
        try:
            return parse_timestamp(value)
        except ValueError as error:
            raise serializers.ValidationError(str(error), code="invalid") from error


@extend_schema_field({"type": "object", "additionalProperties": True})
class JSONObject(serializers.Field[dict[str, Any], Any, Any, Any]):
    """A JSON object of at most ``MAX_OBJECT_BYTES``, with any contents."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("This must be an object.", code="invalid")
        size = len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
        if size > MAX_OBJECT_BYTES:
            detail = f"{self.field_name} has {size} bytes as JSON. At most {MAX_OBJECT_BYTES} are allowed."
            raise unprocessable("too-large", self.field_name or "", detail)
        return data

    def to_representation(self, value: Any) -> Any:
        return value


_NUMBERS = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}


@extend_schema_field({"type": "object", "additionalProperties": {"type": "object", "additionalProperties": _NUMBERS}})
class Amounts(JSONObject):
    """What a call used, by kind of engine, name and unit."""


@extend_schema_field(
    {
        "type": "object",
        "propertyNames": {"pattern": f"^{VARIABLE_NAME}$"},
        "additionalProperties": {"type": ["string", "number", "boolean", "null"], "maxLength": LONGEST_VALUE},
    }
)
class Variables(JSONObject):
    """Values for the ``{{ variables }}`` in an agent's texts, each of which can be spoken."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        variables = super().to_internal_value(data)
        if wrong := faults_of(variables):
            raise serializers.ValidationError({name: [fault] for name, fault in wrong.items()})
        return variables
