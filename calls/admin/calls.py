"""The pages of calls: an operator finds, reads and hears calls there, and acts on them."""

import uuid
from collections import defaultdict
from statistics import median
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from calls import costs, recordings
from calls.admin.actions import CALL_ACTIONS, applicable_actions, carry_out
from calls.admin.placing import PlaceForm
from calls.admin.shared import EMPTY, NumberSearch, ReadOnly, is_permitted, milliseconds, names
from calls.errors import CallsError
from calls.models import Call, CallEvent, DialAttempt, Turn
from calls.number_forms import person_of
from calls.numbers import number_in
from calls.services.pauses import read_pauses, why_waiting
from calls.stages import STAGE_NAMES
from calls.status import TERMINAL, UNANSWERED

MAX_ERRORS = 5
"""Errors of one action on many calls that are shown. Further ones are only counted, or they would fill the page."""
_LATENCIES = "latencies"
"""The attribute of a call that holds the response latencies of its turns while a page is made."""

_REQUEST = names(
    "api_key idempotency_key variables metadata max_duration record machine_detection timezone attempts_made"
)
"""The fields that hold what the requester of the call asked for."""


class TurnInline(ReadOnly, admin.TabularInline[Turn, Call]):
    model = Turn
    verbose_name_plural = "transcript"
    fields = readonly_fields = ("speaker", "words", "remarks", "latency", "stage_times", "started_at", "ended_at")

    @admin.display(description="words")
    def words(self, turn: Turn) -> str:
        """The words that the other side heard and then, struck out, those that were said but not heard any more."""
        if turn.speaker == Turn.Speaker.CALLER or turn.said == turn.heard:
            return turn.heard or turn.said
        if turn.said.startswith(turn.heard):
            return format_html("{}<s>{}</s>", turn.heard, turn.said[len(turn.heard) :])
        return format_html("{} <s>{}</s>", turn.heard, turn.said)

    @admin.display(description="remarks")
    def remarks(self, turn: Turn) -> str:
        remarks = ["interrupted"] if turn.interrupted else []
        if turn.fallback:
            remarks.append("fallback")
        if turn.speculation_hits or turn.speculation_waste:
            remarks.append(f"speculations: {turn.speculation_hits} used, {turn.speculation_waste} wasted")
        return ", ".join(remarks)

    @admin.display(description="response latency")
    def latency(self, turn: Turn) -> str:
        return milliseconds(turn.response_latency)

    @admin.display(description="stages")
    def stage_times(self, turn: Turn) -> str:
        names = [*STAGE_NAMES, *sorted(set(turn.stages) - {*STAGE_NAMES, "response_latency"})]
        rows = (
            (name.replace("_", " "), milliseconds(turn.stages[name]))
            for name in names
            if turn.stages.get(name) is not None
        )
        return format_html_join("", "{}&nbsp;{}<br>", rows) or EMPTY


class CallEventInline(ReadOnly, admin.TabularInline[CallEvent, Call]):
    model = CallEvent
    verbose_name_plural = "events"
    fields = readonly_fields = ("at", "kind", "data")


class DialAttemptInline(ReadOnly, admin.TabularInline[DialAttempt, Call]):
    model = DialAttempt
    verbose_name_plural = "attempts"
    fields = readonly_fields = names(
        "number status requested_at answered_at ended_at answered_by sip_code error_code error sid"
    )


class WaitingFilter(admin.SimpleListFilter):
    """Filters outbound calls by when they are dialled, which their status does not show."""

    title = "waiting"
    parameter_name = "waiting"

    def lookups(self, *_: Any) -> list[tuple[str, str]]:
        return [
            ("due", "due now"),
            ("held", "due, but paused"),
            ("later", "scheduled for later"),
            ("out", "being dialled"),
        ]

    def queryset(self, request: HttpRequest, calls: QuerySet[Call]) -> QuerySet[Call]:
        match self.value():
            case "due":
                return calls.filter(due_at__lte=timezone.now(), held_by=None)
            case "held":
                return calls.filter(due_at__isnull=False, held_by__isnull=False)
            case "later":
                return calls.filter(due_at__gt=timezone.now())
            case "out":
                return calls.filter(direction=Call.Direction.OUTBOUND, status__in=UNANSWERED, due_at=None)
        return calls


