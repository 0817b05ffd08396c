"""The operator's console: agents to edit, calls to place, stop, read and hear, and who else is told of them."""

import json
import uuid
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from statistics import median
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from calls import recordings
from calls.models import (
    E164,
    STAGES,
    Agent,
    ApiKey,
    Call,
    CallEvent,
    DialAttempt,
    DialPace,
    DoNotCall,
    Turn,
    WebhookDelivery,
    WebhookEndpoint,
)
from calls.services import CallsError, dialling, keys, placing, privacy, webhooks
from calls.status import TERMINAL, UNANSWERED
from calls.waking import wake

admin.site.site_header = admin.site.site_title = "Client Caller"
admin.site.index_title = "Calls and agents"

MOST_COMPLAINTS = 5
"""Of one action on many rows; more are counted."""


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f} ms"


def _link(name: str, target: Any, *, text: str = "") -> str:
    """A link to the page of ``target``, if there is any."""
    if target is None:
        return "–"
    return format_html('<a href="{}">{}</a>', reverse(f"admin:calls_{name}_change", args=[target.pk]), text or target)


def _may(request: HttpRequest, what: str) -> bool:
    return request.user.has_perm(f"calls.{what}")


class ReadOnly:
    """Records are written by calls, not by people."""

    def has_add_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any) -> bool:
        return False


# --- Agents ------------------------------------------------------------------------------------------------


class AgentForm(forms.ModelForm):
    def clean_transfer_targets(self) -> dict[str, str]:
        """A field that was emptied means nobody."""
        return self.cleaned_data["transfer_targets"] or {}


