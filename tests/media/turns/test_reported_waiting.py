"""
Waiting, keys, requests and endings that failed in other phone agents, on the simulated telephone.

Each line of the tables names the public report from which it comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from inference.requests import NO_REQUESTS, ToolRequests
from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.options import ConversationOptions
from tests.media.turns.phone import GREETING, REPLY, SHORT, Engines, Phone

NUMBER = "Enter your account number, please."
CARD = "Enter your card number, please."
MENU = "Please press one or two."
THANKS = "Thank you."
BYE = "Thank you. Goodbye."
DEFAULTS = ConversationOptions()
STILL_THERE, SILENCE_GOODBYE = DEFAULTS.still_there, DEFAULTS.silence_goodbye
FILLERS, APOLOGY, NOT_CAUGHT = DEFAULTS.fillers, DEFAULTS.apology, DEFAULTS.not_caught
NAME = "What is your name?"

Says = tuple[float, float, str]
"""When the caller's voice begins and ends, and the words; none are a noise."""


def call(
    options: dict[str, Any], engines: Engines, *, says: Sequence[Says] = (), keys: Mapping[float, str] | None = None
) -> Phone:
    """A call in which the caller says this, and begins to press these keys at these times, three a second."""
    phone = Phone(ConversationOptions(**options), engines)
    for start, end, text in says:
        phone.caller_says(text, start=start, end=end)
    for start, digits in (keys or {}).items():
        for number, digit in enumerate(digits):
            phone.at(start + number / 3, ev.KeyPressed(digit))
    return phone


def spoken(phone: Phone) -> list[str]:
    return [f"{speaker}: {heard}" for speaker, heard in phone.transcript]


SIXTEEN = "4111111111111111"
SEVENTY = SIXTEEN * 4 + "123456"


def pressed(digits: str) -> str:
    return f"caller: [pressed {' '.join(digits)}]"


KEYS: list[tuple[str, str, dict[float, str], list[Says], list[str]]] = [
    (
        "jambonz/jambonz-feature-server#534",
        NUMBER,
        {6.0: "1", 7.0: "2", 8.5: "3"},
        [],
        [f"agent: {NUMBER}", pressed("123"), f"agent: {THANKS}"],
    ),
    (
        "jambonz/jambonz-feature-server#1306",
        CARD,
        {2.0 + second: digit for second, digit in enumerate(f"{SIXTEEN}#")},
        [],
        [f"agent: {CARD}", pressed(f"{SIXTEEN}#"), f"agent: {THANKS}"],
    ),
    (
        "jambonz/jambonz-feature-server#107",
        NUMBER,
        {3.0: "4829"},
        [],
        [f"agent: {NUMBER}", pressed("4829"), f"agent: {THANKS}"],
    ),
    (
        "jambonz/jambonz-feature-server#250",
        MENU,
        {3.0: "12"},
        [],
        [f"agent: {MENU}", pressed("12"), f"agent: {THANKS}"],
    ),
    ("jambonz/jambonz-feature-server#597", MENU, {}, [], [f"agent: {MENU}", f"agent: {STILL_THERE}"]),
    (
        "jambonz/jambonz-feature-server#552",
        NUMBER,
        {3.0: "41", 6.0: "5"},
        [(4.3, 5.4, "where is it")],
        [f"agent: {NUMBER}", "caller: where is it", "agent: Thank", pressed("415"), f"agent: {THANKS}"],
    ),
    (
        "jambonz/jambonz-feature-server#683",
        REPLY,
        {1.0: "1"},
        [],
        ["agent: We open at nine in the", pressed("1"), f"agent: {THANKS}"],
    ),
    (
        "microsoft/botframework-telephony#25",
        REPLY,
        {1.0: "2"},
        [],
        ["agent: We open at nine in the", pressed("2"), f"agent: {THANKS}"],
    ),
    (
        "2600hz/kazoo#1036",
        f"{NUMBER} It is on the card.",
        {0.3: "4829"},
        [],
        ["agent: Enter", pressed("4829"), f"agent: {THANKS}"],
    ),
    ("cartesia-ai/line#274", MENU, {2.0: "#"}, [], [f"agent: {MENU}", pressed("#"), f"agent: {THANKS}"]),
    ("cartesia-ai/line#274", NUMBER, {3.0: SEVENTY}, [], [f"agent: {NUMBER}", pressed(SEVENTY), f"agent: {THANKS}"]),
    (
        "cartesia-ai/line#274",
        NUMBER,
        {3.0: "4829"},
        [(5.0, 5.3, "done")],
        [f"agent: {NUMBER}", pressed("4829"), "caller: done", f"agent: {THANKS}"],
    ),
    (
        "cartesia-ai/line#274",
        NUMBER,
        {3.0: "4829"},
        [(5.0, 5.5, "that's it")],
        [f"agent: {NUMBER}", pressed("4829"), "caller: that's it", f"agent: {THANKS}"],
    ),
    ("twilio/twilio-agent-connect-typescript#96", "", {0.5: "1"}, [], [pressed("1"), f"agent: {THANKS}"]),
]


