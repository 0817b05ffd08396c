"""What a session needs to know of its call, from what the records and the settings say."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from calls.services import StreamClaim
from media.turns.commands import Line
from media.turns.options import ConversationOptions


@dataclass(frozen=True, slots=True)
class CallBrief:
    """One stream of a call, as its session needs to know it."""

    call_id: UUID
    stream: int
    """Counts the streams of the call from 1."""
    prompt: str
    voice: str
    language: str
    options: ConversationOptions
    history: tuple[Line, ...] = ()
    """What was heard on earlier streams of the call."""
    next_turn: int = 1
    """The number of the stream's first turn in the whole call."""
    resumed: bool = False
    """An earlier stream of the call was lost."""
    disclosed: bool = False
    """An earlier stream of the call has said the disclosure."""


def conversation_options(**agent_options: Any) -> ConversationOptions:
    """How an agent behaves: its own options over those of the setting ``CONVERSATION`` over the defaults."""
    known = {field.name for field in fields(ConversationOptions)}
    if unknown := set(settings.CONVERSATION) - known:
        raise ImproperlyConfigured(
            f"CONVERSATION has unknown options: {', '.join(sorted(unknown))}. Choose from {', '.join(sorted(known))}."
        )
    tuning = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.CONVERSATION.items()}
    return ConversationOptions(**{**tuning, **agent_options})


def brief_of(claim: StreamClaim, *, speculate: bool) -> CallBrief:
    """The brief for a stream that was let in; ``speculate`` says whether the engines may work on a guess."""
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
    if claim.transfer_failed:
        options = replace(options, resumed=options.transfer_failed)
    return CallBrief(
        call_id=claim.call_id,
        stream=claim.stream,
        prompt=agent.prompt,
        voice=agent.voice,
        language=agent.language,
        options=options,
        history=tuple(Line("caller" if speaker == "caller" else "agent", heard) for speaker, heard in claim.history),
        next_turn=claim.next_turn,
        resumed=claim.is_reconnect,
        disclosed=claim.disclosed,
    )
