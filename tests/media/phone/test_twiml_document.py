"""TwiML documents: what is read, and what Twilio warns of."""

import pytest

from media.phone.twilio_errors import TwilioError
from media.phone.twiml_document import parse, warnings

HERE = "https://voice.example/twilio/voice/"


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"<Response/>" + b" " * 65536, "text/xml", 11750),
        (b"<Response/>", "text/html", 12300),
        (b"<Response/>", "", 12300),
        (b"<Response>", "text/xml", 12100),
        (b"", "application/xml", 12100),
        (b"<Answer/>", "text/xml", 12100),
    ],
)
def test_a_document_that_twilio_cannot_use_raises_its_error(body, content_type, code):
    with pytest.raises(TwilioError) as raised:
        parse(body, url=HERE, content_type=content_type)
    assert raised.value.code == code


def test_what_the_schema_does_not_allow_is_a_warning():
    def warned_of(twiml: str) -> list[str]:
        return warnings(parse(f"<Response>{twiml}</Response>".encode(), url=HERE))

    assert warned_of('<Connect action="/a"><Stream url="wss://voice.example/x"/></Connect>') == []
    strange = f"""
        <Shout>Hello</Shout>
        <Connect><Stream url="wss://voice.example/x" audioFormat="l16">
          <Parameter name="a" value="{"b" * 500}"/></Stream>
        <Say>no</Say></Connect>
    """
    assert warned_of(strange) == [
        "<Shout> is not allowed in <Response>",
        "<Say> is not allowed in <Connect>",
        "<Stream> has no attribute audioFormat",
        "<Parameter name='a'> has 500 characters or more",
    ]
