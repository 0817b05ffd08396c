"""Builds TwiML, the XML that tells Twilio what to do with a call. Pure."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

CALLBACK_RETRIES = "#rc=3&rp=ct,rt,5xx"
"""
Asks Twilio to repeat a callback that fails: by itself it repeats only one for which it finds no server. So a call goes
on if the process dies that was about to answer, or a proxy has not noticed yet that it has died.

A fragment is neither sent with the callback nor part of its signature.
"""
# What Twilio's own voice says where no agent can speak.
BUSY = "All our lines are busy at the moment. Please call again in a few minutes. Goodbye."
"""All slots are taken or an engine is full, and a caller has called."""
LATER = "We are sorry, we have to call you back at another time. Goodbye."
"""The same, or engines take no calls at all, and we have called the person."""
TRY_AGAIN = "We cannot take your call right now. Please try again in a minute. Goodbye."
"""The database is unavailable, no agent answers the number, or engines take no calls until an operator has acted."""
LOST = "We are sorry, we lost the connection. Please call again. Goodbye."
"""The media stream was lost and cannot be opened again."""
BROKEN = "We are sorry, we are having technical difficulties. Please call again later. Goodbye."
"""The engines failed."""
RING_SECONDS = 25
"""Seconds that a transfer rings. Longer than 25 s reaches mostly voicemail, as with ``Agent.ring_timeout``."""


def connect(*, base_url: str, stream_url: str, stream: int) -> str:
    """
    Connect the call to the agent at ``stream_url``. When the stream ends, Twilio requests TwiML for what comes next.

    ``stream`` is the number of this stream within its call. That request contains it, so that a repeated or late one
    is answered for the stream that it is about.
    """
    response = Element("Response")
    verb = SubElement(response, "Connect", action=f"{base_url}/twilio/after-stream/?stream={stream}{CALLBACK_RETRIES}")
    SubElement(verb, "Stream", url=stream_url, statusCallback=f"{base_url}/twilio/stream-status/")
    # Twilio gets here only if the request for what comes next fails.
    SubElement(response, "Say").text = LOST
    return _document(response)


def transfer(*, base_url: str, number: str, caller_id: str, stream: int, time_limit: int) -> str:
    """
    Connect the caller to ``number`` for ``time_limit`` seconds at most.

    Afterwards, or if ``number`` does not answer, Twilio requests TwiML for what comes next.
    """
    response = Element("Response")
    dial = SubElement(
        response,
        "Dial",
        action=f"{base_url}/twilio/after-transfer/?stream={stream}{CALLBACK_RETRIES}",
        timeout=str(RING_SECONDS),
        timeLimit=str(time_limit),
        answerOnBridge="true",
    )
    if caller_id.startswith("+"):
        dial.set("callerId", caller_id)
    SubElement(dial, "Number").text = number
    return _document(response)


def ask_again(*, url: str, after: int) -> str:
    """Request TwiML from ``url`` after so many seconds. An inbound call rings meanwhile, for nothing answers it."""
    response = Element("Response")
    if after:
        SubElement(response, "Pause", length=str(after))
    SubElement(response, "Redirect", method="POST").text = url + CALLBACK_RETRIES
    return _document(response)


def recite(lines: Sequence[str], *, pause: int) -> str:
    """Say the lines in Twilio's voice, with ``pause`` seconds before each and after the last, and hang up."""
    response = Element("Response")
    for line in lines:
        SubElement(response, "Pause", length=str(pause))
        SubElement(response, "Say").text = line
    SubElement(response, "Pause", length=str(pause))
    SubElement(response, "Hangup")
    return _document(response)


def hang_up(line: str = "") -> str:
    """Say ``line``, if it is not empty, and end the call."""
    response = Element("Response")
    if line:
        SubElement(response, "Say").text = line
    SubElement(response, "Hangup")
    return _document(response)


def _document(response: Element) -> str:
    return '<?xml version="1.0" encoding="UTF-8"?>' + tostring(response, encoding="unicode")
