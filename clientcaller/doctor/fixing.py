"""Sets the webhooks of the numbers of this deployment, for ``manage.py doctor --fix``."""

from __future__ import annotations

from collections.abc import Callable

from calls.carrier_account import OwnNumber
from clientcaller.doctor.account import judge_webhooks, open_account, our_numbers, status_url, voice_url
from clientcaller.doctor.deployment import masked
from clientcaller.doctor.registry import Level


def fix_webhooks(say: Callable[[str], object], confirm: Callable[[str], bool]) -> int:
    """
    Set the webhooks that are wrong, each number after ``confirm`` said so. Returns how many numbers were changed.

    Raises ``CarrierError`` if Twilio gives no answer or refuses.
    """
    account = open_account()
    ours = our_numbers()
    changed = 0
    for number in account.list_numbers():
        if number.number not in ours or all(one.level is Level.GREEN for one in judge_webhooks(number)):
            continue
        shown = masked(number.number)
        say(f"{shown} before: {describe(number)}")
        say(f"{shown} after:  a call comes in POST {voice_url()}, call status changes POST {status_url()}")
        if not confirm(f"Set the webhooks of {shown} at Twilio?"):
            say(f"{shown} was left as it is.")
            continue
        now = account.set_webhooks(number, voice_url=voice_url(), status_url=status_url())
        say(f"{shown} now:    {describe(now)}")
        changed += 1
    if not changed:
        say("No webhook was changed.")
    return changed


def describe(number: OwnNumber) -> str:
    parts = [f"a call comes in {number.voice_method} {number.voice_url or '(none)'}"]
    parts.append(f"call status changes {number.status_method} {number.status_url or '(none)'}")
    if number.application:
        parts.append(f"TwiML application {number.application}")
    if number.trunk:
        parts.append(f"SIP trunk {number.trunk}")
    return ", ".join(parts)
