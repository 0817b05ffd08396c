"""The people on the simulated network, and ``manage.py network``, which runs it as a process."""

import asyncio
import io
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from django.conf import settings as project_settings
from django.core.management import call_command
from django.core.management.base import CommandError
from twilio.rest import Client

from inference.mulaw import decode_mulaw
from media.phone.answering import Outcome
from media.phone.call_request import Callback, CallRequest, MachineDetection
from media.phone.caller import ScriptedCaller
from media.phone.frames import FRAME_SECONDS, SILENT_FRAME
from media.phone.network import PhoneNetwork
from media.phone.people import GREETING, PEOPLE, assign_people, person_at, tone
from tests.media.phone.doubles import DEADLINE, HERE, PUBLIC_URL, call_request
from tests.media.phone.sounds import LOUD

PREFIX = "+120255501"
UTTERANCE = 0.5


async def voice(text: str) -> bytes:
    return LOUD * round(UTTERANCE / FRAME_SECONDS)


@pytest.fixture
async def network(app) -> AsyncIterator[PhoneNetwork]:
    async with PhoneNetwork(app_url=app.url, public_url=PUBLIC_URL, calls_per_second=1000) as network:
        await assign_people(network, voice=voice)
        yield network


def call_to(ending: str, **changes) -> CallRequest:
    return call_request(PREFIX + ending, **changes)


# -- what the people do on the line --------------------------------------------------------------------


@dataclass
class Agent:
    """
    Talks to a person frame by frame, without waiting in real time.

    The agent speaks for ``greets_for`` seconds, then replies for a second to each thing that the person says, beginning
    ``reply_after`` seconds after the person's last sample.
    """

    greets_for: float = 1.0
    reply_after: float = 0.5
    heard: list[tuple[float, str]] = field(default_factory=list)

    def talk_to(self, person: ScriptedCaller, *, at_most: float = 120.0) -> list[str]:
        """Return what the person said and did, in order. ``heard`` has the times as well."""
        speaks_from, speaks_until = 0.0, self.greets_for
        for frame in range(round(at_most / FRAME_SECONDS)):
            now = frame * FRAME_SECONDS
            said, key = person.next_frame(), person.next_key()
            assert len(said) == len(SILENT_FRAME)
            for note in person.take_notes():
                if note.event == "caller_speech_start":
                    self.heard.append((now, note.fields["clip"]))
                else:
                    speaks_from, speaks_until = now + self.reply_after, now + self.reply_after + 1.0
            if key is not None:
                self.heard.append((now, f"key {key}"))
            if person.hung_up:
                self.heard.append((now, "hangs up"))
                break
            person.hear(LOUD if speaks_from <= now < speaks_until else SILENT_FRAME)
        return [what for _, what in self.heard]

    def when(self, what: str) -> float:
        return next(at for at, done in self.heard if done == what)


def answer(network: PhoneNetwork, ending: str) -> ScriptedCaller:
    person = network.answerer(PREFIX + ending).answer()
    assert isinstance(person, ScriptedCaller)
    return person


@pytest.mark.parametrize("ending", ["00", "10", "99"])
async def test_a_person_with_questions_listens_asks_and_says_goodbye(network, ending):
    agent = Agent(greets_for=3.0)
    assert agent.talk_to(answer(network, ending)) == [
        "What time do you open?",
        "How much does it cost?",
        "Thank you, goodbye.",
        "hangs up",
    ]
    assert agent.when("What time do you open?") > 3.0, "after the greeting"
    assert agent.when("How much does it cost?") > agent.when("What time do you open?") + UTTERANCE + 0.5 + 1.0


async def test_each_call_gets_a_new_person(network):
    assert Agent().talk_to(answer(network, "00")) == Agent().talk_to(answer(network, "00"))


async def test_a_person_does_not_wait_forever_for_a_silent_agent(network):
    agent = Agent(greets_for=0.0, reply_after=1000.0)
    assert agent.talk_to(answer(network, "00"))[-1] == "hangs up"


async def test_an_answering_machine_greets_beeps_listens_and_hangs_up(network):
    agent = Agent(greets_for=0.0)
    assert agent.talk_to(answer(network, "04")) == [GREETING, "(beep)", "hangs up"]
    message_ends = agent.when("(beep)") + tone().seconds + 0.5 + 1.0
    assert agent.when("hangs up") == pytest.approx(message_ends + 5.0, abs=0.1)


