"""The admin, in which the operator works with agents, calls and everything around them."""

from django.contrib import admin

from calls.admin import agents, calls, dialling, integrations

__all__ = ["agents", "calls", "dialling", "integrations"]

admin.site.site_header = admin.site.site_title = "Client Caller"
admin.site.index_title = "Calls and agents"
