"""
The simulated account beside its calls: its numbers, verified caller ids, balance and what it may call.

``SimulatedAccount`` holds what Twilio's console would show, and a test may change it. ``AccountApi`` answers for it in
Twilio's forms.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

from media.phone.call_request import API_VERSION
from media.phone.rest_resources import page_resource
from media.phone.twilio_errors import TwilioError

ROOT = f"/{API_VERSION}/Accounts"
COUNTRIES = "/v1/DialingPermissions/Countries"
NAMES = {"US": "United States", "CA": "Canada", "GB": "United Kingdom", "DE": "Germany", "LV": "Latvia"}
_UPDATES = {
    "VoiceUrl": "voice_url",
    "VoiceMethod": "voice_method",
    "StatusCallback": "status_callback",
    "StatusCallbackMethod": "status_callback_method",
    "VoiceApplicationSid": "voice_application_sid",
    "TrunkSid": "trunk_sid",
    "FriendlyName": "friendly_name",
}
"""The parameters of an update, with the fields that they change."""


@dataclass
class SimulatedNumber:
    """A number of the account, with its webhooks."""

    phone_number: str
    voice_url: str = "https://demo.twilio.com/welcome/voice/"
    """Twilio gives this one to a new number."""
    voice_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"
    voice_application_sid: str = ""
    trunk_sid: str | None = None
    friendly_name: str = ""
    has_voice: bool = True
    sid: str = field(default_factory=lambda: "PN" + uuid.uuid4().hex)


@dataclass
class DialingPermission:
    """What may be called in one country."""

    low_risk: bool = True
    high_risk_special: bool = False
    high_risk_tollfraud: bool = False


@dataclass
class SimulatedAccount:
    """What the console shows."""

    account_sid: str
    auth_token: str
    """The primary token, with which requests are signed."""
    secondary_token: str = ""
    """The token that is accepted beside it during a rotation; empty if there is none."""
    status: str = "active"
    type: str = "Full"
    balance: str = "19.85"
    numbers: list[SimulatedNumber] = field(default_factory=list)
    caller_ids: list[str] = field(default_factory=list)
    """Numbers of others that were verified."""
    permissions: dict[str, DialingPermission] = field(
        default_factory=lambda: {"US": DialingPermission(), "CA": DialingPermission(), "LV": DialingPermission(False)}
    )
    """By ISO code. Twilio knows all countries; this account those that are here."""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def tokens(self) -> set[str]:
        return {self.auth_token, self.secondary_token} - {""}


class AccountApi:
    """Answers REST requests about the account, as JSON. ``query`` and ``form`` are those of the request."""

    def __init__(self, account: SimulatedAccount, *, base_url: str = "") -> None:
        self.account = account
        self.base_url = base_url

    def fetch_account(self) -> dict[str, object]:
        account = self.account
        uri = f"{ROOT}/{account.account_sid}"
        names = ("balance", "calls", "incoming_phone_numbers", "outgoing_caller_ids", "recordings")
        return {
            "sid": account.account_sid,
            "owner_account_sid": account.account_sid,
            "friendly_name": "The simulated account",
            "status": account.status,
            "type": account.type,
            "auth_token": account.auth_token,
            "date_created": self._date,
            "date_updated": self._date,
            "uri": f"{uri}.json",
            "subresource_uris": {name: f"{uri}/{name.title().replace('_', '')}.json" for name in names},
        }

    def fetch_balance(self) -> dict[str, object]:
        return {"account_sid": self.account.account_sid, "balance": self.account.balance, "currency": "USD"}

    def list_numbers(self, query: Mapping[str, str]) -> dict[str, object]:
        wanted = query.get("PhoneNumber", "")
        found = [self._number(one) for one in self.account.numbers if wanted in one.phone_number]
        return page_resource(
            "incoming_phone_numbers", found, f"{ROOT}/{self.account.account_sid}/IncomingPhoneNumbers.json"
        )

    def update_number(self, sid: str, form: Mapping[str, str]) -> dict[str, object]:
        number = next((one for one in self.account.numbers if one.sid == sid), None)
        if number is None:
            raise TwilioError(20404, f"{ROOT}/{self.account.account_sid}/IncomingPhoneNumbers/{sid}.json")
        for name in ("VoiceUrl", "StatusCallback"):
            if form.get(name) and not form[name].startswith(("http://", "https://")):
                raise TwilioError(21205 if name == "VoiceUrl" else 20001, name)
        for name, value in form.items():
            if name not in _UPDATES:
                raise TwilioError(20001, name)
            setattr(number, _UPDATES[name], value)
        return self._number(number)

    def list_caller_ids(self) -> dict[str, object]:
        sid = self.account.account_sid
        found: list[dict[str, object]] = []
        for number in self.account.caller_ids:
            own = "PN" + uuid.uuid5(uuid.NAMESPACE_URL, number).hex
            found.append(
                {
                    "sid": own,
                    "account_sid": sid,
                    "friendly_name": number,
                    "phone_number": number,
                    "date_created": self._date,
                    "date_updated": self._date,
                    "uri": f"{ROOT}/{sid}/OutgoingCallerIds/{own}.json",
                }
            )
        return page_resource("outgoing_caller_ids", found, f"{ROOT}/{sid}/OutgoingCallerIds.json")

    def fetch_country(self, code: str) -> dict[str, object]:
        if code not in self.account.permissions:
            raise TwilioError(20404, f"{COUNTRIES}/{code}")
        return self._country(code)

    def list_countries(self, query: Mapping[str, str]) -> dict[str, object]:
        filters = {
            "LowRiskNumbersEnabled": "low_risk",
            "HighRiskSpecialNumbersEnabled": "high_risk_special",
            "HighRiskTollfraudNumbersEnabled": "high_risk_tollfraud",
        }
        found = [
            self._country(code)
            for code, permission in self.account.permissions.items()
            if all(
                getattr(permission, name) == (query[wanted] == "true")
                for wanted, name in filters.items()
                if wanted in query
            )
        ]
        url = f"{self.base_url}{COUNTRIES}?PageSize=50&Page=0"
        meta = {"page": 0, "page_size": 50, "first_page_url": url, "previous_page_url": None, "url": url}
        return {"content": found, "meta": {**meta, "next_page_url": None, "key": "content"}}

    @property
    def _date(self) -> str:
        return format_datetime(self.account.created_at)

    def _country(self, code: str) -> dict[str, object]:
        permission, url = self.account.permissions[code], f"{self.base_url}{COUNTRIES}/{code}"
        return {
            "iso_code": code,
            "name": NAMES.get(code, code),
            "continent": "",
            "country_codes": [],
            "low_risk_numbers_enabled": permission.low_risk,
            "high_risk_special_numbers_enabled": permission.high_risk_special,
            "high_risk_tollfraud_numbers_enabled": permission.high_risk_tollfraud,
            "url": url,
            "links": {"highrisk_special_prefixes": f"{url}/HighRiskSpecialPrefixes"},
        }

    def _number(self, number: SimulatedNumber) -> dict[str, object]:
        sid = self.account.account_sid
        return {
            "sid": number.sid,
            "account_sid": sid,
            "friendly_name": number.friendly_name or number.phone_number,
            "phone_number": number.phone_number,
            "origin": "twilio",
            "status": "in-use",
            "beta": False,
            "capabilities": {"voice": number.has_voice, "sms": True, "mms": True, "fax": False},
            "voice_receive_mode": "voice",
            "voice_url": number.voice_url,
            "voice_method": number.voice_method,
            "voice_fallback_url": "",
            "voice_fallback_method": "POST",
            "voice_caller_id_lookup": False,
            "voice_application_sid": number.voice_application_sid,
            "status_callback": number.status_callback,
            "status_callback_method": number.status_callback_method,
            "trunk_sid": number.trunk_sid or None,
            "sms_url": "",
            "sms_method": "POST",
            "sms_fallback_url": "",
            "sms_fallback_method": "POST",
            "sms_application_sid": "",
            "address_requirements": "none",
            "address_sid": None,
            "identity_sid": None,
            "bundle_sid": None,
            "emergency_status": "Inactive",
            "emergency_address_sid": None,
            "emergency_address_status": "unregistered",
            "date_created": self._date,
            "date_updated": self._date,
            "api_version": API_VERSION,
            "uri": f"{ROOT}/{sid}/IncomingPhoneNumbers/{number.sid}.json",
        }
