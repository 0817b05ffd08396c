"""The pages for other systems: their API keys, and the webhooks that the application sends to them."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, TypedDict

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django_stubs_ext import Annotations

from calls.admin.shared import EMPTY, ReadOnly, checked_by, is_permitted, link_to, names
from calls.models import ApiKey, WebhookDelivery, WebhookEndpoint
from calls.services import keys, webhook_delivery, webhooks


def _choices(names: Iterable[str], **options: Any) -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        choices=[(name, name) for name in names], widget=forms.CheckboxSelectMultiple, **options
    )


def _show_once(request: HttpRequest, what: str, secret: str) -> None:
    """Show a secret on the next page and never again: the others show neither a key nor the secret of a webhook."""
    messages.warning(request, format_html("{}: <code>{}</code> — copy it now, it is shown only once.", what, secret))


class ApiKeyForm(forms.ModelForm[ApiKey]):
    scopes = _choices(ApiKey.Scope.values, help_text="What the key may be used for.")

    class Meta:
        model = ApiKey
        fields = ["name", "scopes", "rate", "expires_at", "active"]

    def clean_expires_at(self) -> datetime | None:
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if self.instance.pk is None and expires_at is not None and expires_at <= timezone.now():
            raise ValidationError("This time has passed, so the key would have expired already.")
        return expires_at


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    form = ApiKeyForm
    list_display = ["name", "key_prefix", "scope_names", "rate", "active", "expires_at", "last_used_at"]
    list_filter = ["active"]
    search_fields = ["name", "prefix"]
    readonly_fields = ["key_prefix", "created_at", "last_used_at"]

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        recorded = ("active", "key_prefix", "created_at", "last_used_at") if obj else ()
        return ("name", "scopes", "rate", "expires_at", *recorded)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, str | list[str]]:
        """Without the time, which Django would take from the address as a text and then fail to show."""
        initial = super().get_changeform_initial_data(request)
        return {name: value for name, value in initial.items() if not name.startswith("expires_at")}

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ApiKeyForm, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        key, secret = keys.make_key(name=obj.name, scopes=obj.scopes, rate=obj.rate, expires_at=obj.expires_at)
        obj.pk, obj.prefix = key.pk, key.prefix
        _show_once(request, f"The API key of {key}", secret)

    @admin.display(description="key")
    def key_prefix(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @admin.display(description="scopes")
    def scope_names(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)


class _DeliveryCounts(TypedDict):
    """The counts that the list adds to each endpoint: its deliveries with these statuses."""

    waiting: int
    failed: int


class WebhookEndpointForm(forms.ModelForm[WebhookEndpoint]):
    url = forms.CharField(label="URL", max_length=500, widget=forms.URLInput({"size": 80}))
    events = _choices(webhooks.EVENTS, required=False, help_text="None selected: all events.")

    class Meta:
        model = WebhookEndpoint
        fields = ["url", "events", "active"]

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        # An endpoint can be switched off whatever has become of its host.
        return checked_by(webhooks.check_url, url) if "url" in self.changed_data else url


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(admin.ModelAdmin[WebhookEndpoint]):
    form = WebhookEndpointForm
    list_display = ["url", "event_names", "active", "waiting", "failed", "created_at", "old_secret_until"]
    list_filter = ["active"]
    readonly_fields = ["old_secret_until"]
    actions = ["renew_secret"]

    def get_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> tuple[str, ...]:
        return ("url", "events", "active", "old_secret_until") if obj else ("url", "events")

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        return (
            super()
            .get_queryset(request)
            .annotate(
                waiting=Count("deliveries", filter=Q(deliveries__status=WebhookDelivery.Status.WAITING)),
                failed=Count("deliveries", filter=Q(deliveries__status=WebhookDelivery.Status.FAILED)),
            )
        )

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: WebhookEndpointForm, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        endpoint = webhooks.make_endpoint(url=obj.url, events=obj.events)
        obj.pk = endpoint.pk
        _show_once(request, f"The secret that signs the deliveries to {endpoint}", endpoint.secret)

    @admin.action(description="Replace the secret (the old one signs for a day too)", permissions=["change"])
    def renew_secret(self, request: HttpRequest, endpoints: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in endpoints:
            _show_once(request, f"The new secret of {endpoint}", webhooks.renew_secret(endpoint.pk))
            endpoint.refresh_from_db()
            until = date_format(timezone.localtime(endpoint.old_secret_until), "DATETIME_FORMAT")
            messages.info(request, f"The old secret signs too until {until} ({settings.TIME_ZONE}).")
            self.log_change(request, endpoint, "Replaced the secret")

    @admin.display(description="events")
    def event_names(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.events) or "all"

    @admin.display(ordering="waiting")
    def waiting(self, endpoint: Annotated[WebhookEndpoint, Annotations[_DeliveryCounts]]) -> int:
        return endpoint.waiting

    @admin.display(ordering="failed")
    def failed(self, endpoint: Annotated[WebhookEndpoint, Annotations[_DeliveryCounts]]) -> int:
        return endpoint.failed


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnly, admin.ModelAdmin[WebhookDelivery]):
    list_display = ["created_at", "event", "endpoint", "call_link", "status", "attempts", "response_status", "due_at"]
    list_filter = ["status", "event", "endpoint", "created_at"]
    list_select_related = ["endpoint", "call"]
    show_full_result_count = False
    actions = ["deliver_again"]
    fields = readonly_fields = names(
        "id event endpoint call_link status attempts response_status created_at delivered_at "
        "redelivered_at due_at "
        "formatted_payload attempt_log"
    )

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        return is_permitted(request, "change_webhookdelivery")

    @admin.action(description="Deliver again", permissions=["redeliver"])
    def deliver_again(self, request: HttpRequest, deliveries: QuerySet[WebhookDelivery]) -> None:
        ids = list(deliveries.values_list("pk", flat=True))
        for delivery_id in ids:
            webhook_delivery.redeliver(delivery_id)
        messages.success(request, f"Queued again: {len(ids)} {'delivery' if len(ids) == 1 else 'deliveries'}.")

    @admin.display(description="call")
    def call_link(self, delivery: WebhookDelivery) -> str:
        return link_to("call", delivery.call)

    @admin.display(description="payload")
    def formatted_payload(self, delivery: WebhookDelivery) -> str:
        return format_html("<pre>{}</pre>", json.dumps(delivery.payload, indent=2, ensure_ascii=False))

    @admin.display(description="log")
    def attempt_log(self, delivery: WebhookDelivery) -> str:
        rows = ((entry.get("at", ""), entry.get("result", ""), entry.get("ms", "")) for entry in delivery.log)
        return format_html_join("", "{}&nbsp; {} &nbsp;({} ms)<br>", rows) or EMPTY
