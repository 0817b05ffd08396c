"""What the interpreter asks of a line for each verb of TwiML."""

import asyncio
from collections.abc import Mapping

import pytest

from media.phone.call_request import RecordingRequest
from media.phone.twilio_errors import TwilioError
from media.phone.twiml_document import Document, parse
from media.phone.twiml_interpreter import ConnectStream, Dial, Interpreter

HERE = "https://voice.example/twilio/voice/"


def document(twiml: str, url: str | None = HERE) -> Document:
    return parse(f"<Response>{twiml}</Response>".encode(), url=url)


class Line:
    """A line that lists what TwiML does with it. ``pages`` is the TwiML of other documents by the end of their URL."""

    def __init__(self, *, keys: str = "", **pages: str) -> None:
        self.did: list = []
        self.alerts: list[int] = []
        self.verbs: list[str] = []
        self.pages = pages
        self.keys = list(keys)
        self.is_answered = False
        self.rejected = ""
        self.recording: dict[str, str] | None = {"RecordingUrl": "https://recording"}
        self.say_forever = False

    async def fetch(self, url: str, *, method: str, parameters: Mapping[str, str] | None = None) -> Document:
        self.did.append(("fetch", method, url, dict(parameters or {})))
        return document(self.pages.get(url.rstrip("/").rpartition("/")[2], ""), url)

    async def answer(self) -> None:
        self.is_answered = True

    def reject(self, status: str) -> None:
        self.rejected = status

    def log_verb(self, verb: str, attributes: Mapping[str, str]) -> None:
        self.verbs.append(verb)

    async def say(self, text: str) -> None:
        self.did.append(("say", text))
        if self.say_forever:
            await asyncio.Event().wait()

    async def play(self, url: str) -> None:
        self.did.append(("play", url))

    async def play_digits(self, digits: str) -> None:
        self.did.append(("digits", digits))

    async def pause(self, seconds: float) -> None:
        self.did.append(("pause", seconds))

    async def next_key(self, within: float | None) -> str | None:
        if not self.keys and within is None:
            await asyncio.Event().wait()
        return self.keys.pop(0) if self.keys else None

    async def run_stream(self, stream: ConnectStream) -> None:
        self.did.append(stream)

    async def dial(self, dial: Dial) -> dict[str, str]:
        self.did.append(dial)
        return {"DialCallStatus": "busy"}

    async def record(self, request: RecordingRequest, **how) -> dict[str, str] | None:
        self.did.append((request, how))
        return self.recording

    def start_recording(self, request: RecordingRequest) -> None:
        self.did.append(request)

    def alert(self, error: TwilioError) -> None:
        self.alerts.append(error.code)


async def run(twiml: str, line: Line, url: str | None = HERE) -> Line:
    await Interpreter(line).run(document(twiml, url))
    return line


async def test_an_unknown_verb_causes_an_alert_and_is_skipped():
    line = await run("<Shout>Hello</Shout><Say>Hi</Say>", Line())
    assert line.alerts == [12200]
    assert line.did == [("say", "Hi")]


# -- connect --------------------------------------------------------------------------------------


async def test_connect_opens_the_stream_and_then_requests_the_action():
    line = await run(
        """
        <Connect action="/twilio/after-stream/?stream=1">
          <Stream url="wss://voice.example/twilio/media/t" name="agent" statusCallback="../stream-status/">
            <Parameter name="attempt" value="7"/>
          </Stream>
        </Connect>
        <Say>never reached</Say>
        """,
        Line(**{"?stream=1": "<Hangup/>"}),
    )
    assert line.did == [
        ConnectStream(
            url="wss://voice.example/twilio/media/t",
            name="agent",
            parameters={"attempt": "7"},
            status_callback="https://voice.example/twilio/stream-status/",
            status_callback_method="POST",
        ),
        ("fetch", "POST", "https://voice.example/twilio/after-stream/?stream=1", {}),
    ]
    assert not line.alerts


async def test_connect_without_an_action_continues_with_the_next_verb():
    line = await run('<Connect><Stream url="/twilio/media/t"/></Connect><Say>Goodbye</Say>', Line())
    stream, said = line.did
    assert stream.url == "wss://voice.example/twilio/media/t", "a relative URL is one of a socket as well"
    assert said == ("say", "Goodbye")


async def test_a_stream_with_other_tracks_is_not_started():
    line = await run('<Connect><Stream url="wss://voice.example/x" track="both_tracks"/></Connect>', Line())
    assert line.alerts == [31941]
    assert line.did == []


async def test_twiml_without_a_url_of_its_own_needs_absolute_urls():
    with pytest.raises(TwilioError) as raised:
        await run('<Connect action="/after"/><Redirect>/after</Redirect>', Line(), url=None)
    assert raised.value.code == 15004
    line = await run("<Redirect>https://voice.example/x</Redirect>", Line(), url=None)
    assert line.did == [("fetch", "POST", "https://voice.example/x", {})]


