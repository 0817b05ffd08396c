"""Twilio's webhooks, with or without a trailing slash and without a redirect, and the probes."""

from django.urls import re_path

from calls import webhooks

urlpatterns = [
    re_path(r"^twilio/voice/?$", webhooks.voice),
    re_path(r"^twilio/status/?$", webhooks.status),
    re_path(r"^twilio/stream-status/?$", webhooks.stream_status),
    re_path(r"^twilio/amd/?$", webhooks.amd),
    re_path(r"^twilio/after-stream/?$", webhooks.after_stream),
    re_path(r"^twilio/after-transfer/?$", webhooks.after_transfer),
    re_path(r"^healthz/?$", webhooks.healthz),
    re_path(r"^readyz/?$", webhooks.readyz),
]