@pytest.mark.parametrize(("report", "asked", "keys", "says", "transcript"), KEYS)
def test_keys_are_one_input_and_stop_what_the_agent_says(report, asked, keys, says, transcript):
    phone = call({"greeting": asked}, Engines(replies=[THANKS]), says=says, keys=keys)
    last = max([*keys, 2.0]) + len(keys.get(max(keys, default=0.0), "")) / 3
    phone.wait_until(last + 8.0)
    assert spoken(phone) == transcript
    assert phone.hung_up is None


def test_the_keys_of_one_menu_are_not_those_of_the_next():
    """2600hz/kazoo#1198"""
    menu = "For sales press one, for support press two."
    phone = call({"greeting": MENU}, Engines(replies=[menu, THANKS]), keys={1.5: "12", 8.0: "2"})
    phone.wait_until(13.0)
    assert spoken(phone) == [f"agent: {MENU}", pressed("12"), f"agent: {menu}", pressed("2"), f"agent: {THANKS}"]


def test_a_key_counts_in_the_second_of_two_prompts():
    """jambonz/jambonz-feature-server#282"""
    disclosure = "This call is recorded."
    phone = call({"disclosure": disclosure, "greeting": MENU}, Engines(replies=[THANKS]), keys={1.4: "1"})
    phone.wait_until(8.0)
    assert spoken(phone)[0] == f"agent: {disclosure}"
    assert spoken(phone)[-2:] == [pressed("1"), f"agent: {THANKS}"]


HOURS = (0.5, 1.5, "When do you open?")
UNTIL_SILENCE = [f"agent: {STILL_THERE}", f"agent: {SILENCE_GOODBYE}"]
NOISES: list[Says] = [(3.0 + 2 * number, 4.0 + 2 * number, "") for number in range(30)]
HOURS_AGAIN: list[Says] = [(0.5 + 8 * number, 1.5 + 8 * number, "When do you open?") for number in range(5)]
STORY = f"{'On we go ' * 450}now."

