"""Checks of the account at Twilio: its tokens, state and balance, its numbers, their webhooks, and what it may call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NoReturn
from urllib.parse import urlsplit

from django.conf import settings
from django.db import Error as DatabaseError

from calls.carrier_account import CarrierAccount, OwnNumber
from calls.errors import CarrierError, FailureKind
from calls.models import Agent
from clientcaller.doctor.deployment import Deployment, masked
from clientcaller.doctor.registry import Finding, NotChecked, check, green, red, yellow

CONSOLE = "console.twilio.com"
LOW_BALANCE = 10.0
"""In the account's currency: some ten hours of calls."""
FIX = "manage.py doctor --fix sets it."
NEEDS = ("twilio",)


def open_account(token: str = "") -> CarrierAccount:
    """The account of the settings, by this token or the first one. Raises ``CarrierError`` if they name none."""
    return CarrierAccount(
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=token or settings.TWILIO_AUTH_TOKEN,
        base_url=settings.TWILIO_API_BASE_URL,
    )


def our_numbers() -> list[str]:
    """The numbers that this deployment answers and calls from."""
    try:
        own = Agent.objects.filter(active=True).exclude(phone_number="").values_list("phone_number", flat=True)
        return list(dict.fromkeys(number for number in (settings.TWILIO_PHONE_NUMBER, *own) if number))
    except DatabaseError:  # a check of its own says so
        return [settings.TWILIO_PHONE_NUMBER] if settings.TWILIO_PHONE_NUMBER else []


# --- The account -------------------------------------------------------------------------------------------


@check("twilio", about="Twilio accepts the account and its tokens", limit=40.0)
def check_twilio(deployment: Deployment) -> Iterator[Finding]:
    if deployment.is_simulated:
        yield yellow("no account is set; the simulated network takes its place", "Set the three TWILIO_ settings.")
    tokens: list[str] = settings.TWILIO_AUTH_TOKENS
    for number, token in enumerate(tokens, start=1):
        which = f"token {number} of {len(tokens)}" if len(tokens) > 1 else "TWILIO_AUTH_TOKEN"
        try:
            account = open_account(token).read_account()
        except CarrierError as error:
            yield from _explain(deployment, error, which)
            continue
        yield green(f"Twilio accepts {which}")
        if number > 1:
            continue
        if account.status != "active":
            remedy = f"Look at {CONSOLE}: pay what is due, or ask Twilio's support."
            yield red(f"the account is {account.status}: no call comes or goes", remedy)
        if account.type == "Trial":
            text = "it is a trial account: it calls only verified numbers, plays a notice first and ends calls early"
            yield yellow(text, f"Upgrade it in {CONSOLE}.")
        if not account.signs_with_one_of(tokens):
            text = "Twilio signs with another token, so that every callback is refused"
            yield red(
                text, "Put the primary token into TWILIO_AUTH_TOKEN, or promote the secondary one in the console."
            )
    if re.fullmatch(r"api\.[a-z]{2}\d\.twilio\.com", host := urlsplit(settings.TWILIO_API_BASE_URL).hostname or ""):
        text = f"{host} names a region without an edge, which Twilio no longer answers"
        yield yellow(text, "Name both in TWILIO_API_BASE_URL, as in https://api.dublin.ie1.twilio.com.")
    if not tokens:
        yield red("TWILIO_AUTH_TOKEN is not set", f"Copy the primary token from {CONSOLE}, and restart all processes.")


def _explain(deployment: Deployment, error: CarrierError, which: str) -> Iterator[Finding]:
    if deployment.is_simulated:
        if error.kind is FailureKind.LATER:
            return  # it does not run; the other checks say so
        yield yellow(f"the simulated network refuses {which}: {error}", "Start it with these settings: make run.")
    elif error.status in (401, 403):
        text = f"Twilio refuses {which} with this TWILIO_ACCOUNT_SID"
        remedy = (
            f"Copy both from {CONSOLE}; each region has its own. During a rotation, name the old and the new token."
        )
        yield red(text, remedy)
    else:
        remedy = "Open port 443 to the outside, look at status.twilio.com, or correct TWILIO_API_BASE_URL."
        yield red(f"Twilio's API cannot be used: {str(error).rstrip('.')}", remedy)


def give_up(deployment: Deployment, error: CarrierError) -> NoReturn:
    """End a check of the account that gets no answer."""
    if deployment.is_simulated and error.kind is FailureKind.LATER:
        raise NotChecked("the simulated network does not run (manage.py network)") from error
    raise NotChecked(f"it could not be read: {str(error).rstrip('.')}") from error


# --- Numbers -----------------------------------------------------------------------------------------------


