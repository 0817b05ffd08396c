"""The check of the agents: somebody answers the number, and nothing keeps them from it."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import Tags, run_checks

from calls.models import Agent
from clientcaller.doctor.configuration import findings_of
from clientcaller.doctor.deployment import Deployment, masked
from clientcaller.doctor.registry import Finding, check, green, red


@check("agents", about="somebody answers the number, and lacks nothing", needs=("migrations",))
def check_agents(deployment: Deployment) -> Iterator[Finding]:
    yield from findings_of(run_checks(tags=[Tags.database], databases=["default"]))
    number: str = settings.TWILIO_PHONE_NUMBER
    agents = Agent.objects.filter(active=True)
    answering = (
        agents.filter(phone_number=number).exclude(phone_number="").first() or agents.filter(phone_number="").first()
    )
    if answering is None:
        text = f"no active agent answers {masked(number)}, and callers hear an apology"
        yield red(text, "In the admin, make an agent active whose number is this one, or empty.")
    else:
        yield green(f"{agents.count()} active; calls to {masked(number)} are answered by {answering.name}")
