"""
The languages that agents may have.

The engines and phrases of this installation decide; they are outside this package, and whoever has them sets the judge.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LanguageReport:
    """What this installation has for a language. Each text is one sentence or more for an operator."""

    problems: tuple[str, ...] = ()
    """What is missing, and what to do about it."""
    unknown: tuple[str, ...] = ()
    """What is known only when the engines run."""


_judges: list[Callable[[str], LanguageReport]] = []


def add_language_judge(judge: Callable[[str], LanguageReport]) -> None:
    """Have ``judge`` asked about the language of each agent."""
    _judges.append(judge)


def judge_language(language: str) -> LanguageReport:
    """Say what is missing for an agent of this language."""
    reports = [judge(language) for judge in _judges]
    return LanguageReport(
        tuple(problem for report in reports for problem in report.problems),
        tuple(unknown for report in reports for unknown in report.unknown),
    )
