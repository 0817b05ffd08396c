"""Plays Twilio and the caller towards the public address: the call needs no account and costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections

from clientcaller.doctor.deployment import Deployment
from clientcaller.selfcall.conversation import Conversation
from clientcaller.selfcall.records import find_words
from inference.interfaces import TextToSpeech
from media.phone.caller import HangUp, Say, ScriptedCaller, Step, Wait, WaitForAgent, prepare
from media.phone.leg import PhoneCall
from media.phone.live import open_voice
from media.phone.measurements import measure
from media.phone.network import PhoneNetwork
from media.phone.twilio_errors import CLOSED_BY_APPLICATION

AFTERWARDS = 1.0
"""Seconds after the last reply before the caller hangs up."""


async def call_ourselves(
    deployment: Deployment,
    lines: Sequence[str],
    *,
    number: str,
    engine: TextToSpeech,
    voice: str,
    folder: Path | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Conversation:
    """Hold the call through the public address, and say how it went."""
    steps: list[Step] = [step for line in lines for step in (WaitForAgent(), Say(line))]
    async with open_voice(engine, voice=voice) as speak:
        prepared = await prepare([*steps, WaitForAgent(), Wait(AFTERWARDS), HangUp()], speak)
    host, port = deployment.target
    scheme = "https" if deployment.is_secure else "http"
    network = PhoneNetwork(
        app_url=f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}",
        public_url=deployment.public_url,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
        tape_directory=folder,
        strict=False,
        ca_file=deployment.ca_file,
    )
    async with network:
        call = await network.call_in(ScriptedCaller(prepared), from_number=number, to_number=number)
        call.tape.on_event = on_event
        await call.wait()
    return await asyncio.to_thread(_describe_in_thread, call, network, tuple(lines))


def _describe_in_thread(call: PhoneCall, network: PhoneNetwork, lines: tuple[str, ...]) -> Conversation:
    try:
        return _describe(call, network, lines)
    finally:
        connections.close_all()


def _describe(call: PhoneCall, network: PhoneNetwork, lines: tuple[str, ...]) -> Conversation:
    measured = measure(call.tape)
    if not measured.agent_speech:
        return Conversation(lines, failure=_why_silent(call, network))
    words = find_words(sid=call.sid)
    heard = [turn.heard for turn in measured.turns]
    return Conversation(
        lines,
        responses=tuple([*heard, *[None] * len(lines)][: len(lines)]),
        gaps=tuple(gap.seconds for gap in measured.gaps),
        is_recorded=words is not None,
        heard=words.heard if words else (),
        replies=words.replies if words else (),
        measured="from mouth to ear on the simulated line, through the public address",
    )


def _why_silent(call: PhoneCall, network: PhoneNetwork) -> str:
    errors = [f"{alert.code} {alert.message}" for alert in network.alerts if alert.call_sid == call.sid]
    if call.gateway is not None:
        errors += [
            f"{error.code} {error.detail}" for error in call.gateway.errors if error.code != CLOSED_BY_APPLICATION
        ]
    why = f" Twilio would report {errors[0]}." if errors else " It was answered, but the agent was silent."
    return f"The agent was not heard.{why} manage.py doctor looks for the cause."
