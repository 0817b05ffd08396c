"""TwiML as a document: what may stand in it, how an answer is read, and what Twilio warns of. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from media.phone.twilio_errors import TwilioError

LARGEST_BYTES = 64 * 1024
LONGEST_PARAMETER = 500  # characters of a <Parameter>'s name and value together
MOST_NUMBERS = 10  # children of one <Dial>

_ACTION = frozenset({"action", "method"})
PROMPTS = frozenset({"Say", "Play", "Pause"})
_RECORDING_CALLBACK = frozenset(
    {"recordingStatusCallback", "recordingStatusCallbackMethod", "recordingStatusCallbackEvent", "trim"}
)

GRAMMAR: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    # element: (its attributes, its children)
    "Response": (
        frozenset(),
        frozenset(
            {"Connect", "Say", "Play", "Pause", "Gather", "Dial", "Record", "Redirect", "Reject", "Hangup", "Start"}
        ),
    ),
    "Connect": (_ACTION, frozenset({"Stream"})),
    "Stream": (
        frozenset({"url", "name", "track", "connectorName", "statusCallback", "statusCallbackMethod"}),
        frozenset({"Parameter"}),
    ),
    "Parameter": (frozenset({"name", "value"}), frozenset()),
    "Say": (frozenset({"voice", "language", "loop"}), frozenset()),
    "Play": (frozenset({"loop", "digits"}), frozenset()),
    "Pause": (frozenset({"length"}), frozenset()),
    "Gather": (
        _ACTION | {"input", "timeout", "finishOnKey", "numDigits", "actionOnEmptyResult", "language", "hints"},
        PROMPTS,
    ),
    "Dial": (
        _ACTION
        | _RECORDING_CALLBACK
        | {"timeout", "timeLimit", "callerId", "record", "answerOnBridge", "hangupOnStar", "recordingTrack"},
        frozenset({"Number"}),
    ),
    "Number": (
        frozenset({"url", "method", "sendDigits", "statusCallback", "statusCallbackMethod", "statusCallbackEvent"}),
        frozenset(),
    ),
    "Record": (
        _ACTION | _RECORDING_CALLBACK | {"maxLength", "timeout", "finishOnKey", "playBeep", "transcribe"},
        frozenset(),
    ),
    "Redirect": (frozenset({"method"}), frozenset()),
    "Reject": (frozenset({"reason"}), frozenset()),
    "Hangup": (frozenset(), frozenset()),
    "Start": (frozenset(), frozenset({"Recording"})),
    "Recording": (_RECORDING_CALLBACK | {"track", "channels"}, frozenset()),
}


@dataclass(frozen=True)
class Document:
    """One ``<Response>``. ``url`` is where it came from, None for TwiML handed over in a REST request."""

    root: Element
    url: str | None

    def resolve(self, reference: str) -> str:
        """Return a reference of this document as an absolute URL; raises 15004 where there is nothing to relate to."""
        if self.url is None and not urlsplit(reference).scheme:
            raise TwilioError(15004, reference)
        return urljoin(self.url or "", reference)


def parse(body: bytes, *, url: str | None, content_type: str = "text/xml") -> Document:
    """Read an answer as TwiML; raises ``TwilioError`` with 11750, 12300 or 12100."""
    if len(body) > LARGEST_BYTES:
        raise TwilioError(11750, f"{len(body)} bytes")
    if content_type not in ("text/xml", "application/xml"):
        raise TwilioError(12300, f"{content_type or 'no content type'} from {url}")
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise TwilioError(12100, f"{error} in the answer of {url}") from error
    if root.tag != "Response":
        raise TwilioError(12100, f"the root element is {root.tag}, not Response")
    return Document(root, url)


def warnings(document: Document) -> list[str]:
    """Return what Twilio's schema finds strange (12200). The elements concerned are skipped, attributes ignored."""
    return [warning for element in document.root.iter() for warning in _warnings_of(element)]


def _warnings_of(element: Element) -> Iterable[str]:
    if element.tag not in GRAMMAR:
        return  # its parent has said so
    attributes, children = GRAMMAR[element.tag]
    for name in element.keys():  # noqa: SIM118 (an Element iterates over its children)
        if name not in attributes:
            yield f"<{element.tag}> has no attribute {name}"
    for child in element:
        if child.tag not in children:
            yield f"<{child.tag}> is not allowed in <{element.tag}>"
    if element.tag == "Parameter" and len(element.get("name", "") + element.get("value", "")) >= LONGEST_PARAMETER:
        yield f"<Parameter name={element.get('name')!r}> has {LONGEST_PARAMETER} characters or more"
    if element.tag == "Dial" and len(element) > MOST_NUMBERS:
        yield f"<Dial> has more than {MOST_NUMBERS} numbers"
