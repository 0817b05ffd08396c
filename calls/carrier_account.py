"""
The account at Twilio, its numbers and what it may call, through the REST API: for the doctor and for
calls to ourselves.

Every failure is a ``CarrierError``, as in ``calls.carrier``.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from django.utils.crypto import constant_time_compare

from calls.carrier import make_client, unreadable_as_carrier_error
from calls.errors import CarrierError, FailureKind

MOST_NUMBERS = 1000
"""Numbers of an account that are read: one page."""
TIMEOUT = 8.0
RECORDING_TIMEOUT = 30.0
_NOT_FOUND = 20404


@dataclass(frozen=True, slots=True)
class AccountState:
    """The state of an account, in Twilio's words."""

    status: str
    """``active``, ``suspended`` or ``closed``."""
    type: str
    """``Full`` or ``Trial``."""
    signing_token: str = field(repr=False)
    """The token with which Twilio signs; empty if it does not say."""

    def signs_with_one_of(self, tokens: list[str]) -> bool:
        """Whether Twilio signs with one of these, as far as is known."""
        return not self.signing_token or any(constant_time_compare(self.signing_token, token) for token in tokens)


@dataclass(frozen=True, slots=True)
class OwnNumber:
    """A number of the account, and where Twilio asks what to do with its calls."""

    sid: str
    number: str
    has_voice: bool
    voice_url: str
    voice_method: str
    status_url: str
    status_method: str
    application: str
    """The SID of a TwiML application whose webhooks are used in place of these; empty if there is none."""
    trunk: str
    """The SID of a SIP trunk that gets the calls; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Which numbers of a country the account may call."""

    country: str
    usual: bool
    """Most numbers."""
    fraud: bool
    """Numbers that are used for toll fraud."""


class CarrierAccount:
    """One account. The methods block."""

    def __init__(self, *, account_sid: str, auth_token: str, base_url: str) -> None:
        self._client = make_client(account_sid=account_sid, auth_token=auth_token, base_url=base_url, timeout=TIMEOUT)
        self._client.voice.base_url = _voice_url(base_url)
        self._account_sid, self._base_url = account_sid, base_url
        self._login = account_sid, auth_token

    def read_account(self) -> AccountState:
        with unreadable_as_carrier_error():
            found = self._client.api.v2010.accounts(self._account_sid).fetch()
            return AccountState(str(found.status or ""), str(found.type or ""), str(found.auth_token or ""))

    def list_numbers(self) -> list[OwnNumber]:
        with unreadable_as_carrier_error():
            found = self._client.incoming_phone_numbers.list(limit=MOST_NUMBERS, page_size=MOST_NUMBERS)
            return [_read_number(one) for one in found]

    def list_caller_ids(self) -> list[str]:
        """The numbers of others that were verified, so that calls may come from them."""
        with unreadable_as_carrier_error():
            found = self._client.outgoing_caller_ids.list(limit=MOST_NUMBERS, page_size=MOST_NUMBERS)
            return [str(one.phone_number) for one in found]

    def read_balance(self) -> tuple[float, str]:
        """The balance and its currency."""
        with unreadable_as_carrier_error():
            found = self._client.balance.fetch()
            return float(found.balance or "nan"), str(found.currency or "")

    def read_permission(self, country: str) -> Permission | None:
        """What may be called in a country, by its ISO code; None if Twilio does not know it."""
        try:
            with unreadable_as_carrier_error():
                return _read_permission(self._client.voice.v1.dialing_permissions.countries(country).fetch())
        except CarrierError as error:
            if error.twilio_code == _NOT_FOUND:
                return None
            raise

    def list_fraud_permissions(self) -> list[Permission]:
        """The countries whose numbers with a high risk of toll fraud may be called."""
        with unreadable_as_carrier_error():
            found = self._client.voice.v1.dialing_permissions.countries.list(
                high_risk_tollfraud_numbers_enabled=True, limit=300
            )
            return [_read_permission(one) for one in found]

    def set_webhooks(self, number: OwnNumber, *, voice_url: str, status_url: str) -> OwnNumber:
        """Let Twilio ask there about calls to a number, and in no other place. Returns the number as it is then."""
        others: dict[str, Any] = {}
        if number.application:
            others["voice_application_sid"] = ""
        if number.trunk:
            others["trunk_sid"] = ""
        with unreadable_as_carrier_error():
            found = self._client.incoming_phone_numbers(number.sid).update(
                voice_url=voice_url,
                voice_method="POST",
                status_callback=status_url,
                status_callback_method="POST",
                **others,
            )
            return _read_number(found)

    # -- a call to ourselves ----------------------------------------------------------------------------------

    def place_scripted_call(self, *, to_number: str, from_number: str, document: str, time_limit: int) -> str:
        """Place a call that runs this TwiML and is recorded in two channels. Returns its CallSid."""
        with unreadable_as_carrier_error():
            call = self._client.calls.create(
                to=to_number,
                from_=from_number,
                twiml=document,
                time_limit=time_limit,
                record=True,
                recording_channels="dual",
                trim="do-not-trim",
            )
            return str(call.sid)

    def read_call_status(self, sid: str) -> str:
        with unreadable_as_carrier_error():
            return str(self._client.calls(sid).fetch().status)

    def find_finished_recording(self, call_sid: str) -> str | None:
        """The SID of the recording of a call, once it can be fetched."""
        with unreadable_as_carrier_error():
            found = self._client.calls(call_sid).recordings.list(limit=5)
            return next((str(one.sid) for one in found if str(one.status) == "completed"), None)

    def fetch_recording(self, sid: str) -> bytes:
        """The sound of a recording, a WAV file of two channels."""
        url = f"{self._base_url}/2010-04-01/Accounts/{self._account_sid}/Recordings/{sid}.wav"
        try:
            answer = requests.get(url, {"RequestedChannels": "2"}, auth=self._login, timeout=RECORDING_TIMEOUT)
        except requests.RequestException as error:
            raise CarrierError("Twilio did not send the recording.", kind=FailureKind.LATER) from error
        if answer.status_code != 200:
            text = f"Twilio answered with HTTP status {answer.status_code} instead of the recording."
            raise CarrierError(text, kind=FailureKind.LATER, status=answer.status_code)
        return answer.content


def _voice_url(base_url: str) -> str:
    """The address of Twilio's newer API for voice, which has a host of its own."""
    parts = urlsplit(base_url)
    host = parts.netloc
    if host.startswith("api.") and host.endswith(".twilio.com"):
        return base_url.replace("//api.", "//voice.", 1)
    return base_url


def _read_number(one: Any) -> OwnNumber:
    capabilities = one.capabilities or {}
    return OwnNumber(
        sid=str(one.sid),
        number=str(one.phone_number),
        has_voice=bool(capabilities.get("voice", True)),
        voice_url=str(one.voice_url or ""),
        voice_method=str(one.voice_method or "POST"),
        status_url=str(one.status_callback or ""),
        status_method=str(one.status_callback_method or "POST"),
        application=str(one.voice_application_sid or ""),
        trunk=str(one.trunk_sid or ""),
    )


def _read_permission(one: Any) -> Permission:
    return Permission(
        country=str(one.iso_code),
        usual=bool(one.low_risk_numbers_enabled),
        fraud=bool(one.high_risk_tollfraud_numbers_enabled),
    )
