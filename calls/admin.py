"""The operator's console: agents to edit, calls to read and hear."""

import re
from collections import defaultdict
from statistics import median
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join

from calls.models import Agent, Call, CallEvent, Turn

admin.site.site_header = admin.site.site_title = "Client Caller"
admin.site.index_title = "Calls and agents"

STAGES = ("endpointing", "transcript", "first_token", "first_clause", "first_speech", "release")
PIECE_BYTES = 1 << 20
"""Most of a recording that one answer holds; players ask for the next piece themselves."""


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f} ms"


@admin.register(Agent)
class AgentAdmin(admin.ModelAdmin):
    list_display = ["name", "phone_number", "language", "voice", "active", "calls_taken"]
    list_filter = ["active", "language"]
    search_fields = ["name", "phone_number", "prompt"]
    readonly_fields = ["created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["name", "phone_number", "active"]}),
        ("What it says", {"fields": ["prompt", "greeting", "greeting_interruptible"]}),
        ("How it sounds", {"fields": ["voice", "language"]}),
        ("Limits", {"fields": ["max_duration", "record"]}),
        ("History", {"fields": ["created_at", "updated_at"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        return super().get_queryset(request).annotate(call_count=Count("calls"))

    @admin.display(description="calls", ordering="call_count")
    def calls_taken(self, agent: Any) -> int:
        return agent.call_count


class ReadOnly:
    """Records are written by calls, not by people."""

    def has_add_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any) -> bool:
        return False


class TurnInline(ReadOnly, admin.TabularInline):
    model = Turn
    verbose_name_plural = "transcript"
    can_delete = False
    fields = readonly_fields = ["who", "words", "remarks", "latency", "stage_times", "started_at", "ended_at"]

    @admin.display(description="words")
    def words(self, turn: Turn) -> str:
        """What was heard; then, struck out, what was said after it and never reached the other side."""
        if turn.who == Turn.Who.CALLER or turn.said == turn.heard:
            return turn.heard or turn.said
        if turn.said.startswith(turn.heard):
            return format_html("{}<s>{}</s>", turn.heard, turn.said[len(turn.heard) :])
        return format_html("{} <s>{}</s>", turn.heard, turn.said)

    @admin.display(description="remarks")
    def remarks(self, turn: Turn) -> str:
        speculation = f"speculated {turn.speculation_hits} for use, {turn.speculation_waste} for nothing"
        return ", ".join(
            remark
            for remark, applies in (
                ("interrupted", turn.interrupted),
                ("fallback", turn.fallback),
                (speculation, turn.speculation_hits or turn.speculation_waste),
            )
            if applies
        )

    @admin.display(description="response latency")
    def latency(self, turn: Turn) -> str:
        return _ms(turn.response_latency)

    @admin.display(description="stages")
    def stage_times(self, turn: Turn) -> str:
        names = [*STAGES, *sorted(set(turn.stages) - {*STAGES, "response_latency"})]
        rows = ((name.replace("_", " "), _ms(turn.stages[name])) for name in names if turn.stages.get(name) is not None)
        return format_html_join("", "{}&nbsp;{}<br>", rows) or "–"


class CallEventInline(ReadOnly, admin.TabularInline):
    model = CallEvent
    verbose_name_plural = "events"
    can_delete = False
    fields = readonly_fields = ["at", "kind", "data"]


@admin.register(Call)
class CallAdmin(ReadOnly, admin.ModelAdmin):
    list_display = [
        *("created_at", "direction", "from_number", "to_number", "agent"),
        *("status", "end_reason", "seconds", "turn_count", "p50"),
    ]
    list_filter = [
        "status",
        "direction",
        "end_reason",
        "agent",
        ("recording", admin.EmptyFieldListFilter),
        "created_at",
    ]
    list_select_related = ["agent"]
    list_per_page = 50
    search_fields = ["sid", "from_number", "to_number", "stream_sid", "turns__heard", "turns__said"]
    search_help_text = "CallSid, number, or words of the conversation"
    date_hierarchy = "created_at"
    inlines = [TurnInline, CallEventInline]
    fieldsets = [
        (None, {"fields": ["direction", "from_number", "to_number", "agent", "status", "end_reason"]}),
        ("Times", {"fields": ["created_at", "answered_at", "ended_at", "seconds", "p50"]}),
        ("Sound", {"fields": ["player"]}),
        (
            "Technical",
            {"classes": ["collapse"], "fields": ["id", "sid", "stream_sid", "streams", "process", "metadata"]},
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Call]:
        return super().get_queryset(request).select_related("agent")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        changelist.result_list = calls = list(changelist.result_list)
        # A median is no SQL aggregate everywhere: one query for the whole page.
        latencies: dict[UUID, list[float | None]] = defaultdict(list)
        for call_id, latency in Turn.objects.filter(call__in=calls).values_list("call_id", "response_latency"):
            latencies[call_id].append(latency)
        for call in calls:
            call.latencies = latencies[call.pk]
        return changelist

    @admin.display(description="duration", ordering="duration")
    def seconds(self, call: Call) -> str:
        return "–" if call.duration is None else f"{call.duration:.0f} s"

    @admin.display(description="turns")
    def turn_count(self, call: Any) -> int:
        return len(self._latencies(call))

    @admin.display(description="latency p50")
    def p50(self, call: Any) -> str:
        known = [latency for latency in self._latencies(call) if latency is not None]
        return _ms(median(known) if known else None)

    @admin.display(description="recording")
    def player(self, call: Call) -> str:
        if not call.recording:
            return "–"
        address = reverse("admin:calls_call_recording", args=[call.pk])
        return format_html(
            '<audio controls preload="metadata" src="{0}"></audio><br><a href="{0}" download="{1}.wav">Download</a>',
            address,
            call,
        )

    def get_urls(self) -> list[Any]:
        recording = path(
            "<uuid:call_id>/recording/", self.admin_site.admin_view(self.recording), name="calls_call_recording"
        )
        return [recording, *super().get_urls()]

    def recording(self, request: HttpRequest, call_id: UUID) -> HttpResponse:
        """The call's sound for those who may see the call, by ranges, without which players cannot seek."""
        call = get_object_or_404(Call, pk=call_id)
        if not self.has_view_permission(request, call):
            raise PermissionDenied
        if not call.recording:
            raise Http404("This call was not recorded.")
        try:
            sound = call.recording.open("rb")
        except FileNotFoundError:
            raise Http404("The recording is gone from the storage.") from None
        with sound:
            size = sound.size
            span = _byte_range(request.headers.get("Range", ""), size)
            if span is None:
                response = HttpResponse(sound.read(), content_type="audio/wav")
            elif not span:
                return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
            else:
                sound.seek(span.start)
                response = HttpResponse(sound.read(len(span)), status=206, content_type="audio/wav")
                response["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
        response["Accept-Ranges"] = "bytes"
        response["Cache-Control"] = "private"
        return response

    def _latencies(self, call: Any) -> list[float | None]:
        if not hasattr(call, "latencies"):
            call.latencies = list(call.turns.values_list("response_latency", flat=True))
        return call.latencies


def _byte_range(header: str, size: int) -> range | None:
    """The bytes that a ``Range`` header asks for, at most ``PIECE_BYTES``; ``None`` is all, empty is none."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1 if first and last else size, start + PIECE_BYTES)
    return range(start, stop)
