"""
Twilio's error codes, as far as they concern a voice agent.

``CODES`` has the HTTP status and the text of each error that REST answers with. ``ALERTS`` has the codes that only
Twilio's debugger shows.
"""

from __future__ import annotations

from dataclasses import dataclass

from media.errors import MediaError

CODES: dict[int, tuple[int, str]] = {
    10001: (403, "Account is not active"),
    10002: (403, "Trial accounts do not support the feature you tried to use"),
    10004: (429, "Call concurrency limit exceeded"),
    10005: (403, "Voice calling has been disabled for this account"),
    13223: (400, "Dial: Invalid phone number format"),
    13224: (400, "Dial: Twilio does not support calling this number or the number is invalid"),
    13225: (400, "Dial: Call blocked by Twilio blocklist"),
    13227: (400, "Dial: No international permission"),
    20001: (400, "Unknown or invalid parameter"),
    20003: (401, "Authenticate"),
    20005: (401, "Account not active"),
    20006: (403, "Access denied"),
    20008: (403, "Resource not accessible with Test Account Credentials"),
    20010: (403, "Action disabled for account"),
    20404: (404, "The requested resource was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "Internal Server Error"),
    20503: (503, "Service Unavailable"),
    21201: (400, "No 'To' number is specified"),
    21202: (400, "'To' number is a premium or x11 number"),
    21203: (400, "International calling not enabled"),
    21205: (400, "Url is not a valid URL"),
    21206: (400, "SendDigits is not valid"),
    21208: (400, "Timeout is not valid"),
    21210: (400, "'From' phone number not verified"),
    21211: (400, "Invalid 'To' phone number"),
    21212: (400, "Invalid 'From' phone number"),
    21213: (400, "'From' phone number is required"),
    21214: (400, "'To' phone number cannot be reached"),
    21215: (400, "Account not authorized to call this number: geographic permission"),
    21216: (400, "Account not allowed to call this number"),
    21217: (400, "Phone number does not appear to be valid"),
    21218: (400, "Invalid ApplicationSid"),
    21219: (400, "'To' phone number not verified"),
    21220: (400, "Call is not in-progress. Cannot redirect."),
    32203: (400, "Call blocked by Twilio blocklist"),
    32205: (400, "No international permission"),
}

CLOSED_BY_APPLICATION = 31921
"""Twilio counts it as an error that the application closes a stream. Every call that the agent ends does so."""
ALERTS: dict[int, str] = {
    11200: "HTTP retrieval failure",
    11205: "HTTP connection failure",
    11206: "HTTP protocol violation",
    11215: "HTTP too many redirects",
    11750: "TwiML response body too large",
    12100: "Document parse failure",
    12200: "Schema validation warning",
    12300: "Invalid Content-Type",
    15004: "Relative action URL in TwiML that has no URL of its own",
    20001: "Unknown or invalid parameter",
    21262: "Asynchronous machine detection without a status callback",
    31940: "Stream: bad connectorName",
    31941: "Stream: bad track",
}


class TwilioError(MediaError):
    """An error that REST would answer with or the debugger would show; ``detail`` says what exactly is wrong."""

    def __init__(self, code: int, detail: str = "") -> None:
        self.code = code
        self.status, text = CODES.get(code) or (400, ALERTS[code])
        self.message = f"{text}: {detail}" if detail else text
        super().__init__(f"{code} {self.message}")

    def body(self) -> dict[str, object]:
        """Return the JSON of the REST response."""
        return {
            "code": self.code,
            "message": self.message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }


@dataclass(frozen=True)
class Alert:
    """One line of Twilio's debugger."""

    code: int
    message: str
    call_sid: str
