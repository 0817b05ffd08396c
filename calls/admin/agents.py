"""The pages of agents: what they say, how they sound, and what they may do."""

from typing import Annotated, Any, TypedDict

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django_stubs_ext import Annotations

from calls.admin.shared import NumberSearch, checked_by, is_permitted, names
from calls.models import Agent
from calls.numbers import LONGEST, read_number


class _CallCount(TypedDict):
    """The count that the list adds to each agent."""

    call_count: int


_OUTBOUND = names(
    "ring_timeout machine_detection voicemail_message max_attempts retry_busy_after retry_no_answer_after "
    "retry_failed_after"
)
"""The fields that concern outbound calls only."""


class _NumberField(forms.CharField):
    """Takes a number in any spelling."""

    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        return checked_by(read_number, text) if text else ""


class AgentForm(forms.ModelForm[Agent]):
    phone_number = _NumberField(
        required=False, max_length=LONGEST, help_text=Agent._meta.get_field("phone_number").help_text
    )

    def clean_transfer_targets(self) -> dict[str, str]:
        """
        Read the numbers in any spelling; the model checks the rest.

        An operator who empties the field means that the agent may transfer to no one.
        """
        targets: dict[str, str] | None = self.cleaned_data["transfer_targets"]
        if not isinstance(targets, dict):
            return targets or {}
        return {
            name: checked_by(read_number, number) if isinstance(number, str) else number
            for name, number in targets.items()
        }

    def clean_other_languages(self) -> dict[str, str]:
        """The same for the languages to which the agent may change."""
        languages: dict[str, str] | None = self.cleaned_data["other_languages"]
        return languages or {}


@admin.register(Agent)
class AgentAdmin(NumberSearch, admin.ModelAdmin[Agent]):
    form = AgentForm
    list_display = ["name", "phone_number", "language", "voice", "active", "number_of_calls"]
    list_filter = ["active", "language"]
    search_fields = ["name", "phone_number", "prompt"]
    readonly_fields = ["created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["name", "phone_number", "active"]}),
        ("What the agent says", {"fields": ["prompt", "greeting", "greeting_interruptible"]}),
        ("How the agent sounds", {"fields": ["voice", "language", "other_languages"]}),
        ("What the caller says", {"fields": ["keyterms"]}),
        ("Limits", {"fields": ["max_duration", "transfer_targets"]}),
        ("Privacy", {"fields": ["disclosure", "record", "redact_numbers", "opt_out_key"]}),
        ("Outbound calls", {"fields": _OUTBOUND}),
        ("History", {"fields": ["created_at", "updated_at"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        return super().get_queryset(request).annotate(call_count=Count("calls"))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        kwargs["extra_context"] = {
            **(kwargs.get("extra_context") or {}),
            "can_place": is_permitted(request, "add_call"),
        }
        return super().change_view(request, object_id, *args, **kwargs)

    @admin.display(description="calls", ordering="call_count")
    def number_of_calls(self, agent: Annotated[Agent, Annotations[_CallCount]]) -> int:
        return agent.call_count