# -- answering ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("twiml", "is_answered"),
    [
        ("<Reject/>", False),
        ('<Pause length="3"/><Reject/>', False),
        ("<Redirect>/x</Redirect>", False),
        ("<Say>Hi</Say>", True),
        ("<Hangup/>", True),
    ],
)
async def test_some_verbs_do_not_answer_the_call(twiml, is_answered):
    assert (await run(twiml, Line())).is_answered == is_answered


@pytest.mark.parametrize(("attribute", "status"), [("", "no-answer"), ('reason="busy"', "busy")])
async def test_reject_sets_the_status(attribute, status):
    assert (await run(f"<Reject {attribute}/><Say>too late</Say>", Line())).rejected == status


# -- the other verbs ------------------------------------------------------------------------------


async def test_say_play_and_pause_are_carried_out_in_order():
    twiml = '<Say loop="2">Good  day</Say><Play digits="1w2"/><Pause length="4"/><Play>/hold.wav</Play>'
    line = await run(twiml, Line())
    assert line.did == [
        ("say", "Good day"),
        ("say", "Good day"),
        ("digits", "1w2"),
        ("pause", 4),
        ("play", "https://voice.example/hold.wav"),
    ]


async def test_nothing_runs_after_redirect_or_hangup():
    line = await run("<Redirect>../menu</Redirect><Say>never</Say>", Line(menu="<Say>menu</Say><Hangup/><Say>no</Say>"))
    assert line.did == [("fetch", "POST", "https://voice.example/twilio/menu", {}), ("say", "menu")]


@pytest.mark.parametrize(
    ("attributes", "keys", "digits"),
    [
        ("", "123#4", "123"),
        ('numDigits="2"', "123", "12"),
        ('finishOnKey="*"', "1#*", "1#"),
        ("", "12", "12"),
    ],
)
async def test_gather_collects_keys(attributes, keys, digits):
    line = await run(f'<Gather action="/keys" {attributes}/><Say>never</Say>', Line(keys=keys))
    assert line.did == [("fetch", "POST", "https://voice.example/keys", {"Digits": digits})]


async def test_gather_without_an_action_requests_the_document_itself():
    line = await run('<Gather numDigits="1"/>', Line(keys="5"))
    assert line.did == [("fetch", "POST", HERE, {"Digits": "5"})]


async def test_gather_without_keys_continues_with_the_next_verb():
    line = await run("<Gather><Say>Press one</Say></Gather><Say>Nobody there</Say>", Line())
    assert line.did == [("say", "Press one"), ("say", "Nobody there")]


async def test_a_key_interrupts_the_prompt():
    line = Line(keys="1#")
    line.say_forever = True
    await run('<Gather action="/keys"><Say>Press one of many</Say></Gather>', line)
    assert line.did[-1] == ("fetch", "POST", "https://voice.example/keys", {"Digits": "1"})


async def test_dial_calls_all_numbers_and_reports_to_the_action():
    line = await run(
        """
        <Dial action="/after-dial" timeout="20" callerId="+15005550006" record="record-from-answer-dual">
          <Number url="/whisper" statusCallback="/leg" statusCallbackEvent="initiated answered">+15005550007</Number>
          <Number>+15005550008</Number>
        </Dial>
        """,
        Line(),
    )
    dial, action = line.did
    first, second = dial.callees
    assert (first.number, first.url) == ("+15005550007", "https://voice.example/whisper")
    assert first.callback.events == {"initiated", "answered"}
    assert (second.number, second.url, second.callback) == ("+15005550008", None, None)
    assert (dial.timeout, dial.time_limit, dial.caller_id) == (20, 4 * 3600, "+15005550006")
    assert dial.recording.channels == 2
    assert action == ("fetch", "POST", "https://voice.example/after-dial", {"DialCallStatus": "busy"})


async def test_a_bare_number_can_be_dialled():
    line = await run("<Dial>+15005550007</Dial><Say>Nobody answered</Say>", Line())
    assert line.did[0].callees[0].number == "+15005550007"
    assert line.did[1] == ("say", "Nobody answered")


async def test_record_reports_a_message_and_ignores_silence():
    line = await run('<Record action="/message" maxLength="30" timeout="3"/>', Line())
    (request, how), action = line.did
    assert request.source == "RecordVerb"
    assert (how["longest"], how["quiet"]) == (30, 3)
    assert action == ("fetch", "POST", "https://voice.example/message", {"RecordingUrl": "https://recording"})
    quiet = Line()
    quiet.recording = None
    await run('<Record action="/message"/><Say>You said nothing</Say>', quiet)
    assert quiet.did[-1] == ("say", "You said nothing")


async def test_a_recording_starts_in_the_background():
    line = await run(
        '<Start><Recording channels="dual" recordingStatusCallback="/rec"/></Start><Say>This is recorded</Say>', Line()
    )
    request, said = line.did
    assert request.channels == 2
    assert request.callback.url == "https://voice.example/rec"
    assert said == ("say", "This is recorded")
