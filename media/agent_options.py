"""The behaviour of an agent on one stream, from its record, the settings and what happened on earlier streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from calls.services import StreamClaim
from media.turns.options import ConversationOptions
from media.turns.stock_phrases import PHRASE_OPTIONS, stock_phrases, tags_of

_OPTIONS = frozenset(field.name for field in fields(ConversationOptions)) - {"others", "changed"}
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*")


def conversation_options(**agent_options: Any) -> ConversationOptions:
    """
    Combine the options of an agent: its own over those of the setting ``CONVERSATION`` over the defaults.

    The default phrases are those of its language. What the setting says for its language overrides what it says for
    all of them.
    """
    for_all, for_languages = _read_setting(settings.CONVERSATION)
    language = agent_options.get("language") or for_all.get("language", ConversationOptions().language)
    options = {**stock_phrases(language), **for_all}
    for tag in tags_of(language):
        options |= for_languages.get(tag, {})
    return ConversationOptions(**{**options, **agent_options})


def missing_phrases(language: str) -> list[str]:
    """Return the names of the phrases that an agent of this language would say in English, which it does not speak."""
    tags = tags_of(language)
    if tags[0] == "en":
        return []
    for_all, for_languages = _read_setting(settings.CONVERSATION)
    there = {*stock_phrases(language), *for_all, *(name for tag in tags for name in for_languages.get(tag, {}))}
    return sorted(PHRASE_OPTIONS - there)


def _read_setting(setting: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the options for all agents, and those for the agents of each language."""
    for_languages = {
        name.lower(): dict(_check(value, f'CONVERSATION["{name}"]'))
        for name, value in setting.items()
        if isinstance(value, dict) and _LANGUAGE.fullmatch(name.lower())
    }
    for_all = {name: value for name, value in setting.items() if name.lower() not in for_languages}
    return dict(_check(for_all, "CONVERSATION")), for_languages


def _check(options: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    if unknown := set(options) - _OPTIONS:
        raise ImproperlyConfigured(
            f"{where} has unknown options: {', '.join(sorted(unknown))}. Choose from {', '.join(sorted(_OPTIONS))}."
        )
    return ((name, tuple(value) if isinstance(value, list) else value) for name, value in options.items())


def options_of(
    claim: StreamClaim,
    *,
    speculate: bool,
    scores_turns: bool = False,
    can_change_to: Callable[[str], bool] = lambda language: True,
) -> ConversationOptions:
    """
    Return the options for a stream that was let in, in the language that the call is in.

    ``speculate``: whether the engines may work on a guess; ``scores_turns``: whether there is a turn model;
    ``can_change_to``: whether the engines have another language.
    """
    agent = claim.agent
    engines = {"speculate": speculate, "scores_turns": scores_turns}
    others = [language for language in agent.other_languages if can_change_to(language)]
    made = {language: _options_in(language, claim, **engines) for language in (*others, agent.language)}
    present = claim.language if claim.language in made else agent.language
    options = made.pop(present)
    return replace(options, others=tuple(made.values()), changed=present != agent.language)


def _options_in(language: str, claim: StreamClaim, *, speculate: bool, scores_turns: bool) -> ConversationOptions:
    agent = claim.agent
    options = conversation_options(
        language=language,
        disclosure=agent.disclosure,
        greeting=agent.greeting,
        greeting_interruptible=agent.greeting_interruptible,
        outbound=claim.direction == "outbound",
        talks_to_machines=agent.machine_detection == "talk",
        voicemail_message=agent.voicemail_message if agent.machine_detection == "message" else "",
        transfer_targets=agent.transfer_targets,
        hears_opt_out=agent.hears_opt_out,
        opt_out_key=agent.opt_out_key,
        max_duration=max(1.0, agent.max_duration - claim.seconds_used),
        scores_turns=scores_turns,
    )
    options = replace(options, speculate=options.speculate and speculate)
    return replace(options, resumed=options.transfer_failed) if claim.transfer_failed else options
