"""Builds TwiML: what Twilio is told to do with a call. Pure."""

from xml.etree.ElementTree import Element, SubElement, tostring

BUSY = "All our lines are busy at the moment. Please call again in a few minutes. Goodbye."
LATER = "We are sorry, we have to call you back at another time. Goodbye."
TRY_AGAIN = "We cannot take your call right now. Please try again in a minute. Goodbye."
RECONNECTING = "Sorry, we lost the connection for a moment."
LOST = "We are sorry, we lost the connection. Please call again. Goodbye."
BROKEN = "We are sorry, we are having technical difficulties. Please call again later. Goodbye."


def connect(*, base_url: str, stream_url: str, stream: int, first_say: str = "") -> str:
    """
    Hand the call to the agent at ``stream_url``; when the stream ends, ask us what to do next.

    ``stream`` is the number of this stream in its call. It returns with that question, so that a repeated or
    late one is answered for the stream that it was about.
    """
    response = Element("Response")
    if first_say:
        SubElement(response, "Say").text = first_say
    verb = SubElement(response, "Connect", action=f"{base_url}/twilio/after-stream/?stream={stream}")
    SubElement(verb, "Stream", url=stream_url, statusCallback=f"{base_url}/twilio/stream-status/")
    # Reached only if Twilio cannot use the action.
    SubElement(response, "Say").text = LOST
    return _document(response)


def transfer(*, base_url: str, number: str, caller_id: str, stream: int, time_limit: int) -> str:
    """Put the caller through to ``number``, for ``time_limit`` seconds at most; then, or if nobody answers, ask us."""
    response = Element("Response")
    dial = SubElement(
        response,
        "Dial",
        action=f"{base_url}/twilio/after-transfer/?stream={stream}",
        timeout="25",
        timeLimit=str(time_limit),
        answerOnBridge="true",
    )
    if caller_id.startswith("+"):
        dial.set("callerId", caller_id)
    SubElement(dial, "Number").text = number
    return _document(response)


def hang_up(line: str = "") -> str:
    """End the call, after saying ``line`` if there is one."""
    response = Element("Response")
    if line:
        SubElement(response, "Say").text = line
    SubElement(response, "Hangup")
    return _document(response)


def _document(response: Element) -> str:
    return '<?xml version="1.0" encoding="UTF-8"?>' + tostring(response, encoding="unicode")
