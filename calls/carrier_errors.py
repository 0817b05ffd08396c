"""
Twilio's error codes of a refused request, and whom each concerns.

The titles are those of Twilio's list of errors, https://www.twilio.com/docs/api/errors/twilio-error-codes.json. Each
code has a page of its own, https://www.twilio.com/docs/api/errors/<code>. Where the title does not say whom the error
concerns, that page is the source of the comment beside it.
"""

from dataclasses import dataclass

from calls.errors import FailureKind as Kind


@dataclass(frozen=True, slots=True)
class Refusal:
    """What one of Twilio's error codes means."""

    kind: Kind
    title: str


REFUSALS: dict[int, Refusal] = {
    code: Refusal(kind, title)
    for kind, titles in {
        Kind.LATER: {20429: "Too many requests"},
        Kind.CAPACITY: {10004: "Call concurrency limit exceeded"},
        Kind.NUMBER: {
            13223: "Dial: Invalid phone number format",
            13224: "Dial: Twilio does not support calling this number or the number is invalid",
            13225: "Dial: Call blocked by Twilio block list",
            21201: "No called number specified",
            21202: "Called number is a premium number",
            21211: "Invalid 'To' phone number",
            21214: "'To' phone number cannot be reached",
            21216: "API: Call blocked by Twilio blocklist",
            21217: "Phone number does not appear to be valid",
            32203: "SIP: Call blocked by Twilio",
        },
        Kind.CALLER_ID: {
            13214: "Dial: Invalid callerId value",
            13247: "Dial: Invalid From number (caller ID)",  # also one on the do-not-originate list
            13248: "Dial: Invalid callerID, too long",
            21210: "'From' phone number not verified",  # neither Twilio's number nor a verified caller id
            21212: "Invalid From number (caller ID)",
            21213: "Caller phone number is required",
            32204: "SIP: 'From' phone number not verified",
        },
        Kind.COUNTRY: {
            # Permissions are given by country, and within it by ranges with a high risk of fraud
            # (https://www.twilio.com/docs/voice/api/dialing-permissions-resources).
            13227: "Geo Permission configuration is not permitting call",
            21203: "International calling not enabled",
            21215: "Geo Permission configuration is not permitting call",
            32205: "SIP Trunking: Geo Permission configuration is not permitting call",
        },
        Kind.CALL: {
            # Parameters that differ between calls: the time limits and the machine detection of their agents.
            20001: "Unknown parameters",
            21206: "Invalid SendDigits",
            21208: "Invalid Timeout",
            21234: "Invalid Machine Detection configuration value",
            # A trial account may call the numbers that it has verified, and no others.
            21219: "'To' phone number not verified",
            573002: "The 'From' number isn't assigned to this verified Voice recipient",
            573005: "Destination number has not completed verification",
        },
        Kind.SETTINGS: {
            # What is the same in every request: our address, and how we connect.
            20011: "Invalid TLS version",
            20012: "Invalid TLSv1.2 cipher suite",
            21205: "Invalid URL",  # that of our callbacks; a host with an underscore, for example
            21209: "Invalid method",
            21218: "Invalid ApplicationSid",
        },
        Kind.ACCOUNT: {
            10001: "Account is not active",  # suspended, also for want of funds; or its parent is
            10002: "Trial accounts do not support the feature you tried to use",
            10005: "Voice calling has been disabled for this account",
            20003: "Permission denied",  # wrong token; also a suspended or closed account
            20005: "Account not active",  # out of funds, or a trial that is not activated
            20006: "Access denied",
            20008: "Test credentials",
            20010: "Action disabled for account",
            20403: "Forbidden",
            90010: "Account is not active",
        },
    }.items()
    for code, title in titles.items()
}
"""For codes that are not here, the HTTP status decides (``calls.carrier``)."""
