"""What serializers have in common, and the problem documents that any address may answer with."""

from typing import Any

from rest_framework import serializers


class Named:
    """Fields may end in ``_``, which the API does not show."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}  # type: ignore[misc]


class Strict(serializers.Serializer[None]):
    """A field that nobody knows is a typing error, which must not pass for an omission."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := [name for name in data if name not in self.fields]):
            raise serializers.ValidationError(
                {name: serializers.ErrorDetail("There is no such field.", code="unknown-field") for name in unknown}
            )
        return super().to_internal_value(data)


class ProblemEntrySerializer(serializers.Serializer[dict[str, Any]]):
    """One thing that is wrong. ``row`` only in batches: the call's place, from 0."""

    field = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()
    row = serializers.IntegerField(required=False)


class ProblemSerializer(Named, serializers.Serializer[dict[str, Any]]):
    """What went wrong (RFC 9457). ``code`` stays the same; ``detail`` is for people."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    errors_ = ProblemEntrySerializer(many=True, required=False)