async def test_an_answering_machine_does_not_wait_for_the_agent_to_finish(network):
    early, silent = Agent(greets_for=2.0), Agent(greets_for=0.0)
    early.talk_to(answer(network, "04"))
    silent.talk_to(answer(network, "04"))
    assert early.when("(beep)") == silent.when("(beep)")


def test_the_beep_is_a_tone():
    clip = tone()
    sound = decode_mulaw(clip.audio).astype(float)
    spectrum = np.abs(np.fft.rfft(sound))
    assert clip.seconds == 0.5
    assert spectrum.argmax() * 8000 / len(sound) == pytest.approx(1000, abs=2)
    assert np.abs(sound).max() == pytest.approx(8192, rel=0.05)


async def test_the_person_at_05_asks_to_be_taken_off_the_list(network):
    assert Agent().talk_to(answer(network, "05")) == ["Please take me off your list.", "hangs up"]


async def test_the_person_at_06_hangs_up_at_once(network):
    agent = Agent()
    assert agent.talk_to(answer(network, "06")) == ["hangs up"]
    assert agent.when("hangs up") < 0.5


async def test_the_person_at_07_asks_for_a_human_and_stays_on_the_line(network):
    agent = Agent()
    assert agent.talk_to(answer(network, "07")) == ["Can I talk to a person please?", "hangs up"]
    assert agent.when("hangs up") > agent.when("Can I talk to a person please?") + 15.0


async def test_the_person_at_08_presses_the_opt_out_key_while_the_agent_speaks(network):
    agent = Agent(greets_for=5.0)
    assert agent.talk_to(answer(network, "08")) == ["key 9", "hangs up"]
    assert agent.when("key 9") == pytest.approx(1.0, abs=0.1)
    assert agent.when("hangs up") > 5.0, "the person listens to the reply before they hang up"


async def test_a_silent_line_says_nothing_and_does_not_hang_up(network):
    assert Agent().talk_to(answer(network, "09")) == []


# -- what the carrier reports ----------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "status", "sip_code"), [("01", "busy", 486), ("03", "failed", 404)])
async def test_the_numbers_01_and_03_are_not_answered(network, ending, status, sip_code):
    end = await network.place(call_to(ending)).wait()
    assert (end.status, end.sip_code) == (status, sip_code)


async def test_the_phone_at_02_rings_until_the_timeout_or_for_the_patience_that_is_set(network, app):
    call = network.place(call_to("02", timeout=150.0))
    assert (await call.wait()).status == "no-answer"
    rang = _rang_for(call)
    assert rang >= 1.5, "150 seconds, at a hundredth of real time"
    await assign_people(network, voice=voice, patience=1.0)
    call = network.place(call_to("02", timeout=150.0))
    assert (await call.wait()).status == "no-answer"
    assert _rang_for(call) < rang / 2


def _rang_for(call) -> float:
    at = {event.get("status"): event["at"] for event in call.tape.events if event["event"] == "call_status"}
    return at["no-answer"] - at["ringing"]


@pytest.mark.parametrize(("ending", "verdict"), [("00", "human"), ("09", "human"), ("04", "machine_start")])
async def test_machine_detection_tells_the_machine_from_the_people(network, app, ending, verdict):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    await network.place(call_to(ending, machine_detection=MachineDetection("Enable"))).wait()
    assert app.requests_to("/twilio/voice/")[0].form["AnsweredBy"] == verdict


async def test_the_end_of_a_machines_greeting_is_detected_at_its_beep(network, app):
    app.answers = {"/twilio/voice/": "<Pause length='36000'/>"}
    detection = MachineDetection("DetectMessageEnd", True, Callback(f"{PUBLIC_URL}/twilio/amd/"))
    call = network.place(call_to("04", machine_detection=detection))
    verdict = await app.wait_for_request("/twilio/amd/")
    assert verdict.form["AnsweredBy"] == "machine_end_beep"
    said = {event["clip"]: event["at"] for event in call.tape.events if event["event"] == "caller_speech_end"}
    (found,) = [event["at"] for event in call.tape.events if event["event"] == "detected"]
    assert list(said) == [GREETING, "(beep)"]
    assert -0.1 < found - said["(beep)"] < 10.0, "not before the beep; a busy machine may be late"