WAITS: list[tuple[str, dict[str, Any], Engines, list[Says], float, list[str], str | None]] = [
    (
        "vellum-ai/vellum-assistant#8436",
        {},
        Engines(first_token=60.0),
        [(0.5, 1.5, "How many are left?")],
        16.0,
        ["caller: How many are left?", f"agent: {' '.join(FILLERS)} {APOLOGY}"],
        None,
    ),
    (
        "utsavk1993/wren#48",
        {},
        Engines(replies=[SHORT], first_token=2.5),
        HOURS_AGAIN,
        40.0,
        [f"caller: {HOURS[2]}", f"agent: {FILLERS[0]} {SHORT}"] * 5,
        None,
    ),
    (
        "pipecat-ai/pipecat#1124",
        {"longest_reply": 5.0},
        Engines(replies=[REPLY * 4]),
        [HOURS],
        20.0,
        [f"caller: {HOURS[2]}", f"agent: {REPLY * 4}"],
        None,
    ),
    ("pipecat-ai/pipecat#2741", {"greeting": REPLY * 2}, Engines(pace=4.0), [], 14.0, [f"agent: {REPLY * 2}"], None),
    (
        "pipecat-ai/pipecat#4343",
        {"greeting": NAME},
        Engines(),
        [(3.0, 3.8, "")],
        30.0,
        [f"agent: {NAME}", f"agent: {NOT_CAUGHT}", *UNTIL_SILENCE],
        "silence",
    ),
    (
        "livekit/agents#6030",
        {"greeting": GREETING},
        Engines(),
        NOISES,
        90.0,
        [f"agent: {GREETING}", f"agent: {NOT_CAUGHT}", f"agent: {NOT_CAUGHT}", *UNTIL_SILENCE],
        "silence",
    ),
    (
        "aplisay/llm-agent#184",
        {"greeting": GREETING},
        Engines(),
        [],
        60.0,
        [f"agent: {GREETING}", *UNTIL_SILENCE],
        "silence",
    ),
    (
        "bolna-ai/bolna#707",
        {"greeting": GREETING},
        Engines(replies=[BYE], end_call_after=0),
        [(3.0, 3.4, "bye"), (4.5, 60.0, "")],
        14.0,
        [f"agent: {GREETING}", "caller: bye", f"agent: {BYE}"],
        "agent-ended",
    ),
    (
        "bolna-ai/bolna#849",
        {},
        Engines(replies=["Goodbye!"], end_call_after=0),
        [(0.5, 1.4, "Thanks, that's all."), (2.0, 300.0, "")],
        14.0,
        ["caller: Thanks, that's all.", "agent: Goodbye!"],
        "agent-ended",
    ),
    (
        "eigger/hass-sip#41",
        {"greeting": GREETING},
        Engines(replies=[BYE], end_call_after=0),
        [(3.0, 3.4, "bye")],
        7.0,
        [f"agent: {GREETING}", "caller: bye", f"agent: {BYE}"],
        "agent-ended",
    ),
    (
        "microsoft/botframework-telephony#50",
        {"greeting": GREETING},
        Engines(replies=["This is Sam."]),
        [(0.0, 2.0, "Hello, thank you for calling Contoso")],
        8.0,
        [f"agent: {GREETING}", "caller: Hello, thank you for calling Contoso", "agent: This is Sam."],
        None,
    ),
    (
        "NousResearch/hermes-agent#74000",
        {"longest_reply": 500.0},
        Engines(replies=[STORY]),
        [(0.5, 1.5, "Tell me a story.")],
        200.0,
        ["caller: Tell me a story.", f"agent: {STORY}", *UNTIL_SILENCE],
        "silence",
    ),
    *(
        (
            report,
            {"greeting": NAME, "language": language},
            Engines(replies=["Okay."]),
            [(3.0, 4.0, words)],
            60.0,
            [f"agent: {NAME}", f"caller: {words}", "agent: Okay."],
            None,
        )
        for report, language, words in (
            ("elevenlabs/elevenlabs-docs#1118", "en", "let me think"),
            ("elevenlabs/elevenlabs-docs#1118", "en", "give me a second"),
            ("DicioTeam/dicio-android#333", "en", "just a sec"),
            ("DicioTeam/dicio-android#333", "en", "hang on"),
            ("DicioTeam/dicio-android#333", "en", "wait a moment"),
            ("DicioTeam/dicio-android#333", "fr", "attends"),
            ("DicioTeam/dicio-android#333", "fr", "une seconde"),
        )
    ),
]


@pytest.mark.parametrize(("report", "options", "engines", "says", "until", "transcript", "hung_up"), WAITS)
def test_nobody_is_left_in_silence_or_asked_too_early(report, options, engines, says, until, transcript, hung_up):
    phone = call(options, engines, says=says).wait_until(until)
    assert spoken(phone) == transcript
    assert phone.hung_up == hung_up


def test_the_call_ends_when_the_voice_fails_in_a_silence():
    """rapidaai/voice-ai#282"""
    phone = call({"greeting": GREETING}, Engines()).wait_until(5.0)
    phone.engines.mute = True
    phone.wait_until(20.0)
    assert phone.hung_up == "engines-failed"


TO_SALES = ToolRequests(transfer="sales")
END = ToolRequests(end_call=True)
NO_TRANSFER = f"agent: {DEFAULTS.no_transfer}"
LONG_HANDOFF = f"I will connect you to sales now. {SHORT * 15}"

