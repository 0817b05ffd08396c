"""Refuses unknown fields, renames reserved words, and defines the problem document."""

from typing import Any

from rest_framework import serializers


class Named:
    """Lets a field's name end in ``_``, which the API leaves out: ``from_`` is ``from``, which Python reserves."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}  # type: ignore[misc]


MOST_UNKNOWN = 20
"""Unknown fields of one object that an answer names."""


class Strict(serializers.Serializer[None]):
    """The body of a request. An unknown field is refused: it is probably misspelled, and must not count as left out."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := [name for name in data if name not in self.fields]):
            raise serializers.ValidationError(
                {
                    name: serializers.ErrorDetail("This field is unknown.", code="unknown-field")
                    for name in unknown[:MOST_UNKNOWN]
                }
            )
        return super().to_internal_value(data)


class ProblemEntrySerializer(serializers.Serializer[dict[str, Any]]):
    """One error. In batches, `row` is the position of the call, counted from 0."""

    field = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()
    row = serializers.IntegerField(required=False)


class ProblemSerializer(Named, serializers.Serializer[dict[str, Any]]):
    """An error (RFC 9457). `code` is for programs and never changes; `detail` is for people."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    errors_ = ProblemEntrySerializer(many=True, required=False)
