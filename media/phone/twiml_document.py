"""TwiML as a document: what it may contain, how it is read, and what Twilio warns of. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from media.phone.twilio_errors import TwilioError

MAX_DOCUMENT_BYTES = 64 * 1024
"""Twilio's limit for TwiML that it fetches (11750)."""
MAX_PARAMETER_CHARACTERS = 500
"""Twilio's limit for the name and the value of a ``<Parameter>`` together."""
MAX_NUMBERS = 10
"""The most numbers that one ``<Dial>`` may call at once."""

PROMPTS = frozenset({"Say", "Play", "Pause"})
"""The verbs that may be nested in ``<Gather>``."""
_ACTION = "action method"
_STATUS = "statusCallback statusCallbackMethod"
_RECORDING = "recordingStatusCallback recordingStatusCallbackMethod recordingStatusCallbackEvent trim"

GRAMMAR: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    element: (frozenset(attributes.split()), frozenset(children.split()))
    for element, attributes, children in (
        ("Response", "", "Connect Say Play Pause Gather Dial Record Redirect Reject Hangup Start"),
        ("Connect", _ACTION, "Stream"),
        ("Stream", f"url name track connectorName {_STATUS}", "Parameter"),
        ("Parameter", "name value", ""),
        ("Say", "voice language loop", ""),
        ("Play", "loop digits", ""),
        ("Pause", "length", ""),
        (
            "Gather",
            f"{_ACTION} input timeout finishOnKey numDigits actionOnEmptyResult language hints",
            " ".join(PROMPTS),
        ),
        (
            "Dial",
            f"{_ACTION} {_RECORDING} timeout timeLimit callerId record answerOnBridge hangupOnStar recordingTrack",
            "Number",
        ),
        ("Number", f"url method sendDigits {_STATUS} statusCallbackEvent", ""),
        ("Record", f"{_ACTION} {_RECORDING} maxLength timeout finishOnKey playBeep transcribe", ""),
        ("Redirect", "method", ""),
        ("Reject", "reason", ""),
        ("Hangup", "", ""),
        ("Start", "", "Recording"),
        ("Recording", f"{_RECORDING} track channels", ""),
    )
}
"""For each element, the attributes and the children that it may have."""


@dataclass(frozen=True)
class Document:
    """One ``<Response>``. ``url`` is where it came from; None for TwiML that was part of a REST request."""

    root: Element
    url: str | None

    def resolve(self, reference: str) -> str:
        """Make a URL of this document absolute. Raises 15004 if it is relative and the document has no URL."""
        if self.url is None and not urlsplit(reference).scheme:
            raise TwilioError(15004, reference)
        return urljoin(self.url or "", reference)


def parse(body: bytes, *, url: str | None, content_type: str = "text/xml") -> Document:
    """Read a response as TwiML. Raises ``TwilioError`` with 11750 (too large), 12300 (not XML) or 12100 (malformed)."""
    if len(body) > MAX_DOCUMENT_BYTES:
        raise TwilioError(11750, f"{len(body)} bytes")
    if content_type not in ("text/xml", "application/xml"):
        raise TwilioError(12300, f"{content_type or 'no content type'} from {url}")
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise TwilioError(12100, f"{error} in the response of {url}") from error
    if root.tag != "Response":
        raise TwilioError(12100, f"the root element is {root.tag}, not Response")
    return Document(root, url)


def warnings(document: Document) -> list[str]:
    """Return what Twilio's schema warns of (12200). The interpreter ignores the elements and attributes concerned."""
    return [warning for element in document.root.iter() for warning in _warnings_of(element)]


def _warnings_of(element: Element) -> Iterable[str]:
    if element.tag not in GRAMMAR:
        return  # the warning about its parent's children covers it
    attributes, children = GRAMMAR[element.tag]
    for name in element.keys():  # noqa: SIM118 (an Element iterates over its children)
        if name not in attributes:
            yield f"<{element.tag}> has no attribute {name}"
    for child in element:
        if child.tag not in children:
            yield f"<{child.tag}> is not allowed in <{element.tag}>"
    if (
        element.tag == "Parameter"
        and len(element.get("name", "") + element.get("value", "")) >= MAX_PARAMETER_CHARACTERS
    ):
        yield f"<Parameter name={element.get('name')!r}> has {MAX_PARAMETER_CHARACTERS} characters or more"
    if element.tag == "Dial" and len(element) > MAX_NUMBERS:
        yield f"<Dial> has more than {MAX_NUMBERS} numbers"
