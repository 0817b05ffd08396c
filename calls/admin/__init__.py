"""The admin: the pages on which operators work with agents, calls, API keys and webhooks."""

from django.contrib import admin

from calls.admin import agents, calls, dialling, integrations

__all__ = ["agents", "calls", "dialling", "integrations"]

admin.site.site_header = admin.site.site_title = "Client Caller"
admin.site.index_title = "Calls and agents"
