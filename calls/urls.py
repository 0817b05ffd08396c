"""
The addresses of Twilio's callbacks, of the doctor's echo and of the health probes.

A trailing slash is optional and never redirected.
"""

from django.urls import re_path

from calls import callbacks, echoes

urlpatterns = [
    re_path(r"^twilio/voice/?$", callbacks.voice),
    re_path(r"^twilio/status/?$", callbacks.status),
    re_path(r"^twilio/stream-status/?$", callbacks.stream_status),
    re_path(r"^twilio/amd/?$", callbacks.amd),
    re_path(r"^twilio/after-stream/?$", callbacks.after_stream),
    re_path(r"^twilio/after-transfer/?$", callbacks.after_transfer),
    re_path(rf"^twilio/echo/(?P<token>{echoes.PATTERN})/?$", callbacks.echo),
    re_path(r"^healthz/?$", callbacks.healthz),
    re_path(r"^readyz/?$", callbacks.readyz),
]
