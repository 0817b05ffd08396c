"""The agents that take calls, for what must be ready before the first call."""

from dataclasses import dataclass

from calls.models import Agent


@dataclass(frozen=True, slots=True)
class AgentVoice:
    """How an agent speaks."""

    name: str
    voice: str
    language: str


def active_agents() -> list[AgentVoice]:
    """Return the agents that take calls, by name."""
    agents = Agent.objects.filter(active=True).order_by("name")
    return [AgentVoice(*values) for values in agents.values_list("name", "voice", "language")]
