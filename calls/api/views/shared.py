"""What the views have in common."""

from django.http import Http404
from rest_framework import serializers
from rest_framework.views import APIView

from calls.api.filters import as_uuid
from calls.api.pagination import METHODS
from calls.models import Call


class Endpoint(APIView):
    http_method_names = METHODS


def find_call(call_id: str, *related: str) -> Call:
    """The call with its agent, and with the lists that are named."""
    known = as_uuid(call_id)
    calls = Call.objects.select_related("agent").prefetch_related(*related)
    call = calls.filter(pk=known).first() if known else None
    if call is None:
        raise Http404
    return call


def valid(serializer: serializers.Serializer) -> serializers.Serializer:
    serializer.is_valid(raise_exception=True)
    return serializer
