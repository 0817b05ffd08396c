"""The addresses of the dialler: its state, and resuming what is paused."""

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from calls.api.auth import CONTROL, READ
from calls.api.dialling import describe_dialler
from calls.api.filters import check_parameters
from calls.api.operations import documented
from calls.api.serializers.dialling import DiallingSerializer, ResumedSerializer, ResumeSerializer
from calls.api.views.shared import Endpoint, headers_only, valid
from calls.models import ApiKey
from calls.services import pacing, pauses


class DiallingView(Endpoint):
    scopes = {"GET": READ}
    permissions = {"GET": ("view_dialpace",)}

    @documented("get_dialling")
    def get(self, request: Request) -> Response | HttpResponse:
        check_parameters(request, {})
        if request.method == "HEAD":
            return headers_only(request)
        return Response(DiallingSerializer(describe_dialler(pacing.get_dialler_state())).data)


class ResumeView(Endpoint):
    scopes = {"POST": CONTROL}
    permissions = {"POST": ("change_dialpace",)}

    @documented("resume_dialling")
    def post(self, request: Request) -> Response:
        pause = valid(ResumeSerializer(data=request.data)).validated_data.get("pause")
        by = f"the API key {request.auth}" if isinstance(request.auth, ApiKey) else request.user.get_username()
        resumed = pacing.resume_dialling(by=by) if pause is None else pauses.resume(pause, by=by)
        state = describe_dialler(pacing.get_dialler_state())
        return Response(ResumedSerializer({**state, "resumed": resumed}).data)
