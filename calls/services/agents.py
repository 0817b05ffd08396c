"""The agents that take calls: what must be ready before the first call, and what keeps one from working."""

from dataclasses import dataclass

from calls.languages import judge_language
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


def language_problems() -> list[str]:
    """Return what is missing for the languages of the agents that take calls, with the name of the agent."""
    return [
        f"Agent {agent.name}, language {agent.language}: {problem}"
        for agent in active_agents()
        for problem in judge_language(agent.language).problems
    ]