def test_each_ending_has_one_person_and_the_last_has_all_other_numbers():
    endings = [person.ending for person in PEOPLE]
    assert endings == [*(f"{number:02}" for number in range(1, 10)), ""]
    assert [person_at(f"{PREFIX}{ending}").ending for ending in endings[:-1]] == endings[:-1]
    assert person_at("+12025550100").ending == ""


async def test_a_full_number_takes_precedence_over_its_ending(network):
    network.on_dial(f"{PREFIX}01", lambda: Outcome.failed(503))
    assert (await network.place(call_to("01")).wait()).sip_code == 503
    assert (await network.place(CallRequest("+12125550101", HERE)).wait()).status == "busy"


# -- the command ----------------------------------------------------------------------------------


def test_the_option_people_lists_who_answers_which_number():
    output = io.StringIO()
    call_command("network", "--people", stdout=output)
    for person in PEOPLE:
        line = next(line for line in output.getvalue().splitlines() if person.name in line)
        assert line.split()[0] == (person.ending or "any")
        assert line.endswith(person.behaviour)


def test_a_port_that_is_taken_is_explained():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"Port {port} is taken.*--port {port + 1}"):
            call_command("network", "--port", str(port), stdout=io.StringIO())


def test_a_real_account_is_refused(settings):
    settings.TWILIO_ACCOUNT_SID = "AC" + "a" * 32
    with pytest.raises(CommandError, match="Unset TWILIO_ACCOUNT_SID"):
        call_command("network", "--port", "0", stdout=io.StringIO())


@pytest.mark.parametrize(
    "arguments", [["--scale", "0"], ["--calls-per-second", "-1"], ["--scale", "nan"], ["--realtime", "--scale", "2"]]
)
def test_invalid_options_are_refused(arguments):
    with pytest.raises(CommandError):
        call_command("network", *arguments, stdout=io.StringIO())


def test_a_host_that_is_not_of_this_machine_is_explained():
    with pytest.raises(CommandError, match=r"cannot listen at 192\.0\.2\.1:8010"):
        call_command("network", "--host", "192.0.2.1", stdout=io.StringIO())


async def test_the_command_prints_what_happens_and_hangs_up_before_it_stops(app, tmp_path):
    app.answers = {"/twilio/voice/": "<Pause length='3600'/>"}
    command = ["manage.py", "network", "--port", "0", "--app-url", app.url, "--scale", "0.05"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        "--calls-per-second",
        "100",
        cwd=project_settings.BASE_DIR,
        env={"VAR_DIR": str(tmp_path), "PUBLIC_BASE_URL": PUBLIC_URL},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    lines: list[str] = []

    async def until(text: str) -> str:
        async with asyncio.timeout(DEADLINE):
            while not lines or text not in lines[-1]:
                line = await process.stdout.readline()
                assert line, "\n".join(lines)
                lines.append(line.decode().rstrip())
        return lines[-1]

    try:
        listens = await until("listens at")
        await until("Press Ctrl-C")
        rest_url = next(word for word in listens.split() if word.startswith("http://"))
        account, token = project_settings.DEVELOPMENT_ACCOUNT_SID, project_settings.DEVELOPMENT_AUTH_TOKEN

        def dial(*endings: str) -> None:
            client = Client(account, token)
            client.api.base_url = rest_url
            for ending in endings:
                client.calls.create(to=PREFIX + ending, from_=HERE, url=f"{PUBLIC_URL}/twilio/voice/")
            client.http_client.session.close()

        await asyncio.to_thread(dial, "03")
        await until("03  cannot be reached (SIP 404)")
        await asyncio.to_thread(dial, "09")
        await until("09  answers")
        process.send_signal(signal.SIGTERM)
        await until("The network has stopped.")
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    shown = [line.split(maxsplit=1)[1] for line in lines if PREFIX in line]
    assert shown[:-1] == [
        f"{PREFIX}03  is dialled by {HERE} (no such number)",
        f"{PREFIX}03  cannot be reached (SIP 404)",
        f"{PREFIX}09  is dialled by {HERE} (a silent line)",
        f"{PREFIX}09  rings",
        f"{PREFIX}09  answers",
    ]
    assert re.fullmatch(rf"{re.escape(PREFIX)}09  hangs up after \d+ s", shown[-1])
    assert "Hanging up ..." in lines
