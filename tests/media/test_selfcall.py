"""``manage.py selfcall``: a whole call to ourselves, through TLS on the simulated line, and by the REST API."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import connections

from calls.api.stats import report_calls
from calls.carrier_account import CarrierAccount
from calls.models import Call
from clientcaller.doctor.deployment import Deployment
from clientcaller.management.commands import selfcall
from clientcaller.selfcall import real, simulated
from clientcaller.selfcall.conversation import Conversation, problems_of
from inference.engines.espeak import EspeakTextToSpeech
from media.phone.answering import CarrierTiming
from media.phone.frames import SILENT_FRAME
from media.phone.network import PhoneNetwork
from tests.doctor.authority import Authority
from tests.doctor.front import Front
from tests.media.scripted_call import voice
from tests.media.whole_calls import PUBLIC

pytestmark = pytest.mark.django_db(transaction=True)
NUMBER = "+15005550006"
LINE = "What time do you open?"
"""What the scripted recogniser always hears."""
SHORT = pytest.mark.parametrize("engines_options", [{"llm": {"replies": ["We open at nine."]}}], indirect=True)


@pytest.fixture
async def deployment(server: str, settings, tmp_path: Path) -> AsyncIterator[Deployment]:
    """The application behind a TLS front, with an authority of our own."""
    settings.TWILIO_PHONE_NUMBER = NUMBER
    authority = Authority(tmp_path)
    front = Front(int(server.rpartition(":")[2]))
    listening = await asyncio.start_server(front.serve, "127.0.0.1", 0, ssl=authority.context())
    yield Deployment(ca_file=authority.file, connect_to=listening.sockets[0].getsockname()[:2])
    listening.close()


def problems(conversation: Conversation) -> list[str]:
    # The machine of the tests may be busy, and its voice sound odd.
    return [one for one in problems_of(conversation, limit=20.0, least_words=0.5) if "gaps" not in one]


@SHORT
async def test_a_simulated_call_goes_through_tls_and_is_no_customers_call(deployment):
    conversation = await simulated.call_ourselves(
        deployment, [LINE, LINE], number=NUMBER, engine=EspeakTextToSpeech(), voice=""
    )
    assert problems(conversation) == []
    assert len(conversation.answered) == 2
    assert conversation.replies[1].startswith("We open at nine")

    @sync_to_async
    def recorded() -> tuple[str, str, int]:
        call = Call.objects.get()
        return call.from_number, call.to_number, report_calls(Call.objects.all(), period="day")["total"]["calls"]

    assert await recorded() == (NUMBER, NUMBER, 0)


async def test_a_call_that_is_not_answered_says_what_twilio_would_report(deployment, settings):
    settings.TWILIO_AUTH_TOKEN = "another-token-than-that-of-the-server"
    conversation = await simulated.call_ourselves(
        deployment, [LINE], number=NUMBER, engine=EspeakTextToSpeech(), voice=""
    )
    (problem,) = problems(conversation)
    assert problem.startswith("The agent was not heard. Twilio would report 11200")


class End:
    """One end of a line between two calls: what is heard here is said there."""

    def __init__(self) -> None:
        self.other: End
        self.hung_up = False
        self._frames: deque[bytes] = deque(maxlen=10)
        self._silent = 0

    def next_frame(self) -> bytes:
        self._silent = 0 if self._frames else self._silent + 1
        if self._silent > 100:  # the other call has ended
            self.hung_up = True
        return self._frames.popleft() if self._frames else SILENT_FRAME

    def hear(self, frame: bytes) -> None:
        self.other._frames.append(frame)

    def next_key(self) -> None:
        return None

    def take_notes(self) -> list[object]:
        return []


@SHORT
async def test_a_real_call_is_spoken_and_recorded_by_twilio(server, settings, tmp_path):
    settings.TWILIO_PHONE_NUMBER = NUMBER
    async with PhoneNetwork(
        app_url=server,
        public_url=PUBLIC,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
        tape_directory=tmp_path,
        calls_per_second=100,
        timing=CarrierTiming(post_dial=(0.1, 0.2), answer=(0.1, 0.2), recording=(0.1, 0.2), scale=1.0),
        render_say=voice,
    ) as network:

        def connect() -> End:
            """A call to our number comes in at the application, as a call of its own."""
            here, there = End(), End()
            here.other, there.other = there, here
            network.spawn(network.call_in(there, from_number=NUMBER, to_number=NUMBER))
            return here

        network.on_dial(NUMBER, connect, after=0.1)
        account = CarrierAccount(
            account_sid=settings.TWILIO_ACCOUNT_SID,
            auth_token=settings.TWILIO_AUTH_TOKEN,
            base_url=network.rest_url,
        )

        def call() -> Conversation:
            try:
                numbers = {"to_number": NUMBER, "from_number": NUMBER}
                return real.call_ourselves(account, [LINE], **numbers, pause=5, say=lambda text: None)
            finally:
                connections.close_all()

        conversation = await asyncio.to_thread(call)
    assert problems(conversation) == []
    assert len(conversation.answered) == 1
    placed = next(
        form for method, path, form in network.rest.requests if method == "POST" and path.endswith("Calls.json")
    )
    assert (placed["Record"], placed["RecordingChannels"], placed["Trim"]) == (["true"], ["dual"], ["do-not-trim"])


async def test_a_real_call_that_twilio_refuses_or_that_is_busy_fails(settings, tmp_path):
    async with PhoneNetwork(app_url="http://127.0.0.1:9", timing=CarrierTiming(scale=0.01)) as network:
        account = CarrierAccount(
            account_sid=network.account_sid, auth_token=network.auth_token, base_url=network.rest_url
        )

        def call(number: str) -> Conversation:
            return real.call_ourselves(
                account, [LINE], to_number=number, from_number=NUMBER, pause=1, say=print, wait=lambda seconds: None
            )

        refused = await asyncio.to_thread(call, "+19995521219")
        assert refused.failure.startswith(
            "Twilio did not carry the call: Twilio refused: 'To' phone number not verified"
        )


# --- The command -------------------------------------------------------------------------------------------


@pytest.fixture
def played(monkeypatch, settings) -> list[Conversation]:
    """The conversation that the command gets, in place of a call."""
    settings.SIMULATED = True
    conversations = [
        Conversation(
            (LINE, LINE), responses=(0.5, 0.7), heard=(LINE,), replies=("We open at nine.",), measured="simulated"
        )
    ]

    async def play(*args, **options) -> Conversation:
        return conversations[0]

    monkeypatch.setattr(simulated, "call_ourselves", play)
    return conversations


def test_a_good_call_ends_with_status_0_and_shows_each_reply(played, capsys):
    call_command("selfcall")
    out = capsys.readouterr().out
    assert "from …006 to itself" in out
    assert NUMBER not in out
    assert "700 ms" in out
    assert "We open at nine." in out
    assert "green   The call was answered, in time, and understood." in out


@pytest.mark.parametrize(("option", "says"), [("--limit=0.6", "came after 0.70 s"), ("--words=1.1", "were recognised")])
def test_a_call_that_is_slower_or_less_understood_than_demanded_ends_with_status_1(option, says, played, capsys):
    with pytest.raises(SystemExit) as exit:
        call_command("selfcall", option)
    assert exit.value.code == 1
    assert says in capsys.readouterr().out


def test_json_has_the_figures(played, capsys):
    call_command("selfcall", "--json")
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["slowest"], report["responses"]) == (True, 0.7, [0.5, 0.7])


def test_without_a_number_there_is_nobody_to_call(settings):
    settings.TWILIO_PHONE_NUMBER = ""
    with pytest.raises(selfcall.CommandError, match="TWILIO_PHONE_NUMBER is not set"):
        call_command("selfcall")
