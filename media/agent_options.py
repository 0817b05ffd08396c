"""The behaviour of an agent on one stream, from its record, the settings and what happened on earlier streams."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from calls.services import StreamClaim
from media.turns.options import ConversationOptions


def conversation_options(**agent_options: Any) -> ConversationOptions:
    """Combine the options of an agent: its own over those of the setting ``CONVERSATION`` over the defaults."""
    known = {field.name for field in fields(ConversationOptions)}
    if unknown := set(settings.CONVERSATION) - known:
        raise ImproperlyConfigured(
            f"CONVERSATION has unknown options: {', '.join(sorted(unknown))}. Choose from {', '.join(sorted(known))}."
        )
    tuning = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.CONVERSATION.items()}
    return ConversationOptions(**{**tuning, **agent_options})


def options_of(claim: StreamClaim, *, speculate: bool) -> ConversationOptions:
    """Return the options for a stream that was let in; ``speculate``: whether the engines may work on a guess."""
    agent = claim.agent
    options = conversation_options(
        language=agent.language,
        disclosure=agent.disclosure,
        greeting=agent.greeting,
        greeting_interruptible=agent.greeting_interruptible,
        transfer_targets=agent.transfer_targets,
        hears_opt_out=agent.hears_opt_out,
        opt_out_key=agent.opt_out_key,
        max_duration=max(1.0, agent.max_duration - claim.seconds_used),
        speculate=speculate,
    )
    return replace(options, resumed=options.transfer_failed) if claim.transfer_failed else options
