"""The pages of the dialler: its state, and the do-not-call list."""

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
from calls.services import do_not_call, pacing
from calls.waking import wake


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
            pacing.resume_dialling()
            wake("dial_due")
            messages.success(request, "Dialling has resumed.")
            return HttpResponseRedirect(reverse("admin:calls_dialpace_changelist"))
        dialler = pacing.get_dialler_state()
        pace, pause = dialler.pace, dialler.pause
        limit = pace.limit if pace and pace.limit else "as many as the settings allow"
        facts = [
            ("State", f"paused until {pause.paused_until:%Y-%m-%d %H:%M:%S} UTC" if pause else "running"),
            ("Reason", (pause.reason if pause else "") or EMPTY),
            ("Consecutive failures", pace.failures if pace else 0),
            ("Calls at once that the carrier accepts", limit),
            ("Calls being dialled or in progress", dialler.out),
            ("Calls due now", dialler.due),
            ("Calls scheduled for later", dialler.later),
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": "Dialling",
            "opts": self.opts,
            "facts": facts,
            "can_resume": can_resume and pace is not None and (pause is not None or pace.limit is not None),
        }
        return TemplateResponse(request, "admin/calls/dialpace/change_list.html", context)


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

    @admin.display(description="call")
    def call_link(self, entry: DoNotCall) -> str:
        return link_to("call", entry.call)
