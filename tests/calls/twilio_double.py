"""A double of Twilio that sends callbacks to the application, signed by the arithmetic of Twilio's library."""

import itertools
from dataclasses import dataclass, field
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, fromstring

from django.http import HttpResponse
from django.test import Client
from twilio.request_validator import RequestValidator

from calls.models import Call

ACCOUNT_SID = "AC" + "a1" * 16
AUTH_TOKEN = "the-current-token"
BASE_URL = "https://phone.example.com"

_numbers = itertools.count(1)


def new_sid(kind: str = "CA") -> str:
    return f"{kind}{next(_numbers):032x}"


@dataclass
class Twilio:
    """One call at Twilio's end. It posts to the callbacks as Twilio does: every form describes the call."""

    client: Client
    sid: str = field(default_factory=new_sid)
    token: str = AUTH_TOKEN

    def form(self, **fields: str) -> dict[str, str]:
        return {
            "CallSid": self.sid,
            "AccountSid": ACCOUNT_SID,
            "From": "+15557654321",
            "To": "+15551234567",
            "CallStatus": "ringing",
            "Direction": "inbound",
            "ApiVersion": "2010-04-01",
            "CallerCity": "",
            **fields,
        }

    def sign(self, path: str, form: dict[str, str], base_url: str = BASE_URL) -> str:
        return RequestValidator(self.token).compute_signature(base_url + path, form)

    def post(self, path: str, *, signature: str | None = None, **fields: str) -> HttpResponse:
        form = self.form(**fields)
        return self.client.post(
            path,
            urlencode(form),
            content_type="application/x-www-form-urlencoded",
            headers={"X-Twilio-Signature": self.sign(path, form) if signature is None else signature},
        )

    def rings(self, **fields: str) -> Element:
        """Report the new call, and return the TwiML of the answer."""
        return twiml(self.post("/twilio/voice/", **fields))

    def reports(self, status: str, sequence: int | None = None, **fields: str) -> HttpResponse:
        numbered = {} if sequence is None else {"SequenceNumber": str(sequence)}
        return self.post("/twilio/status/", CallStatus=status, **numbered, **fields)

    def loses_stream(self, stream: int = 1) -> Element:
        return twiml(self.post(f"/twilio/after-stream/?stream={stream}", CallStatus="in-progress"))

    @property
    def call(self) -> Call:
        return Call.objects.get(sid=self.sid)


def twiml(response: HttpResponse) -> Element:
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/xml")
    return fromstring(response.content)


def verbs(document: Element) -> list[str]:
    return [verb.tag for verb in document]


def token_in(document: Element) -> str:
    return document.find("Connect/Stream").get("url").rsplit("/", 1)[1]
