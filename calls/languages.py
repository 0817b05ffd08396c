"""
The languages that agents may have.

The engines and phrases of this installation decide; they are outside this package, and whoever has them sets the judge.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError

LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*")
"""A language code such as ``pt-BR``. The text must match as a whole (``fullmatch``)."""
_LONGEST_CODE = 16
_LONGEST_VOICE = 100


@dataclass(frozen=True, slots=True)
class LanguageReport:
    """What this installation has for a language. Each text is one sentence or more for an operator."""

    problems: tuple[str, ...] = ()
    """What is missing, and what to do about it."""
    unknown: tuple[str, ...] = ()
    """What is known only when the engines run."""


_judges: list[Callable[[str], LanguageReport]] = []
_change_judges: list[Callable[[], LanguageReport]] = []


def add_language_judge(judge: Callable[[str], LanguageReport], *, changes: Callable[[], LanguageReport]) -> None:
    """
    Have ``judge`` asked about the languages of each agent.

    ``changes`` says what is missing to notice that a caller changes to another language, whichever it is.
    """
    _judges.append(judge)
    _change_judges.append(changes)


def judge_language(language: str) -> LanguageReport:
    """Say what is missing for an agent of this language."""
    return _together([judge(language) for judge in _judges])


def judge_other_language(language: str) -> LanguageReport:
    """Say what is missing for an agent that changes to this language if the caller does."""
    return _together([*(judge() for judge in _change_judges), judge_language(language)])


def _together(reports: list[LanguageReport]) -> LanguageReport:
    return LanguageReport(
        tuple(problem for report in reports for problem in report.problems),
        tuple(unknown for report in reports for unknown in report.unknown),
    )


def are_voices_of_languages(value: Any) -> None:
    """Check that ``value`` is an object of language codes and voices, such as ``{"de": "", "es": "maria"}``."""
    if not isinstance(value, dict) or not all(
        LANGUAGE.fullmatch(language) and len(language) <= _LONGEST_CODE and _is_voice(voice)
        for language, voice in value.items()
    ):
        raise ValidationError('Write language codes, each with a voice or "" for the usual one: {"de": "", "es": ""}.')


def _is_voice(voice: object) -> bool:
    return isinstance(voice, str) and len(voice) <= _LONGEST_VOICE


def problems_of_others(language: str, others: Any, *, active: bool) -> list[str]:
    """
    Say why an agent of this ``language`` cannot change to the ``others``.

    Their form is checked elsewhere, and of what is no language code nothing is said here.
    """
    if not isinstance(others, Mapping) or not all(LANGUAGE.fullmatch(code) for code in others):
        return []
    mains = [re.split("[-_]", code.lower())[0] for code in (language, *others)]
    if len(set(mains)) < len(mains):
        return ["Write each language once, and not the agent's own: en-GB and en-US are not told apart."]
    judged = [(code, judge_other_language(code)) for code in others if active]
    return [f"{code}: {problem}" for code, report in judged for problem in report.problems]