@admin.register(Call)
class CallAdmin(NumberSearch, ReadOnly, admin.ModelAdmin[Call]):
    list_display = names("created_at direction number agent status due end_reason seconds turn_count p50")
    list_filter = [
        "status",
        WaitingFilter,
        "direction",
        "end_reason",
        "agent",
        ("recording", admin.EmptyFieldListFilter),
        "created_at",
    ]
    list_select_related = ["agent"]
    list_per_page = 50
    # Counting a million rows takes longer than showing fifty of them.
    show_full_result_count = False
    search_fields = ["sid", "from_number", "to_number", "stream_sid", "turns__heard", "turns__said"]
    search_help_text = "Search by CallSid, telephone number, or words of the conversation."
    date_hierarchy = "created_at"
    actions = ["cancel", "hang_up", "dial_again"]
    inlines = [TurnInline, DialAttemptInline, CallEventInline]
    fieldsets = [
        (
            None,
            {
                "fields": names(
                    "direction from_number to_number agent status end_reason answered_by language transfer_to"
                )
            },
        ),
        (
            "Times",
            {
                "fields": names(
                    "created_at scheduled_for due_at held_because answered_at ended_at canceled_at seconds p50"
                )
            },
        ),
        ("Recording", {"fields": ["player"]}),
        ("Cost", {"fields": ["used", "cost"]}),
        ("Request", {"classes": ["collapse"], "fields": _REQUEST}),
        ("Technical", {"classes": ["collapse"], "fields": names("id sid stream_sid streams process webhooks")}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Call]:
        return super().get_queryset(request).select_related("agent", "api_key")

    def has_control_permission(self, request: HttpRequest) -> bool:
        return is_permitted(request, "change_call")

    def has_place_permission(self, request: HttpRequest) -> bool:
        return is_permitted(request, "add_call")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {**(extra_context or {}), "can_place": self.has_place_permission(request)}
        return super().changelist_view(request, context)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changelist = super().get_changelist_instance(request)
        changelist.result_list = calls = list(changelist.result_list)
        # SQLite has no median, so one query fetches the latencies of all calls on the page.
        latencies: dict[UUID, list[float | None]] = defaultdict(list)
        for call_id, latency in Turn.objects.filter(call__in=calls).values_list("call_id", "response_latency"):
            latencies[call_id].append(latency)
        for call in calls:
            setattr(call, _LATENCIES, latencies[call.pk])
        return changelist

    def has_delete_permission(self, request: HttpRequest, obj: Call | None = None) -> bool:
        """A call must have ended before it is deleted: without its row, nothing could end it any more."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.status in TERMINAL)

    @admin.display(description="number")
    def number(self, call: Call) -> str:
        return call.far_number

    @admin.display(description="waits until", ordering="due_at")
    def due(self, call: Call) -> str:
        if call.due_at is None:
            return ""
        return "paused" if call.held_by_id else f"{timezone.localtime(call.due_at):%b %d, %H:%M}"

    @admin.display(description="paused")
    def held_because(self, call: Call) -> str:
        return why_waiting(call, read_pauses(timezone.now())) or EMPTY

    @admin.display(description="duration", ordering="duration")
    def seconds(self, call: Call) -> str:
        return EMPTY if call.duration is None else f"{call.duration:.0f} s"

    @admin.display(description="turns")
    def turn_count(self, call: Call) -> int:
        return len(self._latencies(call))

    @admin.display(description="latency p50")
    def p50(self, call: Call) -> str:
        known = [latency for latency in self._latencies(call) if latency is not None]
        return milliseconds(median(known) if known else None)

    @admin.display(description="recording")
    def player(self, call: Call) -> str:
        if not call.recording:
            return EMPTY
        address = reverse("admin:calls_call_recording", args=[call.pk])
        return format_html(
            '<audio controls preload="metadata" src="{0}"></audio><br><a href="{0}" download="{1}.wav">Download</a>',
            address,
            call,
        )

    @admin.display(description="used at engines that bill")
    def used(self, call: Call) -> str:
        rows = (
            (kind, name, f"{amount:,.1f}" if unit == "seconds" else f"{amount:,.0f}", unit.replace("_", " "))
            for kind, name, unit, amount in costs.amounts(call.usage)
        )
        return format_html_join("", "{} {}: {} {}<br>", rows) or EMPTY

    @admin.display(description="estimated cost")
    def cost(self, call: Call) -> str:
        cost = call.estimated_cost
        return EMPTY if cost is None else f"{cost:.4f} {settings.ENGINE_CURRENCY}"

    @admin.display(description="webhooks")
    def webhooks(self, call: Call) -> str:
        address = reverse("admin:calls_webhookdelivery_changelist")
        return format_html(
            '<a href="{}?call__id__exact={}">{} deliveries</a>', address, call.pk, call.deliveries.count()
        )

    @admin.action(description=CALL_ACTIONS["cancel"].label, permissions=["control"])
    def cancel(self, request: HttpRequest, calls: QuerySet[Call]) -> None:
        self._act_on_all(request, calls, "cancel")

    @admin.action(description=CALL_ACTIONS["hang-up"].label, permissions=["control"])
    def hang_up(self, request: HttpRequest, calls: QuerySet[Call]) -> None:
        self._act_on_all(request, calls, "hang-up")

    @admin.action(description=CALL_ACTIONS["again"].label, permissions=["place"])
    def dial_again(self, request: HttpRequest, calls: QuerySet[Call]) -> None:
        self._act_on_all(request, calls, "again")

    def _act_on_all(self, request: HttpRequest, calls: QuerySet[Call], name: str) -> None:
        succeeded, report, errors = 0, "", []
        dialled: set[str] = set()
        for call in calls.select_related("agent"):
            try:
                person = person_of(number_in(call.far_number) or call.far_number)
                if name == "again" and person in dialled:
                    raise CallsError("This person is dialled again for another of the selected calls.")
                report = self._act(request, call, name)
                succeeded += 1
                dialled.add(person)
            except CallsError as error:
                errors.append(f"{call.far_number or call}: {error}")
        if succeeded:
            many = f"{succeeded} calls were {CALL_ACTIONS[name].done}."
            messages.success(request, report if succeeded == 1 else many)
        for message in errors[:MAX_ERRORS]:
            messages.error(request, message)
        if len(errors) > MAX_ERRORS:
            messages.error(request, f"The action failed for {len(errors) - MAX_ERRORS} more calls.")

    def _act(self, request: HttpRequest, call: Call, name: str, token: str = "") -> str:
        report = carry_out(name, call, token=token)
        self.log_change(request, call, CALL_ACTIONS[name].done)
        return report

    def _has_action_permission(self, request: HttpRequest, name: str) -> bool:
        return self.has_place_permission(request) if name == "again" else self.has_control_permission(request)

    def _buttons(self, request: HttpRequest, call: Call) -> list[dict[str, str | bool]]:
        return [
            {
                "name": name,
                "label": "Call back" if name == "again" and call.direction == "inbound" else CALL_ACTIONS[name].label,
                "stops": name != "again",
                "address": reverse("admin:calls_call_do", args=[call.pk, name]),
            }
            for name in applicable_actions(call)
            if self._has_action_permission(request, name)
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if call := kwargs.get("obj"):
            context |= {"buttons": self._buttons(request, call), "token": uuid.uuid4()}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<uuid:call_id>/recording/", view(self.recording), name="calls_call_recording"),
            path("<uuid:call_id>/do/<slug:name>/", view(self.act), name="calls_call_do"),
            path("place/", view(self.place), name="calls_call_place"),
            *super().get_urls(),
        ]

    def act(self, request: HttpRequest, call_id: UUID, name: str) -> HttpResponse:
        """Answer a button of the call's page."""
        if name not in CALL_ACTIONS:
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        call = get_object_or_404(Call.objects.select_related("agent"), pk=call_id)
        if not (self.has_view_permission(request, call) and self._has_action_permission(request, name)):
            raise PermissionDenied
        try:
            messages.success(request, self._act(request, call, name, request.POST.get("token", "")[:36]))
        except CallsError as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:calls_call_change", args=[call.pk]))

    def place(self, request: HttpRequest) -> HttpResponse:
        if not self.has_place_permission(request):
            raise PermissionDenied
        form = PlaceForm(request.POST or None, initial={"agent": request.GET.get("agent"), "token": uuid.uuid4()})
        if request.method == "POST" and form.is_valid() and (call := form.place()):
            self.log_addition(request, call, "Placed")
            messages.success(request, "The call was placed. Reload this page to see what becomes of it.")
            if self.has_view_permission(request, call):
                return HttpResponseRedirect(reverse("admin:calls_call_change", args=[call.pk]))
            return HttpResponseRedirect(reverse("admin:index"))
        context = {**self.admin_site.each_context(request), "title": "Place a call", "form": form, "opts": self.opts}
        return TemplateResponse(request, "admin/calls/call/place.html", context)

    def recording(self, request: HttpRequest, call_id: UUID) -> HttpResponseBase:
        """Serve the recording to operators who may see the call. A range may be asked for, so that players can seek."""
        call = get_object_or_404(Call, pk=call_id)
        if not self.has_view_permission(request, call):
            raise PermissionDenied
        if not call.recording:
            raise Http404("This call was not recorded.")
        try:
            return recordings.serve(call.recording, request)
        except FileNotFoundError:
            raise Http404("The recording is missing from the storage.") from None
        except CallsError as error:
            return HttpResponse(str(error), status=503, content_type="text/plain")

    def _latencies(self, call: Call) -> list[float | None]:
        """The latency of each turn. The list fetches them for all its calls at once; the page of a call, here."""
        known: list[float | None] | None = getattr(call, _LATENCIES, None)
        if known is None:
            known = list(call.turns.values_list("response_latency", flat=True))
            setattr(call, _LATENCIES, known)
        return known
