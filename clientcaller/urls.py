"""The URLs of the project; ``media.routing`` has those of WebSockets."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

to_admin = RedirectView.as_view(url="/admin/")

urlpatterns = [
    path("", include("calls.urls")),
    path("api/", include("calls.api.urls")),
    path("admin/", admin.site.urls),
    path("admin", to_admin),
    path("", to_admin),
]
