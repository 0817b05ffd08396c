"""The agents that take calls: what must be ready before the first call, and what keeps one from working."""

from collections.abc import Mapping
from dataclasses import dataclass

from calls.languages import judge_language, judge_other_language
from calls.models import Agent


@dataclass(frozen=True, slots=True)
class AgentVoice:
    """How an agent speaks."""

    name: str
    voice: str
    language: str
    other_languages: Mapping[str, str]
    """The voice for each language to which it changes if the caller does."""

    @property
    def voices(self) -> list[tuple[str, str]]:
        """Each voice with its language."""
        return [(self.voice, self.language), *((voice, language) for language, voice in self.other_languages.items())]


def active_agents() -> list[AgentVoice]:
    """Return the agents that take calls, by name."""
    agents = Agent.objects.filter(active=True).order_by("name")
    return [AgentVoice(*values) for values in agents.values_list("name", "voice", "language", "other_languages")]


def language_problems() -> list[str]:
    """Return what is missing for the languages of the agents that take calls, with the name of the agent."""
    judged = [
        (agent.name, language, judge_language(language) if at == 0 else judge_other_language(language))
        for agent in active_agents()
        for at, (_, language) in enumerate(agent.voices)
    ]
    return [
        f"Agent {name}, language {language}: {problem}"
        for name, language, report in judged
        for problem in report.problems
    ]
