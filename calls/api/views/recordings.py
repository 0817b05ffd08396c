"""The address of a recording, which is a link that expires."""

from django.conf import settings
from django.core import signing
from django.http import Http404
from django.http.response import HttpResponseBase
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from calls import recordings
from calls.api.operations import documented
from calls.api.problems import Problem
from calls.api.serializers.calls import RECORDING_SALT
from calls.api.views.shared import Endpoint, find_call


class _WaveRenderer(BaseRenderer):
    """Tells REST framework the type of the answer. The view answers with the file itself."""

    media_type = "audio/wav"
    format = "wav"
    charset = None
    render_style = "binary"


class RecordingView(Endpoint):
    """Serves a recording without an API key, because the player of a web page cannot send one."""

    authentication_classes: list[type[BaseAuthentication]] = []
    permission_classes: list[type[BasePermission]] = []
    throttle_classes: list[type[BaseThrottle]] = []
    renderer_classes = [_WaveRenderer]
    problems = {"GET": [410]}

    @documented("get_recording")
    def get(self, request: Request, token: str) -> HttpResponseBase:
        try:
            call_id = signing.loads(token, salt=RECORDING_SALT, max_age=settings.RECORDING_LINK_TTL)
        except signing.SignatureExpired as error:
            text = "This link has expired. Get the call again for a new one."
            raise Problem(410, "link-expired", text) from error
        except signing.BadSignature as error:
            raise Http404 from error
        call = find_call(call_id)
        if not call.recording:
            raise Http404
        try:
            return recordings.serve(call.recording, request._request)
        except FileNotFoundError as error:
            raise Http404 from error