@check("numbers", about="the numbers belong to the account and can carry calls", needs=NEEDS)
def check_numbers(deployment: Deployment) -> Iterator[Finding]:
    try:
        account = open_account()
        owned = {one.number: one for one in account.list_numbers()}
        verified = account.list_caller_ids()
    except CarrierError as error:
        give_up(deployment, error)
    for number in our_numbers():
        shown = masked(number)
        if number in owned and owned[number].has_voice:
            yield green(f"{shown} belongs to the account: calls come in and go out")
        elif number in owned:
            yield red(f"{shown} carries no voice", "Choose a number with voice for TWILIO_PHONE_NUMBER or the agent.")
        elif number in verified:
            text = f"{shown} is a verified caller id: it can be called from, but nobody reaches an agent by it"
            yield yellow(text, "Buy a number, if people are to call.")
        else:
            text = f"{shown} is neither a number nor a verified caller id of this account"
            remedy = "Correct TWILIO_PHONE_NUMBER or the agent's number, or buy or verify it (Twilio's error 21210)."
            yield red(text, remedy)
    if not our_numbers():
        yield yellow("no number is set: nothing can be dialled", "Set TWILIO_PHONE_NUMBER.")


@check("webhooks", about="Twilio asks this deployment about calls to the numbers", needs=NEEDS)
def check_webhooks(deployment: Deployment) -> Iterator[Finding]:
    try:
        owned = {one.number: one for one in open_account().list_numbers()}
    except CarrierError as error:
        give_up(deployment, error)
    ours = [owned[number] for number in our_numbers() if number in owned]
    for number in ours:
        yield from judge_webhooks(number)
    if not ours:
        raise NotChecked("none of the numbers belongs to the account")


def voice_url() -> str:
    return f"{settings.PUBLIC_BASE_URL}/twilio/voice/"


def status_url() -> str:
    return f"{settings.PUBLIC_BASE_URL}/twilio/status/"


def judge_webhooks(number: OwnNumber) -> Iterator[Finding]:
    """Say what is wrong with the webhooks of a number, one line for each of the two."""
    shown = masked(number.number)
    if number.trunk:
        yield red(f"calls to {shown} go to a SIP trunk and not to this deployment", FIX)
        return
    if number.application:
        text = f"{shown} takes its webhooks from a TwiML application, which was not looked at"
        yield yellow(text, f"Let the application name {voice_url()}, or: {FIX}")
        return
    if fault := _fault(number.voice_url, number.voice_method, voice_url()):
        yield red(f"{shown}, a call comes in: {fault}", FIX)
    else:
        yield green(f"{shown}, a call comes in: {number.voice_url}")
    if not number.status_url:
        yield yellow(f"{shown}, call status changes: not set, so that lost calls are closed late", FIX)
    elif fault := _fault(number.status_url, number.status_method, status_url()):
        yield yellow(f"{shown}, call status changes: {fault}", FIX)
    else:
        yield green(f"{shown}, call status changes: {number.status_url}")


def _fault(url: str, method: str, wanted: str) -> str:
    """What is wrong with the address of a webhook; empty if nothing is."""
    if not url:
        return "no webhook is set"
    is_, should = urlsplit(url), urlsplit(wanted)
    if is_.scheme != should.scheme:
        return f"it begins with {is_.scheme}:// and not with {should.scheme}://, so that the signature does not match"
    if (is_.hostname, is_.port or 443) != (should.hostname, should.port or 443):
        return f"it goes to {is_.hostname} and not to {should.hostname}"
    if is_.path.rstrip("/") != should.path.rstrip("/"):
        return f"its path is {is_.path or '/'} and not {should.path}"
    if method.upper() != "POST":
        return f"it is requested by {method}, and only POST is answered"
    return ""


@check("geo", about="the account may call the countries of DIAL_COUNTRIES", needs=NEEDS, limit=60.0)
def check_geo(deployment: Deployment) -> Iterator[Finding]:
    remedy = f"Enable it in {CONSOLE}, Voice, Geo permissions, or take it out of DIAL_COUNTRIES (Twilio's error 21215)."
    try:
        account = open_account()
        allowed = []
        for country in sorted(set(settings.DIAL_COUNTRIES) - {"*"}):
            permission = account.read_permission(country)
            if permission is None:
                yield yellow(f"Twilio knows no country {country}", "Correct DIAL_COUNTRIES.")
            elif not permission.usual:
                yield red(f"the account may not call {country}", remedy)
            else:
                allowed.append(country)
        risky = account.list_fraud_permissions()
    except CarrierError as error:
        give_up(deployment, error)
    if allowed:
        yield green(f"the account may call {', '.join(allowed)}")
    if risky:
        text = f"the account may call numbers of toll fraud in {', '.join(one.country for one in risky[:5])}"
        yield yellow(text, f"Turn off high-risk toll fraud numbers in {CONSOLE}, Voice, Geo permissions.")


@check("balance", about="there is money for calls", needs=NEEDS)
def check_balance(deployment: Deployment) -> Iterator[Finding]:
    try:
        balance, currency = open_account().read_balance()
    except CarrierError as error:
        give_up(deployment, error)
    text = f"{balance:.2f} {currency}"
    if balance <= 0:
        yield yellow(f"{text}: without an invoice Twilio ends all calls", f"Add money in {CONSOLE}, and auto recharge.")
    elif balance < LOW_BALANCE:
        yield yellow(f"{text} is left", f"Add money in {CONSOLE}, or turn on auto recharge.")
    else:
        yield green(text)
