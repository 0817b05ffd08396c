"""The pages of the dialler: its state, and the do-not-call list."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from calls.admin.shared import EMPTY, NumberSearch, ReadOnly, checked_by, is_permitted, link_to
from calls.models import DialPace, DoNotCall
from calls.numbers import LONGEST
from calls.services import do_not_call, pacing, pauses
from calls.services.pauses import PauseState


@admin.register(DialPace)
class DialPaceAdmin(ReadOnly, admin.ModelAdmin[DialPace]):
    """One page instead of a list, because there is one dialler."""

    def has_delete_permission(self, *_: Any) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        return [path("", self.admin_site.admin_view(self.page), name="calls_dialpace_changelist")]

    def page(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        can_resume = is_permitted(request, "change_dialpace")
        if request.method == "POST":
            if not can_resume:
                raise PermissionDenied
            self._resume(request)
            return HttpResponseRedirect(reverse("admin:calls_dialpace_changelist"))
        dialler = pacing.get_dialler_state()
        pace, stopped = dialler.pace, dialler.stopped
        limit = pace.limit if pace and pace.limit else "as many as the settings allow"
        facts = [
            ("State", _describe_state(stopped, dialler.pauses)),
            ("Reason", "; ".join(state.pause.reason for state in stopped) or EMPTY),
            ("Calls at once that the carrier accepts", limit),
            ("Calls being dialled or in progress", dialler.out),
            ("Calls due now", dialler.due),
            ("Calls that a pause holds", dialler.held),
            ("Calls scheduled for later", dialler.later),
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": "Dialling",
            "opts": self.opts,
            "facts": facts,
            "pauses": dialler.pauses,
            "can_resume": can_resume,
            "can_resume_all": can_resume and pace is not None and (bool(dialler.pauses) or pace.limit is not None),
        }
        return TemplateResponse(request, "admin/calls/dialpace/change_list.html", context)

    @staticmethod
    def _resume(request: HttpRequest) -> None:
        """Resume what one pause has stopped, if the form names it, else everything."""
        chosen = request.POST.get("pause", "")
        if not chosen:
            pacing.resume_dialling(by=request.user.get_username())
            messages.success(request, "Dialling has resumed.")
        elif chosen.isdecimal() and len(chosen) <= 18 and pauses.resume(int(chosen), by=request.user.get_username()):
            messages.success(request, "Dialling has resumed for it.")
        else:
            messages.info(request, "That pause had ended already.")


def _describe_state(stopped: Sequence[PauseState], paused: Sequence[PauseState]) -> str:
    if not stopped:
        return "running, except for what is listed below" if paused else "running"
    ends_at = stopped[0].ends_at
    return f"paused until {ends_at:%Y-%m-%d %H:%M:%S} UTC" if ends_at else "paused"


class DoNotCallForm(forms.ModelForm[DoNotCall]):
    number = forms.CharField(max_length=LONGEST, help_text="The full number, such as +1 202 555 0123.")

    class Meta:
        model = DoNotCall
        fields = ["number", "reason"]

    def clean_number(self) -> str:
        return checked_by(do_not_call.read_entry, self.cleaned_data["number"])


@admin.register(DoNotCall)
class DoNotCallAdmin(NumberSearch, admin.ModelAdmin[DoNotCall]):
    list_display = ["number", "source", "reason", "call_link", "created_at"]
    list_filter = ["source", "created_at"]
    list_select_related = ["call"]
    search_fields = ["number", "reason"]
    show_full_result_count = False

    def get_fields(self, request: HttpRequest, obj: DoNotCall | None = None) -> tuple[str, ...]:
        return ("number", "reason", "source", "call_link", "created_at") if obj else ("number", "reason")

    def has_change_permission(self, *_: Any) -> bool:
        return False

    def get_form(
        self, request: HttpRequest, obj: DoNotCall | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm[DoNotCall]]:
        if obj is None:
            kwargs["form"] = DoNotCallForm
        return super().get_form(request, obj, change, **kwargs)

    def save_model(self, request: HttpRequest, obj: DoNotCall, *_: Any) -> None:
        entry, _new = do_not_call.add_do_not_call(
            number=obj.number, source=DoNotCall.Source.OPERATOR, reason=obj.reason
        )
        obj.pk = entry.pk
        if warning := do_not_call.warn_of(entry.number):
            messages.warning(request, warning)

    @admin.display(description="call")
    def call_link(self, entry: DoNotCall) -> str:
        return link_to("call", entry.call)