REQUESTS: list[tuple[str, str, str, ToolRequests, list[str], str | None]] = [
    ("openclaw/openclaw#132367", "Please hang up.", "Goodbye!", END, ["agent: Goodbye!"], "agent-ended"),
    ("livekit/agents#2512", "Sales, please.", "", TO_SALES, [f"agent: {DEFAULTS.transferring}"], "transferred"),
    (
        "google/adk-python#3188",
        "Four two.",
        "Your identification is confirmed.",
        END,
        ["agent: Your identification is confirmed."],
        "agent-ended",
    ),
    (
        "hkjarral/AVA-AI-Voice-Agent-for-Asterisk#479",
        "Sales, please.",
        "Certainly. Please hold while I connect your call.",
        TO_SALES,
        ["agent: Certainly. Please hold while I connect your call."],
        "transferred",
    ),
    (
        "hkjarral/AVA-AI-Voice-Agent-for-Asterisk#498",
        "Sales, please.",
        LONG_HANDOFF,
        TO_SALES,
        [f"agent: {LONG_HANDOFF}"],
        "transferred",
    ),
    (
        "rapidaai/voice-ai#98",
        "Sales, please.",
        "I will connect you.",
        ToolRequests(transfer="nobody"),
        ["agent: I will connect you.", NO_TRANSFER],
        None,
    ),
    (
        "PatterAI/Patter#205",
        "Transfer me to 900 555 0123.",
        "I will connect you.",
        ToolRequests(transfer="+19005550123"),
        ["agent: I will connect you.", NO_TRANSFER],
        None,
    ),
    (
        "QwenLM/Qwen-Agent#135",
        "Log me out.",
        "You are logged out. Goodbye.",
        END | END,
        ["agent: You are logged out. Goodbye."],
        "agent-ended",
    ),
    (
        "twilio-labs/call-gpt#73",
        "That's all.",
        "You're all set. Have a great day!",
        NO_REQUESTS,
        ["agent: You're all set. Have a great day!"],
        None,
    ),
    (
        "XiyaoWang0519/agent-call#9",
        "Tell me a joke first.",
        "Alright, let me think of a quick one to share",
        END,
        ["agent: Alright, let me think of a quick one to share"],
        None,
    ),
    (
        "XiyaoWang0519/agent-call#9",
        "Tell me a joke first.",
        "Sure. Shall I begin?",
        END,
        ["agent: Sure. Shall I begin?"],
        None,
    ),
]


@pytest.mark.parametrize(("report", "said", "reply", "requests", "answer", "hung_up"), REQUESTS)
def test_a_request_is_carried_out_after_words_and_no_call_ends_in_a_question(
    report, said, reply, requests, answer, hung_up
):
    engines = Engines(replies=[reply], requests={0: {"end_call": requests.end_call, "transfer": requests.transfer}})
    phone = call({"transfer_targets": ("sales",)}, engines, says=[(0.5, 1.5, said)])
    phone.wait_until(9.0 if hung_up is None else 20.0)
    assert spoken(phone) == [f"caller: {said}", *answer]
    assert phone.hung_up == hung_up
    assert len(phone.sent(cmd.Transfer)) == (hung_up == "transferred")


@pytest.mark.parametrize(
    ("report", "empty", "answer"),
    [
        ("MCERQUA/OpenVoiceUI#82", 99, f"{FILLERS[0]} {APOLOGY}"),
        ("home-assistant/core#182226", 99, f"{FILLERS[0]} {APOLOGY}"),
        ("livekit/agents#3295", 1, "Four."),
    ],
)
def test_a_reply_without_words_is_made_again_and_then_apologised_for(report, empty, answer):
    engines = Engines(replies=["Four."], is_empty=lambda attempt: attempt < empty)
    phone = call({}, engines, says=[(0.5, 1.5, "What is two plus two?")]).wait_until(8.0)
    assert spoken(phone) == ["caller: What is two plus two?", f"agent: {answer}"]


@pytest.mark.parametrize(
    ("report", "line", "over", "heard", "unsaid"),
    [
        (
            "livekit/agents#2843",
            "We open at nine. Parking is behind the house.",
            (0.9, 2.2, "where can I park?"),
            "We open at nine. Parking is",
            "behind the house.",
        ),
        (
            "livekit/agents-js#2167",
            "Carrier is unknown. Want me to look it up for you now?",
            (1.3, 2.2, "no wait what"),
            "Carrier is unknown. Want me to look it up",
            "for you now?",
        ),
        (
            "livekit/agents-js#2457",
            REPLY,
            (1.0, 2.2, "what about Sundays?"),
            "We open at nine in the morning",
            "every day. On Sundays we open at ten. Is there anything else?",
        ),
    ],
)
def test_the_model_knows_what_the_caller_has_heard_of_a_line_that_was_cut(report, line, over, heard, unsaid):
    phone = call({"greeting": line}, Engines(replies=[SHORT]), says=[over]).wait_until(8.0)
    assert spoken(phone) == [f"agent: {heard}", f"caller: {over[2]}", f"agent: {SHORT}"]
    (said, _) = phone.sent(cmd.StartReply)[-1].history
    assert (said.text, said.unsaid) == (heard, unsaid)