@admin.register(Agent)
class AgentAdmin(admin.ModelAdmin):
    form = AgentForm
    list_display = ["name", "phone_number", "language", "voice", "active", "calls_taken"]
    list_filter = ["active", "language"]
    search_fields = ["name", "phone_number", "prompt"]
    readonly_fields = ["created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["name", "phone_number", "active"]}),
        ("What it says", {"fields": ["prompt", "greeting", "greeting_interruptible"]}),
        ("How it sounds", {"fields": ["voice", "language"]}),
        ("Limits", {"fields": ["max_duration", "transfer_targets"]}),
        ("Privacy", {"fields": ["disclosure", "record", "opt_out_key"]}),
        (
            "Calling out",
            {
                "fields": [
                    *("ring_timeout", "machine_detection", "voicemail_message", "max_attempts"),
                    *("retry_busy_after", "retry_no_answer_after", "retry_failed_after"),
                ]
            },
        ),
        ("History", {"fields": ["created_at", "updated_at"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        return super().get_queryset(request).annotate(call_count=Count("calls"))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        kwargs["extra_context"] = {**(kwargs.get("extra_context") or {}), "may_place": _may(request, "add_call")}
        return super().change_view(request, object_id, *args, **kwargs)

    @admin.display(description="calls", ordering="call_count")
    def calls_taken(self, agent: Any) -> int:
        return agent.call_count


# --- Calls -------------------------------------------------------------------------------------------------


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


class DialAttemptInline(ReadOnly, admin.TabularInline):
    model = DialAttempt
    verbose_name_plural = "attempts"
    can_delete = False
    fields = readonly_fields = [
        *("number", "status", "requested_at", "answered_at", "ended_at"),
        *("answered_by", "sip_code", "error_code", "error", "sid"),
    ]


class WaitingFilter(admin.SimpleListFilter):
    """What has no status of its own: how a queued call waits."""

    title = "waiting"
    parameter_name = "waiting"

    def lookups(self, *_: Any) -> list[tuple[str, str]]:
        return [("due", "to be dialled now"), ("later", "to be dialled later"), ("out", "being dialled")]

    def queryset(self, request: HttpRequest, calls: QuerySet[Call]) -> QuerySet[Call]:
        match self.value():
            case "due":
                return calls.filter(due_at__lte=timezone.now())
            case "later":
                return calls.filter(due_at__gt=timezone.now())
            case "out":
                return calls.filter(direction=Call.Direction.OUTBOUND, status__in=UNANSWERED, due_at=None)
        return calls


class PlaceForm(forms.Form):
    """A call to be placed. What is wrong with it, the service says."""

    to = forms.CharField(label="Number", max_length=40, help_text="In full, such as +1 202 555 0123.")
    agent = forms.ModelChoiceField(Agent.objects.filter(active=True), to_field_name="name")
    scheduled_for = forms.DateTimeField(
        required=False,
        label="Not before",
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    variables = forms.JSONField(
        required=False,
        widget=forms.Textarea({"rows": 3, "cols": 60, "placeholder": '{"name": "Anna"}'}),
        help_text="Fill {{ name }} in the agent's prompt and lines.",
    )
    token = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scheduled_for"].help_text = f"Time in {timezone.get_current_timezone_name()}; empty: now."

    def clean_variables(self) -> dict[str, Any]:
        variables = self.cleaned_data["variables"] or {}
        if not isinstance(variables, dict):
            raise ValidationError('Write an object, such as {"name": "Anna"}.')
        return variables

    def place(self) -> Call | None:
        """The call; None, with the errors on the form, if it cannot be placed. A form sent twice places one call."""
        data = self.cleaned_data
        wanted = placing.NewCall(
            to=data["to"],
            agent=data["agent"].name,
            scheduled_for=data["scheduled_for"],
            variables=data["variables"],
        )
        try:
            return placing.place_call(wanted, idempotency_key=f"admin:{data['token']}")[0]
        except CallsError as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
            return None


def _dial_again(call: Call, token: str = "") -> Call:
    """The same call once more; one that came in is called back."""
    outbound = call.direction == Call.Direction.OUTBOUND
    wanted = placing.NewCall(
        to=call.far_number,
        agent=call.agent.name,
        from_number=call.from_number if outbound else "",
        variables=call.variables,
        metadata=call.metadata,
        max_duration=call.max_duration,
        machine_detection=call.machine_detection,
        record=call.record,
        timezone=call.timezone,
    )
    return placing.place_call(wanted, idempotency_key=f"admin:{token}" if token else "")[0]


@admin.register(Call)
class CallAdmin(ReadOnly, admin.ModelAdmin):
    list_display = [
        *("created_at", "direction", "number", "agent", "status", "due"),
        *("end_reason", "seconds", "turn_count", "p50"),
    ]
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
    # Counting a million rows costs more than showing fifty of them.
    show_full_result_count = False
    search_fields = ["sid", "from_number", "to_number", "stream_sid", "turns__heard", "turns__said"]
    search_help_text = "CallSid, number, or words of the conversation"
    date_hierarchy = "created_at"
    actions = ["cancel", "hang_up", "dial_again"]
    inlines = [TurnInline, DialAttemptInline, CallEventInline]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    *("direction", "from_number", "to_number", "agent", "status", "end_reason"),
                    *("answered_by", "transfer_to"),
                ]
            },
        ),
        (
            "Times",
            {
                "fields": [
                    *("created_at", "scheduled_for", "due_at", "answered_at", "ended_at", "canceled_at"),
                    *("seconds", "p50"),
                ]
            },
        ),
        ("Sound", {"fields": ["player"]}),
        (
            "As it was ordered",
            {
                "classes": ["collapse"],
                "fields": [
                    *("api_key", "idempotency_key", "variables", "metadata", "max_duration", "record"),
                    *("machine_detection", "timezone", "attempts_made"),
                ],
            },
        ),
        (
            "Technical",
            {"classes": ["collapse"], "fields": ["id", "sid", "stream_sid", "streams", "process", "webhooks"]},
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Call]:
        return super().get_queryset(request).select_related("agent", "api_key")

    def has_control_permission(self, request: HttpRequest) -> bool:
        return _may(request, "change_call")

    def has_place_permission(self, request: HttpRequest) -> bool:
        return _may(request, "add_call")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {**(extra_context or {}), "may_place": self.has_place_permission(request)}
        return super().changelist_view(request, context)

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

    def has_delete_permission(self, request: HttpRequest, obj: Call | None = None) -> bool:
        """What goes on is ended first: without its row nobody could end it any more."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.status in TERMINAL)

    @admin.display(description="number")
    def number(self, call: Call) -> str:
        return call.far_number

    @admin.display(description="waits until", ordering="due_at")
    def due(self, call: Call) -> str:
        return "" if call.due_at is None else f"{timezone.localtime(call.due_at):%b %d, %H:%M}"

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

    @admin.display(description="webhooks")
    def webhooks(self, call: Call) -> str:
        address = reverse("admin:calls_webhookdelivery_changelist")
        return format_html(
            '<a href="{}?call__id__exact={}">{} deliveries</a>', address, call.pk, call.deliveries.count()
        )

    # What can be done about a call. The services know whether it makes sense; a button is there if it may.

    @admin.action(description="Cancel", permissions=["control"])
    def cancel(self, request: HttpRequest, calls: QuerySet[Call]) -> None:
        self._do_to_all(request, calls, "cancel")

    @admin.action(description="Hang up", permissions=["control"])
    def hang_up(self, request: HttpRequest, calls: QuerySet[Call]) -> None:
        self._do_to_all(request, calls, "hang-up")

    @admin.action(description="Dial again", permissions=["place"])
    def dial_again(self, request: HttpRequest, calls: QuerySet[Call]) -> None:
        self._do_to_all(request, calls, "again")

    def _do_to_all(self, request: HttpRequest, calls: QuerySet[Call], name: str) -> None:
        done, complaints = 0, []
        for call in calls.select_related("agent"):
            try:
                said = self._do(request, call, name)
                done += 1
            except CallsError as error:
                complaints.append(f"{call.far_number or call}: {error}")
        if done:
            messages.success(request, said if done == 1 else f"{done} calls: {_DEEDS[name][1]}.")
        for complaint in complaints[:MOST_COMPLAINTS]:
            messages.error(request, complaint)
        if len(complaints) > MOST_COMPLAINTS:
            messages.error(request, f"The same or the like of {len(complaints) - MOST_COMPLAINTS} more calls.")

    def _do(self, request: HttpRequest, call: Call, name: str, token: str = "") -> str:
        """Returns what to say of it. Raises ``CallsError``."""
        done = _DEEDS[name][1]
        match name:
            case "cancel":
                after = placing.cancel_call(call_id=call.pk)
            case "hang-up":
                after = placing.hang_up(call_id=call.pk)
            case _:
                after = _dial_again(call, token)
        self.log_change(request, call, done)
        said = _link("call", after, text=f"The call with {after.far_number}")
        if name == "again" or after.status in TERMINAL:
            return format_html("{}: {}.", said, done)
        return format_html("{}: {}. It is {} as yet.", said, done, after.status)

    def _buttons(self, request: HttpRequest, call: Call) -> list[dict[str, Any]]:
        waits = call.direction == Call.Direction.OUTBOUND and call.status in UNANSWERED
        over = call.status in TERMINAL
        shown = {
            "cancel": waits and call.canceled_at is None and self.has_control_permission(request),
            "hang-up": not waits and not over and self.has_control_permission(request),
            "again": over and bool(E164.fullmatch(call.far_number)) and self.has_place_permission(request),
        }
        return [
            {
                "name": name,
                "label": _DEEDS[name][0] if name != "again" or call.direction == "outbound" else "Call back",
                "stops": name != "again",
                "address": reverse("admin:calls_call_do", args=[call.pk, name]),
            }
            for name, is_shown in shown.items()
            if is_shown
        ]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if call := kwargs.get("obj"):
            context |= {"buttons": self._buttons(request, call), "token": uuid.uuid4()}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("<uuid:call_id>/recording/", view(self.recording), name="calls_call_recording"),
            path("<uuid:call_id>/do/<slug:name>/", view(self.do), name="calls_call_do"),
            path("place/", view(self.place), name="calls_call_place"),
            *super().get_urls(),
        ]

    def do(self, request: HttpRequest, call_id: UUID, name: str) -> HttpResponse:
        """A button of the call's page."""
        if name not in _DEEDS:
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        call = get_object_or_404(Call.objects.select_related("agent"), pk=call_id)
        may = self.has_place_permission if name == "again" else self.has_control_permission
        if not (self.has_view_permission(request, call) and may(request)):
            raise PermissionDenied
        try:
            messages.success(request, self._do(request, call, name, request.POST.get("token", "")[:36]))
        except CallsError as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:calls_call_change", args=[call.pk]))

    def place(self, request: HttpRequest) -> HttpResponse:
        if not self.has_place_permission(request):
            raise PermissionDenied
        form = PlaceForm(request.POST or None, initial={"agent": request.GET.get("agent"), "token": uuid.uuid4()})
        if request.method == "POST" and form.is_valid() and (call := form.place()):
            self.log_addition(request, call, "Placed")
            messages.success(request, "The call is placed. This page shows what becomes of it.")
            to_call = self.has_view_permission(request, call)
            address = reverse("admin:calls_call_change", args=[call.pk]) if to_call else reverse("admin:index")
            return HttpResponseRedirect(address)
        context = {**self.admin_site.each_context(request), "title": "Place a call", "form": form, "opts": self.opts}
        return TemplateResponse(request, "admin/calls/call/place.html", context)

    def recording(self, request: HttpRequest, call_id: UUID) -> HttpResponse:
        """The call's sound for those who may see the call, by ranges, without which players cannot seek."""
        call = get_object_or_404(Call, pk=call_id)
        if not self.has_view_permission(request, call):
            raise PermissionDenied
        if not call.recording:
            raise Http404("This call was not recorded.")
        try:
            return recordings.serve(call.recording, request.headers.get("Range", ""))
        except FileNotFoundError:
            raise Http404("The recording is gone from the storage.") from None

    def _latencies(self, call: Any) -> list[float | None]:
        if not hasattr(call, "latencies"):
            call.latencies = list(call.turns.values_list("response_latency", flat=True))
        return call.latencies


_DEEDS = {
    "cancel": ("Cancel", "canceled"),
    "hang-up": ("Hang up", "told to end"),
    "again": ("Dial again", "placed again"),
}
"""What can be done about a call: the button, and what is said afterwards."""


# --- Dialling ----------------------------------------------------------------------------------------------


@admin.register(DialPace)
class DialPaceAdmin(ReadOnly, admin.ModelAdmin):
    """One page, since there is one dialler."""

    def has_delete_permission(self, *_: Any) -> bool:
        return False

    def get_urls(self) -> list[Any]:
        return [path("", self.admin_site.admin_view(self.page), name="calls_dialpace_changelist")]

    def page(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        may_resume = _may(request, "change_dialpace")
        if request.method == "POST":
            if not may_resume:
                raise PermissionDenied
            dialling.resume()
            wake("dial_due")
            messages.success(request, "Dialling goes on.")
            return HttpResponseRedirect(reverse("admin:calls_dialpace_changelist"))
        dialler = dialling.outlook()
        pace, pause = dialler.pace, dialler.pause
        facts = [
            ("State", f"paused until {pause.paused_until:%Y-%m-%d %H:%M:%S} UTC" if pause else "going"),
            ("Why", (pause.reason if pause else "") or "–"),
            ("Failures in a row", pace.failures if pace else 0),
            (
                "Calls at once that the carrier stands",
                pace.limit if pace and pace.limit else "as many as the settings allow",
            ),
            ("Calls out now", dialler.out),
            ("Calls due", dialler.due),
            ("Calls scheduled for later", dialler.later),
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": "Dialling",
            "opts": self.opts,
            "facts": facts,
            "may_resume": may_resume and pace is not None and (pause is not None or pace.limit is not None),
        }
        return TemplateResponse(request, "admin/calls/dialpace/change_list.html", context)


@admin.register(DoNotCall)
class DoNotCallAdmin(admin.ModelAdmin):
    list_display = ["number", "source", "reason", "said_in", "created_at"]
    list_filter = ["source", "created_at"]
    list_select_related = ["call"]
    search_fields = ["number", "reason"]
    fields = ["number", "reason"]
    show_full_result_count = False

    def get_fields(self, request: HttpRequest, obj: DoNotCall | None = None) -> list[str]:
        return ["number", "reason", "source", "said_in", "created_at"] if obj else ["number", "reason"]

    def has_change_permission(self, *_: Any) -> bool:
        return False

    def get_form(self, request: HttpRequest, obj: DoNotCall | None = None, **kwargs: Any) -> Any:
        return super().get_form(request, obj, **({} if obj else {"form": DoNotCallForm}), **kwargs)

    def save_model(self, request: HttpRequest, obj: DoNotCall, *_: Any) -> None:
        entry, _ = privacy.add_do_not_call(number=obj.number, source=DoNotCall.Source.OPERATOR, reason=obj.reason)
        obj.pk = entry.pk

    @admin.display(description="call")
    def said_in(self, entry: DoNotCall) -> str:
        return _link("call", entry.call)


class DoNotCallForm(forms.ModelForm):
    number = forms.CharField(max_length=40, help_text="In full, such as +1 202 555 0123.")

    class Meta:
        model = DoNotCall
        fields = ["number", "reason"]

    def clean_number(self) -> str:
        return _told(lambda: privacy.whole_number(self.cleaned_data["number"]))


# --- The REST API and outgoing webhooks --------------------------------------------------------------------


def _told(check: Callable[[], Any]) -> Any:
    """What a service says of a value, as the form's complaint."""
    try:
        return check()
    except CallsError as error:
        raise ValidationError(str(error)) from error


def _choices(names: Any, **options: Any) -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        choices=[(name, name) for name in names], widget=forms.CheckboxSelectMultiple, **options
    )


def _show_once(request: HttpRequest, what: str, secret: str) -> None:
    messages.warning(request, format_html("{}: <code>{}</code> — it cannot be shown again.", what, secret))


class ApiKeyForm(forms.ModelForm):
    scopes = _choices(ApiKey.Scope.values, help_text="What it may do.")

    class Meta:
        model = ApiKey
        fields = ["name", "scopes", "rate", "expires_at", "active"]

    def clean_expires_at(self) -> datetime | None:
        expires_at = self.cleaned_data["expires_at"]
        if self.instance.pk is None and expires_at is not None and expires_at <= timezone.now():
            raise ValidationError("The key would have expired already.")
        return expires_at


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    form = ApiKeyForm
    list_display = ["name", "beginning", "may", "rate", "active", "expires_at", "last_used_at"]
    list_filter = ["active"]
    search_fields = ["name", "prefix"]
    readonly_fields = ["beginning", "created_at", "last_used_at"]

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        made = ["active", "beginning", "created_at", "last_used_at"] if obj else []
        return ["name", "scopes", "rate", "expires_at", *made]

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ApiKeyForm, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        key, secret = keys.make_key(name=obj.name, scopes=obj.scopes, rate=obj.rate, expires_at=obj.expires_at)
        obj.pk, obj.prefix = key.pk, key.prefix
        _show_once(request, f"The key of {key}", secret)

    @admin.display(description="key")
    def beginning(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @admin.display(description="scopes")
    def may(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)


class WebhookEndpointForm(forms.ModelForm):
    url = forms.CharField(label="URL", max_length=500, widget=forms.URLInput({"size": 80}))
    events = _choices(webhooks.EVENTS, required=False, help_text="None: all.")

    class Meta:
        model = WebhookEndpoint
        fields = ["url", "events", "active"]

    def clean_url(self) -> str:
        return _told(lambda: webhooks.check_url(self.cleaned_data["url"]))


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(admin.ModelAdmin):
    form = WebhookEndpointForm
    list_display = ["url", "hears_of", "active", "waiting", "failed", "created_at"]
    list_filter = ["active"]
    actions = ["renew_secret"]

    def get_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> list[str]:
        return ["url", "events", "active"] if obj else ["url", "events"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        return (
            super()
            .get_queryset(request)
            .annotate(
                **{
                    status: Count("deliveries", filter=Q(deliveries__status=status))
                    for status in (WebhookDelivery.Status.WAITING.value, WebhookDelivery.Status.FAILED.value)
                }
            )
        )

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        endpoint = webhooks.make_endpoint(url=obj.url, events=obj.events)
        obj.pk = endpoint.pk
        _show_once(request, "The secret that its deliveries are signed with", endpoint.secret)

    @admin.action(description="Make a new secret", permissions=["change"])
    def renew_secret(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in endpoints:
            _show_once(request, f"The new secret of {endpoint}", webhooks.renew_secret(endpoint.pk))
            self.log_change(request, endpoint, "New secret")

    @admin.display(description="events")
    def hears_of(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.events) or "all"

    @admin.display(ordering="waiting")
    def waiting(self, endpoint: Any) -> int:
        return endpoint.waiting

    @admin.display(ordering="failed")
    def failed(self, endpoint: Any) -> int:
        return endpoint.failed


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["created_at", "event", "endpoint", "of", "status", "attempts", "response_status", "due_at"]
    list_filter = ["status", "event", "endpoint", "created_at"]
    list_select_related = ["endpoint", "call"]
    show_full_result_count = False
    actions = ["deliver_again"]
    fields = readonly_fields = [
        *("id", "event", "endpoint", "of", "status", "attempts", "response_status"),
        *("created_at", "delivered_at", "due_at", "content", "tries"),
    ]

    def has_again_permission(self, request: HttpRequest) -> bool:
        return _may(request, "change_webhookdelivery")

    @admin.action(description="Deliver again", permissions=["again"])
    def deliver_again(self, request: HttpRequest, deliveries: QuerySet[WebhookDelivery]) -> None:
        ids = list(deliveries.values_list("pk", flat=True))
        for delivery_id in ids:
            webhooks.redeliver(delivery_id)
        messages.success(request, f"{len(ids)} {'is' if len(ids) == 1 else 'are'} on the way again.")

    @admin.display(description="call")
    def of(self, delivery: WebhookDelivery) -> str:
        return _link("call", delivery.call)

    @admin.display(description="payload")
    def content(self, delivery: WebhookDelivery) -> str:
        return format_html("<pre>{}</pre>", json.dumps(delivery.payload, indent=2, ensure_ascii=False))

    @admin.display(description="log")
    def tries(self, delivery: WebhookDelivery) -> str:
        rows = ((entry.get("at", ""), entry.get("result", ""), entry.get("ms", "")) for entry in delivery.log)
        return format_html_join("", "{}&nbsp; {} &nbsp;({} ms)<br>", rows) or "–"
