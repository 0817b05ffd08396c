"""The addresses of the REST API. A trailing slash is optional and never redirected."""

from django.urls import re_path
from drf_spectacular.views import SpectacularSwaggerView

from calls.api.problems import not_found
from calls.api.views import calls, dialling, documentation, lists, recordings, stats

_CALL = r"^calls/(?P<call_id>[^/]+)"
_WEBHOOK = r"^webhooks/(?P<webhook_id>[^/]+)"

urlpatterns = [
    re_path(r"^calls/?$", calls.CallsView.as_view()),
    re_path(r"^calls/batch/?$", calls.BatchView.as_view()),
    re_path(rf"{_CALL}/?$", calls.CallView.as_view()),
    re_path(rf"{_CALL}/events/?$", calls.EventsView.as_view()),
    re_path(rf"{_CALL}/cancel/?$", calls.CancelView.as_view()),
    re_path(rf"{_CALL}/hangup/?$", calls.HangUpView.as_view()),
    re_path(rf"{_CALL}/say/?$", calls.SayView.as_view()),
    re_path(rf"{_CALL}/transfer/?$", calls.TransferView.as_view()),
    re_path(r"^recordings/(?P<token>[^/]+)/?$", recordings.RecordingView.as_view()),
    re_path(r"^stats/?$", stats.StatsView.as_view()),
    re_path(r"^dialling/?$", dialling.DiallingView.as_view()),
    re_path(r"^dialling/resume/?$", dialling.ResumeView.as_view()),
    re_path(r"^agents/?$", lists.AgentsView.as_view()),
    re_path(r"^agents/(?P<name>[^/]+)/?$", lists.AgentView.as_view()),
    re_path(r"^do-not-call/?$", lists.DoNotCallsView.as_view()),
    re_path(r"^do-not-call/(?P<number>[^/]+)/?$", lists.DoNotCallView.as_view()),
    re_path(r"^webhooks/?$", lists.WebhooksView.as_view()),
    re_path(rf"{_WEBHOOK}/?$", lists.WebhookView.as_view()),
    re_path(rf"{_WEBHOOK}/secret/?$", lists.SecretView.as_view()),
    re_path(rf"{_WEBHOOK}/deliveries/?$", lists.DeliveriesView.as_view()),
    re_path(r"^schema/?$", documentation.SchemaView.as_view(), name="schema"),
    re_path(r"^docs/?$", SpectacularSwaggerView.as_view(url_name="schema")),
    re_path(r"", not_found),
]
