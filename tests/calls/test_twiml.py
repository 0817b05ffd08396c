"""The TwiML that tells Twilio what to do."""

from xml.etree.ElementTree import fromstring

from calls import twiml
from tests.calls.twilio_double import verbs


def test_connect_names_the_stream_and_its_callbacks_and_apologises_if_they_fail():
    document = fromstring(
        twiml.connect(base_url="https://a.example", stream_url="wss://a.example/twilio/media/t0k", stream=2)
    )
    connect, stream = document.find("Connect"), document.find("Connect/Stream")
    assert connect.attrib == {"action": "https://a.example/twilio/after-stream/?stream=2#rc=3&rp=ct,rt,5xx"}
    assert stream.attrib == {
        "url": "wss://a.example/twilio/media/t0k",
        "statusCallback": "https://a.example/twilio/stream-status/",
    }
    assert verbs(document) == ["Connect", "Say"]


def test_a_line_may_be_said_before_hanging_up():
    assert verbs(fromstring(twiml.hang_up())) == ["Hangup"]
    assert verbs(fromstring(twiml.hang_up(twiml.BUSY))) == ["Say", "Hangup"]
    assert fromstring(twiml.hang_up("Sorry <again>.")).find("Say").text == "Sorry <again>."
